"""The nearest entries, and the threshold, on shares.

Candidates carry their key -<x, y>, modulo 2^k, and their handle. In a level with fan-in m, groups of m candidates
compare all pairs at once; L_ij = [key_j < key_i] for i < j, so that of equal keys the first wins, and exactly one of
the

    w_i = AND_{j < i} L_ji  AND_{j > i} NOT L_ij

is 1. The winner is x_0 + sum_{i > 0} w_i (x_i - x_0), by one OT for each i > 0 in both directions. In the last level,
of m candidates, each is compared with the limit as well, B_i = [key_i < limit], and the answer is

    sum_i  w_i B_i gate handle_i

where the gate is one further shared bit. Fan-in 2 compares least; larger groups take fewer moves, which pays where few
candidates are left, and everywhere when a move is dear (`best_fan_ins`).

The k nearest, k > 1: lists of K candidates (K the power of two from k on) are sorted by Batcher's bitonic network, then
merged in pairs: min(A_i, B_{K-1-i}) are the K smallest of two sorted lists, in bitonic order. Then B_i and the gate.

Nothing is opened.
"""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.protocols.prepared import leaf
from pura.protocols.prepared.leaf import Split, Want
from pura.protocols.prepared.stock import Stock
from pura.protocols.shares.gmw import Bits, Words, conjunction, octets, pack_bits, unpack_bits
from pura.protocols.shares.select import SELECT_ROUNDS, Candidates, joined, mask_of, select
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds

MAX_FAN_IN = 16
MAX_LEVELS = 64
GROWTH = 1.05
GRID = 1.1
"""Contests are planned for galleries that grow a little, of sizes this far apart;"""
LARGE = 512
FINE = 6
"""from LARGE on of sizes whose FINE highest bits count, so that little is made in vain."""
FanIns = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Contest:
    """n candidates with keys of `bits` bits, the k nearest wanted.

    never: a key that loses against all others; any two keys, this one among them, differ by less than 2^(bits - 1).
    fan_ins (for k = 1): of each level, 2 where it says none; the last one is the most that the last level takes.
    """

    candidates: int
    bits: int
    never: int
    results: int = 1
    fan_ins: FanIns = ()

    @property
    def levels(self) -> list[int]:
        """Fan-ins of the levels before the last, for k = 1."""
        n, out = self.candidates, list[int]()
        most = self.fan_ins[-1] if self.fan_ins else 2
        while n > most:
            m = self.fan_ins[len(out)] if len(out) < len(self.fan_ins) - 1 else 2
            out.append(m)
            n = -(-n // m)
        return out

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


def nearest(
    stock: Stock, contest: Contest, entries: Candidates, limit: int, gate: Bits, *, first: bool
) -> Rounds[list[int]]:
    """This server's shares of k handles, nearest first; 0 where no key is below `limit`, and all 0 where `gate`, its
    share of one packed bit, stands for 0. The limit is public; no key is 2^(bits - 1) or more away from it."""
    left = yield from contend(stock, contest, entries, first=first)
    return (yield from decide(stock, contest, left, limit, gate, first=first))


def contend(stock: Stock, contest: Contest, entries: Candidates, *, first: bool) -> Rounds[Candidates]:
    """All of `nearest` that needs neither limit nor gate: the candidates of the last level, or the k nearest."""
    if contest.results > 1:
        return (yield from _smallest(stock, contest, entries, first=first))
    for m in contest.levels:
        entries = yield from _level(stock, contest, entries, m, first=first)
    return entries


def decide(
    stock: Stock, contest: Contest, left: Candidates, limit: int, gate: Bits, *, first: bool
) -> Rounds[list[int]]:
    """The rest of `nearest`."""
    if contest.results > 1:
        shares = yield from _within(stock, contest, left, limit, gate, first=first)
        return [int(h) for h in shares.handles]
    shares = yield from _last(stock, contest, left, limit, gate, first=first)
    return [int(np.bitwise_xor.reduce(shares.handles))]


def _level(stock: Stock, contest: Contest, entries: Candidates, m: int, *, first: bool) -> Rounds[Candidates]:
    """The winner of each group of m neighbours, in order."""
    groups = -(-len(entries) // m)
    entries = joined(entries, never(m * groups - len(entries), contest, first=first))
    x = [entries[i::m] for i in range(m)]  # neighbours, so that of equal keys the earliest place wins
    less = yield from _less(stock, contest, *_pairs(x), first=first)
    wins = yield from _all_of(stock, _factors(less, m, groups, first=first)[1:], first=first)  # w_1 .. w_(m-1)
    base = joined(*[x[0]] * (m - 1))
    change = yield from select(stock, wins.reshape(-1), joined(*x[1:]).minus(base, contest.bits), contest.bits)
    out = x[0]
    for i in range(m - 1):
        out = out.plus(change[i * groups : (i + 1) * groups], contest.bits)
    return out


def _last(
    stock: Stock, contest: Contest, entries: Candidates, limit: int, gate: Bits, *, first: bool
) -> Rounds[Candidates]:
    """Shares of w_i B_i gate x_i."""
    m = len(entries)
    x = [entries[i : i + 1] for i in range(m)]
    smaller, larger = _pairs(x)
    less = yield from _less(
        stock, contest, [*smaller, entries.keys], [*larger, _public(limit, m, first=first)], first=first
    )
    pairs = m * (m - 1) // 2
    extra = np.stack([less[pairs:], np.repeat(unpack_bits(gate, 1), m)], axis=1)
    factors = np.concatenate([_factors(less[:pairs], m, 1, first=first)[:, :, 0], extra], axis=1)
    wins = yield from _all_of(stock, factors[:, :, None], first=first)
    return (yield from select(stock, wins.reshape(-1), entries, contest.bits))


def _pairs(x: list[Candidates]) -> tuple[list[Words], list[Words]]:
    """key_j and key_i of all i < j, in the order of `_factors`."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
    return [x[j].keys for _, j in pairs], [x[i].keys for i, _ in pairs]


def _factors(less: Bits, m: int, groups: int, *, first: bool) -> Bits:
    """What w_i is the product of: L_ij of all i < j of all groups, (pairs groups,) -> (m, m - 1, groups)."""
    rows = iter(less.reshape(-1, groups))
    flip = np.uint8(first)
    wins = {(j, i): row for i in range(m) for j in range(i + 1, m) for row in [next(rows)]}
    out = [[wins[i, j] if j < i else wins[j, i] ^ flip for j in range(m) if j != i] for i in range(m)]
    return np.array(out, np.uint8).reshape(m, m - 1, groups)


def _less(stock: Stock, contest: Contest, smaller: list[Words], larger: list[Words], *, first: bool) -> Rounds[Bits]:
    """Shares of [key < key'] for rows of keys, one bit in a byte, one row after the other."""
    difference = np.concatenate(smaller) - np.concatenate(larger)
    return (yield from leaf.negative(stock, difference & mask_of(contest.bits), contest.bits, first=first))


def _all_of(stock: Stock, factors: Bits, *, first: bool) -> Rounds[Bits]:
    """AND over the second axis, as a tree; bits one in a byte: (values, factors, groups) -> (values, groups)."""
    while (count := factors.shape[1]) > 1:
        pairs = count // 2
        x, y = factors[:, :pairs], factors[:, pairs : 2 * pairs]
        both = yield from conjunction(stock, pack_bits(x.reshape(-1)), pack_bits(y.reshape(-1)), first=first)
        factors = np.concatenate([unpack_bits(both, x.size).reshape(x.shape), factors[:, 2 * pairs :]], axis=1)
    return factors[:, 0]


def _smallest(stock: Stock, contest: Contest, entries: Candidates, *, first: bool) -> Rounds[Candidates]:
    """The k nearest in order. Candidates lie as (K, lists): place r of list c at r lists + c."""
    entries = joined(entries, never(contest.padded - len(entries), contest, first=first))
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
    """[key_y < key_x] (y - x): what is added to x, and taken from y, to bring them in order."""
    swap = yield from _less(stock, contest, [y.keys], [x.keys], first=first)
    return (yield from select(stock, swap, y.minus(x, contest.bits), contest.bits))


def _within(
    stock: Stock, contest: Contest, best: Candidates, limit: int, gate: Bits, *, first: bool
) -> Rounds[Candidates]:
    """The candidates whose key is below the limit; the others' handles become 0."""
    below = yield from _less(stock, contest, [best.keys], [_public(limit, len(best), first=first)], first=first)
    factors = np.stack([below, np.repeat(unpack_bits(gate, 1), len(best))], axis=1)
    both = yield from _all_of(stock, factors[:, :, None], first=first)
    return (yield from select(stock, both.reshape(-1), best, contest.bits))


def _public(value: int, count: int, *, first: bool) -> Words:
    """Shares of a public number."""
    return np.full(count, value if first else 0, np.int64).astype(np.uint64)


def never(count: int, contest: Contest, *, first: bool) -> Candidates:
    """Candidates that lose against every key and are below no limit, handle 0."""
    return Candidates(_public(contest.never, count, first=first), np.zeros(count, np.uint64))


# --- what it takes ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cost:
    """Offline material, and who sends when (`leaf.steps`)."""

    need: Need
    steps: str

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.need + other.need, self.steps + other.steps)

    def seconds(self, move_s: float) -> float:
        """About how long a part of a contest takes on a server, offline included, when a move takes so many seconds."""
        moves = len(self.steps) - self.steps.count("<")
        return self.need.ots * OT_S + self.need.transfers * TRANSFER_S + moves * move_s


NOTHING = Cost(Need(), "")
OT_S = 60e-9
"""What an OT costs a server, all that is made of it included; half of what it costs both."""
TRANSFER_S = 60e-9
"""What choosing with one costs on top of that."""


def cost(contest: Contest) -> Cost:
    """What `nearest` takes, exactly."""
    bits = contest.bits
    if contest.results == 1:
        total, n = NOTHING, contest.candidates
        for m in contest.levels:
            total, n = total + level_cost(bits, m, -(-n // m)), -(-n // m)
        return total + last_cost(bits, n)
    length, lists = contest.sorted_length, contest.padded // contest.sorted_length
    steps = contest.sorted_length.bit_length() - 1
    comparisons = [length // 2 * lists] * (steps * (steps + 1) // 2)
    while lists > 1:
        lists //= 2
        comparisons += [length * lists] + [length // 2 * lists] * steps
    total = NOTHING
    for n in comparisons:
        total += _compared(bits, n) + _selected(n)
    return total + _compared(bits, contest.results) + _joined(contest.results, 2, 1) + _selected(contest.results)


def need(contest: Contest) -> Need:
    """The offline material of `nearest`, exactly."""
    return cost(contest).need


def moves(contest: Contest) -> int:
    """How many moves `nearest` takes."""
    return leaf.moves(cost(contest).steps)


def level_cost(bits: int, m: int, groups: int) -> Cost:
    """A level of groups of m."""
    return _compared(bits, m * (m - 1) // 2 * groups) + _joined(m - 1, m - 1, groups) + _selected((m - 1) * groups)


def last_cost(bits: int, m: int) -> Cost:
    """The last level, of m candidates."""
    return _compared(bits, m * (m + 1) // 2) + _joined(m, m + 1, 1) + _selected(m)


def _compared(bits: int, count: int) -> Cost:
    return Cost(leaf.negative_need(count, bits), leaf.steps(Split.halves(count), bits - 1, Want.LESS))


def _joined(values: int, factors: int, groups: int) -> Cost:
    total = NOTHING
    while factors > 1:
        pairs = factors // 2
        total += Cost(Need(octets(values * pairs * groups)), "=")
        factors -= pairs
    return total


def _selected(count: int) -> Cost:
    return Cost(Need(0, count), "=" * SELECT_ROUNDS)


def planned(candidates: int) -> int:
    """The most candidates, up to 16 % more (4 % from 512 on), that the same fan-ins are used for: what is made ahead is
    made for these."""
    if candidates >= LARGE:
        step = 1 << (candidates.bit_length() - FINE)
        return -(-(candidates + step // 4) // step) * step
    return math.ceil(GRID ** math.ceil(math.log(max(1.0, GROWTH * candidates), GRID)))


def best_fan_ins(candidates: int, bits: int, move_s: float) -> FanIns:
    """The fan-ins of the cheapest contest among `planned` candidates when a move takes `move_s` seconds: twos where a
    move is cheap beside what is compared."""
    return _best(planned(candidates), bits, float(f"{move_s:.1e}"))[1]


def load_fan_ins(raw: bytes) -> FanIns:
    """From a byte each. Raises `ProtocolError`."""
    if not 0 < len(raw) <= MAX_LEVELS or any(not 2 <= m <= MAX_FAN_IN for m in raw):
        raise ProtocolError(detail="fan-ins of a tournament")
    return tuple(raw)


@lru_cache(1 << 16)
def _best(n: int, bits: int, move_s: float) -> tuple[float, FanIns]:
    best: tuple[float, FanIns] = math.inf, ()
    if n <= MAX_FAN_IN:
        best = last_cost(bits, n).seconds(move_s), (max(2, n),)
    for m in range(2, min(MAX_FAN_IN, n - 1) + 1):
        groups = -(-n // m)
        here = level_cost(bits, m, groups).seconds(move_s)
        if here < best[0]:
            rest, fan_ins = _best(groups, bits, move_s)
            best = min(best, (here + rest, (m, *fan_ins)))
    return best
