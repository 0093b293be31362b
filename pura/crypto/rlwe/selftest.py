"""Whether this machine multiplies as the bounds of `parameters` take for granted.

Exactness rests on IEEE doubles in BLAS and in the FFT. A library that rounds otherwise, or is wrong on some processor
(it has happened), would make wrong shares that nobody sees. So the largest products are compared with integers, once a
process, before a key is drawn; on every device that multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from pura.crypto.rlwe.parameters import DIGIT_BITS, SLOTS
from pura.crypto.rlwe.ring import Floats, Ints, Negacyclic, Stream
from pura.errors import BadArithmetic

_TERMS = 1 << 10
_FACTOR = 1 << (54 - DIGIT_BITS - 10)
"""Sums of so many products of numbers up to this one and of digits come up to 2^53."""


Matmul = Callable[[Floats, Floats], Floats]
Polynomials = Callable[[Ints, Ints], Floats]
"""The product of a ternary polynomial and another one, (n,) each, rounded to integers."""


@cache
def check_arithmetic() -> None:
    """numpy's, in under a tenth of a second. Raises `BadArithmetic`."""
    check(np.matmul, _product)


def check(matmul: Matmul, product: Polynomials) -> None:
    """Raises `BadArithmetic` when one of the two is not exact."""
    stream = Stream(bytes(32))
    for rows, columns in ((1, 64), (3, 64), (64, 96)):
        _check_product(matmul, stream, rows, columns)
    least, most = -(1 << (DIGIT_BITS - 1)), (1 << (DIGIT_BITS - 1)) - 1
    drawn = stream.balanced(DIGIT_BITS, (SLOTS,)).astype(np.int64)
    for p in (drawn, np.where(drawn < 0, least, most)):
        _check_polynomials(product, np.where(stream.ternary((SLOTS,)) < 0, -1, 1), p)


def _check_product(matmul: Matmul, stream: Stream, rows: int, columns: int) -> None:
    a = stream.balanced(_FACTOR.bit_length(), (rows, _TERMS)).astype(np.int64)
    b = stream.balanced(DIGIT_BITS, (_TERMS, columns)).astype(np.int64)
    a[0], b[:, 0] = 1 - _FACTOR, np.arange(_TERMS) % 3 - (1 << (DIGIT_BITS - 1))  # nearly 2^53, no bit of it lost
    if (matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.int64) != a @ b).any():
        raise BadArithmetic(detail="matrix product")


def _check_polynomials(product: Polynomials, u: Ints, p: Ints) -> None:
    long = np.convolve(u, p)
    if (product(u, p).astype(np.int64) != long[:SLOTS] - np.append(long[SLOTS:], 0)).any():
        raise BadArithmetic(detail="product of polynomials")


def _product(u: Ints, p: Ints) -> Floats:
    ring, out = Negacyclic(), np.zeros(SLOTS)
    ring.add_to(out, ring.forward(u) * ring.forward(p))
    return out
