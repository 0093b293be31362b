"""Packs on hand: the offline part of queries to come. Nothing here outlives the process or the connection it was made
on.

A *full* pack has the products of all blocks and the stock for a tournament over the whole gallery: for identify. A
*light* one has neither: for verify, whose few blocks and comparisons are made on the spot.
"""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict

from pura.errors import MaterialUsed, NotReady
from pura.ids import PackId
from pura.protocols.packed.pack import BlockVersion, PackS1, PackS2
from pura.protocols.packed.tournament import Need

KEPT_AT_S2 = 64
"""S2 forgets the oldest packs beyond so many: some are orphans of queries that S1 gave up."""


class Kind(enum.Enum):
    """What a pack is for."""

    FULL = "packs"
    LIGHT = "packs_light"


class ShelfS1:
    """S1's packs, by kind. Thread-safe; what is taken is gone."""

    def __init__(self, capacity: dict[Kind, int]) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._packs: dict[Kind, OrderedDict[PackId, PackS1]] = {kind: OrderedDict() for kind in Kind}
        self._numbers = 0

    def new_id(self) -> PackId:
        """A number that no pack had."""
        with self._lock:
            self._numbers += 1
            return PackId(self._numbers)

    def put(self, kind: Kind, pack_id: PackId, pack: PackS1) -> None:
        """Keep a pack."""
        with self._lock:
            self._packs[kind][pack_id] = pack

    def take(self, kind: Kind) -> tuple[PackId, PackS1] | None:
        """The oldest pack of a kind."""
        with self._lock:
            return self._packs[kind].popitem(last=False) if self._packs[kind] else None

    def take_stale(self, versions: set[BlockVersion], need: Need) -> tuple[PackId, PackS1] | None:
        """A full pack that lacks something for a gallery with these blocks, and for this stock."""
        with self._lock:
            for pack_id, pack in self._packs[Kind.FULL].items():
                if not versions <= pack.sent or pack.stock.lacks(need) != Need():
                    del self._packs[Kind.FULL][pack_id]
                    return pack_id, pack
            return None

    def lacks(self) -> Kind | None:
        """A kind of which there are fewer than there should be."""
        with self._lock:
            return next((k for k in Kind if len(self._packs[k]) < self.capacity[k]), None)

    def levels(self) -> dict[str, float]:
        """How many there are of each kind."""
        with self._lock:
            return {kind.value: float(len(packs)) for kind, packs in self._packs.items()}

    def clear(self) -> None:
        """Drop them all: the other server has."""
        with self._lock:
            for packs in self._packs.values():
                packs.clear()


class ShelfS2:
    """S2's packs, by the number that S1 gave them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: OrderedDict[PackId, PackS2] = OrderedDict()
        self._highest = self._void = 0

    def put(self, pack_id: PackId, pack: PackS2) -> None:
        """Keep a pack."""
        with self._lock:
            self._packs[pack_id] = pack
            self._highest = max(self._highest, pack_id)
            while len(self._packs) > KEPT_AT_S2:
                self._packs.popitem(last=False)

    def take(self, pack_id: PackId) -> PackS2:
        """The pack with this number, once. Raises `MaterialUsed`; `NotReady` for one of before `clear`."""
        with self._lock:
            if pack_id not in self._packs:
                if pack_id <= self._void:  # S1 began before it knew: its client asks again
                    raise NotReady("the servers have just connected again; try again")
                raise MaterialUsed()
            return self._packs.pop(pack_id)

    def levels(self) -> dict[str, float]:
        """How many there are."""
        with self._lock:
            return {"packs": float(len(self._packs))}

    def clear(self) -> None:
        """Drop them all."""
        with self._lock:
            self._packs.clear()
            self._void = self._highest
