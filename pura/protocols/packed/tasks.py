"""The two heavy computations, as tasks that a worker thread, a worker process or a cluster can run.

A task holds only public and uniformly masked values: no key share leaves the server's own process.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from pura.bigint import SubsetTable, Z, columns, digits_for, invert, many_from_bytes, multi_power, power, signed_digits
from pura.crypto.paillier import PublicKey
from pura.errors import MalformedCiphertext


class BlockReader(Protocol):
    """Reads a block's ciphertexts; hashable, equal only for the same version of the same block, cheap to pickle."""

    def __call__(self) -> bytes:
        """The D ciphertexts, one behind the other."""
        ...

    def __hash__(self) -> int: ...


SPREAD = 8


class TableCache:
    """Tables of blocks within a budget of bytes; one in each process.

    A table is built at the second use of a block's version or up to SPREAD uses later, as its hash falls: a block that
    every enrolment replaces never pays for one, and no query pays for the tables of a whole gallery. What is used least
    makes room; of a gallery that is too large some blocks keep their tables, for queries go through all blocks in turn.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._uses: OrderedDict[BlockReader, tuple[int, int]] = OrderedDict()
        self._tables: dict[BlockReader, tuple[SubsetTable, int]] = {}
        self._used = 0
        self._tick = 0
        self._lock = threading.Lock()

    def get(self, reader: BlockReader, size: int) -> tuple[SubsetTable | None, bool]:
        """The table of a block if there is one, and whether it should be built (`size` bytes) and `put`."""
        with self._lock:
            self._tick += 1
            count, last = self._uses.pop(reader, (0, 0))
            self._uses[reader] = count + 1, self._tick
            while len(self._uses) > 100_000:
                self._drop(next(iter(self._uses)))
            held = self._tables.get(reader)
            if held is not None:
                return held[0], False
            return None, count > hash(reader) % SPREAD and self._make_room(size, last)

    def put(self, reader: BlockReader, table: SubsetTable, size: int) -> None:
        """Keep a table that `get` asked for."""
        with self._lock:
            if reader not in self._tables and self._used + size <= self.budget:
                self._tables[reader] = table, size
                self._used += size

    def _make_room(self, size: int, before: int) -> bool:
        """Drop tables that were last used before the tick `before`, the oldest first, until there is room."""
        for reader in sorted(self._tables, key=lambda r: self._uses[r][1]):
            if self._used + size <= self.budget or self._uses[reader][1] >= before:
                break
            self._drop(reader)
        return self._used + size <= self.budget

    def _drop(self, reader: BlockReader) -> None:
        self._uses.pop(reader, None)
        held = self._tables.pop(reader, None)
        if held is not None:
            self._used -= held[1]


TABLES = TableCache(256 << 20)
"""This process's tables. 256 MiB hold the tables of 110 blocks (9,000 entries) at 2048 bits and D = 128 in groups of 8,
and of 320 blocks in groups of 6; what goes beyond is multiplied without one."""

LARGEST_GROUP, SMALLEST_GROUP = 8, 6
_OVERHEAD = 64
"""Bytes of a number beside its own: GMP's and Python's."""


def table_bytes(dimension: int, group: int, ciphertext_bytes: int) -> int:
    """The size of one block's table."""
    return -(-dimension // group) * (1 << group) * (ciphertext_bytes + _OVERHEAD)


def group_for(dimension: int, ciphertext_bytes: int, blocks: int, budget: int) -> int:
    """The largest group with which the tables of a gallery of so many blocks fit, or the smallest that pays."""
    for group in range(LARGEST_GROUP, SMALLEST_GROUP, -1):
        if blocks * table_bytes(dimension, group, ciphertext_bytes) <= budget:
            return group
    return SMALLEST_GROUP


def window_for(dimension: int, exponent_bits: int) -> int:
    """The width with the fewest products for buckets without a table: 5 at D = 128."""
    return min(range(3, 11), key=lambda w: digits_for(exponent_bits, w) * (dimension + (2 << w)))


@functools.lru_cache(maxsize=32)
def _digits(exponents: tuple[int, ...], window: int) -> list[list[int]]:
    """The signed digits, worked out once for all blocks of a query."""
    return signed_digits(exponents, window)


@functools.lru_cache(maxsize=32)
def _columns(exponents: tuple[int, ...], group: int) -> list[list[int]]:
    """The columns, worked out once for all blocks of a query."""
    return columns(exponents, group)


@dataclasses.dataclass(frozen=True, repr=False)
class Product:
    """prod_j G_j^(e_j) of one block, or its inverse. The exponents are not negative; `blocks`: how many the gallery
    has."""

    reader: BlockReader
    exponents: tuple[int, ...]
    exponent_bits: int
    ciphertext_bytes: int
    n2: Z
    inverse: bool
    blocks: int

    def __call__(self) -> Z:
        """The product modulo N^2."""
        out = self._product()
        return invert(out, self.n2) if self.inverse else out

    def _product(self) -> Z:
        dimension = len(self.exponents)
        group = group_for(dimension, self.ciphertext_bytes, self.blocks, TABLES.budget)
        size = table_bytes(dimension, group, self.ciphertext_bytes)
        table, build = TABLES.get(self.reader, size)
        if table is None:
            bases = self._bases()
            if not build:
                window = window_for(dimension, self.exponent_bits)
                return multi_power(bases, _digits(self.exponents, window), window, self.n2)
            table = SubsetTable(bases, group, self.n2)
            TABLES.put(self.reader, table, size)
        return table.power(_columns(self.exponents, table.group))

    def _bases(self) -> list[Z]:
        raw, size = self.reader(), self.ciphertext_bytes
        if len(raw) != size * len(self.exponents):
            raise MalformedCiphertext(detail="a block does not have D ciphertexts")
        return many_from_bytes(raw, size)


@dataclasses.dataclass(frozen=True, repr=False)
class Opening:
    """(c w^N mod N^2 - 1) / N: the plaintext is masked, and w is no secret of the share's."""

    c: Z
    w: Z
    n: Z

    def __call__(self) -> Z | None:
        """The plaintext in [0, N), or None when w does not open c."""
        n2 = self.n * self.n
        lifted = self.c * power(self.w, self.n, n2) % n2
        return (lifted - 1) // self.n if lifted % self.n == 1 else None


def products(
    pk: PublicKey,
    exponents: Sequence[int],
    exponent_bits: int,
    readers: Sequence[BlockReader],
    *,
    inverse: bool = False,
    blocks: int | None = None,
) -> list[Product]:
    """The tasks for prod_j G_j^(e_j), or its inverse, over some blocks of a gallery; 0 <= e_j < 2^exponent_bits."""
    e, size = tuple(exponents), pk.ciphertext_bytes
    return [Product(r, e, exponent_bits, size, pk.n2, inverse, blocks or len(readers)) for r in readers]


def openings(pk: PublicKey, cs: Sequence[Z], u1: Sequence[Z], u2: Sequence[Z]) -> list[Opening]:
    """The tasks that combine two partial decryptions of each ciphertext."""
    return [Opening(c, x * y % pk.n, pk.n) for c, x, y in zip(cs, u1, u2, strict=True)]
