"""Questions of engine prepared, both servers in this thread, against plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pair import KEYS
from views.world import FAN_INS, World, exact

from pura.protocols.prepared import match, pack
from pura.protocols.prepared.correlations import SLOTS
from pura.rounds import Rounds, run_pair


@pytest.mark.parametrize(("dimension", "scale"), [(16, 16), (128, 128), (512, 512)])
def test_answers_equal_plain_integers(dimension: int, scale: int) -> None:
    tau = scale**2
    world = World(KEYS, dimension, scale, tau=tau)
    ys = exact(20, dimension, scale, 5)
    ys[7] = -ys[3]
    ys[9] = ys[3]
    targets = world.targets(ys, [*range(10), *range(4090, 4100)])
    need = match.need_for(world.sides[0], match.contest_for(world.sides[0], len(ys), FAN_INS))
    asked = [*ys[[3, 7, 15]], *exact(2, dimension, scale, 6)]
    longer = ys[3].copy()
    longer[np.flatnonzero(longer == 0)[0]] = 1
    packs = world.packs(need, len(asked) + 1, targets[0].masked)
    for x, pair in zip(asked, packs, strict=False):
        d = ((ys - x) ** 2).sum(axis=1)
        best = int(d.argmin())
        assert world.ask(x, targets, pair) == [best + 1 if d[best] <= tau else 0]
    assert world.ask(longer, targets, packs[-1]) == [0], "another length than S is nobody"


def test_a_pack_is_completed_for_a_gallery_that_has_grown() -> None:
    world = World(KEYS, 16, 16, tau=0)
    ys = exact(9, 16, 16, 5)
    targets = world.targets(ys, [*range(8), SLOTS])
    ((one, two),) = world.packs(match.need_for(world.sides[0], match.contest_for(world.sides[0], 0, FAN_INS)), 1, [])
    need = match.need_for(world.sides[0], match.contest_for(world.sides[0], len(ys), FAN_INS))

    def party(i: int, mine: pack.Pack) -> Rounds[Any]:
        yield from mine.hand.complete(world.ends[i], b"label", need, world.rng)
        yield from mine.add_products(world.correlations[i], targets[i].masked)

    run_pair(party(0, one), party(1, two))
    assert world.ask(ys[8], targets, (one, two)) == [1 + int(((ys - ys[8]) ** 2).sum(axis=1).argmin())]
