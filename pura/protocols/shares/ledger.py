"""Where the servers' counters stand, and that both stand at the same place.

Both name their counters by the question that changed them last; S2 keeps the state before, too. S1 says which one it
has, and takes the new one when S2 has it: a question that is cut off before that counts nowhere, and its client got no
answer.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.shares.gmw import Words

EPOCH_BYTES = 16


@dataclasses.dataclass(frozen=True, repr=False)
class Counters:
    """A server's shares of all counters at one moment; entries that are not named stand at 0, shared as (0, 0).

    epoch: the question that changed them last; handles (n,) uint64, ascending; shares (n,) uint64, whose meaning is the
    engine's.
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

    def put(self, handles: Words, shares: Words, epoch: bytes) -> Counters:
        """With these shares in the place of those of some entries."""
        every = np.union1d(self.handles, handles)
        total = self.of(every)
        total[np.searchsorted(every, handles)] = shares
        return Counters(epoch, every, total)

    def only(self, kept: np.uint64) -> Counters:
        """With these bits of every share, and zeros in the others."""
        return Counters(self.epoch, self.handles, self.shares & kept)

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

    def begins_anew(self) -> None:
        """The other server stands somewhere else: what was counted is forgotten. For who wants to tell somebody."""

    def go_back_to(self, epoch: bytes) -> bool:
        """Stand where the other server stands, if this one remembers it."""
        if self.before is not None and self.before.epoch == epoch:
            self.now, self.before = self.before, None
        return self.now.epoch == epoch


class Windows:
    """When the windows of some limits began, and which of them are over; `lengths` in seconds, infinite for a limit
    that stays."""

    def __init__(self, lengths: Sequence[float], clock: Callable[[], float], began: Sequence[float] = ()) -> None:
        """`began`: when each began; now, where that is not told."""
        self._lengths, self._clock = tuple(lengths), clock
        told = list(began)
        self.began = told if len(told) == len(self._lengths) else [clock()] * len(self._lengths)

    def over(self) -> int:
        """A bit for each limit, the first one lowest."""
        now = self._clock()
        # a clock that was set back by more than a window counts, too: else it would last as long as that
        late = [abs(now - began) >= length for began, length in zip(self.began, self._lengths, strict=True)]
        return sum(1 << i for i, is_late in enumerate(late) if is_late)

    def begin(self, over: int) -> None:
        """These begin anew, now."""
        now = self._clock()
        self.began = [now if over >> i & 1 else began for i, began in enumerate(self.began)]


@message
class CountOpen(Message):
    """S1 -> S2: my counters are those of this epoch; they become those of the next. reset: whose windows begin anew, a
    bit for each limit."""

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
