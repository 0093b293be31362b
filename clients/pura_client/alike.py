"""The same face under two labels, as far as one run can tell: among the templates that this client made itself.

Nobody is asked about anybody, and nothing of it leaves this machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import Template

ALIKE = 0.6
"""The cosine from which two photos are pointed out as one person's: well above every threshold that is meant for
matching (SFace on LFW: one pair of strangers in 10^5 reaches 0.49), since in N photos N^2 / 2 pairs are compared."""


class Alike:
    """The templates of one run, each with its label."""

    def __init__(self, dimension: int) -> None:
        self._units: NDArray[np.float32] = np.empty((0, dimension), np.float32)
        self._labels: list[str] = []

    def add(self, template: Template, label: str) -> str | None:
        """One more; the other label whose photo it is most alike, or None."""
        unit = np.array(template, np.float32)
        unit /= np.linalg.norm(unit)
        count = len(self._labels)
        cosines = self._units[:count] @ unit
        others = [k for k in np.flatnonzero(cosines >= ALIKE).tolist() if self._labels[k] != label]
        if count == len(self._units):
            grown = np.empty((max(64, 2 * count), self._units.shape[1]), np.float32)
            grown[:count] = self._units
            self._units = grown
        self._units[count] = unit
        self._labels.append(label)
        return self._labels[max(others, key=lambda k: float(cosines[k]))] if others else None
