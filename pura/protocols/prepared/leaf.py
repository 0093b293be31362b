"""Comparing a number at one server with a number at the other, on shares, by leaves.

The sender has alpha, the receiver beta. Both are cut into leaves of at most 6 bits; for a leaf with the random OTs of
`pura.protocols.shares.leaves` (pad at the sender; c and pad's bit at c at the receiver), for "less" and for "equal",

    receiver -> sender:   e = beta + c                                                         (+ is XOR)
    sender -> receiver:   t[x] = [alpha < x + e] + pad[x]   and   [alpha = x + e] + pad'[x],   x < 2^w
    receiver keeps        t[c] + known  and  t'[c] + known',        sender keeps  s  and  s'

which are shares of [alpha < beta] and [alpha = beta], since c + e = beta. Leaves are joined from below by ANDs,

    less = less_hi + equal_hi less_lo,      equal = equal_hi equal_lo.

For "less" alone one above the other, one AND each; for both, and for "equal", as a tree, which takes fewer moves.
A move is a message in one direction, or one in each at once. With one sender, the receiver is ahead by what it does not
wait for, so that a level of a tournament takes 4 moves; with both as senders of a half each it takes 5, and half as
long to compute.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.prepared.stock import Stock
from pura.protocols.shares.gmw import Bits, conjunction, octets, pack_bits, unpack_bits
from pura.protocols.shares.leaves import (
    Column,
    LeavesReceived,
    LeavesSent,
    bit_of,
    leaf_bits,
    leaf_of,
    number_type,
    word_type,
)
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, receive, send

ALONE = 1024
"""So many comparisons at once have one sender; more have two, half each where there are twice as many or more."""


class Want(enum.Enum):
    """What of a comparison is wanted."""

    LESS = enum.auto()
    EQUAL = enum.auto()
    BOTH = enum.auto()


@dataclasses.dataclass(frozen=True)
class Split:
    """Which of n comparisons, a multiple of 8, S1 is the sender of: the first ones. S2 is that of the others."""

    by_s1: int
    by_s2: int

    @classmethod
    def halves(cls, count: int) -> Split:
        """Half each; for few comparisons all S1: fewer messages and moves."""
        n = 8 * octets(count)
        by_s1 = min(n, max(ALONE, 8 * (n // 16)))
        return cls(by_s1, n - by_s1)

    @classmethod
    def one(cls, count: int, *, s1: bool) -> Split:
        """All of one."""
        n = 8 * octets(count)
        return cls(n if s1 else 0, 0 if s1 else n)

    def need(self, bits: int) -> Need:
        """The leaves."""
        return Need.comparing(bits, self.by_s1, self.by_s2)


@message
class LeafChoices(Message):
    """Receiver -> sender: e of every comparison, all its leaves in one number of 1, 2, 4 or 8 bytes."""

    e: bytes


@message
class LeafTables(Message):
    """Sender -> receiver: t, leaf by leaf from the lowest, "less" before "equal": a word of 2^w bits, 8 at least, for
    each comparison."""

    t: bytes


# --- what others call -------------------------------------------------------------------------------


def compare(stock: Stock, own: Words, bits: int, *, sends: bool, first: bool) -> Rounds[tuple[Bits, Bits]]:
    """Shares of [alpha < beta] and [alpha = beta], packed: alpha the numbers of the leaves' sender, beta those of the
    receiver, (n,) each and below 2^bits. One server `sends`, the other does not; `first` is S1."""
    split = Split.one(len(own), s1=sends == first)
    less, equal = yield from _compare(stock, own, bits, split, Want.BOTH, first=first)
    return less, equal


def equal(stock: Stock, own: Words, bits: int, *, sends: bool, first: bool) -> Rounds[Bits]:
    """Shares of [alpha = beta], packed; see `compare`."""
    split = Split.one(len(own), s1=sends == first)
    _, same = yield from _compare(stock, own, bits, split, Want.EQUAL, first=first)
    return same


def carry(stock: Stock, own: Words, bits: int, *, first: bool) -> Rounds[Bits]:
    """Shares of [s1 + s2 >= 2^bits], packed, for s1 at S1 and s2 at S2, (n,) each and below 2^bits.

    Which is [2^bits - 1 - alpha < beta], whoever is the sender.
    """
    split = Split.halves(len(own))
    sending = slice(0, split.by_s1) if first else slice(split.by_s1, None)
    turned = own.copy()
    turned[sending] = np.uint64((1 << bits) - 1) - own[sending]
    less, _ = yield from _compare(stock, turned, bits, split, Want.LESS, first=first)
    return less


def negative(stock: Stock, share: Words, bits: int, *, first: bool) -> Rounds[Bits]:
    """Shares of [s1 + s2 mod 2^bits is negative], its top bit, one in a byte: (n,) -> (n,). bits > 1."""
    low = share & np.uint64((1 << (bits - 1)) - 1)
    carried = yield from carry(stock, low, bits - 1, first=first)
    top: Bits = (share >> np.uint64(bits - 1)).astype(np.uint8) & np.uint8(1)
    return unpack_bits(carried, len(share)) ^ top


# --- one comparison after the other -----------------------------------------------------------------


def _compare(
    stock: Stock, own: Words, bits: int, split: Split, want: Want, *, first: bool
) -> Rounds[tuple[Bits, Bits]]:
    """Shares of what is wanted, packed, and zeros of what is not."""
    less, equal = yield from _leaves(stock, own, bits, split, want, first=first)
    for pairs in _layers(len(less), want):
        x = np.stack([equal[hi] for hi, _, _ in pairs for _ in range(2)])
        y = np.stack([plane for _, lo, _ in pairs for plane in (less[lo], equal[lo])])
        used = np.array([flag for _, _, wanted in pairs for flag in wanted])
        both = np.zeros_like(x)
        both[used] = yield from conjunction(stock, x[used], y[used], first=first)
        for i, (hi, lo, _) in enumerate(pairs):
            less[lo], equal[lo] = less[hi] ^ both[2 * i], both[2 * i + 1]
    return less[0], equal[0]


_Pair = tuple[int, int, tuple[bool, bool]]
"""Leaves hi and lo to be joined into lo; which products are taken: equal_hi less_lo, equal_hi equal_lo."""


@cache
def _layers(leaves: int, want: Want) -> tuple[tuple[_Pair, ...], ...]:
    """What is joined in each move."""
    groups, out = list(range(leaves)), []
    while len(groups) > 1:
        whole = 1 if want is Want.LESS else len(groups) // 2
        pairs = [(groups[2 * i + 1], groups[2 * i]) for i in range(whole)]
        out.append(
            tuple((hi, lo, (want is not Want.EQUAL, want is not Want.LESS or lo > 0)) for hi, lo in pairs)
        )  # of the lowest, equal is nobody's concern unless it is wanted
        groups = [g for g in groups if g not in {hi for hi, _ in pairs}]
    return tuple(out)


def _leaves(
    stock: Stock, own: Words, bits: int, split: Split, want: Want, *, first: bool
) -> Rounds[tuple[list[Bits], list[Bits]]]:
    """Shares of [alpha < beta] and [alpha = beta] of each leaf, lowest first, packed. Two moves."""
    n = split.by_s1 + split.by_s2
    numbers = np.zeros(n, number_type(bits))
    numbers[: len(own)] = own
    one, two = numbers[: split.by_s1], numbers[split.by_s1 :]
    alpha, beta = (one, two) if first else (two, one)
    words = _words(bits, want)

    taken = stock.leaves_received(bits, len(beta)) if len(beta) else None
    if taken is not None:
        yield from send(LeafChoices((beta ^ taken.choices).tobytes()))
    kept: list[Bits] = []
    if len(alpha):
        got = yield from receive(LeafChoices)
        if len(got.e) != alpha.nbytes:
            raise ProtocolError(detail="number of comparisons")
        e = np.frombuffer(got.e, alpha.dtype)
        tables, kept = _tables(stock, alpha, e, bits, words)
        yield from send(LeafTables(tables))
    opened: list[Bits] = []
    if taken is not None:
        back = yield from receive(LeafTables)
        opened = _at_choices(taken, back.t, bits, words)

    mine, theirs = (kept, opened) if first else (opened, kept)
    halves = [half for half in (mine, theirs) if half]
    planes = [pack_bits(np.concatenate(parts)) for parts in zip(*halves, strict=True)]
    nothing = np.zeros(octets(n), np.uint8)
    found = dict(zip(words, planes, strict=True))
    count = len(leaf_bits(bits))
    return [found.get((j, 0), nothing) for j in range(count)], [found.get((j, 1), nothing) for j in range(count)]


_Word = tuple[int, int]
"""A leaf, and 0 for "less" or 1 for "equal"."""


@cache
def _words(bits: int, want: Want) -> tuple[_Word, ...]:
    """The tables of a comparison in the order of the message."""
    kinds = {Want.LESS: (0, 1), Want.EQUAL: (1,), Want.BOTH: (0, 1)}[want]
    every = [(j, kind) for j in range(len(leaf_bits(bits))) for kind in kinds]
    return tuple(word for word in every if want is not Want.LESS or word != (0, 1))


def _tables(stock: Stock, alpha: Column, e: Column, bits: int, words: Sequence[_Word]) -> tuple[bytes, list[Bits]]:
    """t of every comparison, and the sender's shares, one bit in a byte."""
    pads: LeavesSent = stock.leaves_sent(bits, len(alpha))
    out = []
    for j, kind in words:
        width = leaf_bits(bits)[j]
        a, b = leaf_of(alpha, bits, j), leaf_of(e, bits, j)
        word = _less_table(width)[a.astype(np.uint16) << np.uint16(width) | b] if kind == 0 else _unit(width)[a ^ b]
        out.append((word ^ pads.pads[2 * j + kind]).tobytes())
    return b"".join(out), [bit_of(pads.kept, 2 * j + kind).astype(np.uint8) for j, kind in words]


def _at_choices(taken: LeavesReceived, raw: bytes, bits: int, words: Sequence[_Word]) -> list[Bits]:
    """The receiver's shares, one bit in a byte. Raises `ProtocolError` for tables of another length."""
    n, at, shares = len(taken.choices), 0, []
    if len(raw) != n * sum(word_type(leaf_bits(bits)[j]).itemsize for j, _ in words):
        raise ProtocolError(detail="number of comparisons")
    for j, kind in words:
        width = leaf_bits(bits)[j]
        kind_of_word = word_type(width)
        t = np.frombuffer(raw, kind_of_word, n, at)
        at += t.nbytes
        place = leaf_of(taken.choices, bits, j).astype(kind_of_word)
        known = bit_of(taken.known, 2 * j + kind).astype(np.uint8)
        shares.append((t >> place).astype(np.uint8) & np.uint8(1) ^ known)
    return shares


@cache
def _less_table(width: int) -> NDArray[Any]:
    """[a < x + e] for x from 0 on, as a word: at a 2^w + e."""
    x = np.arange(1 << width)
    bits = x[:, None, None] < (x[None, None, :] ^ x[None, :, None])
    return reduce(np.bitwise_or, (bits[..., i].astype(word_type(width)) << i for i in x.tolist())).reshape(-1)


@cache
def _unit(width: int) -> NDArray[Any]:
    """[x = i] for x from 0 on, as a word: at i."""
    return np.array([1 << i for i in range(1 << width)], word_type(width))


# --- what it takes ----------------------------------------------------------------------------------


def need(count: int, bits: int, *, sends: bool) -> Need:
    """What `compare` takes of n numbers; `sends`: whether S1 is the leaves' sender."""
    return _need(Split.one(count, s1=sends), bits, Want.BOTH)


def equal_need(count: int, bits: int, *, sends: bool) -> Need:
    """What `equal` takes of n numbers."""
    return _need(Split.one(count, s1=sends), bits, Want.EQUAL)


def negative_need(count: int, bits: int) -> Need:
    """What `negative` takes of n numbers."""
    return _need(Split.halves(count), bits - 1, Want.LESS)


def _need(split: Split, bits: int, want: Want) -> Need:
    ands = sum(sum(wanted) for layer in _layers(len(leaf_bits(bits)), want) for _, _, wanted in layer)
    return split.need(bits) + Need(ands * octets(split.by_s1 + split.by_s2))


def steps(split: Split, bits: int, want: Want) -> str:
    """Who sends when: "<" is a message of S2's, ">" one of S1's, "=" one of each at once."""
    order = "==" if split.by_s1 and split.by_s2 else "<>" if split.by_s1 else "><"
    return order + "=" * len(_layers(len(leaf_bits(bits)), want))


def moves(steps: str) -> int:
    """How many messages lie one behind the other: each server goes on as soon as it has what it waits for."""
    one = two = 0
    for step in steps:
        one, two = (one if step == ">" else max(one, two + 1)), (two if step == "<" else max(two, one + 1))
    return max(one, two)
