"""Distances to a third person by entries of one's own: what a client gets that may enrol and ask.

The attacker has a probe x that is answered with the victim's name. It makes a template of its own at cosine c to x,
enrols it, and asks x: the own entry is named if c > <x, victim>, else the victim. Halving [tau, 1] measures <x, victim>
to 2^-rounds (1 - tau) with one enrolment and one question a step. Scores of D probes give the template (`linear`).

No cryptography stops it, for every answer is a right one; rights apart and budgets do (SECURITY.md).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pura.attack.linear import covariance_of, template_from_scores
from pura.attack.oracle import Bools, Floats, unit

NEAR = 0.8
"""How near the probes lie to the one that was accepted: near enough to be accepted, far enough to differ."""


class NearestOracle(Protocol):
    """Whose entry is nearest to a probe: the attacker's own, or the victim's."""

    def own_is_nearest(self, probes: Floats, own: Floats) -> Bools:
        """For each victim: enrol `own` (V, D), ask `probes` (V, D), erase it again."""
        ...


class PlaintextNearest:
    """The same in the clear, with the victim alone in the gallery."""

    def __init__(self, enrolled: Floats) -> None:
        self._enrolled = unit(enrolled)

    def own_is_nearest(self, probes: Floats, own: Floats) -> Bools:
        """See `NearestOracle`."""
        mine, theirs = (np.einsum("vd,vd->v", unit(probes), unit(of)) for of in (own, self._enrolled))
        out: Bools = mine > theirs
        return out


def at_cosine(probes: Floats, cosine: Floats, rng: np.random.Generator) -> Floats:
    """Unit vectors at these cosines (V,) to the probes (V, D), in any direction otherwise."""
    x = unit(probes)
    away: Floats = rng.standard_normal(x.shape)
    away = unit(away - np.einsum("vd,vd->v", away, x)[:, None] * x)
    out: Floats = cosine[:, None] * x + np.sqrt(1 - cosine[:, None] ** 2) * away
    return out


def measure(oracle: NearestOracle, probes: Floats, tau: float, rounds: int, rng: np.random.Generator) -> Floats:
    """<probe, victim> of each (V, D), to 2^-(rounds + 1) (1 - tau), by so many questions and enrolments each."""
    low, high = np.full(len(probes), tau), np.ones(len(probes))
    for _ in range(rounds):
        middle = (low + high) / 2
        nearest = oracle.own_is_nearest(probes, at_cosine(probes, middle, rng))
        low, high = np.where(nearest, low, middle), np.where(nearest, middle, high)
    out: Floats = (low + high) / 2
    return out


def template(
    oracle: NearestOracle,
    start: Floats,
    known: Floats,
    tau: float,
    distances: int,
    rounds: int,
    rng: np.random.Generator,
) -> Floats:
    """Templates (V, D) from `distances` measured around accepted probes `start` (V, D); `known`: other people's."""
    probes = np.stack([at_cosine(start, np.full(len(start), NEAR), rng) for _ in range(distances)])
    scores = np.stack([measure(oracle, each, tau, rounds, rng) for each in probes])
    step = (1 - tau) / 2**rounds
    covariance, found = covariance_of(known), []
    for v in range(len(start)):
        seen = scores[:, v] > tau + step  # a probe that is not accepted itself shows nothing
        found.append(template_from_scores(probes[seen, v], scores[seen, v][None], covariance, step / 2)[0])
    out: Floats = np.stack(found)
    return out
