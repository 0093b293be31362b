"""A template from what S2 sees in the published comparison, by a client that works together with S2.

For each question S2 decrypts N/2 +- r1 k with k about |d - tau|, d the squared distance of quantised templates and r1
uniform in [1, 2^sigma]. In units of the cosine (2 S^2 = 1), with t the enrolled unit vector, it therefore holds

    o = u |m|,   m = threshold - <x, t>,   u uniform in (0, 1]

and the client knows m's sign: it is the decision. So y = 2 o sign(m) is threshold - <x, t> with a *relative* error of
1/sqrt(3), whatever sigma is. Two things follow. Ordinary regression of y on x gives t after some hundred questions. And
near the threshold m is small, so its error is small: probes on the boundary of the current estimate measure what is
still wrong with it, and each round of them divides the error.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.attack.linear import covariance_of
from pura.attack.oracle import Bools, Floats, Index, Progress, cosines, count, quiet, unit

RELATIVE_VARIANCE = 1.0 / 3.0


class LeakOracle(Protocol):
    """A client's question whose comparison S2 also watches."""

    @property
    def queries(self) -> NDArray[np.int64]:
        """Questions asked about each victim so far."""
        ...

    def observe(self, victims: Index, probes: Floats) -> tuple[Floats, Bools]:
        """o and the decision for each probe (n, D) against the victim named in `victims` (n,)."""
        ...


class SimulatedLeak:
    """What S2 and a client see together, from the formula, without servers."""

    def __init__(self, enrolled: Floats, threshold: float, rng: np.random.Generator) -> None:
        self.enrolled, self.threshold, self._rng = unit(enrolled), threshold, rng
        self.queries = np.zeros(len(enrolled), np.int64)

    def observe(self, victims: Index, probes: Floats) -> tuple[Floats, Bools]:
        """See `LeakOracle`."""
        count(self.queries, victims)
        margin = self.threshold - cosines(self.enrolled[victims], probes)
        return np.abs(margin) * (1 - self._rng.random(len(margin))), margin <= 0


def attack(
    oracle: LeakOracle,
    known: Floats,
    threshold: float,
    budgets: tuple[int, ...],
    rng: np.random.Generator,
    *,
    victims: Index | None = None,
    first: int = 200,
    batch: int = 50,
    progress: Progress = quiet,
) -> dict[int, Floats]:
    """Templates (V, D) after each budget of questions about each victim; `known` (n, D): the attacker's embeddings.

    `first` questions are embeddings out of `known`; the rest, `batch` at a time, are on the boundary of the estimate.
    """
    chosen = np.arange(len(oracle.queries)) if victims is None else np.asarray(victims)
    covariance = covariance_of(known)
    people = [_Estimate(covariance, threshold) for _ in chosen]
    out: dict[int, Floats] = {}
    asked = 0
    for budget in sorted(budgets):
        while asked < budget:
            n = min(batch, budget - asked) if asked >= first else min(first - asked, budget - asked)
            for v, person in zip(chosen, people, strict=True):
                probes = unit(known[rng.choice(len(known), n)]) if asked < first else person.boundary(n, rng)
                person.learn(probes, *oracle.observe(np.full(n, v), probes))
            asked += n
            progress(asked, max(budgets))
        out[budget] = unit(np.stack([person.mean for person in people]))
    return out


class _Estimate:
    """mean (D,) and covariance (D, D) of one template, given all that was seen of it."""

    def __init__(self, prior: Floats, threshold: float) -> None:
        self.precision, self.threshold = np.linalg.inv(prior), threshold
        self.mean, self.covariance = np.zeros(len(prior)), prior
        self._x: Floats = np.zeros((0, len(prior)))
        self._y: Floats = np.zeros(0)
        self._o: Floats = np.zeros(0)

    def learn(self, probes: Floats, sizes: Floats, matches: Bools) -> None:
        """Weighted least squares over all questions; the weights follow from the estimate, so it is repeated."""
        x, sign = unit(np.asarray(probes, np.float64)), np.where(matches, -1.0, 1.0)
        self._x = np.concatenate([self._x, x])
        self._o = np.concatenate([self._o, np.asarray(sizes, np.float64)])
        self._y = np.concatenate([self._y, self.threshold - 2 * sizes * sign])
        for _ in range(4):
            margin = self.threshold - self._x @ self.mean
            spread = ((self._x @ self.covariance) * self._x).sum(1)
            # o <= |m| always: where the estimate says less, o says more
            size2 = np.maximum(margin**2 + spread, self._o**2)
            weight = 1.0 / (RELATIVE_VARIANCE * size2 + 1e-14)
            self.covariance = np.linalg.inv(self.precision + (self._x.T * weight) @ self._x)
            self.mean = self.covariance @ (self._x.T @ (weight * self._y))

    def boundary(self, n: int, rng: np.random.Generator) -> Floats:
        """Unit vectors whose cosine with the estimate is the threshold, spread as the estimate's own uncertainty is."""
        centre = unit(self.mean)
        reach = max(float(np.linalg.norm(self.mean)), self.threshold + 1e-6)
        cosine = min(self.threshold / min(reach, 1.0), 1.0)
        spread = np.linalg.cholesky(self.covariance + 1e-15 * np.eye(len(centre)))
        away = rng.standard_normal((n, len(centre))) @ spread.T
        away = unit(away - (away @ centre)[:, None] * centre)
        out: Floats = cosine * centre + np.sqrt(max(0.0, 1 - cosine**2)) * away
        return out
