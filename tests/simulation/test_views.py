"""Each server's view of questions and enrolments against what a simulator makes without the other server's secrets.

Base OTs, extension, lattice and leaves have tests of their own (test_base_ot, test_rlwe_views): here they are as in the
product, and the correlations are told.

Seeds are fixed. A false alarm has probability below 1e-6 for each test function over all seeds; the broken variants
show that the tests see what they are for. `make views` is the longer run.
"""

from __future__ import annotations

import numpy as np
import pytest
from views import stats
from views.__main__ import KINDS
from views.compare import GALLERY, others, questions
from views.controls import CONTROLS, Control
from views.observe import TAU
from views.stats import PValues
from views.world import Keys

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.ids import Party

RUNS = 24


@pytest.fixture(scope="module")
def keys(request: pytest.FixtureRequest) -> Keys:
    folder = request.config.rootpath / "tests/fixtures/test-keys-2048"
    pk = load_public(folder / "public.key")
    return Keys(pk, (load_share(folder / "s1.share", pk), load_share(folder / "s2.share", pk)))


@pytest.mark.parametrize("victim", list(Party))
@pytest.mark.parametrize("kind", KINDS)
def test_views_cannot_be_told_from_simulated_ones(keys: Keys, kind: str, victim: Party) -> None:
    """Of a server alone, and together with the client that asks."""
    tests = PValues()
    assert KINDS[kind](keys, RUNS, victim, "ci", tests) == []
    assert tests.failed() == {}
    assert tests.count > (10_000 if kind == "questions" else 1_000)


def test_with_the_client_s1_learns_the_answer_and_nothing_else(keys: Keys) -> None:
    """What the shares join to is the answer of plain integers: the simulator is told it."""
    asked = np.vstack([GALLERY, others(1)])[:8]
    views, _ = questions(keys, "answers", 8, lambda i: asked[i])
    for x, view in zip(asked, views, strict=True):
        d = ((GALLERY - x) ** 2).sum(axis=1)
        assert view.derived["answer"][1].tolist() == [int(d.argmin()) + 1 if d.min() <= TAU else 0]


@pytest.mark.parametrize("control", CONTROLS, ids=[c.name for c in CONTROLS])
def test_a_broken_variant_is_caught(keys: Keys, control: Control) -> None:
    assert control.finds(keys, RUNS)


# --- the tests' own arithmetic ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "freedom", "p"),  # from tables of the chi-square distribution
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (9.210, 2, 0.01), (24.996, 15, 0.05), (310.457, 255, 0.01)],
)
def test_the_tail_of_chi_square(x: float, freedom: int, p: float) -> None:
    assert stats.chi_square_tail(x, freedom) == pytest.approx(p, rel=2e-3)
    assert stats.chi_square_tail(0, freedom) == pytest.approx(1)


def numbers(bits: int, runs: int, slots: int, seed: str) -> stats.Table:
    rng = SeededRng(seed)
    return np.array([[rng.bits(bits) for _ in range(slots)] for _ in range(runs)], np.uint64)


@pytest.mark.parametrize("bits", [1, 8, 24, 50])
def test_uniform_numbers_pass_and_others_do_not(bits: int) -> None:
    good, bad = PValues(), PValues()
    table = numbers(bits, 60, 7, f"{bits}")
    stats.uniform(good, "x", bits, table)
    stats.alike(good, "x", bits, table, numbers(bits, 60, 7, f"other {bits}"))
    assert not good.failed()
    stats.uniform(bad, "x", bits, table >> np.uint64(1))
    assert bad.failed()


def test_p_values_are_as_rare_as_they_say() -> None:
    """Of 400 sets of uniform numbers, at most a few per cent have a corrected p-value below 5 %."""
    alarms = 0
    for i in range(400):
        tests = PValues()
        stats.uniform(tests, "x", 8, numbers(8, 12, 5, f"set {i}"))
        stats.alike(tests, "x", 8, numbers(8, 12, 5, f"set {i}"), numbers(8, 12, 5, f"twin {i}"))
        alarms += bool(tests.failed(0.05))
    assert alarms <= 20
