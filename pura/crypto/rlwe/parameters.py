"""The parameters for rows of D numbers modulo 2^k, and every bound on which exactness and hiding rest.

Everything is checked when the object is made, for the worst that the other server can send: nothing is left to chance
or to `assert`, which an option of Python's leaves out.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property

from pura.errors import OutOfRange

SLOTS = 4096
"""n: coefficients of a polynomial, slots of a block."""
LOG_Q = 100
"""log2 q. At n = 4096 the homomorphic encryption standard allows 109 for 128 bits; the lattice estimator gives 137 bits
for 100, and 126 for 108 (docs/security/correlations.md)."""
DIGITS = 4
"""L: digits of a residue."""
DIGIT_BITS = LOG_Q // DIGITS
"""beta: bits of a digit."""
COINS = 21
"""An error is the difference of two sums of so many coins: sigma 3.24, |e| <= 21."""
MAX_WEIGHT = int(2 * SLOTS / 3 + 6 * math.sqrt(SLOTS * 2 / 9))
"""Non-zero coefficients of s at most: six standard deviations above the mean; K draws again otherwise."""
HIGH = 64
"""Bits of c_0', and of the high part of c_1'."""
LOW = 8
"""Bits of c_1' below those."""
CUT = LOG_Q - HIGH
"""Bits of c_0 that are not sent."""
RESIDUE_BYTES = (LOG_Q + 7) // 8
"""Bytes of a coefficient modulo q: 13."""
ROW_BYTES = SLOTS * (2 * HIGH + LOW) // 8
"""Bytes of a row: 17 a slot."""
LOSS_SLOTS = 2 * (1 << 20)
"""The largest question for which the loss is bounded: 2^20 slots, in both directions."""
LOSS = 2.0**-40
"""What such a question may lose at most."""

_EXACT = 1 << 53
"""Integers up to here are exact in float64."""
_FFT_LENGTH = SLOTS // 2


@dataclasses.dataclass(frozen=True)
class LatticeParams:
    """k, D, and how many pieces a number w_j comes in. Raises `OutOfRange` when a bound does not hold.

    The noise is sum_j w_j e_j: to keep it small beside q/t for large k, w_j = sum_i w_j,i 2^(h i) in pieces of h bits,
    and K encrypts b_j 2^(h i) for each. `of` takes the fewest pieces.
    """

    bits: int
    dimension: int
    pieces: int

    @classmethod
    def of(cls, bits: int, dimension: int) -> LatticeParams:
        """Those with which all bounds hold and that cost least. Raises `OutOfRange`."""
        for pieces in (1, 2, 3):
            try:
                return cls(bits, dimension, pieces)
            except OutOfRange:
                continue
        raise OutOfRange(f"no lattice for {dimension} numbers of {bits} bits")

    def __post_init__(self) -> None:
        if not (1 <= self.pieces <= self.bits <= 32 and 1 <= self.dimension <= 4096):
            raise OutOfRange("a lattice takes 1 to 4096 numbers of 1 to 32 bits")
        s, digit = math.sqrt(MAX_WEIGHT), _norm(DIGIT_BITS - 1)
        bounds = {
            # sum_j w_j d_j + a coefficient of u p, in float64
            "a matrix product": self.largest_sum < _EXACT,
            "the FFT of u": fft_error(math.sqrt(SLOTS), digit) < 1 / 8,
            "the FFT of s": fft_error(s, digit) < 1 / 8,
            "the FFT of the top of c_1'": fft_error(s, _norm(31)) < 1 / 4,
            # the two lowest digits end at or above the cut of c_0', the lowest one below that of c_1'
            "the places of digits": DIGIT_BITS <= CUT - LOW and 2 * DIGIT_BITS >= CUT,
            "the band": 2 * self.band < 1 << (HIGH - self.bits),
            "a product modulo 2^k": self.dimension << (2 * self.bits - 1) <= _EXACT,
            "the loss": self.loss(LOSS_SLOTS) <= LOSS,
        }
        for name, holds in bounds.items():
            if not holds:
                raise OutOfRange("no lattice for these numbers", detail=f"{name}: {self}")

    @property
    def piece_bits(self) -> int:
        """h: bits of a piece; the last one may have fewer."""
        return -(-self.bits // self.pieces)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of a block."""
        return self.dimension * self.pieces

    @property
    def largest_sum(self) -> int:
        """The largest digit of c_0 and c_1 before carries, whatever ciphertexts K sends: pieces are centred."""
        largest = 1 << (DIGIT_BITS - 1)
        return self.ciphertexts * (largest << (self.piece_bits - 1)) + SLOTS * largest

    @property
    def worst_noise(self) -> int:
        """|sum_j w_j e_j + u e + e'' s| is never more."""
        return self.ciphertexts * (COINS << (self.piece_bits - 1)) + 2 * SLOTS * COINS

    @property
    def noise(self) -> float:
        """The root mean square of sum_j w_j e_j + u e + e'' s over uniform w, u and errors."""
        w2 = (4.0**self.piece_bits + 2) / 12
        return math.sqrt((self.ciphertexts * w2 + 2 * SLOTS * 2 / 3) * COINS / 2)

    @cached_property
    def band(self) -> int:
        """How far from a rounding boundary r stays, in units of q / 2^64: more than all that K's phase can be off.

        From c_0 (its low part, and rounding), c_1' (rounding times s; the FFT of its low 40 bits; that rounded), noise.
        """
        off = 1 + 0.5
        off += (MAX_WEIGHT / 2 + fft_error(math.sqrt(MAX_WEIGHT), _norm(32 + LOW))) / 2.0**LOW
        off += 0.5
        off += self.worst_noise / 2.0**CUT
        return math.ceil(off)

    def loss(self, slots: int) -> float:
        """How far K's view of so many slots is from a simulated one, if K follows the protocol: r hides the noise.

        The distance of a slot is E|N| / (q/t - 2 bands) <= rms N / (q/t - 2 bands); distances add up. Take 4096 slots
        for every begun block, empty slots included, and both directions.
        """
        room = 2.0 ** (LOG_Q - self.bits) - 2.0 * self.band * 2.0**CUT
        return slots * self.noise / room if room > 0 else math.inf

    def deviating_loss(self, slots: int) -> float:
        """The same for a K that sends what it likes: r misses the bands of Z_q, and is uniform otherwise."""
        return slots * 2 * self.band * 2.0 ** (self.bits - HIGH)


def _norm(bits: int) -> float:
    """The Euclidean norm of a polynomial with coefficients of at most 2^bits."""
    return math.sqrt(SLOTS) * 2.0**bits


def fft_error(x: float, y: float) -> float:
    """The largest error of a coefficient of x y by `ring.Negacyclic`, for polynomials of these Euclidean norms.

    Percival's bound for a cyclic convolution of length 2^m, with one complex product more for each of three twists. The
    FFT's factors are right to 2^-53, the twists (`exp` of an angle below pi / 2 that was rounded) to 2^-51.
    """
    eps, m = 2.0**-53, int(math.log2(_FFT_LENGTH))
    sums, products, twiddles = 3 * m * eps, (3 * m + 4) * math.sqrt(5) * eps, (3 * m + 3 * 4) * eps
    return x * y * math.expm1(sums + products + twiddles)
