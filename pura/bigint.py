"""Arithmetic on large integers: the only module that knows gmpy2.

Everything above works with `Z`, an integer of GMP's; a plain `int` is accepted wherever a `Z` is. Functions whose names
end in `_many` take sequences, do all their work inside GMP and release the GIL while they do.

Nothing here runs in constant time, except where it says so: the trust model has no attacker who shares the machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import gmpy2
import numpy as np
from gmpy2 import mpz as Z

Integer: TypeAlias = int | Z

__all__ = [
    "FixedBase",
    "Integer",
    "SubsetTable",
    "Z",
    "columns",
    "digits_for",
    "from_bytes",
    "gcd",
    "invert",
    "invert_many",
    "is_prime",
    "library",
    "many_from_bytes",
    "multi_power",
    "power",
    "power_many",
    "product",
    "signed_digits",
    "to_bytes",
]


def library() -> str:
    """Which library does the arithmetic, for reports."""
    return f"gmpy2 {gmpy2.version()} ({gmpy2.mp_version()})"


def from_bytes(raw: bytes) -> Z:
    """The big-endian integer in `raw`."""
    return Z(int.from_bytes(raw, "big"))


def many_from_bytes(raw: bytes, size: int) -> list[Z]:
    """The big-endian integers of `size` bytes each that lie in `raw` one behind the other."""
    return [from_bytes(raw[i : i + size]) for i in range(0, len(raw), size)]


def to_bytes(x: Integer, length: int) -> bytes:
    """`x` as exactly `length` big-endian bytes. Raises `OverflowError` if it does not fit."""
    return int(x).to_bytes(length, "big")


def power(base: Integer, exponent: Integer, modulus: Integer) -> Z:
    """base^exponent mod modulus; a negative exponent needs an invertible base (`ZeroDivisionError`)."""
    if exponent < 0:
        return gmpy2.powmod(gmpy2.invert(base, modulus), -exponent, modulus)
    return gmpy2.powmod(base, exponent, modulus)


def power_many(bases: Sequence[Integer], exponent: Integer, modulus: Integer) -> list[Z]:
    """base^exponent mod modulus for each base, with the GIL released; exponent of any sign."""
    if exponent < 0:
        return gmpy2.powmod_base_list(invert_many(bases, modulus), -exponent, modulus)
    return gmpy2.powmod_base_list(list(bases), exponent, modulus)


def invert(x: Integer, modulus: Integer) -> Z:
    """x^-1 mod modulus. Raises `ZeroDivisionError` if there is none."""
    return gmpy2.invert(x, modulus)


def invert_many(xs: Sequence[Integer], modulus: Integer) -> list[Z]:
    """Each x^-1 mod modulus, by Montgomery's trick: one inversion and three products for each."""
    if not xs:
        return []
    prefix = [Z(xs[0])]
    for x in xs[1:]:
        prefix.append(prefix[-1] * x % modulus)
    back = gmpy2.invert(prefix[-1], modulus)
    out: list[Z] = [back] * len(xs)
    for i in range(len(xs) - 1, 0, -1):
        out[i] = back * prefix[i - 1] % modulus
        back = back * xs[i] % modulus
    out[0] = back
    return out


def gcd(a: Integer, b: Integer) -> Z:
    """The greatest common divisor."""
    return gmpy2.gcd(a, b)


def is_prime(x: Integer) -> bool:
    """Miller-Rabin with 40 rounds: wrong with probability below 2^-80."""
    return gmpy2.is_prime(x, 40)


def product(xs: Iterable[Integer], modulus: Integer) -> Z:
    """The product of all xs modulo `modulus`; 1 for none."""
    out = Z(1)
    for x in xs:
        out = out * x % modulus
    return out


class FixedBase:
    """Powers of one base by a table of `window`-bit digits (comb): one product for each window, no squaring.

    The table holds base^(d 2^(w i)) for every window i and digit d: at |N| = 2048 and exponents of 448 bits 56 x 256
    numbers, 7 MB. It is built at the first use (0.1 to 0.3 s); pickling leaves it out.
    """

    def __init__(self, base: Integer, modulus: Integer, exponent_bits: int, window: int = 8) -> None:
        self.base = Z(base)
        self.modulus = Z(modulus)
        self.exponent_bits = exponent_bits
        self.window = window
        self._rows: list[list[Z]] | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Z, Z, int, int]:
        return self.base, self.modulus, self.exponent_bits, self.window

    def __setstate__(self, state: tuple[Z, Z, int, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def prepare(self) -> list[list[Z]]:
        """Build the table if it is not there yet."""
        with self._lock:
            if self._rows is None:
                rows = []
                step = self.base
                for _ in range(-(-self.exponent_bits // self.window)):
                    row = [Z(1)]
                    for _ in range((1 << self.window) - 1):
                        row.append(row[-1] * step % self.modulus)
                    rows.append(row)
                    step = row[-1] * step % self.modulus
                self._rows = rows
            return self._rows

    def power(self, exponent: Integer) -> Z:
        """base^exponent for 0 <= exponent < 2^exponent_bits. Raises `OverflowError` outside that range."""
        if not 0 <= exponent < 1 << self.exponent_bits:
            raise OverflowError("exponent outside the table")
        rows = self._rows or self.prepare()
        mask = (1 << self.window) - 1
        out = Z(1)
        modulus = self.modulus
        digits = exponent if isinstance(exponent, int) else int(exponent)
        for row in rows:
            digit = digits & mask
            if digit:
                out = out * row[digit] % modulus
            digits >>= self.window
        return out


def digits_for(bits: int, window: int) -> int:
    """How many signed digits any exponent of `bits` bits needs: k digits reach a little less than 2^(w k - 1)."""
    return (bits + 1) // window + 1


def signed_digits(exponents: Sequence[Integer], window: int) -> list[list[int]]:
    """Each exponent as digits in [-2^(w-1), 2^(w-1)), least significant first, all rows of one length.

    sum_i digit_i 2^(w i) equals the exponent, whatever its sign.
    """
    half, full = 1 << (window - 1), 1 << window
    longest = max((abs(int(e)).bit_length() for e in exponents), default=0)
    count = digits_for(longest, window)
    rows = []
    for exponent in exponents:
        e = int(exponent)
        row = []
        for _ in range(count):
            digit = ((e + half) & (full - 1)) - half
            row.append(digit)
            e = (e - digit) >> window
        rows.append(row)
    return rows


def multi_power(bases: Sequence[Z], digits: Sequence[Sequence[int]], window: int, modulus: Integer) -> Z:
    """prod_j bases[j]^(e_j) mod modulus, where e_j is given by its signed digits; Pippenger's buckets.

    For each window from the top: the bases with digit d are multiplied into bucket |d|, those with d < 0 into a
    second set that is inverted once at the end; sum_d d * bucket_d costs two products a bucket. D bases with e bits
    cost (e / w) (D + 2^w) products and e squarings of two accumulators.
    """
    half = 1 << (window - 1)
    modulus = Z(modulus)
    totals = [Z(1), Z(1)]
    windows = len(digits[0]) if digits else 0
    for i in range(windows - 1, -1, -1):
        for side in (0, 1):
            if totals[side] != 1:
                totals[side] = gmpy2.powmod(totals[side], 1 << window, modulus)
        buckets: list[list[Z | None]] = [[None] * (half + 1), [None] * (half + 1)]
        for base, row in zip(bases, digits, strict=True):
            digit = row[i]
            if digit:
                bucket = buckets[digit < 0]
                d = abs(digit)
                held = bucket[d]
                bucket[d] = base if held is None else held * base % modulus
        for side in (0, 1):
            totals[side] = totals[side] * _fold(buckets[side], modulus) % modulus
    return totals[0] * gmpy2.invert(totals[1], modulus) % modulus


class SubsetTable:
    """Products of fixed bases to non-negative exponents by tables of all subsets of `group` bases (Pippenger; Straus).

    prod_j base_j^(e_j) goes through the bits of all exponents at once, from the top: one squaring, then one product for
    each group, with the subset of its bases whose exponents have that bit. D bases with e bits cost e (D / group + 1)
    products; the table costs (D / group) 2^group of them, and holds as many numbers.
    """

    def __init__(self, bases: Sequence[Integer], group: int, modulus: Integer) -> None:
        self.group = group
        self.modulus = Z(modulus)
        self.count = len(bases)
        self._subsets: list[list[Z]] = []
        for at in range(0, len(bases), group):
            subsets = [Z(1)]
            for base in bases[at : at + group]:
                subsets += [s * base % self.modulus for s in subsets]
            self._subsets.append(subsets)

    def power(self, columns: Sequence[Sequence[int]]) -> Z:
        """prod_j bases[j]^(e_j), e_j by their `columns`. Raises `ValueError` for another number of groups."""
        modulus, subsets = self.modulus, self._subsets
        if columns and len(columns[0]) != len(subsets):
            raise ValueError("one group of exponents for each group of bases")
        out = Z(1)
        for column in columns:
            out = out * out % modulus
            for table, which in zip(subsets, column, strict=True):
                if which:
                    out = out * table[which] % modulus
        return out


def columns(exponents: Sequence[Integer], group: int) -> list[list[int]]:
    """Non-negative exponents by bits, highest first: for each, which bases of each group have it, lowest bit first.

    Raises `OverflowError` for a negative exponent, `ValueError` for groups of more than 8.
    """
    if not 1 <= group <= 8:
        raise ValueError("a group has 1 to 8 bases")
    length = max((int(e).bit_length() for e in exponents), default=0)
    if not length:
        return []
    octets = b"".join(int(e).to_bytes(length // 8 + 1, "little") for e in exponents)
    bits = np.unpackbits(np.frombuffer(octets, np.uint8).reshape(len(exponents), -1), axis=1, bitorder="little")
    filled = np.zeros((-(-len(exponents) // group) * group, length), np.uint8)
    filled[: len(exponents)] = bits[:, :length]
    which = np.packbits(filled.reshape(-1, group, length), axis=1, bitorder="little")[:, 0]
    out: list[list[int]] = which.T[::-1].tolist()
    return out


def _fold(bucket: Sequence[Z | None], modulus: Z) -> Z:
    """prod_d bucket[d]^d with two products a bucket."""
    running: Z | None = None
    total: Z | None = None
    for held in reversed(bucket[1:]):
        if held is not None:
            running = held if running is None else running * held % modulus
        if running is not None:
            total = running if total is None else total * running % modulus
    return Z(1) if total is None else total
