"""AND triples, random OTs and comparisons, made in bulk by OT extension and handed out once.

The servers hold one end of an extension in each direction (`extension.setup`), made when they connect. `fork` derives
independent ones for each pack or operation from a label that is used once, so that several can go on at the same time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np

from pura.crypto.ot import MULTIPLE, RandomReceived, RandomSent
from pura.crypto.rng import Rng
from pura.errors import MaterialUsed
from pura.ids import Party
from pura.protocols.shares import extension
from pura.protocols.shares.extension import Ends, Extension
from pura.protocols.shares.gmw import Bits
from pura.protocols.shares.leaves import Column, LeavesReceived, LeavesSent, from_received, from_sent
from pura.protocols.shares.select import Pads
from pura.protocols.shares.stock import Leaves, Need
from pura.rounds import Rounds, receive, send

AT_ONCE = 1 << 20
"""OTs of one message: 4 MiB of columns."""
LEAVES_AT_ONCE = 1 << 17
"""OTs of one message for comparisons, whose pads are large until they are leaves."""


class _Roll:
    """Columns of one length that are taken from the front together."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = list(columns)
        self._next = 0

    def __len__(self) -> int:
        return len(self._columns[0]) - self._next

    def take(self, count: int) -> list[Column]:
        """The next `count` rows. Raises `MaterialUsed` when there are not as many."""
        if count > len(self):
            raise MaterialUsed(detail="not enough offline material was made")
        part = slice(self._next, self._next + count)
        self._next = part.stop
        return [column[part] for column in self._columns]

    def take_over(self, other: _Roll) -> None:
        """Add what another one has left."""
        rows = zip(self.take(len(self)), other.take(len(other)), strict=True)
        self._columns, self._next = [np.concatenate(pair) for pair in rows], 0


_Kind = tuple[str, int]
_TRIPLES, _SENT, _RECEIVED = ("triples", 0), ("sent", 0), ("received", 0)


def _leaves_sent(bits: int) -> _Kind:
    return "leaves sent", bits


def _leaves_received(bits: int) -> _Kind:
    return "leaves received", bits


class Material:
    """What is left of a server's triples, OTs and comparisons: taken from the front and never twice; not to be
    pickled."""

    def __init__(self, party: Party, made: Mapping[_Kind, Sequence[Column]] | None = None) -> None:
        self._party = party
        self._rolls = {kind: _Roll(columns) for kind, columns in (made or {}).items()}

    def __repr__(self) -> str:
        return "Material(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("offline material does not leave its process")

    def triples(self, octets: int) -> tuple[Bits, Bits, Bits]:
        """See `gmw.Triples`. Raises `MaterialUsed` when there are not enough."""
        a, b, c = self._take(_TRIPLES, octets)
        return a, b, c

    def sent(self, count: int) -> tuple[Pads, Pads]:
        """See `select.Transfers`."""
        k0, k1 = self._take(_SENT, count)
        return k0, k1

    def received(self, count: int) -> tuple[Bits, Pads]:
        """See `select.Transfers`."""
        choices, pads = self._take(_RECEIVED, count)
        return choices, pads

    def leaves_sent(self, bits: int, count: int) -> LeavesSent:
        """See `stock.Comparisons`."""
        return LeavesSent.of(self._take(_leaves_sent(bits), count))

    def leaves_received(self, bits: int, count: int) -> LeavesReceived:
        """See `stock.Comparisons`."""
        return LeavesReceived.of(self._take(_leaves_received(bits), count))

    @property
    def left(self) -> Need:
        """What can still be taken."""
        size = {kind: len(roll) for kind, roll in self._rolls.items()}
        need = Need(size.get(_TRIPLES, 0), min(size.get(_SENT, 0), size.get(_RECEIVED, 0)))
        for (name, bits), count in size.items():
            if name in ("leaves sent", "leaves received"):
                by_s1 = (name == "leaves sent") == (self._party is Party.S1)
                need += Need.comparing(bits, count, 0) if by_s1 else Need.comparing(bits, 0, count)
        return need

    def lacks(self, need: Need) -> Need:
        """What has to be made before `need` can be taken."""
        return need.beyond(self.left)

    def part(self, need: Need) -> Material:
        """Exactly `need`, taken out: a copy of its own, so that the rest can go. Raises `MaterialUsed`."""
        counts = _counts(need, self._party)
        taken = {kind: self._take(kind, count) for kind, count in counts.items()}
        return Material(self._party, {kind: [np.array(c) for c in columns] for kind, columns in taken.items()})

    def take_over(self, other: Material) -> None:
        """Add what another one has."""
        for kind, roll in other._rolls.items():
            if kind in self._rolls:
                self._rolls[kind].take_over(roll)
            else:
                self._rolls[kind] = _Roll(roll.take(len(roll)))

    def _take(self, kind: _Kind, count: int) -> list[Column]:
        if kind not in self._rolls:
            if not count and kind in (_TRIPLES, _SENT, _RECEIVED):
                return _nothing(kind)
            raise MaterialUsed(detail="not enough offline material was made")
        return self._rolls[kind].take(count)


def _nothing(kind: _Kind) -> list[Column]:
    none, no_pads = np.zeros(0, np.uint8), np.zeros((0, 16), np.uint8)
    shapes: dict[_Kind, list[Column]] = {_TRIPLES: [none] * 3, _SENT: [no_pads] * 2, _RECEIVED: [none, no_pads]}
    return shapes[kind]


def _counts(need: Need, party: Party) -> dict[_Kind, int]:
    counts = {_TRIPLES: need.triple_octets, _SENT: need.transfers, _RECEIVED: need.transfers}
    for bits, *by in need.leaves:
        counts[_leaves_sent(bits)], counts[_leaves_received(bits)] = by[party - 1], by[party.other - 1]
    return {kind: count for kind, count in counts.items() if count}


# --- making it --------------------------------------------------------------------------------------


def provide(ends: Ends, need: Need, rng: Rng) -> Rounds[Material]:
    """Fresh material; the same at both servers. A round for each 2^20 OTs, or 2^17 of those for comparisons."""
    made: dict[_Kind, list[list[Column]]] = {}
    for n in _portions(8 * need.triple_octets):
        triples = yield from extension.triples(ends, n, rng)
        columns: list[Column] = [part.view(np.uint8) for part in (triples.a, triples.b, triples.c)]
        made.setdefault(_TRIPLES, []).append(columns)
    for n in _portions(need.transfers):
        sent, received = yield from _both(ends, n, n, rng)
        assert sent is not None
        assert received is not None
        made.setdefault(_SENT, []).append(list(sent.pads()))
        made.setdefault(_RECEIVED, []).append(list(_received(received)))
    for leaves in need.leaves:
        yield from _provide_leaves(ends, leaves, rng, made)
    return Material(ends.party, {kind: _joined(parts) for kind, parts in made.items()})


def _provide_leaves(ends: Ends, leaves: Leaves, rng: Rng, made: dict[_Kind, list[list[Column]]]) -> Rounds[None]:
    bits, *by = leaves
    there, back = (_comparisons(bits, by[party - 1]) for party in (ends.party, ends.party.other))
    for count_s, count_r in itertools.zip_longest(there, back, fillvalue=0):
        ots_s, ots_r = bits * count_s, bits * count_r
        sent, received = yield from _both(ends, _whole(ots_s), _whole(ots_r), rng)
        if sent is not None:
            k0, k1 = sent.pads()
            made.setdefault(_leaves_sent(bits), []).append(from_sent(bits, k0[:ots_s], k1[:ots_s], rng).columns)
        if received is not None:
            got = from_received(bits, received.choices, received.pads()[:ots_r])
            made.setdefault(_leaves_received(bits), []).append(got.columns)


def _both(ends: Ends, sent: int, received: int, rng: Rng) -> Rounds[tuple[RandomSent | None, RandomReceived | None]]:
    """An extension in each direction at once, of `sent` and `received` OTs; nothing is said for none."""
    mine, got = None, None
    if received:
        ask, mine = extension.ask_for(ends.receiver, received, rng)
        yield from send(ask)
    if sent:
        got = yield from receive(Extension)
    return extension.answer_to(ends.sender, sent, got) if got is not None else None, mine


def complete(stock: Material, ends: Ends, label: bytes, need: Need, rng: Rng) -> Rounds[None]:
    """Make what a stock lacks of `need`, if anything, in the fork of this label; the same at both servers."""
    lacks = stock.lacks(need)
    if lacks != Need():
        stock.take_over((yield from provide(ends.fork(label), lacks, rng)))


def _portions(count: int) -> list[int]:
    """`count` OTs, rounded up to what extensions come in, as portions of at most AT_ONCE."""
    whole = _whole(count)
    return [min(AT_ONCE, whole - at) for at in range(0, whole, AT_ONCE)]


def _comparisons(bits: int, count: int) -> list[int]:
    """So many comparisons as portions of at most LEAVES_AT_ONCE OTs."""
    most = LEAVES_AT_ONCE // bits
    return [min(most, count - at) for at in range(0, count, most)]


def _whole(ots: int) -> int:
    return -(-ots // MULTIPLE) * MULTIPLE


def _received(mine: RandomReceived) -> tuple[Bits, Pads]:
    return np.unpackbits(mine.choices, bitorder="little"), mine.pads()


def _joined(parts: Sequence[Sequence[Column]]) -> list[Column]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
