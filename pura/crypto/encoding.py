"""From an embedding to integers, and integers into the slots of a plaintext.

*Quantisation*: y is S e / ||e||, rounded so that ||y||^2 = S^2 exactly (`pura.crypto.rounding`); a template is an
int64 vector of shape (D,). The score of two templates is d = ||x - y||^2 = 2 S^2 - 2 <x, y>, an exact integer. Of exact
length, because a shorter vector is nearer to everybody: rounded as it comes, down to (S - sqrt(D) / 2)^2, it passed a
threshold of 0.37 at a cosine of 0.342.

*Slots*: many integers in one, `bits` bits each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pura.crypto.rounding import to_length
from pura.errors import BadEmbedding
from pura.params import Params

Template = NDArray[np.int64]
"""A quantised embedding, shape (D,), ||y||^2 = S^2."""


def quantise(embedding: ArrayLike, params: Params) -> Template:
    """The template of a float embedding of shape (D,).

    Raises `BadEmbedding` when it is not a finite vector of length D, is zero, or has no template near it, which happens
    in few dimensions only (`pura.params.check_rounding`).
    """
    try:
        e: NDArray[np.float64] = np.asarray(embedding, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadEmbedding("the embedding is not a vector of numbers") from error
    if e.shape != (params.dimension,):
        raise BadEmbedding(f"the collection takes vectors of length {params.dimension}")
    if not np.isfinite(e).all():
        raise BadEmbedding("the embedding has values that are not finite")
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(e))
    if not 1e-12 <= length < math.inf:
        raise BadEmbedding("the embedding is zero" if length < 1 else "the embedding has values that are too large")
    y = to_length(params.scale * (e / length), params.norm2)
    if y is None:
        raise BadEmbedding("no whole numbers of the collection's length are near this embedding")
    return y


def quantise_many(embeddings: NDArray[np.floating[Any]], params: Params) -> NDArray[np.int64]:
    """The templates of rows (n, D), in order. Raises `BadEmbedding` as `quantise` does."""
    out = np.zeros((len(embeddings), params.dimension), np.int64)
    for i, embedding in enumerate(embeddings):
        out[i] = quantise(embedding, params)
    return out


def distance2(x: Template, ys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The plaintext score: ||x - y||^2 of x (D,) with each row of ys (M, D)."""
    diff: NDArray[np.int64] = ys - x
    out: NDArray[np.int64] = np.einsum("md,md->m", diff, diff)
    return out


def pack_slots(values: Sequence[int], bits: int) -> int:
    """sum_i values[i] 2^(bits i) for integers of any sign; carries run where a value exceeds its slot."""
    if not values:
        return 0
    if len(values) <= 8:
        out = 0
        for v in reversed(values):
            out = (out << bits) + v
        return out
    half = len(values) // 2
    return pack_slots(values[:half], bits) + (pack_slots(values[half:], bits) << (half * bits))


def unpack_slots(plain: int, bits: int, count: int) -> list[int]:
    """The `count` lowest slots of a plaintext, each in [0, 2^bits); a negative plaintext counts in two's complement."""
    mask = (1 << bits) - 1
    plain &= (1 << (bits * count)) - 1
    out = []
    for _ in range(count):
        out.append(plain & mask)
        plain >>= bits
    return out
