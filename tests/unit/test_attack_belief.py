"""The attack on decisions alone, on people drawn from a normal distribution."""

from __future__ import annotations

import numpy as np
import pytest

from pura.attack import belief, dictionary
from pura.attack.belief import Belief, Counter
from pura.attack.oracle import Anybody, Bools, Floats, Index, PlaintextDecisions, cosines, count, unit

D, VICTIMS, TAU = 32, 12, 0.5


def people(count: int, seed: int, shift: float = 0.4) -> Floats:
    """Directions with a spectrum, and a mean that is not zero."""
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((count, D)) * np.linspace(1.5, 0.5, D) + shift * np.eye(D)[0] * 3)


KNOWN, ENROLLED = people(800, 1), people(VICTIMS, 2)


class Counting(PlaintextDecisions):
    """A deployment with a limit on the questions that a counter counts."""

    def __init__(self, enrolled: Floats, threshold: float, counter: Counter) -> None:
        super().__init__(enrolled, threshold)
        self.counter, self.counted = counter, np.zeros(len(enrolled))
        self.silent = 0

    def decide(self, victims: Index, probes: Floats) -> Bools:
        count(self.queries, victims)
        scores = cosines(self.enrolled[victims], probes)
        free = self.counted[victims] < self.counter.questions
        self.counted[victims] += free & ((scores >= self.counter.bound) == self.counter.near)
        self.silent += int((~free).sum())
        return (scores >= self.threshold) & free

    def renew(self, window: int, windows: int) -> None:
        self.counted[:] = 0


def test_attack_belief_after_an_answer_is_the_truncated_normal() -> None:
    rng = np.random.default_rng(3)
    a = rng.standard_normal((4, 4))
    mean, covariance, x = rng.standard_normal(4), a @ a.T, unit(rng.standard_normal((1, 4)))
    drawn = rng.multivariate_normal(mean, covariance, 400_000)
    for yes in (True, False):
        one = Belief(mean, covariance)
        one.learn(np.zeros(1, np.int64), x, 0.3, np.array([yes]))
        left = drawn[(drawn @ x[0] >= 0.3) == yes]
        np.testing.assert_allclose(one.mean[0], left.mean(0), atol=0.03)
        np.testing.assert_allclose(one.covariance[0], np.cov(left.T), atol=0.06)


def test_attack_belief_normal_distribution_has_its_tails() -> None:
    z = np.array([-40.0, -10.0, 0.0, 3.0])
    assert belief.normal(z) == pytest.approx([0.0, 7.619853e-24, 0.5, 0.9986501], rel=1e-6, abs=1e-300)
    assert belief.hazard(z) == pytest.approx([40.0, 10.09809, 0.7978846, 0.004437838], rel=1e-4)


def test_attack_belief_aims_where_it_is_told_to() -> None:
    believed = Belief.of(KNOWN, VICTIMS)
    rows, wanted = np.arange(VICTIMS), np.array([-1.0, 0.0, 1.0])
    believed.mean[:] = ENROLLED
    x, s = believed.aimed(rows, TAU, wanted)
    assert np.linalg.norm(x, axis=2) == pytest.approx(np.ones((VICTIMS, 3)))
    z = (np.einsum("nwd,nd->nw", x, believed.mean) - TAU) / s
    np.testing.assert_allclose(z, np.tile(wanted, (VICTIMS, 1)), atol=0.05)


def test_attack_belief_has_the_template_after_some_hundred_decisions() -> None:
    oracle = PlaintextDecisions(ENROLLED, TAU)
    start = dictionary.search(oracle, belief.openings(KNOWN, TAU, 400), 400)
    opened = start.found
    assert len(opened) > VICTIMS / 2
    few = int(start.queries[opened].max()) + 20
    found = belief.template(oracle, start, KNOWN, TAU, (few, 700))
    assert cosines(found.at[700], ENROLLED)[opened].min() > 0.999
    assert TAU < cosines(found.at[few], ENROLLED)[opened].min() < 0.98
    assert (oracle.queries == found.queries).all()
    assert (found.queries[opened] == 700).all()


def test_attack_belief_is_seeded_by_nothing_but_what_it_is_given() -> None:
    def run() -> Floats:
        oracle = PlaintextDecisions(ENROLLED, TAU)
        start = dictionary.search(oracle, belief.openings(KNOWN, TAU, 100), 100)
        return belief.template(oracle, start, KNOWN, TAU, (150,)).at[150]

    np.testing.assert_array_equal(run(), run())


def test_attack_belief_finds_an_entrance_sooner_than_photos_do() -> None:
    victims = people(300, 4)
    likely = dictionary.search(PlaintextDecisions(victims, 0.6), belief.openings(KNOWN, 0.6, 10), 10)
    photos = dictionary.search(PlaintextDecisions(victims, 0.6), KNOWN, 10)
    assert len(likely.found) > 5 * max(1, len(photos.found))


def test_attack_belief_without_an_accepted_start_has_nothing() -> None:
    oracle = PlaintextDecisions(ENROLLED, 0.9999)
    start = dictionary.search(oracle, KNOWN[:20], 20)
    assert not belief.template(oracle, start, KNOWN, 0.9999, (100,)).at[100].any()
    late = dictionary.Start(KNOWN, np.zeros(VICTIMS, np.int64), np.full(VICTIMS, 50))
    found = belief.template(PlaintextDecisions(ENROLLED, TAU), late, KNOWN, TAU, (40, 60))
    assert not found.at[40].any()
    assert found.at[60].any(1).all()


@pytest.mark.parametrize("near", [True, False])
def test_attack_belief_keeps_within_what_is_counted_and_uses_every_window(near: bool) -> None:
    victims = people(60, 7)
    gained = []
    for windows in (1, 4):
        counter = Counter(TAU - 0.1 if near else TAU + 0.1, 20, near, windows, 200)
        oracle = Counting(victims, TAU, counter)
        start = dictionary.search(oracle, belief.openings(KNOWN, TAU, 15), 15)
        opened = start.found
        assert len(opened) > 8
        found = belief.template(oracle, start, KNOWN, TAU, (1000,), counter=counter, renew=oracle.renew)
        assert oracle.silent < 0.05 * oracle.queries[opened].sum()
        assert (found.queries <= 200 * windows).all()
        gained.append(np.median(cosines(found.at[1000], victims)[opened]))
    assert gained[1] > gained[0] + 0.02


def test_attack_belief_on_everybody_at_once() -> None:
    galleries = people(6 * 100, 6).reshape(6, 100, D)
    oracle = Anybody(galleries, 0.65)
    start = dictionary.search(oracle, belief.openings(KNOWN, 0.65, 200), 200)
    assert len(start.found) == 6
    found = belief.template(oracle, start, KNOWN, 0.65, (500,))
    assert cosines(found.at[500], oracle.enrolled).min() > 0.98
    one = dictionary.search(PlaintextDecisions(galleries[:, 0], 0.65), belief.openings(KNOWN, 0.65, 200), 200)
    assert np.median(start.queries) < 0.5 * np.median(one.queries)
