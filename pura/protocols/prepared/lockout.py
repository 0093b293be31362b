"""A limit on questions about one enrolled entry, kept by two servers that do not learn which entry that is.

Every entry i has for each limit j (a rule has one, or one for each of several windows) a counter n_ij, shared
additively modulo 2^b, and a bit locked_ij, shared by XOR; together one word of 64 bits (b is 32 for one limit, 20 for
up to three; the bits are the topmost). A question begins with the bits that the one before has left,

    free_i   := AND_j NOT locked_ij
    key_i    := a key that never wins, where not free_i

and while its tournament runs, from the keys as they were,

    counts_i  = [key_i < bound]   (or its opposite: `Rule.near`)   AND good AND free_i
    n_ij      := n_ij + counts_i                   (it stays at the limit, and never comes around)
    locked_ij := [limit_j - 1 - n_ij < 0]          (so many were counted already)

all on shares; good is the question's norm bit, without which a vector of any length could lock people out. Nobody
learns a counter, a bit, or whether any entry is locked; a client whose question hits a locked entry is told "nobody".
The counters have moved at both servers before either gives its share of the answer out.

Where windows end is public: both servers set n_ij and locked_ij to shares of 0 then, for every i. So is which entry an
operator sets free (`forgive_s1`).
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

import numpy as np

from pura.crypto.bits import Words
from pura.errors import ProtocolError
from pura.protocols.prepared.leaf import negative, negative_need
from pura.protocols.prepared.ring import reduced
from pura.protocols.prepared.stock import Stock
from pura.protocols.prepared.tournament import Contest, never
from pura.protocols.shares.gmw import Bits, conjunction, octets, pack_bits, unpack_bits
from pura.protocols.shares.ledger import EPOCH_BYTES, Counted, Counters, CountOpen, CountState, Ledger, Windows
from pura.protocols.shares.select import Candidates, select
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, receive, send

COUNTER_BITS, NARROW_BITS = 32, 20
_TOP = 63


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which questions an entry counts, and how many it answers; public.

    bound: keys below it are near, no key is 2^(k - 1) or more away from it; questions: at least 1, below 2^31; near:
    whether questions near it count, or all others do; sooner: further limits, those of shorter windows, at most two and
    all below 2^19 then.
    """

    bound: int
    questions: int
    near: bool = True
    sooner: tuple[int, ...] = ()

    @property
    def limits(self) -> tuple[int, ...]:
        """All of them."""
        return (self.questions, *self.sooner)

    @property
    def bits(self) -> int:
        """The ring in which limit - 1 - n_ij has a sign, for n_ij up to the limit."""
        return max(self.limits).bit_length() + 1

    @property
    def width(self) -> int:
        """How many bits of a word a counter has."""
        return NARROW_BITS if self.sooner else COUNTER_BITS

    def kept(self, over: int) -> np.uint64:
        """The bits of a word that stay when the windows of some limits begin anew."""
        gone = sum(
            (1 << self.width) - 1 << i * self.width | 1 << _TOP - i for i in range(len(self.limits)) if over >> i & 1
        )
        return np.uint64((1 << 64) - 1 - gone)

    def begun(self, counters: Counters, over: int) -> Counters:
        """The counters when the windows of some limits begin anew; of all of them: those of no entry at all."""
        return Counters(counters.epoch) if over == (1 << len(self.limits)) - 1 else counters.only(self.kept(over))


@dataclasses.dataclass(frozen=True, repr=False)
class Standing:
    """A question's turn at the counters: where the ledger stood, what the question goes by, the next name."""

    ledger: Ledger
    turn: ExitStack
    stood: Counters
    counters: Counters
    next_epoch: bytes
    windows: Windows | None = None
    over: int = 0

    def move(self, handles: Words, words: Words) -> None:
        """These are the words now. Raises `ProtocolError` when another question has moved the ledger meanwhile."""
        self.ledger.move(self.counters.put(handles, words, self.next_epoch), self.stood)
        if self.windows is not None:
            self.windows.begin(self.over)
        self.turn.close()


def open_s1(
    rule: Rule, ledger: Ledger, turn: ExitStack, next_epoch: bytes, windows: Windows | None = None
) -> Rounds[Standing]:
    """Take the turn, which `turn` gives back at the latest, and agree with S2 on the counters."""
    turn.enter_context(ledger.turn())
    stood, over = ledger.now, windows.over() if windows else 0
    yield from send(CountOpen(stood.epoch, next_epoch, over))
    state = yield from receive(CountState)
    if not state.known:
        ledger.begins_anew()
    counters = rule.begun(stood, over) if state.known else Counters(stood.epoch)
    return Standing(ledger, turn, stood, counters, next_epoch, windows, over)


def open_s2(rule: Rule, ledger: Ledger) -> Rounds[Standing]:
    """S2's side of `open_s1`."""
    got = yield from receive(CountOpen)
    if len(got.epoch) != EPOCH_BYTES or len(got.next) != EPOCH_BYTES or got.next == got.epoch:
        raise ProtocolError(detail="names of counters")
    if got.reset >> len(rule.limits):
        raise ProtocolError(detail="windows of counters")
    known = ledger.go_back_to(got.epoch)
    if not known:
        ledger.begins_anew()
    yield from send(CountState(int(known)))
    counters = rule.begun(ledger.now, got.reset) if known else Counters(got.epoch)
    return Standing(ledger, ExitStack(), ledger.now, counters, got.next)


def forgive_s1(
    rule: Rule, ledger: Ledger, next_epoch: bytes, handles: Words, windows: Windows | None = None
) -> Rounds[None]:
    """Set the counters of some entries to 0, and free them."""
    with ExitStack() as turn:
        standing = yield from open_s1(rule, ledger, turn, next_epoch, windows)
        yield from receive(Counted)
        standing.move(handles, np.zeros(len(handles), np.uint64))


def forgive_s2(rule: Rule, ledger: Ledger, handles: Words) -> Rounds[None]:
    """S2's side of `forgive_s1`."""
    standing = yield from open_s2(rule, ledger)
    standing.move(handles, np.zeros(len(handles), np.uint64))
    yield from send(Counted())


def hide(
    stock: Stock, rule: Rule, contest: Contest, entries: Candidates, words: Words, *, first: bool
) -> Rounds[Candidates]:
    """The candidates with the locked ones made losers. One move, and one more for each further limit."""
    loser = never(len(entries), contest, first=first).minus(entries, contest.bits)
    free = yield from _free(stock, rule, words, first=first)
    locked = unpack_bits(free, len(entries)) ^ np.uint8(first)
    change = yield from select(stock, locked, loser, contest.bits)
    return entries.plus(change, contest.bits)


def count_s1(
    stock: Stock, rule: Rule, contest: Contest, standing: Standing, handles: Words, keys: Words, good: Bits
) -> Rounds[None]:
    """Count the question at the entries named, whose keys these are; `good` is a share of one packed bit."""
    words = yield from counted(stock, rule, contest, keys, standing.counters.of(handles), good, first=True)
    yield from receive(Counted)
    standing.move(handles, words)


def count_s2(
    stock: Stock, rule: Rule, contest: Contest, standing: Standing, handles: Words, keys: Words, good: Bits
) -> Rounds[None]:
    """S2's side of `count_s1`."""
    words = yield from counted(stock, rule, contest, keys, standing.counters.of(handles), good, first=False)
    standing.move(handles, words)
    yield from send(Counted())


def counted(
    stock: Stock, rule: Rule, contest: Contest, keys: Words, words: Words, good: Bits, *, first: bool
) -> Rounds[Words]:
    """The words after a question: (n,) -> (n,)."""
    n, one = len(keys), np.uint64(first)
    difference = reduced(keys - one * np.int64(rule.bound).astype(np.uint64), contest.bits)
    far = yield from negative(stock, difference, contest.bits, first=first)
    matters = far if rule.near else far ^ np.uint8(first)
    gates = np.repeat(unpack_bits(good, 1), n)
    free = yield from _free(stock, rule, words, first=first)
    counts = yield from conjunction(stock, pack_bits(matters), pack_bits(gates), first=first)
    counts = yield from conjunction(stock, counts, free, first=first)

    step = Candidates(np.full(n, one), np.zeros(n, np.uint64))
    grown = yield from select(stock, unpack_bits(counts, n), step, COUNTER_BITS)
    numbers = [reduced(number + grown.keys, rule.width) for number in counters_of(rule, words)]
    left = [one * np.uint64(limit - 1) - number for limit, number in zip(rule.limits, numbers, strict=True)]
    locked = yield from negative(stock, reduced(np.concatenate(left), rule.bits), rule.bits, first=first)
    out: Words = np.zeros(n, np.uint64)
    for i, number in enumerate(numbers):
        bit = locked[i * n : (i + 1) * n].astype(np.uint64)
        out |= number << np.uint64(i * rule.width) | bit << np.uint64(_TOP - i)
    return out


def counters_of(rule: Rule, words: Words) -> list[Words]:
    """The shares of the counters of each limit, modulo 2^width: (n,) -> (n,) each."""
    return [reduced(words >> np.uint64(i * rule.width), rule.width) for i in range(len(rule.limits))]


def _free(stock: Stock, rule: Rule, words: Words, *, first: bool) -> Rounds[Bits]:
    """Shares of which entries no limit locks, packed."""
    bits = [pack_bits((words >> np.uint64(_TOP - i)).astype(np.uint8) & np.uint8(1) ^ np.uint8(first))
            for i in range(len(rule.limits))]  # fmt: skip
    free = bits[0]
    for bit in bits[1:]:
        free = yield from conjunction(stock, free, bit, first=first)
    return free


# --- what it takes ----------------------------------------------------------------------------------


def hide_need(contest: Contest, rule: Rule) -> Need:
    """The offline material of `hide`."""
    return Need(len(rule.sooner) * octets(contest.candidates), contest.candidates)


def count_need(contest: Contest, rule: Rule) -> Need:
    """The offline material of `counted`."""
    n = contest.candidates
    locks = negative_need(n * len(rule.limits), rule.bits)
    return negative_need(n, contest.bits) + locks + Need((2 + len(rule.sooner)) * octets(n), n)
