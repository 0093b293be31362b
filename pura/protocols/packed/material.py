"""AND triples and random OTs, made in bulk by OT extension and handed out once.

The servers hold one end of an extension in each direction (`extension.setup`), made when they connect. `fork` derives
independent ones for each pack or operation from a label that is used once, so that several can go on at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pura.crypto.ot import MULTIPLE, RandomReceived
from pura.crypto.rng import Rng
from pura.errors import MaterialUsed
from pura.protocols.packed import extension
from pura.protocols.packed.extension import Ends, Extension
from pura.protocols.packed.gmw import Bits
from pura.protocols.packed.select import Pads
from pura.protocols.packed.tournament import Need
from pura.rounds import Rounds, exchange

AT_ONCE = 1 << 20
"""OTs of one message: 4 MiB of columns."""


class Material:
    """What is left of triples and OTs. Takes everything from the front and never twice; not to be pickled."""

    def __init__(self, triples: tuple[Bits, Bits, Bits], sent: tuple[Pads, Pads], received: tuple[Bits, Pads]) -> None:
        self._triples, self._sent, self._received = triples, sent, received
        self._next = [0, 0, 0]

    def __repr__(self) -> str:
        return "Material(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("offline material does not leave its process")

    def triples(self, octets: int) -> tuple[Bits, Bits, Bits]:
        """See `gmw.Triples`. Raises `MaterialUsed` when there are not enough."""
        part = self._take(0, octets, len(self._triples[0]))
        a, b, c = self._triples
        return a[part], b[part], c[part]

    def sent(self, count: int) -> tuple[Pads, Pads]:
        """See `select.Transfers`."""
        part = self._take(1, count, len(self._sent[0]))
        return self._sent[0][part], self._sent[1][part]

    def received(self, count: int) -> tuple[Bits, Pads]:
        """See `select.Transfers`."""
        part = self._take(2, count, len(self._received[0]))
        return self._received[0][part], self._received[1][part]

    @property
    def left(self) -> Need:
        """What can still be taken."""
        ots = min(len(self._sent[0]) - self._next[1], len(self._received[0]) - self._next[2])
        return Need(len(self._triples[0]) - self._next[0], ots)

    def lacks(self, need: Need) -> Need:
        """What has to be made before `need` can be taken."""
        left = self.left
        return Need(max(0, need.triple_octets - left.triple_octets), max(0, need.transfers - left.transfers))

    def take_over(self, other: Material) -> None:
        """Add what another one has."""
        t, s, r = self._next
        a, b, c = (np.concatenate([x[t:], y]) for x, y in zip(self._triples, other._triples, strict=True))
        k0, k1 = (np.concatenate([x[s:], y]) for x, y in zip(self._sent, other._sent, strict=True))
        choices, pads = (np.concatenate([x[r:], y]) for x, y in zip(self._received, other._received, strict=True))
        self._triples, self._sent, self._received = (a, b, c), (k0, k1), (choices, pads)
        self._next = [0, 0, 0]

    def _take(self, kind: int, count: int, there: int) -> slice:
        start = self._next[kind]
        if start + count > there:
            raise MaterialUsed(detail="not enough offline material was made")
        self._next[kind] = start + count
        return slice(start, start + count)


def provide(ends: Ends, need: Need, rng: Rng) -> Rounds[Material]:
    """Fresh material; the same at both servers. One round for each 2^20 OTs."""
    triples = []
    for n in _portions(8 * need.triple_octets):
        made = yield from extension.triples(ends, n, rng)
        triples.append(tuple(part.view(np.uint8) for part in (made.a, made.b, made.c)))
    sent, received = [], []
    for n in _portions(need.transfers):
        ask, mine = extension.ask_for(ends.receiver, n, rng)
        got = yield from exchange(ask, Extension)
        sent.append(extension.answer_to(ends.sender, n, got).pads())
        received.append(_received(mine))
    nothing, no_pads = np.zeros(0, np.uint8), np.zeros((0, 16), np.uint8)
    a, b, c = _joined(triples, (nothing, nothing, nothing))
    k0, k1 = _joined(sent, (no_pads, no_pads))
    choices, pads = _joined(received, (nothing, no_pads))
    return Material((a, b, c), (k0, k1), (choices, pads))


def complete(stock: Material, ends: Ends, label: bytes, need: Need, rng: Rng) -> Rounds[None]:
    """Make what a stock lacks of `need`, if anything, in the fork of this label; the same at both servers."""
    lacks = stock.lacks(need)
    if lacks != Need():
        stock.take_over((yield from provide(ends.fork(label), lacks, rng)))


def provide_chosen(ends: Ends, choices: Bits, rng: Rng) -> Rounds[tuple[Bits, Pads]]:
    """The receiver's end of OTs with these choices, one in a byte: the choices and the pads received."""
    parts, at = [], 0
    for n in _portions(len(choices)):
        part = choices[at : at + n]
        packed = np.packbits(np.concatenate([part, np.zeros(n - len(part), np.uint8)]), bitorder="little")
        mine = yield from extension.extend_receive(ends.receiver, n, rng, packed)
        parts.append(_received(mine)[1])
        at += n
    return choices, np.concatenate(parts)[: len(choices)]


def provide_sent(ends: Ends, count: int) -> Rounds[tuple[Pads, Pads]]:
    """The sender's end of `provide_chosen`."""
    parts = []
    for n in _portions(count):
        made = yield from extension.extend_send(ends.sender, n)
        parts.append(made.pads())
    return np.concatenate([k0 for k0, _ in parts])[:count], np.concatenate([k1 for _, k1 in parts])[:count]


def _portions(count: int) -> list[int]:
    """`count` OTs, rounded up to what extensions come in, as portions of at most AT_ONCE."""
    whole = -(-count // MULTIPLE) * MULTIPLE
    return [min(AT_ONCE, whole - at) for at in range(0, whole, AT_ONCE)]


def _received(mine: RandomReceived) -> tuple[Bits, Pads]:
    return np.unpackbits(mine.choices, bitorder="little"), mine.pads()


def _joined(parts: Sequence[Sequence[NDArray[np.uint8]]], none: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    return [np.concatenate(column) for column in zip(none, *parts, strict=True)]
