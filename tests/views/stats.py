"""Tests that a table of numbers is uniform, and that two tables come from one distribution.

A table has one row for each run and one column for each slot. Every p-value is exact or an upper bound that holds for
every size (Hoeffding; Dvoretzky, Kiefer, Wolfowitz and Massart; Wei and Dudley for two samples of equal size), but for
chi-square, which is used with 20 expected in a bin or more. `verdict` applies Bonferroni: with a level of 1e-6, less
than one run in a million raises a false alarm, however many tests it makes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.uint64]
LEVEL = 1e-6


@dataclasses.dataclass
class PValues:
    """How many tests were made, and the least p-values by name."""

    count: int = 0
    least: dict[str, float] = dataclasses.field(default_factory=dict)

    def add(self, name: str, p: NDArray[np.float64] | float) -> None:
        """Some p-values of one kind of test."""
        values = np.atleast_1d(p)
        if values.size:
            self.count += values.size
            self.least[name] = min(self.least.get(name, 1.0), float(values.min()))

    def failed(self, level: float = LEVEL) -> dict[str, float]:
        """The tests whose p-value is below `level`, divided by the number of all tests."""
        return {name: p for name, p in self.least.items() if p * self.count < level}

    @property
    def smallest(self) -> float:
        """The least p-value times the number of tests: below the level, something is wrong."""
        return min(1.0, min(self.least.values(), default=1.0) * self.count)


def uniform(tests: PValues, name: str, bits: int, table: Table) -> None:
    """Are the numbers uniform of `bits` bits, independent between runs and between slots?"""
    mask = np.uint64((1 << bits) - 1)
    _one(tests, name, bits, table)
    # differences of neighbours, modulo 2^bits, are as independent as the numbers themselves
    if len(table) > 1:
        _one(tests, f"{name} | next run", bits, (table[1:] - table[:-1]) & mask)
    if table.shape[1] > 1:
        _one(tests, f"{name} | next slot", bits, (table[:, 1:] - table[:, :-1]) & mask)


def alike(tests: PValues, name: str, bits: int, one: Table, two: Table) -> None:
    """Do two tables come from one distribution, slot by slot and as a whole?"""
    n = min(len(one), len(two))
    a, b = one[:n], two[:n]
    tests.add(f"{name} | KS slots", _ks_two(a, b))
    tests.add(f"{name} | KS all", _ks_two(a.reshape(-1, 1), b.reshape(-1, 1)))
    share = np.array([_ones(x, bits).sum(axis=(0, 1)) / x.size for x in (a, b)])
    # the difference of two means of a.size bits each: Hoeffding for 2 a.size terms
    tests.add(f"{name} | bits", np.minimum(1, 2 * np.exp(-a.size * (share[0] - share[1]) ** 2)))


def _one(tests: PValues, name: str, bits: int, table: Table) -> None:
    runs, slots = table.shape
    scaled = (table.astype(np.float64) + 0.5) / 2.0**bits
    tests.add(f"{name} | KS slots", _ks_one(scaled, bits))
    tests.add(f"{name} | KS all", _ks_one(scaled.reshape(-1, 1), bits))
    ones = _ones(table, bits)
    tests.add(f"{name} | bits of slots", _hoeffding(ones.sum(axis=0), runs))
    tests.add(f"{name} | bits", _hoeffding(ones.sum(axis=(0, 1)), runs * slots))
    width = min(bits, 8)
    while width and table.size < 20 << width:
        width -= 1
    if width >= 2:
        top = np.bincount((table >> np.uint64(bits - width)).reshape(-1).astype(np.int64), minlength=1 << width)
        low = np.bincount((table & np.uint64((1 << width) - 1)).reshape(-1).astype(np.int64), minlength=1 << width)
        tests.add(f"{name} | chi-square", np.array([chi_square(top), chi_square(low)]))


def _ones(table: Table, bits: int) -> NDArray[np.bool_]:
    """(runs, slots, bits): every bit by itself."""
    out: NDArray[np.bool_] = ((table[:, :, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)).astype(np.bool_)
    return out


def _hoeffding(ones: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.minimum(1, 2 * np.exp(-2 * n * (ones / n - 0.5) ** 2))
    return out.reshape(-1)


def _ks_one(scaled: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Bounds on the p-values of each column against the uniform distribution."""
    n = len(scaled)
    order = np.sort(scaled, axis=0)
    steps = np.arange(1, n + 1)[:, None] / n
    slack = 0.5 / 2.0**bits  # the numbers stand in the middle of their cells
    d = np.maximum((steps - order).max(axis=0), (order - steps + 1 / n).max(axis=0)) - slack
    out: NDArray[np.float64] = np.minimum(1, 2 * np.exp(-2 * n * np.maximum(d, 0) ** 2))
    return out


def _ks_two(a: Table, b: Table) -> NDArray[np.float64]:
    n = len(a)
    out = np.empty(a.shape[1])
    for j in range(a.shape[1]):
        x, y = np.sort(a[:, j]), np.sort(b[:, j])
        at = np.concatenate([x, y])
        d = np.abs(np.searchsorted(x, at, "right") - np.searchsorted(y, at, "right")).max() / n
        out[j] = min(1.0, math.e * math.exp(-n * d * d))
    return out


def chi_square(counts: NDArray[np.int64]) -> float:
    """P(chi-square >= what these counts give against equal expectations)."""
    expected = counts.sum() / len(counts)
    return chi_square_tail(float(((counts - expected) ** 2).sum() / expected), len(counts) - 1)


def chi_square_tail(x: float, freedom: int) -> float:
    """P(chi-square of `freedom` degrees >= x): Q(a + 1, y) = Q(a, y) + y^a e^-y / Gamma(a + 1), y = x / 2."""
    y = x / 2
    a, q = (1.0, math.exp(-y)) if freedom % 2 == 0 else (0.5, math.erfc(math.sqrt(y)))
    while a < freedom / 2:
        q += math.exp(a * math.log(y) - y - math.lgamma(a + 1)) if y else 0.0
        a += 1
    return q
