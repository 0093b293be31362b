"""S2's word on what became of enrolments and erasures, which S1 hands on to the client.

S2 signs what is so when it is asked: nothing of it has to be kept, and whoever repeats a request is told again. While
S2 stands at a later change than the questions of S1, which takes a moment at each change, S1 hands nothing on: a client
takes an answer about a gallery older than what it knows of for a lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from pura.crypto.sign import SIGNATURE_BYTES
from pura.errors import NotReady, ProtocolError
from pura.ids import Handle
from pura.messages import Message, message
from pura.rounds import Rounds, nothing, receive, send
from pura.statements import Signer
from pura.store.base import Store

MAX_HANDLES = 4096
_HANDLE_BYTES = 8


@message
class EnrolledOpen(Message):
    """S1 -> S2: sign which enrolments these entries are, 8 bytes each."""

    handles: bytes


@message
class ErasedOpen(Message):
    """S1 -> S2: sign that none of these is an entry (any more), 8 bytes each."""

    handles: bytes


@message
class Vouched(Message):
    """S2 -> S1: at this generation; of enrolments a signature each, 64 bytes, or zeros where there is no such entry."""

    generation: int
    signatures: bytes


@dataclasses.dataclass(frozen=True)
class Voucher:
    """What S2 signed (`pura.statements`), and of which generation; empty with engine published."""

    generation: int = 0
    signature: bytes = b""


def enrolled_s1(handles: Sequence[Handle], now: Callable[[], int]) -> Rounds[list[Voucher | None]]:
    """Which enrolment each entry is; None for one that is not there (any more). `now`: the generation at which S1
    answers questions. Raises `NotReady`."""
    yield from send(EnrolledOpen(_dump(handles)))
    got = yield from _received(now)
    size = SIGNATURE_BYTES
    signatures = [got.signatures[at : at + size] for at in range(0, len(got.signatures), size)]
    if len(got.signatures) != len(handles) * size:
        raise ProtocolError(detail="number of signatures")
    return [Voucher(got.generation, signature) if any(signature) else None for signature in signatures]


def erased_s1(handles: Sequence[Handle], now: Callable[[], int]) -> Rounds[Voucher]:
    """That none of these is an entry; `now` as in `enrolled_s1`. Raises `NotReady`."""
    yield from send(ErasedOpen(_dump(handles)))
    got = yield from _received(now)
    if len(got.signatures) != SIGNATURE_BYTES:
        raise ProtocolError(detail="number of signatures")
    return Voucher(got.generation, got.signatures)


def _received(now: Callable[[], int]) -> Rounds[Vouched]:
    got = yield from receive(Vouched)
    if got.generation > now():
        raise NotReady("the gallery is being changed; try again")
    return got


def unsigned(count: int) -> Rounds[list[Voucher | None]]:
    """In the place of `enrolled_s1` with engine published, where S2 signs nothing: says nothing."""
    yield from nothing()
    return [Voucher()] * count


def vouch_s2(store: Store, signer: Signer, opening: EnrolledOpen | ErasedOpen) -> Rounds[None]:
    """S2's side of both. Handles never come back, so what is there after the generation was read was there then; what
    is not there before it is read is not there then."""
    handles = _load(opening.handles)
    if isinstance(opening, EnrolledOpen):
        generation = store.snapshot().generation
        entries = [store.by_handle(handle) for handle in handles]
        signatures = b"".join(
            signer.enrolled(generation, entry.enrolment_id, entry.handle) if entry else bytes(SIGNATURE_BYTES)
            for entry in entries
        )
    else:
        if any(store.by_handle(handle) is not None for handle in handles):
            raise ProtocolError(detail="an entry is not erased")
        generation = store.snapshot().generation
        signatures = signer.erased(generation, handles)
    yield from send(Vouched(generation, signatures))


def _dump(handles: Sequence[Handle]) -> bytes:
    return b"".join(handle.to_bytes(_HANDLE_BYTES, "big") for handle in handles)


def _load(raw: bytes) -> list[Handle]:
    if len(raw) % _HANDLE_BYTES or len(raw) > MAX_HANDLES * _HANDLE_BYTES:
        raise ProtocolError(detail="length of a list of handles")
    handles = [int.from_bytes(raw[at : at + _HANDLE_BYTES], "big") for at in range(0, len(raw), _HANDLE_BYTES)]
    return [Handle(handle) for handle in handles]
