"""What an attack achieved, in the terms that biometrics uses, with intervals.

SAR-1: the share of reconstructions that match the enrolled photo; SAR-2: that match *another* photo of the person.
Both at a threshold of a false match rate (FMR) set on other people.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pura.attack.oracle import Bools, Floats

Z95 = 1.959963984540054


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of k successes of n >= 1.

    Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    p, z2 = k / n, z * z / n
    middle = (p + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n))
    # at 0 and n the formula gives 0 and 1 but for rounding
    return 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half


@dataclasses.dataclass(frozen=True)
class Rate:
    """k successes of n, and Wilson's 95 % interval."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """k / n; not a number without trials."""
        return self.k / self.n if self.n else math.nan

    @classmethod
    def of(cls, successes: Bools | Sequence[bool]) -> Rate:
        """From one outcome each."""
        return cls.count(int(np.sum(successes)), len(successes))

    @classmethod
    def count(cls, k: int, n: int, z: float = Z95) -> Rate:
        """k of n; everything is possible without trials."""
        return cls(k, n, *(wilson(k, n, z) if n else (0.0, 1.0)))

    def beats(self, other: Rate) -> bool:
        """Whether the whole interval lies above the other's."""
        return self.low > other.high


def fisher(p: Floats) -> float:
    """One p-value of several independent ones: chi^2_2n >= -2 sum ln p_i, in closed form, as 2n is even."""
    half = -float(np.log(p).sum())
    terms = np.cumprod(np.concatenate([[1.0], half / np.arange(1, len(p))]))
    return min(1.0, math.exp(-half) * float(terms.sum()))


def threshold_at(impostors: Floats, fmr: float) -> float:
    """The least threshold at which at most a share `fmr` of these scores match (score >= threshold)."""
    s = np.sort(np.asarray(impostors, np.float64))[::-1]
    allowed = math.floor(fmr * len(s))
    return float(np.nextafter(s[min(allowed, len(s) - 1)], np.inf))


def impostor_scores(embeddings: Floats, people: Sequence[str], *, euclidean: bool = False) -> Floats:
    """The score of all pairs of embeddings of different people: the cosine of unit vectors, or minus the distance."""
    e = np.asarray(embeddings, np.float32)
    length2 = (e**2).sum(1)
    _, who = np.unique(np.asarray(people), return_inverse=True)
    out = []
    for i in range(0, len(e), 512):
        s = e[i : i + 512] @ e.T
        if euclidean:
            s = -np.sqrt(np.maximum(0, length2[i : i + 512, None] + length2 - 2 * s))
        rows = np.arange(i, min(i + 512, len(e)))
        out.append(s[(who[rows, None] != who[None, :]) & (rows[:, None] < np.arange(len(e))[None, :])])
    return np.concatenate(out)


def verification_accuracy(genuine: Floats, impostor: Floats, folds: int = 10, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over folds of the accuracy at the threshold that is best on the other folds.

    The paper's protocol: `genuine` are the positive pairs, the first photo of each replaced by its reconstruction, and
    `impostor` the negative pairs, as they are. A reconstruction that is of nobody makes every positive pair fail, and
    the accuracy about one half.
    """
    scores = np.concatenate([genuine, impostor])
    labels = np.concatenate([np.ones(len(genuine), bool), np.zeros(len(impostor), bool)])
    order = np.random.default_rng(seed).permutation(len(scores))
    parts = np.array_split(order, min(folds, len(scores)))
    accuracies = []
    for part in parts:
        rest = np.setdiff1d(order, part)
        candidates = np.unique(scores[rest])
        right = [float(np.mean((scores[rest] >= t) == labels[rest])) for t in candidates]
        t = candidates[int(np.argmax(right))]
        accuracies.append(float(np.mean((scores[part] >= t) == labels[part])))
    return float(np.mean(accuracies)), float(np.std(accuracies))


@dataclasses.dataclass(frozen=True)
class Unlinkability:
    """D_sys: 0 when stored templates of one person cannot be told from those of two, 1 when they always can.

    `floor`: the largest D_sys that n scores without any link show in 95 of 100 draws; a value below it is no finding.
    `auc`: how often a mated score is higher than a non-mated one, ties by half; it needs no bins.
    """

    d_sys: float
    floor: float
    auc: float
    mated: int
    non_mated: int


def unlinkability(mated: Floats, non_mated: Floats, bins: int | None = None, seed: int = 0) -> Unlinkability:
    """Gomez-Barrero et al., "General framework to evaluate unlinkability in biometric template protection systems"
    (2018), with omega = 1: D(s) = max(0, 2 LR / (1 + LR) - 1) averaged over the mated scores, LR the ratio of the two
    densities, by histograms with bins of equal width. (Bins of equal shares would mix both kinds even where they lie
    apart, as far as there are fewer mated scores than a bin holds.)"""
    a, b = np.asarray(mated, np.float64), np.asarray(non_mated, np.float64)
    bins = bins or max(2, min(100, int(math.sqrt(min(len(a), len(b))))))
    rng = np.random.default_rng(seed)
    pool = np.concatenate([a, b])
    by_chance = []
    for _ in range(100):
        rng.shuffle(pool)
        by_chance.append(_d_sys(pool[: len(a)], pool[len(a) :], bins))
    return Unlinkability(_d_sys(a, b, bins), float(np.quantile(by_chance, 0.95)), auc(a, b), len(a), len(b))


def auc(mated: Floats, non_mated: Floats) -> float:
    """The share of pairs of one score of each kind in which the mated one is higher; ties count half."""
    s = np.sort(np.asarray(non_mated, np.float64))
    below, upto = (np.searchsorted(s, np.asarray(mated, np.float64), side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * len(s)))


def _d_sys(a: Floats, b: Floats, bins: int) -> float:
    ends = float(min(a.min(), b.min())), float(max(a.max(), b.max()))
    pa, pb = (np.histogram(each, bins, ends)[0] / len(each) for each in (a, b))
    both = pa + pb
    local = np.where(both > 0, np.maximum(0.0, (pa - pb) / np.where(both > 0, both, 1.0)), 0.0)
    return float((pa * local).sum())


@dataclasses.dataclass(frozen=True)
class Band:
    """Median and quartiles of one number over victims."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Band:
        """From one value each."""
        q = np.quantile(np.asarray(values, np.float64), [0.5, 0.25, 0.75])
        return cls(float(q[0]), float(q[1]), float(q[2]))
