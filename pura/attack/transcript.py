"""An attack on anything that a curious server may see: does any number in its transcript follow the similarity?

Questions with known embeddings are asked about one victim, and everything that the server sees of each is turned into
numbers. If some number f is, however noisily, a function of <x, t>, then it can be predicted from the x of the other
questions; that needs no knowledge of t. The attacker takes the number that is predicted best and reads the template
from it, as from a score.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pura.attack.oracle import Floats, unit

RIDGES = (0.1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Finding:
    """template (D,): read from number `feature`, of which a share `explained` is predicted from the other questions
    (1: all, 0 or less: nothing). The sign is not known to the attacker: -template is the other guess."""

    template: Floats
    feature: int
    explained: float


class Reader:
    """The attacker's regression for some questions, whatever was seen of them."""

    def __init__(self, probes: Floats, covariance: Floats) -> None:
        """probes (n, D), and the covariance (D, D) of other people's embeddings."""
        p = unit(np.asarray(probes, np.float64))
        k = p @ covariance @ p.T
        k = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
        self._toward = p @ covariance
        self._inverses = [np.linalg.inv(k + r * np.trace(k) / len(k) * np.eye(len(k))) for r in RIDGES]

    def read(self, features: Floats) -> Finding:
        """What is predicted best of features (n, m)."""
        f = np.asarray(features, np.float64)
        spread = f.std(0)
        varying = np.flatnonzero(spread > 1e-12 * np.maximum(1.0, np.abs(f).max(0)))
        nothing = Finding(np.zeros(self._toward.shape[1]), -1, 0.0)
        if not len(varying):
            return nothing
        f = (f[:, varying] - f[:, varying].mean(0)) / spread[varying]
        best = dataclasses.replace(nothing, explained=-np.inf)
        for inverse in self._inverses:
            weights = inverse @ f
            # leaving one out: the residual of question i without it is alpha_i / (K + r I)^-1_ii
            explained = 1 - ((weights / np.diag(inverse)[:, None]) ** 2).mean(0)
            i = int(np.argmax(explained))
            if explained[i] > best.explained:
                best = Finding(unit(weights[:, i] @ self._toward), int(varying[i]), float(explained[i]))
        return best

    def by_chance(self, features: Floats, times: int, draw: np.random.Generator) -> Floats:
        """Templates (times, D) of the same attack on what was seen, dealt out to other questions: there is nothing to
        find then, and every other property of the numbers is the same."""
        return np.array([self.read(features[draw.permutation(len(features))]).template for _ in range(times)])


def attack(probes: Floats, features: Floats, covariance: Floats) -> Finding:
    """probes (n, D), what was seen of each, features (n, m), and the covariance (D, D) of other people's embeddings."""
    return Reader(probes, covariance).read(features)
