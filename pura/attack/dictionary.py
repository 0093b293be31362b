"""What an attacker who gets decisions asks first: probes, one after the other, until one is accepted.

*Photos* of other people, in any order: about 1 / FMR tries.

*Covering* probes. A client may send any vector, and embeddings of strangers are not spread evenly: where their mean is
not zero, a vector like the mean is closer to everybody than any photo is. So: of the mean of all, and the means of each
known person's nearest neighbours, take the one that the most known people accept, and so on with those who are left.
They are what "master faces" are (Shmelkin et al., arXiv 2108.01077), found without a generator, as no image is needed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import DecisionOracle, Floats, unit

NOT_FOUND = -1
NEIGHBOURS = (1, 3, 10, 30, 100, 300)


@dataclasses.dataclass
class Start:
    """For each victim: which of the probes (n, D) was accepted (-1: none), after how many questions."""

    probes: Floats
    entry: NDArray[np.int64]
    queries: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.int64]:
        """The victims of whom a probe was accepted."""
        return np.flatnonzero(self.entry != NOT_FOUND)


def search(oracle: DecisionOracle, probes: Floats, budget: int, victims: NDArray[np.int64] | None = None) -> Start:
    """Try the probes (n, D) in their order on every victim, or on some, until one is accepted or `budget` is spent."""
    count = len(oracle.queries)
    wanted = np.ones(count, bool) if victims is None else np.isin(np.arange(count), victims)
    tried = probes[:budget]
    entry, asked = np.full(count, NOT_FOUND), np.where(wanted, len(tried), 0)
    for i, probe in enumerate(tried):
        open_ = np.flatnonzero((entry == NOT_FOUND) & wanted)
        if not len(open_):
            break
        hits = open_[oracle.decide(open_, np.tile(probe, (len(open_), 1)))]
        entry[hits], asked[hits] = i, i + 1
    return Start(probes, entry, asked)


def covering(people: Floats, threshold: float) -> Floats:
    """Unit probes (m, D), those first that the most of `people` (n, D), one embedding each, accept at `threshold`.

    Every person accepts one of them.
    """
    t = unit(np.asarray(people, np.float64))
    nearest = np.argsort(-(t @ t.T), axis=1)
    means = [t[row[:k]].mean(0) for k in NEIGHBOURS if k <= len(t) for row in nearest]
    candidates = unit(np.array([t.mean(0), *means]))
    accepted = candidates @ t.T >= threshold
    left = np.ones(len(t), bool)
    chosen = []
    while left.any():
        best = int(np.argmax(accepted[:, left].sum(1)))
        if not accepted[best, left].any():
            break  # a threshold that not even oneself reaches
        chosen.append(candidates[best])
        left &= ~accepted[best]
    return np.array(chosen).reshape(-1, t.shape[1])
