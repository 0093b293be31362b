"""Step 5: the nearest entries, and the threshold, on shares.

Candidates carry their key 4 d + c, c in {0, 1}, and their handle. In a level with fan-in m, groups of m candidates
compare all pairs at once; L_ij = [d_j < d_i] for i < j, whatever the c are, so that of equal distances the first wins,
and exactly one of the

    w_i = AND_{j < i} L_ji  AND_{j > i} NOT L_ij

is 1. The winner is x_0 + sum_{i > 0} w_i (x_i - x_0), by one OT for each i > 0 in both directions. Fan-in 2 compares
least; larger groups take fewer rounds, which pays when a round is dear.

The k nearest, k > 1: lists of K candidates (K the power of two from k on) are sorted by Batcher's bitonic network, then
merged in pairs: min(A_i, B_{K-1-i}) are the K smallest of two sorted lists, in bitonic order.

Nothing is opened. At the end a candidate with d > tau has its handle replaced by 0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.protocols.packed.gmw import (
    Bits,
    Triples,
    Words,
    complement,
    conjunction,
    octets,
    planes_of,
    sign,
    sign_cost,
    unpack_bits,
)
from pura.protocols.packed.select import SELECT_ROUNDS, Candidates, Transfers, joined, mask_of, select
from pura.rounds import Rounds

MAX_FAN_IN = 16


class Stock(Triples, Transfers, Protocol):
    """AND triples and random OTs."""


@dataclasses.dataclass(frozen=True)
class Need:
    """How much offline material a computation takes: triples in packed bytes (8 each), OTs in each direction."""

    triple_octets: int = 0
    transfers: int = 0

    def __add__(self, other: Need) -> Need:
        return Need(self.triple_octets + other.triple_octets, self.transfers + other.transfers)


@dataclasses.dataclass(frozen=True)
class Contest:
    """n candidates with keys of `bits` bits, the k nearest wanted, groups of `fan_in` (used for k = 1)."""

    candidates: int
    bits: int
    results: int = 1
    fan_in: int = 2

    @property
    def sorted_length(self) -> int:
        """K."""
        return 1 << (self.results - 1).bit_length()

    @property
    def padded(self) -> int:
        """How many candidates take part in the first level, the ones that cannot win included."""
        if self.results == 1:
            return self.candidates
        lists = -(-self.candidates // self.sorted_length)
        return (1 << (lists - 1).bit_length()) * self.sorted_length


def nearest(stock: Stock, contest: Contest, entries: Candidates, tau: int, *, first: bool) -> Rounds[list[int]]:
    """This server's shares of k handles, nearest first; 0 where nobody is within tau."""
    if contest.results == 1:
        best = yield from _minimum(stock, contest, entries, first=first)
    else:
        best = yield from _smallest(stock, contest, entries, first=first)
    shares = yield from _within(stock, contest, best, tau, first=first)
    return [int(h) for h in shares.handles]


def _minimum(stock: Stock, contest: Contest, entries: Candidates, *, first: bool) -> Rounds[Candidates]:
    while (n := len(entries)) > 1:
        m = min(contest.fan_in, n)
        groups = -(-n // m)
        entries = joined(entries, never(m * groups - n, contest.bits, first=first))
        x = [entries[i * groups : (i + 1) * groups] for i in range(m)]
        wins = yield from _winners(stock, contest, x, first=first)
        base = joined(*[x[0]] * (m - 1))
        change = yield from select(stock, wins, joined(*x[1:]).minus(base, contest.bits), contest.bits)
        entries = x[0]
        for i in range(m - 1):
            entries = entries.plus(change[i * groups : (i + 1) * groups], contest.bits)
    return entries


def _winners(stock: Stock, contest: Contest, x: list[Candidates], *, first: bool) -> Rounds[Bits]:
    """Shares of w_1 .. w_(m-1) of every group, one bit in a byte: ((m - 1) groups,)."""
    m, groups = len(x), len(x[0])
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)]
    # every pair starts at a whole byte of its plane, so that the planes of one pair are a slice
    less = yield from _less(
        stock, contest, [x[j].keys for _, j in pairs], [x[i].keys for i, _ in pairs], first=first
    )  # L_ij, (pairs, w)
    row = {pair: less[k] for k, pair in enumerate(pairs)}
    factors = [
        [row[j, i] if j < i else complement(row[i, j], first=first) for j in range(m) if j != i] for i in range(1, m)
    ]
    w = yield from _all_of(stock, np.array(factors), first=first)
    return np.concatenate([unpack_bits(plane, groups) for plane in w])


def _less(stock: Stock, contest: Contest, smaller: list[Words], larger: list[Words], *, first: bool) -> Rounds[Bits]:
    """Shares of [d < d'] for rows of keys 4 d + c and 4 d' + c': whether key - key' + 2 is negative.

    Every row begins a byte of its own: (rows, w).
    """
    rows, width = len(smaller), octets(len(smaller[0]))
    two = np.uint64(2 if first else 0)
    differences = [a - b + two for a, b in zip(smaller, larger, strict=True)]
    planes = np.concatenate([planes_of(d & mask_of(contest.bits), contest.bits) for d in differences], axis=1)
    below = yield from sign(stock, planes, first=first)
    return below.reshape(rows, width)


def _all_of(stock: Stock, factors: Bits, *, first: bool) -> Rounds[Bits]:
    """AND over the second axis, as a tree: (values, factors, w) -> (values, w)."""
    while (count := factors.shape[1]) > 1:
        pairs = count // 2
        both = yield from conjunction(stock, factors[:, :pairs], factors[:, pairs : 2 * pairs], first=first)
        factors = np.concatenate([both, factors[:, 2 * pairs :]], axis=1)
    return factors[:, 0]


def _smallest(stock: Stock, contest: Contest, entries: Candidates, *, first: bool) -> Rounds[Candidates]:
    """The k nearest in order. Candidates lie as (K, lists): place r of list c at r lists + c."""
    entries = joined(entries, never(contest.padded - len(entries), contest.bits, first=first))
    length, lists = contest.sorted_length, contest.padded // contest.sorted_length
    run = 1
    while run < length:  # bitonic sort: runs of 2, 4, ... K
        run *= 2
        place = np.arange(length)
        partner = place ^ (run - 1)
        entries = yield from _exchange(stock, contest, entries, lists, place, partner, first=first)
        entries = yield from _clean(stock, contest, entries, lists, run // 2, first=first)
    while lists > 1:  # keep the K smallest of two lists
        lists //= 2
        grid = np.arange(len(entries)).reshape(length, 2 * lists)
        left, right = grid[:, :lists].reshape(-1), grid[::-1, lists:].reshape(-1)
        entries = yield from _lower(stock, contest, entries[left], entries[right], first=first)
        entries = yield from _clean(stock, contest, entries, lists, length, first=first)
    return entries[: contest.results]


def _clean(
    stock: Stock, contest: Contest, entries: Candidates, lists: int, run: int, *, first: bool
) -> Rounds[Candidates]:
    """Sort bitonic runs of length `run`."""
    place = np.arange(contest.sorted_length)
    distance = run // 2
    while distance:
        entries = yield from _exchange(stock, contest, entries, lists, place, place ^ distance, first=first)
        distance //= 2
    return entries


def _exchange(
    stock: Stock,
    contest: Contest,
    entries: Candidates,
    lists: int,
    place: NDArray[np.intp],
    partner: NDArray[np.intp],
    *,
    first: bool,
) -> Rounds[Candidates]:
    """Compare place r with partner(r) in every list; the smaller key goes to the lower place."""
    lower = place[place < partner]
    column = np.arange(lists)
    i = (lower[:, None] * lists + column).reshape(-1)
    j = (partner[lower][:, None] * lists + column).reshape(-1)
    x, y = entries[i], entries[j]
    swap = yield from _swaps(stock, contest, x, y, first=first)
    keys, handles = entries.keys.copy(), entries.handles.copy()
    low, high = x.plus(swap, contest.bits), y.minus(swap, contest.bits)
    keys[i], handles[i], keys[j], handles[j] = low.keys, low.handles, high.keys, high.handles
    return Candidates(keys, handles)


def _lower(stock: Stock, contest: Contest, x: Candidates, y: Candidates, *, first: bool) -> Rounds[Candidates]:
    """The one with the smaller key of each pair."""
    swap = yield from _swaps(stock, contest, x, y, first=first)
    return x.plus(swap, contest.bits)


def _swaps(stock: Stock, contest: Contest, x: Candidates, y: Candidates, *, first: bool) -> Rounds[Candidates]:
    """[d_y < d_x] (y - x): what is added to x, and taken from y, to bring them in order."""
    plane = yield from _less(stock, contest, [y.keys], [x.keys], first=first)
    return (yield from select(stock, unpack_bits(plane[0], len(x)), y.minus(x, contest.bits), contest.bits))


def _within(stock: Stock, contest: Contest, best: Candidates, tau: int, *, first: bool) -> Rounds[Candidates]:
    """The candidates with d <= tau, that is d < tau + 1; the others' handles become 0."""
    limit = np.full(len(best), 4 * (tau + 1), np.uint64)
    own = np.zeros_like(limit) if not first else limit
    plane = yield from _less(stock, contest, [best.keys], [own], first=first)
    return (yield from select(stock, unpack_bits(plane[0], len(best)), best, contest.bits))


def never(count: int, bits: int, *, first: bool) -> Candidates:
    """Candidates that lose against every key and are in no threshold: the largest key 4 d, handle 0."""
    key = (1 << (bits - 1)) - 4 if first else 0
    return Candidates(np.full(count, key, np.uint64), np.zeros(count, np.uint64))


# --- what it takes ----------------------------------------------------------------------------------


def need(contest: Contest) -> Need:
    """The offline material of `nearest`, exactly."""
    ands, _ = sign_cost(contest.bits)
    total = Need(ands * octets(contest.results), contest.results)
    if contest.results == 1:
        n = contest.candidates
        while n > 1:
            m = min(contest.fan_in, n)
            n = -(-n // m)
            pairs, width = m * (m - 1) // 2, octets(n)
            total += Need((ands * pairs + (m - 2) * (m - 1)) * width, (m - 1) * n)
        return total
    length, lists = contest.sorted_length, contest.padded // contest.sorted_length
    steps = contest.sorted_length.bit_length() - 1
    comparisons = [length // 2 * lists] * (steps * (steps + 1) // 2)
    while lists > 1:
        lists //= 2
        comparisons += [length * lists] + [length // 2 * lists] * steps
    for n in comparisons:
        total += Need(ands * octets(n), n)
    return total


def rounds(contest: Contest) -> int:
    """How many rounds `nearest` takes."""
    _, compare = sign_cost(contest.bits)
    each = compare + SELECT_ROUNDS
    if contest.results == 1:
        total, n = each, contest.candidates
        while n > 1:
            m = min(contest.fan_in, n)
            n = -(-n // m)
            total += each + math.ceil(math.log2(m - 1)) if m > 2 else each
        return total
    lists = contest.padded // contest.sorted_length
    steps = contest.sorted_length.bit_length() - 1
    return each * (1 + steps * (steps + 1) // 2 + (lists.bit_length() - 1) * (1 + steps))


AND_OCTET_S = 2e-6
"""What eight ANDs cost a server, most of it offline: two OTs of 50 ns each, and a little online."""
TRANSFER_S = 0.4e-6


def best_fan_in(candidates: int, bits: int, round_s: float) -> int:
    """The fan-in with the shortest contest when a round takes `round_s` seconds: 2 on one machine, more on a WAN."""

    def seconds(m: int) -> float:
        contest = Contest(candidates, bits, 1, m)
        cost = need(contest)
        return rounds(contest) * round_s + cost.triple_octets * AND_OCTET_S + cost.transfers * TRANSFER_S

    return min(range(2, MAX_FAN_IN + 1), key=seconds)
