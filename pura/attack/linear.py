"""A template from the scores of known ones, by linear algebra. No image is needed, and no search.

A client makes its own embeddings, so it knows what it sends: n rows of P. Scores are s = P t for the unknown unit
vector t, or that with noise of variance s^2. With C the covariance of other people's embeddings,

    t = C P' (P C P' + s^2 I)^-1 s

is the likeliest template. n = D independent rows give it exactly; fewer give the best guess.
"""

from __future__ import annotations

import numpy as np

from pura.attack.oracle import Floats, ScoreOracle, unit


def template_from_scores(probes: Floats, scores: Floats, covariance: Floats, noise: float = 0.0) -> Floats:
    """Unit templates (V, D) from scores (V, n) of probes (n, D), covariance (D, D), noise: the deviation of a score."""
    p = np.asarray(probes, np.float64)
    pc = p @ covariance
    gram = pc @ p.T + (noise**2 + 1e-10 * np.trace(covariance) / len(covariance)) * np.eye(len(p))
    out: Floats = unit(np.linalg.solve(gram, np.asarray(scores, np.float64).T).T @ pc)
    return out


def covariance_of(embeddings: Floats, shrink: float = 1e-3) -> Floats:
    """E[t t'] of unit embeddings (n, D), with a little of the identity so that it can be inverted."""
    e = unit(np.asarray(embeddings, np.float64))
    c = e.T @ e / len(e)
    d = c.shape[0]
    out: Floats = (1 - shrink) * c + shrink * np.trace(c) / d * np.eye(d)
    return out


def attack(oracle: ScoreOracle, known: Floats, queries: int, rng: np.random.Generator, noise: float = 0.0) -> Floats:
    """Templates (V, D) from `queries` questions about each victim, with embeddings drawn from the attacker's `known`
    (n, D); `noise`: the deviation of what is added to a score, step / sqrt(12) for rounding to a step."""
    victims = len(oracle.queries)
    probes = unit(known[rng.choice(len(known), queries, replace=queries > len(known))])
    scores = np.stack([oracle.scores(np.full(queries, v), probes) for v in range(victims)])
    return template_from_scores(probes, scores, covariance_of(known), noise)
