"""The ruler: distances by entries of one's own, and a template from them."""

from __future__ import annotations

import numpy as np

from pura.attack import ruler
from pura.attack.oracle import cosines, unit

D, VICTIMS, TAU = 32, 12, 0.37


def people(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((count, D)))


def test_vectors_at_a_cosine() -> None:
    probes, wanted = people(50, 1), np.linspace(0.3, 1, 50)
    made = ruler.at_cosine(probes, wanted, np.random.default_rng(2))
    assert np.allclose(cosines(made, probes), wanted)
    assert np.allclose(np.linalg.norm(made, axis=1), 1)


def test_a_distance_by_halving() -> None:
    enrolled = people(VICTIMS, 1)
    probes = ruler.at_cosine(enrolled, np.linspace(0.4, 0.9, VICTIMS), np.random.default_rng(3))
    told = ruler.measure(ruler.PlaintextNearest(enrolled), probes, TAU, 12, np.random.default_rng(4))
    assert np.abs(told - cosines(probes, enrolled)).max() <= (1 - TAU) / 2**12


def test_many_distances_are_the_template_and_few_are_not() -> None:
    enrolled, known = people(VICTIMS, 1), people(400, 2)
    start = ruler.at_cosine(enrolled, np.full(VICTIMS, 0.6), np.random.default_rng(3))
    oracle, got = ruler.PlaintextNearest(enrolled), []
    for count in (2, 2 * D):
        found = ruler.template(oracle, start, known, TAU, count, 12, np.random.default_rng(4))
        got.append(cosines(found, enrolled))
    assert np.median(got[1]) > 0.98
    assert np.median(got[0]) < np.median(got[1]) - 0.1
