"""From a masked template to shares of its coordinates, exactly and modulo 2^W.

S1 holds the digits v_j of v = P + R mod N, S2 the digits r_j of R. Subtracting digit by digit, with c_j the borrow into
digit j (0 at the first of a piece),

    c_(j+1) = [v_j < r_j + c_j] = less_j + equal_j c_j,        less_j = [v_j < r_j],  equal_j = [v_j = r_j]
    x_j     = v_j - r_j - c_j + 2^w c_(j+1) - S

less and equal come from leaf comparisons (`leaf`), all c from a prefix tree (Sklansky 1960) over

    (less, equal)_hi o (less, equal)_lo = (less_hi + equal_hi less_lo, equal_hi equal_lo),

and their shares modulo 2^W from daBits (`dabits`). Every x_j + S is in [0, 2^w) by construction, whatever was
encrypted: a wrap modulo N makes another such vector.
"""

from __future__ import annotations

import numpy as np

from pura.crypto.bits import Words
from pura.protocols.prepared import leaf
from pura.protocols.prepared.dabits import lift
from pura.protocols.prepared.ring import reduced
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.stock import Stock
from pura.protocols.shares.gmw import Bits, conjunction, octets, pack_bits, unpack_bits
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds


def coordinates(stock: Stock, sizes: Sizes, digits: Words, *, first: bool) -> Rounds[Words]:
    """Shares of x_j modulo 2^W of some templates. digits: v_j at S1 (`first`), r_j at S2; (templates, D)."""
    shape, one = digits.shape, np.uint64(1)
    less, equal = yield from leaf.compare(stock, digits.reshape(-1), sizes.digit_bits, sends=first, first=first)
    out = yield from _borrows(
        stock, sizes, unpack_bits(less, digits.size).reshape(shape), unpack_bits(equal, digits.size).reshape(shape),
        first=first,
    )  # fmt: skip
    borrowed = yield from lift(stock, out.reshape(-1), sizes.ring_bits, first=first)
    into = np.zeros(shape, np.uint64)
    into[:, 1:] = borrowed.reshape(shape)[:, :-1]
    into[:, :: sizes.per_piece] = 0
    x = (digits - np.uint64(sizes.scale) if first else np.uint64(0) - digits) - into
    return reduced(x + borrowed.reshape(shape) * (one << np.uint64(sizes.digit_bits)), sizes.ring_bits)


def _borrows(stock: Stock, sizes: Sizes, less: Bits, equal: Bits, *, first: bool) -> Rounds[Bits]:
    """Shares of every c_(j+1), one in a byte: (templates, D)."""
    equal = equal.copy()
    equal[:, :: sizes.per_piece] = 0
    for hi, lo, inner in _levels(sizes.dimension):
        x = np.concatenate([equal[:, hi], equal[:, hi[inner]]], axis=1)
        y = np.concatenate([less[:, lo], equal[:, lo[inner]]], axis=1)
        both = yield from conjunction(stock, pack_bits(x.reshape(-1)), pack_bits(y.reshape(-1)), first=first)
        product = unpack_bits(both, x.size).reshape(x.shape)
        less[:, hi] ^= product[:, : len(hi)]
        equal[:, hi[inner]] = product[:, len(hi) :]
    return less


def need(sizes: Sizes, templates: int) -> Need:
    """The circuits of `coordinates`, which also takes D daBits a template."""
    total = leaf.need(templates * sizes.dimension, sizes.digit_bits, sends=True)
    for hi, _, inner in _levels(sizes.dimension):
        total += Need(octets(templates * (len(hi) + int(inner.sum()))), 0)
    return total


def _levels(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Level by level: the upper places, the place that each is joined with, and which of them need equal further on:
    those that do not reach down to place 0 now."""
    at = np.arange(count)
    out = []
    for level in range((count - 1).bit_length()):
        hi = at[at >> level & 1 == 1]
        out.append((hi, (hi >> level << level) - 1, hi >= 2 << level))
    return out
