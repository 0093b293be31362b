"""Several photos of one person: their mean, which is a better template than any of them, and photos that do not belong.

The mean of unit embeddings, brought to length 1 again, keeps what the photos have in common; what differs from photo to
photo averages out (docs/accuracy.md, "Several photos of a person").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pura.errors import BadEmbedding
from pura.face.centre import Vectors, unit


def mean(embeddings: Vectors) -> Vectors:
    """The unit mean, (D,), of embeddings (k, D), each of which counts the same whatever its length. Raises
    `BadEmbedding` for one without a length, or when they cancel each other out."""
    if not len(embeddings):
        raise BadEmbedding("there is no embedding to take the mean of")
    out: Vectors = unit(unit(embeddings).mean(0, keepdims=True))[0]
    return out


def strangers(embeddings: Vectors, least: float) -> list[int]:
    """Which of some embeddings (k, D) do not look like the others, in order; all of them when no two belong together.

    A photo belongs to the others when its cosine with at least half of them is `least` or more. As long as one does
    not, the one that is like the fewest leaves. Of two that disagree nobody can say which is wrong.
    """
    rows = unit(embeddings)
    cosines: NDArray[np.float64] = rows @ rows.T
    kept = list(range(len(rows)))
    while len(kept) > 1:
        among = cosines[np.ix_(kept, kept)]
        alike = (among >= least).sum(1) - (among.diagonal() >= least)
        if (2 * alike >= len(kept) - 1).all():
            break
        kept.pop(min(range(len(kept)), key=lambda i: (alike[i], among[i].sum())))
    if len(kept) == 1 < len(rows):
        kept = []
    return [i for i in range(len(rows)) if i not in kept]
