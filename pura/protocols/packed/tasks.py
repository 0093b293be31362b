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

from pura.bigint import PowerTable, Z, digits_for, from_bytes, multi_power, power, signed_digits
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
    """Power tables of the blocks that were used last, within a budget of bytes; one in each process.

    A table is built at the second use of a block's version or up to SPREAD uses later, as its hash falls: a block that
    every enrolment replaces never pays for one, and no query pays for the tables of a whole gallery.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._seen: OrderedDict[BlockReader, int] = OrderedDict()
        self._tables: OrderedDict[BlockReader, tuple[PowerTable, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, reader: BlockReader, size: int) -> tuple[PowerTable | None, bool]:
        """The table of a block if there is one, and whether it should be built (`size` bytes) and `put`."""
        with self._lock:
            if reader in self._tables:
                self._tables.move_to_end(reader)
                return self._tables[reader][0], False
            uses = self._seen.get(reader, 0)
            worth = uses > hash(reader) % SPREAD and size <= self.budget
            self._seen[reader] = uses + 1
            while len(self._seen) > 100_000:
                self._seen.popitem(last=False)
            return None, worth

    def put(self, reader: BlockReader, table: PowerTable, size: int) -> None:
        """Keep a table; the ones that were not used for longest make room."""
        with self._lock:
            if reader not in self._tables:
                self._tables[reader] = (table, size)
                self._used += size
            while self._used > self.budget:
                self._used -= self._tables.popitem(last=False)[1][1]


TABLES = TableCache(256 << 20)
"""This process's tables. 256 MiB hold the tables of about 440 blocks (38,000 entries) at 2048 bits and D = 128."""


def windows_for(dimension: int, exponent_bits: int) -> tuple[int, int]:
    """The widths with the fewest products: for plain buckets (6 at D = 128) and for a power table (7 at D = 128)."""
    plain = min(range(3, 11), key=lambda w: digits_for(exponent_bits, w) * (dimension + (2 << w)))
    table = min(range(3, 12), key=lambda w: digits_for(exponent_bits, w) * dimension + (2 << w))
    return plain, table


@functools.lru_cache(maxsize=32)
def _digits(exponents: tuple[int, ...], window: int) -> list[list[int]]:
    """The signed digits, worked out once for all blocks of a query."""
    return signed_digits(exponents, window)


@dataclasses.dataclass(frozen=True, repr=False)
class Product:
    """prod_j G_j^(e_j) of one block."""

    reader: BlockReader
    exponents: tuple[int, ...]
    exponent_bits: int
    ciphertext_bytes: int
    n2: Z

    def __call__(self) -> Z:
        """The product modulo N^2."""
        plain, wide = windows_for(len(self.exponents), self.exponent_bits)
        size = self.ciphertext_bytes * len(self.exponents) * digits_for(self.exponent_bits, wide)
        table, build = TABLES.get(self.reader, size)
        if table is None:
            bases = self._bases()
            if not build:
                return multi_power(bases, _digits(self.exponents, plain), plain, self.n2)
            table = PowerTable(bases, self.exponent_bits, wide, self.n2)
            TABLES.put(self.reader, table, size)
        return table.power(_digits(self.exponents, wide))

    def _bases(self) -> list[Z]:
        raw, size = self.reader(), self.ciphertext_bytes
        if len(raw) != size * len(self.exponents):
            raise MalformedCiphertext(detail="a block does not have D ciphertexts")
        return [from_bytes(raw[i : i + size]) for i in range(0, len(raw), size)]


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
    pk: PublicKey, exponents: Sequence[int], exponent_bits: int, readers: Sequence[BlockReader]
) -> list[Product]:
    """The tasks for prod_j G_j^(e_j) over some blocks; |e_j| < 2^exponent_bits."""
    return [Product(r, tuple(exponents), exponent_bits, pk.ciphertext_bytes, pk.n2) for r in readers]


def openings(pk: PublicKey, cs: Sequence[Z], u1: Sequence[Z], u2: Sequence[Z]) -> list[Opening]:
    """The tasks that combine two partial decryptions of each ciphertext."""
    return [Opening(c, x * y % pk.n, pk.n) for c, x, y in zip(cs, u1, u2, strict=True)]
