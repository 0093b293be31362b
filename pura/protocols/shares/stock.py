"""What circuits take from a server's offline material, and how much of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from pura.errors import ProtocolError
from pura.protocols.shares.gmw import Triples
from pura.protocols.shares.leaves import MAX_BITS, LeavesReceived, LeavesSent, received_bytes, sent_bytes
from pura.protocols.shares.select import Transfers

MOST = 1 << 40


class Comparisons(Protocol):
    """Where comparisons by leaves come from; each is handed out once."""

    def leaves_sent(self, bits: int, count: int) -> LeavesSent:
        """The sender's end of `count` comparisons of `bits` bits."""
        ...

    def leaves_received(self, bits: int, count: int) -> LeavesReceived:
        """The receiver's end of `count` comparisons of `bits` bits."""
        ...


class Stock(Triples, Transfers, Comparisons, Protocol):
    """AND triples, random OTs, comparisons."""


class Leaves(NamedTuple):
    """How many comparisons of `bits` bits each server is the sender of."""

    bits: int
    by_s1: int
    by_s2: int


@dataclasses.dataclass(frozen=True)
class Need:
    """How much offline material a computation takes: triples in packed bytes (8 each), OTs in each direction,
    comparisons by their bits, ascending, none of them empty."""

    triple_octets: int = 0
    transfers: int = 0
    leaves: tuple[Leaves, ...] = ()

    @classmethod
    def comparing(cls, bits: int, by_s1: int, by_s2: int) -> Need:
        """Comparisons only."""
        return cls(0, 0, _sorted([Leaves(bits, by_s1, by_s2)]))

    def __add__(self, other: Need) -> Need:
        leaves = _sorted([*self.leaves, *other.leaves])
        return Need(self.triple_octets + other.triple_octets, self.transfers + other.transfers, leaves)

    def __mul__(self, times: int) -> Need:
        leaves = _sorted(Leaves(one.bits, times * one.by_s1, times * one.by_s2) for one in self.leaves)
        return Need(times * self.triple_octets, times * self.transfers, leaves)

    def beyond(self, there: Need) -> Need:
        """What of this is not there yet."""
        have = {one.bits: one for one in there.leaves}
        leaves = []
        for one in self.leaves:
            known = have.get(one.bits, Leaves(one.bits, 0, 0))
            leaves.append(Leaves(one.bits, max(0, one.by_s1 - known.by_s1), max(0, one.by_s2 - known.by_s2)))
        return Need(
            max(0, self.triple_octets - there.triple_octets), max(0, self.transfers - there.transfers), _sorted(leaves)
        )

    @property
    def ots(self) -> int:
        """About how many OTs that is, both directions together."""
        return 16 * self.triple_octets + 2 * self.transfers + sum(x.bits * (x.by_s1 + x.by_s2) for x in self.leaves)

    @property
    def memory(self) -> int:
        """About how many bytes that is at a server, the larger of both."""
        leaves = sum(sent_bytes(x.bits) * x.by_s1 + received_bytes(x.bits) * x.by_s2 for x in self.leaves)
        other = sum(sent_bytes(x.bits) * x.by_s2 + received_bytes(x.bits) * x.by_s1 for x in self.leaves)
        return 3 * self.triple_octets + 49 * self.transfers + max(leaves, other)

    def dump(self) -> bytes:
        """8 bytes a number."""
        numbers = [self.triple_octets, self.transfers, *(n for one in self.leaves for n in one)]
        return b"".join(n.to_bytes(8, "big") for n in numbers)

    @classmethod
    def load(cls, raw: bytes) -> Need:
        """Raises `ProtocolError` for what `dump` does not write."""
        if len(raw) < 16 or len(raw) % 24 != 16:
            raise ProtocolError(detail="length of an amount of material")
        numbers = [int.from_bytes(raw[at : at + 8], "big") for at in range(0, len(raw), 8)]
        leaves = tuple(Leaves(*numbers[at : at + 3]) for at in range(2, len(numbers), 3))
        if max(numbers) > MOST or leaves != _sorted(leaves) or any(not 0 < one.bits <= MAX_BITS for one in leaves):
            raise ProtocolError(detail="an amount of material")
        return cls(numbers[0], numbers[1], leaves)


def _sorted(leaves: Iterable[Leaves]) -> tuple[Leaves, ...]:
    total: dict[int, Leaves] = {}
    for one in leaves:
        known = total.get(one.bits, Leaves(one.bits, 0, 0))
        total[one.bits] = Leaves(one.bits, known.by_s1 + one.by_s1, known.by_s2 + one.by_s2)
    return tuple(total[bits] for bits in sorted(total) if total[bits].by_s1 or total[bits].by_s2)
