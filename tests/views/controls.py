"""Broken variants of the protocol, which the tests of views must catch: if they did not, they would prove nothing.

All but the last three still give right answers, so no other test would notice.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.bigint import Z
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.protocols.prepared import dabits, lockout, match, norm, template
from pura.protocols.prepared.dabits import DaBits
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import Mask
from pura.protocols.shares.select import Candidates, select
from pura.rounds import Rounds, exchange
from pura_bench.told import Told
from views.compare import (
    COUNTED,
    ENTRIES,
    GALLERY,
    NAMING,
    Policy,
    others,
    questions,
    repeated,
    uniformity,
)
from views.observe import Servers
from views.stats import PValues
from views.world import FAN_INS, Keys

Context = contextlib.AbstractContextManager[Any]
Drawn = tuple[list[int], list[Z]]


@dataclasses.dataclass(frozen=True)
class Control:
    """name; finds: whether the tests of views see it, given keys and how many runs."""

    name: str
    finds: Callable[[Keys, int], bool]


def _question(broken: Callable[[], Context], shows: str, policy: Policy | None = None) -> Callable[[Keys, int], bool]:
    """A variant of a question; `shows` is where it has to be seen."""

    def finds(keys: Keys, runs: int) -> bool:
        with broken():
            seen = questions(keys, "broken", runs, lambda _: GALLERY[2], policy=policy)
        tests = PValues()
        for views in seen:
            uniformity(views, "", tests)
        found = [name for views in seen for name in repeated(views)]
        return shows in [*found, *(test.split(" | ")[1] for test in tests.failed())]

    return finds


def _mask(draw: Callable[[PublicKey, Sizes, Rng], Drawn]) -> Callable[[], Context]:
    def new(_cls: type[Mask], pk: PublicKey, sizes: Sizes, rng: Rng) -> Mask:
        r, blinds = draw(pk, sizes, rng)
        return Mask(template.digits_of(sizes, r), tuple(blinds))

    return lambda: patch.object(Mask, "draw", classmethod(new))


def _short(pk: PublicKey, sizes: Sizes, rng: Rng) -> Drawn:
    r = rng.bits(sizes.dimension * sizes.digit_bits)
    return [r], [pk.rerandomise(pk.encode(r), rng)]


def _always_one(pk: PublicKey, _sizes: Sizes, rng: Rng) -> Drawn:
    return [12345], [pk.rerandomise(pk.encode(12345), rng)]


def _not_fresh(pk: PublicKey, _sizes: Sizes, rng: Rng) -> Drawn:
    r = rng.below(int(pk.n))
    return [r], [pk.encode(r)]


def _no_a() -> Context:
    return patch.object(norm, "uniform", lambda _rng, shape, _bits: np.zeros(shape, np.uint64))


def _no_dabits() -> Context:
    made = dabits.make_s2

    def zeros(choices: Any, k: Any, ring: int) -> Rounds[DaBits]:
        got = yield from made(choices, k, ring)
        return DaBits(np.zeros_like(got.bits), got.numbers)

    return patch.object(dabits, "make_s2", zeros)


def _count_told() -> Context:
    def told(stock: Any, bits: Any, change: Candidates, ring: int) -> Rounds[Candidates]:
        got = yield from select(stock, bits, change, ring)
        if ring != lockout.COUNTER_BITS:
            return got
        other = yield from exchange(Told(got.keys.tobytes(), b""), Told)
        first = change.keys.any()  # S1 brings in the ones, and keeps the sums
        whole = (got.keys + np.frombuffer(other.rows, np.uint64)) & np.uint64((1 << ring) - 1)
        return Candidates(whole if first else np.zeros_like(whole), got.handles)

    return patch.object(lockout, "select", told)


def _pack_twice(keys: Keys, _runs: int) -> bool:
    servers = Servers(keys, "twice", GALLERY)
    world = servers.world
    need = match.need_for(world.sides[0], match.contest_for(world.sides[0], ENTRIES, FAN_INS))
    first, second = world.packs(need, 2, servers.targets[0].masked)
    for mine, other in zip(first, second, strict=True):
        mine.blinds, mine.products = other.blinds, other.products
    views = [servers.ask(x, pack)[1] for x, pack in zip(others(1)[:2], (first, second), strict=True)]
    return "delta + own a - x" in repeated(views)


def _place_twice(keys: Keys, _runs: int) -> bool:
    servers, strangers = Servers(keys, "slots", GALLERY), others(1)
    views = [servers.enrol(strangers[:1])[0]]
    servers.places -= 1
    views.append(servers.enrol(strangers[1:2])[0])
    return repeated(views) == ["E + own B - y"]


def _no_mask(keys: Keys, runs: int) -> bool:
    bare, tests = Servers(keys, "bare", GALLERY), PValues()
    bare.world.masks[1] = {block: np.zeros_like(rows) for block, rows in bare.world.masks[1].items()}
    uniformity([bare.enrol(GALLERY[:2])[0] for _ in range(runs)], "", tests)
    return bool(tests.failed())


CONTROLS = (
    Control("R as short as the template", _question(_mask(_short), "v above the digits")),
    Control("R twice", _question(_mask(_always_one), "v")),
    Control("no fresh randomness under the mask", _question(_mask(_not_fresh), "randomness beyond the client's")),
    Control("no a of S2", _question(_no_a, "delta + own a")),
    Control("daBits without S2's bit", _question(_no_dabits, "a borrow under S2's daBit, beside v")),
    Control("what is counted told to S1", _question(_count_told, "own counters", COUNTED)),
    Control("tries told to S1", _question(_count_told, "own counters", NAMING)),
    Control("a pack used twice", _pack_twice),
    Control("a place used twice", _place_twice),
    Control("no mask of S2 in a slot", _no_mask),
)
