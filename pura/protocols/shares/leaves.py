"""What comparisons by leaves take, made ahead: 1-of-2^w OTs of two bits each, from w random OTs.

A leaf compares w <= 6 bits of a number at the sender with w bits of one at the receiver. For the leaf whose OTs have
the pads k_l0, k_l1 (two words of 2^w bits each, one for "less", one for "equal") and the choices c_l, l < w,

    pad = XOR_l (k_l0 on the positions x whose bit l is 0, k_l1 on the others) + s         (sender)
    at position c the receiver has XOR_l k_lc, which is pad's bit there + s

where s is a random bit that the sender keeps: its share of the outcome. Position x of pad uses bit x of each word only,
so every bit of pad but the one at c is hidden from the receiver, and c from the sender. A comparison of more bits has
several leaves; `pura.protocols.prepared.leaf` says what is done with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Octets
from pura.crypto.rng import Rng

MAX_LEAF = 6
"""w at most: a word of 64 bits."""
MAX_BITS = 64

Column = NDArray[Any]


@cache
def leaf_bits(bits: int) -> tuple[int, ...]:
    """w of each leaf of a comparison of so many bits, lowest first: as few leaves and as even as can be.

    The widest are lowest, where one word is sent for "less" and none for "equal".
    """
    if not 0 < bits <= MAX_BITS:
        raise ValueError("a comparison has between 1 and 64 bits")
    count = -(-bits // MAX_LEAF)
    least, more = divmod(bits, count)
    return (least + 1,) * more + (least,) * (count - more)


@cache
def shifts(bits: int) -> tuple[int, ...]:
    """Where each leaf begins."""
    widths = leaf_bits(bits)
    return tuple(sum(widths[:j]) for j in range(len(widths)))


def word_type(width: int) -> np.dtype[Any]:
    """The shortest word with 2^width bits."""
    return np.dtype(f"<u{max(1, (1 << width) // 8)}")


def number_type(bits: int) -> np.dtype[Any]:
    """The shortest number of so many bits."""
    return np.dtype(f"<u{next(size for size in (1, 2, 4, 8) if 8 * size >= bits)}")


@dataclasses.dataclass(frozen=True, repr=False)
class LeavesSent:
    """The sender's end of n comparisons.

    pads: of leaf j for "less" at 2 j and for "equal" at 2 j + 1, (n,) each; kept: bit i is s of pad i, (n,).
    """

    pads: tuple[Column, ...]
    kept: Column

    @property
    def columns(self) -> list[Column]:
        """All of it, (n,) each."""
        return [*self.pads, self.kept]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> LeavesSent:
        """From `columns`."""
        return cls(tuple(columns[:-1]), columns[-1])


@dataclasses.dataclass(frozen=True, repr=False)
class LeavesReceived:
    """The receiver's end of n comparisons.

    choices: c of all leaves as one number, (n,); known: bit i is the bit at c of pad i, up to s, (n,).
    """

    choices: Column
    known: Column

    @property
    def columns(self) -> list[Column]:
        """All of it, (n,) each."""
        return [self.choices, self.known]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> LeavesReceived:
        """From `columns`."""
        return cls(columns[0], columns[1])


@cache
def _ones(bit: int) -> np.uint64:
    return np.uint64(sum(1 << x for x in range(1 << MAX_LEAF) if x >> bit & 1))


def from_sent(bits: int, k0: Octets, k1: Octets, rng: Rng) -> LeavesSent:
    """Of `bits` n OTs with pads of 16 bytes, OT l n + i for bit l of comparison i; s is drawn here."""
    zero, one = (k.view(np.uint64).reshape(bits, -1, 2) for k in (k0, k1))
    kind = number_type(2 * len(leaf_bits(bits)))
    kept = np.frombuffer(rng.bytes(kind.itemsize * zero.shape[1]), kind)
    pads: list[Column] = []
    for width, at in zip(leaf_bits(bits), shifts(bits), strict=True):
        word = np.zeros(zero.shape[1:], np.uint64)
        for bit in range(width):
            a = zero[at + bit]
            word ^= a ^ (a ^ one[at + bit]) & _ones(bit)
        for i in (0, 1):
            s = bit_of(kept, len(pads)).astype(np.uint64)
            pads.append((word[:, i] ^ (np.uint64(0) - s)).astype(word_type(width)))
    return LeavesSent(tuple(pads), kept)


def from_received(bits: int, choices: Octets, pads: Octets) -> LeavesReceived:
    """The other end of `from_sent`: choices packed."""
    k = pads.view(np.uint64).reshape(bits, -1, 2)
    n = k.shape[1]
    single = np.unpackbits(choices, bitorder="little", count=bits * n).reshape(bits, n)
    c = np.zeros(n, number_type(bits))
    for bit in range(bits):
        c |= single[bit].astype(c.dtype) << c.dtype.type(bit)
    known = np.zeros(n, number_type(2 * len(leaf_bits(bits))))
    for j, (width, at) in enumerate(zip(leaf_bits(bits), shifts(bits), strict=True)):
        words = np.bitwise_xor.reduce(k[at : at + width], axis=0)
        place = leaf_of(c, bits, j).astype(np.uint64)
        for i in (0, 1):
            bit = (words[:, i] >> place & np.uint64(1)).astype(known.dtype)
            known |= bit << known.dtype.type(2 * j + i)
    return LeavesReceived(c, known)


def leaf_of(numbers: Column, bits: int, j: int) -> Octets:
    """The bits of leaf j: (n,) -> (n,)."""
    mask = np.uint8((1 << leaf_bits(bits)[j]) - 1)
    out: Octets = (numbers >> numbers.dtype.type(shifts(bits)[j])).astype(np.uint8) & mask
    return out


def bit_of(numbers: Column, i: int) -> Column:
    """Bit i, one in a number: (n,) -> (n,) of the same type."""
    kind = numbers.dtype.type
    out: Column = numbers >> kind(i) & kind(1)
    return out


def sent_bytes(bits: int) -> int:
    """What one comparison takes at its sender, kept."""
    return 2 * sum(word_type(w).itemsize for w in leaf_bits(bits)) + number_type(2 * len(leaf_bits(bits))).itemsize


def received_bytes(bits: int) -> int:
    """What one comparison takes at its receiver, kept."""
    return number_type(bits).itemsize + number_type(2 * len(leaf_bits(bits))).itemsize
