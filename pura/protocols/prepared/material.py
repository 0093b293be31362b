"""What a server holds ready for one operation, made in bulk and handed out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

import numpy as np

from pura.crypto.bits import Words
from pura.crypto.ot import MULTIPLE
from pura.crypto.rng import Rng
from pura.errors import MaterialUsed
from pura.protocols.prepared import dabits
from pura.protocols.prepared.dabits import DaBits
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.shares import extension
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.gmw import Bits
from pura.protocols.shares.material import AT_ONCE, Material, provide
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds


class Hand:
    """`Stock` of one operation: circuits' material, and daBits."""

    def __init__(self, circuits: Material, lifts: DaBits) -> None:
        self._circuits, self._lifts = circuits, lifts
        self._next = 0
        self.triples, self.sent, self.received = circuits.triples, circuits.sent, circuits.received
        self.leaves_sent, self.leaves_received = circuits.leaves_sent, circuits.leaves_received

    def __repr__(self) -> str:
        return "Hand(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("offline material does not leave its process")

    def dabits(self, count: int) -> DaBits:
        """See `Lifts.dabits`. Raises `MaterialUsed` when there are not enough."""
        part = slice(self._next, self._next + count)
        if part.stop > len(self._lifts.bits):
            raise MaterialUsed(detail="not enough daBits were made")
        self._next = part.stop
        return DaBits(self._lifts.bits[part], self._lifts.numbers[part])

    def part(self, need: Need) -> Hand:
        """Circuits for what runs beside the rest, and takes from nothing else. Raises `MaterialUsed`."""
        return Hand(self._circuits.part(need), DaBits(np.zeros(0, np.uint8), np.zeros(0, np.uint64)))

    def lacks(self, need: Need) -> Need:
        """What has to be made before `need` can be taken."""
        return self._circuits.lacks(need)

    def complete(self, ends: Ends, label: bytes, need: Need, rng: Rng) -> Rounds[None]:
        """Make what is missing of `need`, if anything, in the fork of this label; the same at both servers."""
        lacks = self.lacks(need)
        if lacks != Need():
            self.take_over((yield from provide(ends.fork(label), lacks, rng)))

    def take_over(self, circuits: Material) -> None:
        """Add what another one has."""
        self._circuits.take_over(circuits)


def deal(circuits: Material, lifts: DaBits, need: Need, templates: int, sizes: Sizes) -> Iterator[Hand]:
    """Hands for operations of `templates` templates each, until there are no more daBits."""
    step = templates * sizes.dimension
    for at in range(0, len(lifts.bits), step):
        yield Hand(circuits.part(need), DaBits(lifts.bits[at : at + step], lifts.numbers[at : at + step]))


def deal_more(hands: Sequence[Hand], circuits: Material, lacks: Need) -> None:
    """Hand each as much as all of them lack."""
    for hand in hands:
        hand.take_over(circuits.part(lacks))


def lifts_s1(ends: Ends, sizes: Sizes, count: int, rng: Rng) -> Rounds[DaBits]:
    """S1's `count` daBits."""
    k0, k1 = yield from numbers_sent(ends, count)
    return (yield from dabits.make_s1(k0, k1, sizes.ring_bits, rng))


def lifts_s2(ends: Ends, sizes: Sizes, count: int, rng: Rng) -> Rounds[DaBits]:
    """S2's side of `lifts_s1`."""
    choices, k = yield from numbers_received(ends, count, rng)
    return (yield from dabits.make_s2(choices, k, sizes.ring_bits))


def numbers_sent(ends: Ends, count: int) -> Rounds[tuple[Words, Words]]:
    """k_0 and k_1, numbers of 64 bits, of random OTs that this server sends."""
    parts = []
    for n in _portions(count):
        made = yield from extension.extend_send(ends.sender, n)
        parts.append(made.pads(8))
    k0, k1 = (np.concatenate(column).view(np.uint64).reshape(-1)[:count] for column in zip(*parts, strict=True))
    return k0, k1


def numbers_received(ends: Ends, count: int, rng: Rng) -> Rounds[tuple[Bits, Words]]:
    """The choices, one in a byte, and k_c of random OTs that this server receives."""
    choices, pads = [], []
    for n in _portions(count):
        mine = yield from extension.extend_receive(ends.receiver, n, rng)
        choices.append(np.unpackbits(mine.choices, bitorder="little"))
        pads.append(mine.pads(8))
    return np.concatenate(choices)[:count], np.concatenate(pads).view(np.uint64).reshape(-1)[:count]


def _portions(count: int) -> list[int]:
    whole = -(-count // MULTIPLE) * MULTIPLE
    return [min(AT_ONCE, whole - at) for at in range(0, whole, AT_ONCE)]
