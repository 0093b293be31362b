"""A limit on questions near one enrolled entry, kept by two servers that do not learn which entry that is.

Every entry i has a counter n_i, shared additively modulo 2^b like its key. In each question, before the tournament,

    near_i   = [key_i < 4 near + 4]          (a match, or closer to one than strangers come)
    locked_i = [limit < n_i + 1]             (limit near questions were counted already)
    n_i     := n_i + (near_i AND NOT locked_i)           (it stays at the limit, and never comes around)
    key_i   := a key that never wins, where locked_i

all on shares: the bits by layers of signs and ANDs, their effect by one layer of OTs. Nobody learns a counter, a bit,
or whether any entry is locked; a client whose question hits a locked entry is told "nobody". So an attack that feels
its way along the edge of the accepted region has `limit` answers from there in a window, whoever asks and through
however many clients.

S1 and S2 must count alike. Both name their counters by the question that changed them last; S2 keeps the state before,
too. S1 says which one it has, and takes the new one when S2 has it: a question that is cut off counts nowhere, and its
client got no answer.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.packed.gmw import (
    Words,
    complement,
    conjunction,
    octets,
    planes_of,
    sign,
    sign_cost,
    unpack_bits,
)
from pura.protocols.packed.select import Candidates, joined, mask_of, select
from pura.protocols.packed.tournament import Need, Stock, never
from pura.rounds import Rounds, receive, send

EPOCH_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Limit:
    """near: the largest squared distance that counts; questions: how many of them an entry answers in a window."""

    near: int
    questions: int


@dataclasses.dataclass(frozen=True, repr=False)
class Counters:
    """A server's shares of all counters at one moment; entries that are not named stand at 0, shared as (0, 0).

    epoch: the question that changed them last; handles (n,) uint64, ascending; shares (n,) uint64.
    """

    epoch: bytes = bytes(EPOCH_BYTES)
    handles: Words = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint64))
    shares: Words = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint64))

    def of(self, handles: Words) -> Words:
        """The shares of some entries, (len(handles),)."""
        at, there = self._find(handles)
        out = np.zeros(len(handles), np.uint64)
        out[there] = self.shares[at[there]]
        return out

    def plus(self, handles: Words, shares: Words, epoch: bytes, bits: int) -> Counters:
        """With `shares` added to the counters of some entries."""
        every = np.union1d(self.handles, handles)
        total = self.of(every)
        total[np.searchsorted(every, handles)] += shares
        return Counters(epoch, every, total & mask_of(bits))

    def _find(self, handles: Words) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        at = np.searchsorted(self.handles, handles)
        there = at < len(self.handles)
        there[there] = self.handles[at[there]] == handles[there]
        return at, there


class Ledger:
    """A server's counters, now and one question ago. One question counts at a time (`turn`)."""

    def __init__(self, now: Counters | None = None, before: Counters | None = None) -> None:
        self.now = now or Counters()
        self.before = before
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the counters of both servers; S1 takes its turn, S2 follows."""
        with self._turn:
            yield

    def move(self, counters: Counters, stood: Counters) -> None:
        """The counters after a question that found this ledger at `stood`.

        Raises `ProtocolError` when another question has moved it since: this one was given up then.
        """
        if self.now is not stood:
            raise ProtocolError(detail="the counters have moved")
        self.now, self.before = counters, stood

    def go_back_to(self, epoch: bytes) -> bool:
        """Stand where the other server stands, if this one remembers it."""
        if self.before is not None and self.before.epoch == epoch:
            self.now, self.before = self.before, None
        return self.now.epoch == epoch


@message
class CountOpen(Message):
    """S1 -> S2: my counters are those of this epoch; they become those of the next. reset: a new window begins."""

    epoch: bytes
    next: bytes
    reset: int


@message
class CountState(Message):
    """S2 -> S1: 1 if S2 has those counters, 0 if it does not and both begin anew."""

    known: int


@message
class Counted(Message):
    """S2 -> S1: S2 has the next counters."""


def count_s1(
    stock: Stock, ledger: Ledger, limit: Limit, entries: Candidates, bits: int, next_epoch: bytes, *, reset: bool
) -> Rounds[Candidates]:
    """The candidates without the locked ones, and the question counted. Handles are S1's to know."""
    with ledger.turn():
        yield from send(CountOpen(ledger.now.epoch, next_epoch, int(reset)))
        state = yield from receive(CountState)
        stood = ledger.now
        counters = stood if state.known and not reset else Counters(stood.epoch)
        out, near = yield from _count(stock, limit, entries, counters.of(entries.handles), bits, first=True)
        yield from receive(Counted)
        ledger.move(counters.plus(entries.handles, near, next_epoch, bits), stood)
    return out


def count_s2(
    stock: Stock, ledger: Ledger, limit: Limit, entries: Candidates, handles: Words, bits: int
) -> Rounds[Candidates]:
    """S2's side of `count_s1`; `handles` names the entries, whose handles S1 shares alone."""
    got = yield from receive(CountOpen)
    if len(got.epoch) != EPOCH_BYTES or len(got.next) != EPOCH_BYTES or got.next == got.epoch:
        raise ProtocolError(detail="names of counters")
    known = ledger.go_back_to(got.epoch)
    yield from send(CountState(int(known)))
    stood = ledger.now
    counters = stood if known and not got.reset else Counters(got.epoch)
    out, near = yield from _count(stock, limit, entries, counters.of(handles), bits, first=False)
    ledger.move(counters.plus(handles, near, got.next, bits), stood)
    yield from send(Counted())
    return out


def _count(
    stock: Stock, limit: Limit, entries: Candidates, counts: Words, bits: int, *, first: bool
) -> Rounds[tuple[Candidates, Words]]:
    """The candidates with the locked ones made losers, and shares of what each counter grows by."""
    n, mask = len(entries), mask_of(bits)
    known = np.uint64(1 if first else 0)
    below = entries.keys - known * np.uint64(4 * limit.near + 4)
    above = known * np.uint64(limit.questions - 1) - counts
    planes = np.concatenate([planes_of(below & mask, bits), planes_of(above & mask, bits)], axis=1)
    near, locked = (yield from sign(stock, planes, first=first)).reshape(2, octets(n))
    grows = yield from conjunction(stock, near, complement(locked, first=first), first=first)
    bit = np.concatenate([unpack_bits(grows, n), unpack_bits(locked, n)])
    one = Candidates(np.full(n, known), np.zeros(n, np.uint64))
    loser = never(n, bits, first=first).minus(entries, bits)
    change = yield from select(stock, bit, joined(one, loser), bits)
    return entries.plus(change[n:], bits), change[:n].keys


def need(entries: int, bits: int) -> Need:
    """The offline material of one question."""
    ands, _ = sign_cost(bits)
    return Need((2 * ands + 1) * octets(entries), 2 * entries)
