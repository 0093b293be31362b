"""Arithmetic on large integers: the only module that knows gmpy2.

Everything above works with `Z`, an integer of GMP's; a plain `int` is accepted wherever a `Z` is. Functions whose names
end in `_many` take sequences, do all their work inside GMP and release the GIL while they do.

Nothing here runs in constant time, except where it says so: the trust model has no attacker who shares the machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeAlias

import gmpy2
from gmpy2 import mpz as Z

Integer: TypeAlias = int | Z

__all__ = [
    "FixedBase",
    "Integer",
    "Z",
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
    """base^exponent mod modulus for each base, with the GIL released; exponent of any sign. On all cores."""
    if exponent < 0:
        bases, exponent = invert_many(bases, modulus), -exponent
    shares = max(1, min(len(bases), os.cpu_count() or 1))
    parts = [list(bases[i::shares]) for i in range(1, shares)]
    others = [_threads().submit(gmpy2.powmod_base_list, part, exponent, modulus) for part in parts]
    own = gmpy2.powmod_base_list(list(bases[::shares]), exponent, modulus)
    out: list[Z] = [Z(0)] * len(bases)
    for i, powers in enumerate([own, *(one.result() for one in others)]):
        out[i::shares] = powers
    return out


@cache
def _threads() -> ThreadPoolExecutor:
    """Beside the caller's; made at the first use, so that processes can be forked before."""
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "powers")


os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of its parent's threads


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
    numbers, 7 MB. It takes 0.1 to 0.3 s, so that it is built by `prepare` or after some uses; pickling leaves it out.
    """

    WITHOUT = 16
    """How many powers are made without the table, 3 to 20 ms each: a program that makes a few needs none."""

    def __init__(self, base: Integer, modulus: Integer, exponent_bits: int, window: int = 8) -> None:
        self.base = Z(base)
        self.modulus = Z(modulus)
        self.exponent_bits = exponent_bits
        self.window = window
        self._rows: list[list[Z]] | None = None
        self._made = 0
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
        if self._rows is None and self._made < self.WITHOUT:
            self._made += 1
            return gmpy2.powmod(self.base, exponent, self.modulus)
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
