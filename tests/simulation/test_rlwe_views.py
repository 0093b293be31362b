"""What keeper and evaluator see of each other, against what simulators make without the other one's numbers.

The keeper's simulator may know everything that the keeper has drawn, and the evaluator's shares are part of the view's
world: the two must add up. Seeds are fixed; a false alarm has probability below 1e-6 over all seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from lattice_bench import Bench, HalfFlood, SameMask, WithoutFlood, parts
from views import stats
from views.stats import PValues

from pura.crypto.rlwe import ring
from pura.crypto.rlwe.evaluator import Evaluator
from pura.crypto.rlwe.parameters import DIGIT_BITS, HIGH, SLOTS
from pura.crypto.rng import SeededRng

ROWS = 48
SHOWN = 256
"""Slots that are looked at."""


def real(bench: Bench, w: np.ndarray) -> bytes:
    return bench.rows(w)[0]


def simulated(bench: Bench, seed: str) -> bytes:
    """From K's key alone: (q/t) share + f uniform but for the bands, c_1' uniform, c_0' what fits them."""
    rng = SeededRng(seed)
    r, _ = Bench(17, 16).evaluator._mask(ring.Stream(rng.bytes(32)), (ROWS, SLOTS))
    c1 = rng.bytes(9 * ROWS * SLOTS)
    times_s = bench.keeper.phases(bytes(8 * ROWS * SLOTS) + c1, ROWS)
    return (r - times_s).tobytes() + c1


def fields(bench: Bench, body: bytes) -> dict[str, tuple[int, np.ndarray]]:
    """All that K can make of rows: what it was sent, phases modulo q/t, its shares."""
    c0, c1 = parts(body)
    k = bench.params.bits
    rest = bench.keeper.phases(body, ROWS) & np.uint64((1 << HIGH - k) - 1)
    table = {
        "c0": (64, c0.astype(np.uint64)),
        "c1 high": (64, (c1 >> 8).astype(np.uint64)),
        "c1 low": (8, (c1 & 255).astype(np.uint64)),
        "phase modulo q/t": (HIGH - k, rest),
        "share": (k, bench.keeper.open(body, ROWS).astype(np.uint64)),
    }
    return {name: (bits, x[:, :SHOWN]) for name, (bits, x) in table.items()}


def judged(bench: Bench, view: bytes, other: bytes) -> dict[str, float]:
    """The tests that fail: uniformity of each field, and likeness of two views."""
    tests = PValues()
    one, two = fields(bench, view), fields(bench, other)
    for name, (bits, table) in one.items():
        stats.uniform(tests, name, bits, table)
        stats.alike(tests, name, bits, table, two[name][1])
    assert tests.count > 1000
    return tests.failed()


WORLDS = {"uniform": None, "zero": 0, "largest": 1 << 16}
"""w of all rows: V's numbers are uniform in the protocol, but the view may not depend on them at all."""


@pytest.mark.parametrize("world", WORLDS)
def test_the_keeper_s_view_is_simulated(world: str) -> None:
    bench = Bench(17, 16, world)
    value = WORLDS[world]
    w = bench.numbers((ROWS, 16)) if value is None else np.full((ROWS, 16), value, np.uint64)
    assert judged(bench, real(bench, w), simulated(bench, world)) == {}


@pytest.mark.parametrize("evaluator", [WithoutFlood, HalfFlood, SameMask])
def test_a_broken_variant_is_caught(evaluator: type[Evaluator]) -> None:
    """Those that leave [0] out are not to be seen in distributions: tests/unit/test_rlwe_attacks.py."""
    bench = Bench(17, 16, "broken", evaluator)
    assert judged(bench, real(bench, bench.numbers((ROWS, 16))), simulated(bench, "broken"))


def test_the_evaluator_s_view_is_uniform() -> None:
    """p_0 and b_j: simulated by uniform polynomials (RLWE), in worlds where all numbers are 0, largest or uniform."""
    tests = PValues()
    for i, value in enumerate((None, 0, (1 << 17) - 1)):
        bench = Bench(17, ROWS, f"b {i}")
        if value is not None:
            bench.b[:] = value
        for what, raw, count in (("b", bench.encrypted(), ROWS), ("p0", bench.keeper.public, 1)):
            for d, digit in enumerate(ring.load(raw, count)):
                table = (digit + (1 << DIGIT_BITS - 1)).astype(np.uint64)[:, :SHOWN]
                stats.uniform(tests, f"{what} {d}", DIGIT_BITS, table)
    assert tests.failed() == {}


def test_shares_of_the_evaluator_are_uniform() -> None:
    bench = Bench(17, 16, "shares")
    _, share = bench.rows(np.full((ROWS, 16), 3, np.uint64))
    tests = PValues()
    stats.uniform(tests, "share", 17, share[:, :SHOWN].astype(np.uint64))
    assert tests.failed() == {}
