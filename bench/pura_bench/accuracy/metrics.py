"""The usual figures of face recognition, from scores. Higher scores are more alike; -inf is a photo without a face.

Decisions are `score >= threshold`. A false match (FMR, also FAR) is a pair of different people that matches; a false
non-match (FNMR = 1 - TAR) a pair of one person that does not.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from pura.attack.metrics import wilson

Scores = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Rate:
    """k of n, with the Wilson interval at 95 %."""

    k: int
    n: int

    @property
    def value(self) -> float:
        return self.k / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.k, self.n) if self.n else (math.nan, math.nan)

    def as_dict(self) -> dict[str, object]:
        low, high = self.interval
        return {"k": self.k, "n": self.n, "value": self.value, "low": low, "high": high}


def threshold_for(impostors: Scores, fmr: float) -> float:
    """The lowest threshold at which at most a share `fmr` of the impostor scores matches."""
    allowed = math.floor(fmr * len(impostors) + 1e-9)
    if allowed >= len(impostors):
        return -math.inf
    # the (allowed + 1)-th highest must not match any more
    nth = len(impostors) - 1 - allowed
    return float(np.nextafter(np.partition(impostors, nth)[nth], np.inf))


def matches(scores: Scores, threshold: float) -> Rate:
    """How many match."""
    return Rate(int(np.count_nonzero(scores >= threshold)), len(scores))


def non_matches(scores: Scores, threshold: float) -> Rate:
    """How many do not."""
    return Rate(int(np.count_nonzero(scores < threshold)), len(scores))


def eer(genuine: Scores, impostor: Scores) -> tuple[float, float]:
    """The equal error rate and its threshold: where max(FMR, FNMR) is lowest; the mean of the two there."""
    thresholds, fmr, fnmr = roc(genuine, impostor)
    at = int(np.argmin(np.maximum(fmr, fnmr)))
    return float((fmr[at] + fnmr[at]) / 2), float(thresholds[at])


def roc(genuine: Scores, impostor: Scores) -> tuple[Scores, Scores, Scores]:
    """(thresholds ascending, FMR, FNMR) at every score that occurs, and above all of them."""
    seen = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(seen, np.nextafter(seen[-1], np.inf))
    fmr = 1 - np.searchsorted(np.sort(impostor), thresholds, "left") / len(impostor)
    fnmr = np.searchsorted(np.sort(genuine), thresholds, "left") / len(genuine)
    return thresholds, fmr, fnmr


def best_threshold(scores: Scores, same: NDArray[np.bool_]) -> float:
    """The threshold with the most right decisions: the middle of the widest such interval between two scores."""
    seen = np.unique(scores[np.isfinite(scores)])
    middles = (seen[1:] + seen[:-1]) / 2
    thresholds = np.concatenate([[seen[0] - 1e-9], middles, [np.nextafter(seen[-1], np.inf)]])
    widths = np.concatenate([[0.0], np.diff(seen), [0.0]])
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    right = (len(genuine) - np.searchsorted(genuine, thresholds, "left")) + np.searchsorted(
        impostor, thresholds, "left"
    )
    best = np.flatnonzero(right == right.max())
    return float(thresholds[best[np.argmax(widths[best])]])


def accuracy(scores: Scores, same: NDArray[np.bool_], threshold: float) -> Rate:
    """How many decisions are right."""
    return Rate(int(np.count_nonzero((scores >= threshold) == same)), len(scores))


def cross_validated(scores: Scores, same: NDArray[np.bool_], fold: NDArray[np.int64]) -> Scores:
    """The accuracy on each fold at the best threshold of all the others."""
    out = []
    for k in np.unique(fold):
        threshold = best_threshold(scores[fold != k], same[fold != k])
        out.append(accuracy(scores[fold == k], same[fold == k], threshold).value)
    return np.array(out)


# --- identification -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Search:
    """A gallery of one photo for each person who has several, their other photos as probes, everybody else's as
    strangers: places of photos."""

    gallery: NDArray[np.int64]
    mates: NDArray[np.int64]
    strangers: NDArray[np.int64]

    @classmethod
    def of(cls, people: NDArray[np.int64], found: NDArray[np.bool_]) -> Search:
        """By people (n,); a photo without a face cannot be enrolled, but can be asked about."""
        gallery, mates, strangers = [], [], []
        for person in np.unique(people):
            places = np.flatnonzero(people == person)
            usable = places[found[places]]
            if len(places) > 1 and len(usable):
                gallery.append(usable[0])
                mates += [place for place in places if place != usable[0]]
            else:
                strangers += list(places)
        return cls(*(np.array(each, np.int64) for each in (gallery, mates, strangers)))


def rank_one(scores: Scores, search: Search, people: NDArray[np.int64]) -> Rate:
    """How many mated probes are nearest to their own entry. scores: (probes, gallery)."""
    nearest = people[search.gallery][scores.argmax(1)]
    right = (nearest == people[search.mates]) & np.isfinite(scores.max(1))
    return Rate(int(right.sum()), len(right))


def open_set(
    mated: Scores, strangers: Scores, search: Search, people: NDArray[np.int64], fpir: float
) -> tuple[float, Rate, Rate]:
    """(threshold, TPIR, FPIR) at the lowest threshold with at most the wanted share of strangers identified.

    TPIR: mated probes whose nearest entry is their own and matches. mated, strangers: (probes, gallery).
    """
    threshold = threshold_for(strangers.max(1), fpir)
    nearest = people[search.gallery][mated.argmax(1)]
    right = (nearest == people[search.mates]) & (mated.max(1) >= threshold)
    return threshold, Rate(int(right.sum()), len(right)), matches(strangers.max(1), threshold)
