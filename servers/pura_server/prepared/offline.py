"""Packs on hand: the offline part of questions to come. Nothing here outlives the process or the connection it was made
on.

A *full* pack has the products of all blocks and the stock for a tournament over the whole gallery: for identify. A
*light* one has neither: for verify, whose few blocks and comparisons are made on the spot.
"""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict
from collections.abc import Iterable

from pura.errors import MaterialUsed, NotReady
from pura.ids import PackId
from pura.protocols.prepared.correlations import MaskedBlock
from pura.protocols.prepared.pack import Pack
from pura.protocols.shares.stock import Need

KEPT_AT_S2 = 1024
"""S2 forgets the oldest packs beyond so many: some are orphans of questions that S1 gave up."""

Numbered = tuple[PackId, Pack]


class Kind(enum.Enum):
    """What a pack is for."""

    FULL = "packs"
    LIGHT = "packs_light"


class ShelfS1:
    """S1's packs, by kind. Thread-safe; what is taken is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: dict[Kind, OrderedDict[PackId, Pack]] = {kind: OrderedDict() for kind in Kind}
        self._numbers = 0
        self._usable: set[PackId] = set()  # of the full packs, as was found for `_usable_for`
        self._usable_for: tuple[frozenset[MaskedBlock], Need] | None = None

    def new_ids(self, count: int) -> list[PackId]:
        """Numbers that no pack had."""
        with self._lock:
            self._numbers += count
            return [PackId(self._numbers - i) for i in reversed(range(count))]

    def put(self, kind: Kind, packs: Iterable[Numbered]) -> None:
        """Keep packs."""
        with self._lock:
            self._packs[kind].update(packs)

    def take(self, kind: Kind) -> Numbered | None:
        """The oldest pack of a kind, of full ones one that lacks nothing as far as is known."""
        with self._lock:
            packs = self._packs[kind]
            if not packs:
                return None
            number = next((one for one in packs if one in self._usable), next(iter(packs)))
            return number, packs.pop(number)

    def take_stale(self, blocks: set[MaskedBlock], need: Need, most: int, wanted: int) -> list[Numbered]:
        """Full packs that lack something for a gallery with these blocks, and for this stock; those alike, at most so
        many, and no more than `wanted` packs are to lack nothing."""
        with self._lock:
            packs = self._packs[Kind.FULL]
            asked = frozenset(blocks), need
            if asked != self._usable_for:
                self._usable, self._usable_for = set(), asked
            self._usable &= packs.keys()
            stale = [(number, pack) for number, pack in packs.items() if number not in self._usable]
            self._usable |= {number for number, pack in stale if _usable(pack, blocks, need)}
            stale = [one for one in stale if one[0] not in self._usable]
            out = [one for one in stale if _alike(one[1], stale[0][1], need)]
            out = out[: max(0, min(most, wanted - len(self._usable)))]
            for number, _ in out:
                del packs[number]
            return out

    def count(self, kind: Kind) -> int:
        """How many there are of a kind."""
        with self._lock:
            return len(self._packs[kind])

    def levels(self, blocks: set[MaskedBlock], need: Need) -> dict[str, float]:
        """How many there are of each kind that a question about this gallery could use as they are."""
        with self._lock:
            full = sum(_usable(pack, blocks, need) for pack in self._packs[Kind.FULL].values())
            return {Kind.FULL.value: float(full), Kind.LIGHT.value: float(len(self._packs[Kind.LIGHT]))}

    def clear(self) -> None:
        """Drop them all: the other server has."""
        with self._lock:
            for packs in self._packs.values():
                packs.clear()
            self._usable.clear()


def _usable(pack: Pack, blocks: set[MaskedBlock], need: Need) -> bool:
    return blocks <= pack.products.keys() and pack.hand.lacks(need) == Need()


def _alike(pack: Pack, other: Pack, need: Need) -> bool:
    return pack.products.keys() == other.products.keys() and pack.hand.lacks(need) == other.hand.lacks(need)


class ShelfS2:
    """S2's packs, by the number that S1 gave them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: OrderedDict[PackId, Pack] = OrderedDict()
        self._highest = self._void = 0

    def put(self, packs: Iterable[Numbered]) -> None:
        """Keep packs."""
        with self._lock:
            for number, pack in packs:
                self._packs[number] = pack
                self._highest = max(self._highest, number)
            while len(self._packs) > KEPT_AT_S2:
                self._packs.popitem(last=False)

    def take(self, number: PackId) -> Pack:
        """The pack with this number, once. Raises `MaterialUsed`; `NotReady` for one of before `clear`."""
        with self._lock:
            if number not in self._packs:
                if number <= self._void:  # S1 began before it knew: its client asks again
                    raise NotReady("the servers have just connected again; try again")
                raise MaterialUsed()
            return self._packs.pop(number)

    def levels(self) -> dict[str, float]:
        """How many there are."""
        with self._lock:
            return {"packs": float(len(self._packs))}

    def clear(self) -> None:
        """Drop them all."""
        with self._lock:
            self._packs.clear()
            self._void = self._highest
