"""What a server can make of the messages that it received: it opens whatever its own key share opens."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.bigint import Z, many_from_bytes, power
from pura.crypto.encoding import unpack_slots
from pura.crypto.threshold import combine_many, load_partials
from pura.ids import Party
from pura.messages import Message
from pura.protocols.packed import norm
from pura.protocols.packed.base_ot import SEED_BITS, BaseAnswers, BaseChoices
from pura.protocols.packed.blocks import BlockHash, BlockTerms
from pura.protocols.packed.convert import Converted, MaskedRows
from pura.protocols.packed.extension import Extension
from pura.protocols.packed.gmw import MaskedBits, OpenedBits
from pura.protocols.packed.lockout import CountOpen
from pura.protocols.packed.norm import CrossTerms
from pura.protocols.packed.pack import BlockProducts
from pura.protocols.packed.score import ScoreBlocks
from pura.protocols.packed.select import Derandomise, Transferred
from pura.protocols.packed.side import Side
from pura_bench.views.world import Log
from pura_server.packed.wire import AddOpen, AskOpen, CompactOpen, EraseOpen, RefillOpen, Sealed

Numbers = NDArray[np.uint64]
MOST = 512
"""So many numbers of one message are looked at."""


@dataclasses.dataclass
class Seen:
    """One operation, as one server saw it.

    shape: class, public integers and lengths of every message; masked: name -> (bits, numbers), of which every one
    should be uniform; facts: what should be the same in every run; once: what should never come twice.
    """

    shape: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    masked: dict[str, tuple[int, Numbers]] = dataclasses.field(default_factory=dict)
    facts: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    once: dict[str, list[int]] = dataclasses.field(default_factory=lambda: defaultdict(list))


def observe(side: Side, log: Log, refreshes: list[int]) -> Seen:
    """What the server of `side` learns from one operation; `refreshes`: the exponents that it re-randomised with."""
    seen = Seen()
    counts: dict[str, int] = defaultdict(int)
    last: dict[type[Message], Message] = {}
    for received, message in log:
        if not received:
            last[type(message)] = message
            continue
        kind = type(message).__name__
        name = f"{kind}.{counts[kind]}"
        counts[kind] += 1
        seen.shape.append(_shape(message))
        _look(seen, side, name, message, last, refreshes)
    return seen


def _shape(message: Message) -> tuple[Any, ...]:
    named = {"session", "pack", "block"}  # names of things, which differ from run to run
    return type(message).__name__, *(
        (field, len(value) if kind is bytes else value)
        for field, kind in message.layout
        if field not in named
        for value in [getattr(message, field)]
    )


def _look(
    seen: Seen, side: Side, name: str, m: Message, last: dict[type[Message], Message], refreshes: list[int]
) -> None:
    match m:
        case BaseChoices() | BlockTerms() | BlockProducts():
            _closed(seen, side, name, m.ciphertexts)
        case BaseAnswers():
            held = side.pk.plaintext_bits // SEED_BITS
            out: list[int] = []
            for at, plain in zip(range(0, 128, held), _open(seen, side, name, m.ciphertexts, m.partials), strict=True):
                out += unpack_slots(plain, SEED_BITS, min(held, 128 - at))
            _octets(seen, f"{name}.strings", b"".join(v.to_bytes(16, "little") for v in out))
        case Extension():
            _octets(seen, f"{name}.c", m.c)
        case MaskedRows():
            rows = side.rows
            plains = _open(seen, side, name, m.ciphertexts, m.partials)
            v = [
                e
                for i in range(0, len(plains), rows.ciphertexts)
                for e in rows.unpack(plains[i : i + rows.ciphertexts])
            ]
            seen.masked[f"{name}.v"] = rows.mask_bits, np.array([e % (1 << rows.mask_bits) for e in v], np.uint64)
        case ScoreBlocks():
            _scores(seen, side, name, m, refreshes)
        case Converted():
            seen.facts.append((name, m.fits))
        case CrossTerms():
            seen.masked[f"{name}.m"] = 32, np.frombuffer(m.m, "<u4")[:MOST].astype(np.uint64)
            assert len(m.m) % (norm.ring_bits(side) // 8) == 0
        case MaskedBits():
            _octets(seen, f"{name}.d", m.d)
            _octets(seen, f"{name}.e", m.e)
        case OpenedBits():
            own = last[OpenedBits]
            assert isinstance(own, OpenedBits)
            _octets(seen, f"{name}.share", m.bits)
            seen.facts.append((name, bytes(a ^ b for a, b in zip(own.bits, m.bits, strict=True))))
        case Derandomise():
            _octets(seen, f"{name}.e", m.e[:-1])  # the last byte is partly empty
        case Transferred():
            raw = np.frombuffer(m.m, np.dtype([("handle", "<u8"), ("key", "<u4")]))
            _octets(seen, f"{name}.handle", raw["handle"].tobytes())
            seen.masked[f"{name}.key"] = side.columns.slot_bits, raw["key"].astype(np.uint64)
        case Sealed():
            _octets(seen, f"{name}.text", m.sealed[32:])
            seen.once["Sealed.key"].append(int.from_bytes(m.sealed[:32], "little"))
        case BlockHash():
            own_hash = last[BlockHash]
            assert isinstance(own_hash, BlockHash)
            seen.facts.append((name, bytes([own_hash.digest == m.digest])))
        case AskOpen():
            _octets(seen, f"{name}.names", m.label + m.request)
        case RefillOpen():
            _octets(seen, f"{name}.names", m.label)
        case AddOpen() | EraseOpen() | CompactOpen():
            _octets(seen, f"{name}.names", m.txn)
        case CountOpen():
            _octets(seen, f"{name}.names", m.next)
        case _:
            pass  # nothing in it but what its shape says, or digests of what is public


def _octets(seen: Seen, name: str, raw: bytes) -> None:
    if raw:
        seen.masked[name] = 8, np.frombuffer(raw[:MOST], np.uint8).astype(np.uint64)


def _closed(seen: Seen, side: Side, name: str, raw: bytes) -> None:
    """Ciphertexts that stay closed: their residue modulo N, to 128 bits."""
    size = side.pk.ciphertext_bytes
    cs = many_from_bytes(raw, size)
    seen.once[f"{name.split('.')[0]}.c"] += [int(c) for c in cs]
    _octets(seen, f"{name}.c", b"".join((int(c) % (1 << 128)).to_bytes(16, "little") for c in cs))


def _open(seen: Seen, side: Side, name: str, ciphertexts: bytes, partials: bytes) -> list[int]:
    """The plaintexts; the root w, which is h^-rho, goes among what is uniform and never comes twice."""
    pk, count = side.pk, len(partials) * 8 // side.pk.n_bits
    cs, theirs = pk.load_many(ciphertexts, count), load_partials(pk, partials, count)
    own = side.share.partial_decrypt_many(pk, cs)
    roots = [a * b % pk.n for a, b in zip(own, theirs, strict=True)]
    seen.once[f"{name.split('.')[0]}.root"] += [int(w) for w in roots]
    for label, values in (("root", roots), ("partial", theirs), ("c", cs)):
        _octets(seen, f"{name}.{label}", b"".join((int(w) % (1 << 128)).to_bytes(16, "little") for w in values))
    return combine_many(pk, cs, own, theirs)


def _scores(seen: Seen, side: Side, name: str, m: ScoreBlocks, refreshes: list[int]) -> None:
    """Q of every block, by slots and by the sigma bits above them; and its root without what S1 put into it."""
    pk, columns, sigma = side.pk, side.columns, side.params.sigma
    assert side.share.party is Party.S1
    slots: list[int] = []
    tops: list[int] = []
    roots_before = len(seen.once["ScoreBlocks.root"])
    plains = _open(seen, side, name, m.ciphertexts, m.partials)
    for q in plains:
        slots += unpack_slots(q, columns.slot_bits, columns.entries)
        tops.append((q >> (columns.slot_bits * columns.entries)) % (1 << sigma))
    seen.masked[f"{name}.q"] = columns.slot_bits, np.array(slots, np.uint64)
    seen.masked[f"{name}.top"] = sigma, np.array(tops, np.uint64)
    if len(plains) == 1 and refreshes:
        # S1 re-randomised A by the exponent that it drew last; 8 times that is in C's randomness
        w = Z(seen.once["ScoreBlocks.root"][roots_before])
        seen.once["ScoreBlocks.residue"].append(int(w * power(pk.h, 8 * refreshes[-1], pk.n) % pk.n))
