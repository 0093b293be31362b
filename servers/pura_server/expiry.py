"""Entries that are kept for a time only: when it is over, and how both servers erase them.

    expires = time of the enrolment + days, the fewer of the collection's and the enrolment's own; the same at both

Each server goes by its own clock (decision 0030):

    not matched   from `expires` on by S1's clock, which each question names; S2 refuses a question whose time takes in,
                  or leaves out, an entry for which by its own clock it is the wrong side by more than SLACK_S
    erased        when both servers' calendars say so: S1 proposes, S2 takes out of it what it does not find expired

A calendar does not believe a clock that jumps: time that passed without being seen counts a day later.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pura.errors import NotReady, ProtocolError
from pura.files import PRIVATE, replace_file
from pura.ids import Handle
from pura.messages import Message, message
from pura.rounds import Rounds, receive, send

DAY_S = 86_400
NEVER = 1 << 62
"""Later than every time that an entry expires at."""
SLACK_S = 3600
"""How far the two servers' clocks may be apart, and how long after its time an entry may still match at most."""
STEP_S = 3600
"""A clock that gets ahead of one that nobody sets by more than that, at once or little by little within a day, has
jumped."""
DOUBT_S = DAY_S
"""For so long a clock that has jumped has to stay where it is, while the server runs, before it is believed."""
AT_ONCE = 4096
FILE = "clock"
_SAVE_S = 600.0
_APART = "the clocks of the two servers differ by more than an hour; set them right, and try again"


@message
class ExpireOpen(Message):
    """S1 -> S2: the time of these entries is over, 8 bytes each."""

    txn: bytes
    digest: bytes
    handles: bytes


@message
class Expired(Message):
    """S2 -> S1: those of them whose time is over by S2's calendar, too, a byte each, 1 or 0."""

    verdicts: bytes


class Calendar:
    """One server's time. Thread-safe."""

    def __init__(
        self,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder`: where the time is remembered that was believed last; `clock`: seconds since 1970, which may jump;
        `steady`: seconds, which never do."""
        self._path = None if folder is None else folder / FILE
        self._clock, self._steady = clock, steady
        self._lock = threading.Lock()
        self._at, self._looked = clock(), steady()
        self._doubt = 0.0
        self._gained = 0.0
        self._saved = float("-inf")
        known = self._load()
        if known is not None and self._at > known[0] + DAY_S:
            self._at, self._doubt = known

    @property
    def now(self) -> int:
        """What the clock says: for what can be undone."""
        return int(self._clock())

    @property
    def doubtful(self) -> bool:
        """Whether the clock has jumped ahead, and is not believed yet."""
        return self._doubt > 0

    def sure(self) -> int:
        """The time that is believed: for what cannot be undone. To be called now and then, so that it can follow."""
        with self._lock:
            wall, steady = self._clock(), self._steady()
            passed = steady - self._looked
            expected, self._looked = self._at + passed, steady
            self._at = wall
            ahead, self._gained = max(0.0, wall - expected), max(0.0, self._gained - passed * STEP_S / DAY_S)
            if self._gained + ahead <= STEP_S:  # also when it was set back: that erases less
                self._doubt, self._gained = 0.0, self._gained + ahead
            elif self._doubt + passed < DOUBT_S:
                self._doubt += max(passed, 1e-9)
                self._at = expected
            else:
                self._doubt = 0.0
            if steady - self._saved >= _SAVE_S:
                self._saved = steady
                self._save()
            return int(self._at)

    def _load(self) -> tuple[float, float] | None:
        if self._path is None:
            return None
        try:
            body = json.loads(self._path.read_text("ascii"))
            at, doubt = float(body["at"]), min(max(float(body["doubt_s"]), 0.0), DOUBT_S)
            return (at, doubt) if math.isfinite(at + doubt) else None  # JSON knows infinity
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None  # nothing that anybody enrolled is lost with it

    def _save(self) -> None:
        if self._path is not None:
            body = json.dumps({"at": self._at, "doubt_s": self._doubt}).encode()
            with contextlib.suppress(OSError):
                replace_file(self._path, body, PRIVATE)


def expires_at(at: int, *days: int) -> int:
    """Seconds since 1970; 0, for ever, if all `days` are 0."""
    limits = [one for one in days if one]
    return at + min(limits) * DAY_S if limits else 0


def near(at: int, now: int) -> None:
    """S2: whether S1's time is about its own. Raises `NotReady`."""
    if abs(at - now) > SLACK_S:
        raise NotReady(_APART, detail=f"{at - now} s")


def matched(expires: NDArray[np.int64], at: int) -> NDArray[np.bool_]:
    """Which entries a question of that time is about."""
    out: NDArray[np.bool_] = (expires == 0) | (expires > at)
    return out


def check_time(expires: NDArray[np.int64], at: int, now: int) -> None:
    """S2: whether a question of S1's time is about the entries that it should be about by this server's clock `now`,
    but for those that came or come to their end within the slack. Raises `NotReady`."""
    missing = ~matched(expires, at) & (expires > now + SLACK_S)
    too_many = matched(expires, at) & (expires != 0) & (expires <= now - SLACK_S)
    if missing.any() or too_many.any():
        raise NotReady(_APART, detail=f"{at - now} s")


def over(expires: NDArray[np.int64], time: int) -> NDArray[np.intp]:
    """Which entries' time is over, some at once."""
    return np.flatnonzero((expires != 0) & (expires <= time))[:AT_ONCE]


def propose(txn: bytes, digest: bytes, handles: NDArray[np.uint64]) -> Rounds[list[Handle]]:
    """S1: those of some entries that S2 finds expired, too."""
    yield from send(ExpireOpen(txn, digest, handles.astype(">u8").tobytes()))
    verdicts = (yield from receive(Expired)).verdicts
    if len(verdicts) != len(handles) or not set(verdicts) <= {0, 1}:
        raise ProtocolError(detail="number of entries that have expired")
    return [Handle(int(handle)) for handle, good in zip(handles, verdicts, strict=True) if good]


def judge(
    opening: ExpireOpen, there: NDArray[np.uint64], expires: NDArray[np.int64], sure: int
) -> Rounds[list[Handle]]:
    """S2: those whose time is over by this server's calendar; S1 may be ahead of it by the slack."""
    if len(opening.handles) % 8 or not 0 < len(opening.handles) <= 8 * AT_ONCE:
        raise ProtocolError(detail="entries that have expired")
    named = np.frombuffer(opening.handles, ">u8").astype(np.uint64)
    gone = there[(expires != 0) & (expires <= sure + SLACK_S)]
    good = np.isin(named, gone)
    if len(np.unique(named)) != len(named):
        raise ProtocolError(detail="entries that have expired")
    yield from send(Expired(good.astype(np.uint8).tobytes()))
    return [Handle(int(handle)) for handle in named[good]]
