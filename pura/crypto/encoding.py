"""From an embedding to integers, and integers into the slots of a plaintext.

*Quantisation*: y = round(S e / ||e||) for cosine models, y = round(S e / radius) for Euclidean ones; a template is
an int64 vector of shape (D,) with |y_j| <= S. The score of two templates is d = ||x - y||^2, an exact integer.

*Row packing* (what a client sends): coordinate j, offset by S to be non-negative, in a slot of bits(S) + 2 + sigma
bits.

*Column packing* (how the gallery is kept): slot i of ciphertext j of a block holds coordinate j of entry i, signed, in
slots of b bits; b is just enough for the difference of two keys 4 d + c, c in {0, 1}, and its sign.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pura.errors import BadEmbedding, MalformedMessage, OutOfRange
from pura.params import Metric, Params

Template = NDArray[np.int64]
"""A quantised embedding, shape (D,)."""


def quantise(embedding: ArrayLike, params: Params) -> Template:
    """The template of a float embedding of shape (D,).

    Raises `BadEmbedding` when it is not a finite vector of length D, is zero under a cosine metric, or is longer than
    the radius under a Euclidean one.
    """
    try:
        e: NDArray[np.float64] = np.asarray(embedding, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadEmbedding("the embedding is not a vector of numbers") from error
    if e.shape != (params.dimension,):
        raise BadEmbedding(f"the collection takes vectors of length {params.dimension}")
    if not np.isfinite(e).all():
        raise BadEmbedding("the embedding has values that are not finite")
    if params.metric is Metric.COSINE:
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(e))
        if not 1e-12 <= length < math.inf:
            raise BadEmbedding("the embedding is zero" if length < 1 else "the embedding has values that are too large")
        e = e / length
    else:
        with np.errstate(over="ignore"):
            e = e / params.radius
    rounded: NDArray[np.float64] = np.rint(params.scale * np.clip(e, -2, 2))
    if (np.abs(rounded) > params.scale).any():
        raise BadEmbedding("the embedding is longer than the collection's radius")
    y: Template = rounded.astype(np.int64)
    if not params.min_norm2 <= int(y @ y) <= params.max_norm2:
        raise BadEmbedding("the embedding is longer than the collection's radius")
    return y


def distance2(x: Template, ys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The plaintext score: ||x - y||^2 of x (D,) with each row of ys (M, D)."""
    diff: NDArray[np.int64] = ys - x
    out: NDArray[np.int64] = np.einsum("md,md->m", diff, diff)
    return out


@dataclasses.dataclass(frozen=True)
class RowLayout:
    """How a template lies in the ciphertexts that a client sends."""

    dimension: int
    scale: int
    mask_bits: int
    slot_bits: int
    per_ciphertext: int

    @classmethod
    def of(cls, params: Params) -> RowLayout:
        """slot = bits(S) + 2 + sigma; 39 slots in a ciphertext at |N| = 2048, S = 512, sigma = 40."""
        width = params.scale.bit_length()
        slot = width + 2 + params.sigma
        return cls(params.dimension, params.scale, width + params.sigma, slot, (params.n_bits - 1) // slot)

    @property
    def ciphertexts(self) -> int:
        """How many ciphertexts one template takes."""
        return -(-self.dimension // self.per_ciphertext)

    def pack(self, template: Template) -> list[int]:
        """The plaintexts of one template, coordinates offset by S. Raises `OutOfRange` if a slot would overflow."""
        offset = [int(v) + self.scale for v in template]
        if len(offset) != self.dimension or any(not 0 <= v <= 2 * self.scale + 2 for v in offset):
            raise OutOfRange("a coordinate is outside the range of the row layout")
        return self.pack_raw(offset)

    def pack_raw(self, values: Sequence[int]) -> list[int]:
        """Non-negative values of at most slot_bits each, coordinate order, first slot lowest."""
        step = self.per_ciphertext
        return [pack_slots(values[i : i + step], self.slot_bits) for i in range(0, len(values), step)]

    def unpack(self, plaintexts: Sequence[int]) -> list[int]:
        """The slots of one template. Raises `MalformedMessage` if a plaintext has more than that."""
        if len(plaintexts) != self.ciphertexts:
            raise MalformedMessage(detail="wrong number of row plaintexts")
        out: list[int] = []
        for plain in plaintexts:
            count = min(self.per_ciphertext, self.dimension - len(out))
            if not 0 <= plain < 1 << (count * self.slot_bits):
                raise MalformedMessage(detail="a row plaintext exceeds its slots")
            out += unpack_slots(plain, self.slot_bits, count)
        return out


@dataclasses.dataclass(frozen=True)
class ColumnLayout:
    """How gallery entries lie in a block: slots of b bits, L entries a block."""

    dimension: int
    slot_bits: int
    entries: int
    bias: int
    """8 hi: added to -8 <x, y> so that no slot is negative."""

    @classmethod
    def of(cls, params: Params) -> ColumnLayout:
        """b = bits(16 hi + 7) + 1 where hi bounds a template's squared norm (S^2 and rounding);
        L = (|N| - 1 - sigma - 2) / b: 83 entries at 2048 bits, 126 at 3072."""
        b = (16 * params.max_norm2 + 7).bit_length() + 1
        return cls(params.dimension, b, (params.n_bits - 3 - params.sigma) // b, 8 * params.max_norm2)


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


def masked(values: Sequence[int] | NDArray[Any], bits: int) -> NDArray[np.uint64]:
    """Integers reduced modulo 2^bits (bits <= 63) as uint64."""
    mask = (1 << bits) - 1
    return np.array([int(v) & mask for v in values], dtype=np.uint64)
