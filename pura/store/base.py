"""What a store keeps, what it can be asked, and how the gallery looks at one moment.

A change of the gallery is prepared durably on both servers, then committed on S1 (whose record decides), then on S2. A
store knows nothing of the other server: it keeps prepared changes across restarts until it is told their outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pura.ids import BlockId, ClientId, EnrolmentId, Handle, TxnId
from pura.roster import Changes
from pura.store.moments import Moment

TXN_BYTES = 16
DIGEST_BYTES = 32
NO_BLOCK = -1
"""Stands in `Gallery.block_ids` and `Gallery.slots` for entries that lie in no block."""

Outcome: TypeAlias = Literal["committed", "prepared", "unknown"]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One enrolled entry.

    digest: 32 bytes, what its enrolment id stands for; label: opaque bytes;
    body: what it is matched with: E in engine `prepared`, the client's ciphertexts in `published`; block and slot: its
    place, both None in engine `published`; masking: how E is masked, of the same length in all entries of a store;
    created, expires: seconds since 1970, 0 for never.
    """

    handle: Handle
    enrolment_id: EnrolmentId
    digest: bytes
    label: bytes
    body: bytes
    client: ClientId
    block: BlockId | None
    slot: int | None
    masking: bytes
    created: int
    expires: int = 0

    def __repr__(self) -> str:
        return "Entry(…)"


class Move(NamedTuple):
    """An entry that goes to another slot, or gets other masks: then with a new body and masking."""

    handle: Handle
    block: BlockId
    slot: int
    body: bytes | None = None
    masking: bytes | None = None

    def __repr__(self) -> str:
        return "Move(…)"


class Relabel(NamedTuple):
    """An entry, which is this enrolment's, gets another label."""

    handle: Handle
    enrolment_id: EnrolmentId
    label: bytes
    expires: int = 0
    """As it is: it does not change."""

    def __repr__(self) -> str:
        return "Relabel(…)"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What one transaction does to the gallery: all of it or nothing.

    txn: 16 bytes, used once; kind: a word for the audit log; removes: entries to erase; moves: entries that go to
    another block and slot; relabels: entries that get another label.
    """

    txn: TxnId
    kind: str
    adds: tuple[Entry, ...] = ()
    removes: tuple[Handle, ...] = ()
    moves: tuple[Move, ...] = ()
    relabels: tuple[Relabel, ...] = ()

    def __repr__(self) -> str:
        return f"Change({self.txn.hex()}, {self.kind!r}, …)"


@dataclasses.dataclass(frozen=True, slots=True)
class AuditRow:
    """What the audit log tells of a committed change: its place in the order, and how much it did; names no entry."""

    generation: int
    txn: TxnId
    kind: str
    adds: int
    removes: int
    moves: int
    relabels: int
    at: int
    """Seconds since 1970."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Gallery:
    """The active entries at one moment; immutable.

    generation: how many changes were committed; roster: the roster's digest, 32 bytes; handles (n,) uint64, block_ids,
    slots and expires (n,) int64, masking (n, width) uint8, all in the same order: by block and slot, entries without a
    block first, oldest first among those. touched: the generation of the gallery that was handed out before, and which
    blocks have other entries since; None when that is not known.
    """

    generation: int
    roster: bytes
    handles: NDArray[np.uint64]
    block_ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    masking: NDArray[np.uint8]
    expires: NDArray[np.int64]
    touched: tuple[int, frozenset[int]] | None = None

    def __len__(self) -> int:
        return len(self.handles)


class Store(Protocol):
    """Where a server keeps its gallery. Thread-safe; what a call has changed is durable when it returns.

    A change fits the gallery that it was prepared on and no other: once a second change is committed in between, it can
    only be aborted.
    """

    def prepare(self, change: Change) -> None:
        """Keep a change until its outcome is known. Preparing an equal one again does nothing.

        Raises `EnrolmentConflict` (enrolment id taken), `UnknownEntry` (an entry to remove or move is not there),
        `OutOfRange`, `ProtocolError` (whatever else does not fit the gallery), `StorageFull`; nothing is kept then.
        """
        ...

    def commit(self, txn: TxnId) -> None:
        """Carry out a prepared change. Does nothing if that was done. Raises `ProtocolError`, `StorageFull`."""
        ...

    def abort(self, txn: TxnId) -> None:
        """Forget a prepared change. Does nothing for an unknown one. Raises `ProtocolError` when it is committed."""
        ...

    def apply(self, change: Change) -> None:
        """Prepare and commit a change that no other server takes part in. Raises what `prepare` does."""
        ...

    def prepared(self) -> list[TxnId]:
        """The changes whose outcome is not known yet, oldest first."""
        ...

    def outcome(self, txn: TxnId) -> Outcome:
        """What became of a change."""
        ...

    def moment(self) -> Moment:
        """Where this gallery stands: at the change that was committed last."""
        ...

    def apart(self, there: Moment) -> None:
        """The other server was found at another moment."""
        ...

    def together(self) -> None:
        """The other server was found to hold the same gallery."""
        ...

    def audit(self) -> Iterator[AuditRow]:
        """Every committed change, oldest first, in bounded memory."""
        ...

    def snapshot(self) -> Gallery:
        """The gallery as it is now; the same object until the next commit."""
        ...

    def by_handle(self, handle: Handle) -> Entry | None:
        """One entry, or None."""
        ...

    def by_enrolment_id(self, enrolment_id: EnrolmentId) -> Entry | None:
        """The entry that was made under an enrolment id, or None."""
        ...

    def bodies(self, handles: Sequence[Handle]) -> list[bytes]:
        """The bodies of some entries, in the order asked for. Raises `UnknownEntry`."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first, in bounded memory; entries added meanwhile may or may not be among them."""
        ...

    def roster(self, since: int = 0) -> Changes:
        """What has happened to the roster since a generation, 0 for none; all of it when that is too long ago, or
        before this server's start. Digest and signature are empty when none was kept for the roster as it is now."""
        ...

    def keep_signature(self, generation: int, digest: bytes, signature: bytes) -> None:
        """Keep S2's signature of the roster. Raises `ProtocolError` unless it is of the roster as it is now."""
        ...

    def count(self) -> int:
        """How many entries there are."""
        ...

    def close(self) -> None:
        """Release files and locks; snapshots must not be read afterwards."""
        ...
