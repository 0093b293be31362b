"""Errors at a threshold with intervals that draw people, not pairs: the pairs of one person err together.

With w_i the times that person i is drawn, n_i their photos, g_i and m_i their genuine pairs and those that do not
match, and F_ij the false matches between i and j:

    FNMR = sum_i w_i m_i / sum_i w_i g_i          FMR = sum_{i<j} w_i w_j F_ij / sum_{i<j} w_i w_j n_i n_j

i and j may be of any two groups; without groups, of all people.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pura_bench.accuracy.metrics import Rate

ROUNDS, AUC_ROUNDS = 1000, 300
METHOD = f"bootstrap over people, {ROUNDS} rounds"
_BLOCK = 512
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Group = NDArray[np.bool_]
"""(P,): who of the people is in it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Interval(Rate):
    """A rate k / n, and the same in each draw of people."""

    draws: Floats

    @classmethod
    def of(cls, k: Floats, n: Floats, weights: Floats) -> Interval:
        """Of counts of each person (P,), by weights (rounds, P)."""
        return cls(round(float(k.sum())), round(float(n.sum())), _over(weights @ k, weights @ n))

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the draws."""
        return middle(self.draws)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() if self.n else {"k": 0, "n": 0}


def middle(draws: Floats) -> tuple[float, float]:
    """The middle 95 %; not numbers where there are none."""
    kept = draws[np.isfinite(draws)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) else (np.nan, np.nan)
    return float(low), float(high)


def drawn(count: int, seed: int) -> Floats:
    """(rounds, P): how often each of P people is drawn when P are, with replacement."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(count, np.full(count, 1 / count), size=ROUNDS).astype(np.float64)


def _over(k: Floats, n: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(k / n)


@dataclasses.dataclass(frozen=True, eq=False)
class Errors:
    """What each of P people has at one threshold.

    photos, genuine, missed: (P,). false: (F, 3), two people's places and how many of their pairs match.
    """

    photos: Floats
    genuine: Floats
    missed: Floats
    false: Ints
    seed: int

    @classmethod
    def of(
        cls, vectors: Floats, people: Ints, score: Callable[[Floats, Floats], Floats], at: float, seed: int
    ) -> Errors:
        """Of all pairs of photos (n, D) of people (n,); a photo without a face matches none."""
        _, who = np.unique(people, return_inverse=True)
        count = np.bincount(who).astype(np.float64)
        hits = np.zeros(len(count))
        pairs = []
        for i in range(0, len(people), _BLOCK):
            rows, columns = np.nonzero(score(vectors[i : i + _BLOCK], vectors[i:]) >= at)
            later = columns > rows
            both = np.sort(np.stack([who[i + rows[later]], who[i + columns[later]]], 1), 1)
            same = both[:, 0] == both[:, 1]
            hits += np.bincount(both[same, 0], minlength=len(count))
            pairs.append(both[~same])
        which, times = np.unique(np.concatenate(pairs), axis=0, return_counts=True)
        genuine = count * (count - 1) / 2
        return cls(count, genuine, genuine - hits, np.column_stack([which.reshape(-1, 2), times]), seed)

    @functools.cached_property
    def weights(self) -> Floats:
        """(rounds, P)."""
        return drawn(len(self.photos), self.seed)

    def fnmr(self, group: Group | None = None) -> Interval:
        """Of all people or of a group."""
        mask = 1.0 if group is None else group.astype(np.float64)
        return Interval.of(self.missed * mask, self.genuine * mask, self.weights)

    def fmr(self, one: Group | None = None, two: Group | None = None) -> Interval:
        """Between two groups that share nobody, within one, or among all."""
        everybody = np.ones(len(self.photos), np.bool_)
        first = everybody if one is None else one
        i, j, times = self.false.T
        hit = first[i] & first[j] if two is None else (first[i] & two[j]) | (first[j] & two[i])
        i, j, times = i[hit], j[hit], times[hit]

        def count(w: Floats) -> tuple[Floats, Floats]:
            false, photos = (w[:, i] * w[:, j]) @ times, w * (self.photos * first)
            if two is None:
                return false, (photos.sum(1) ** 2 - (photos**2).sum(1)) / 2
            return false, photos.sum(1) * (w @ (self.photos * two))

        k, n = (round(float(each[0])) for each in count(np.ones((1, len(everybody)))))
        return Interval(k, n, _over(*count(self.weights)))


def auc(positive: Group, told: Floats, people: Ints, seed: int) -> dict[str, object]:
    """The area under the ROC curve of scores (n,), with an interval that draws people; 0.5 is chance."""
    from sklearn.metrics import roc_auc_score

    who = np.unique(people, return_inverse=True)[1]
    draws = [
        roc_auc_score(positive, told, sample_weight=times[who]) if _both(positive, times[who]) else np.nan
        for times in drawn(int(who.max()) + 1, seed)[:AUC_ROUNDS]
    ]
    low, high = middle(np.array(draws))
    return {"value": float(roc_auc_score(positive, told)), "low": low, "high": high, "n": len(np.unique(who))}


def _both(positive: Group, times: Floats) -> bool:
    return bool(times[positive].any() and times[~positive].any())
