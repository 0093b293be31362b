"""Tries: doubtful questions that name an entry are counted, and so many answered in a day, a month, and in all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair import Pair

from pura.errors import BadConfig, OutOfRange, UnknownEntry
from pura.ids import Handle, KeyId
from pura.params import FEW, Params
from pura.protocols.prepared.lockout import counters_of
from pura.protocols.prepared.match import rule_for
from pura.protocols.shares.ledger import Windows
from pura.rounds import run_pair
from pura_server.prepared.counters import WINDOWS_FILE, FileWindows

S, DAY = 16, 100.0
TAU, DEEP = S * S // 2, S * S // 8
DAILY, MONTHLY, TOTAL = 3, 5, 7


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(tmp_path: Path, clock: Clock) -> Iterator[Pair]:
    made = Pair(
        tmp_path, dimension=16, scale=S, tau=TAU, tau_deep=DEEP, tries=(DAILY, MONTHLY, TOTAL), packs=1, light_packs=0,
        clock=clock, lockout_window_s=DAY,
    )  # fmt: skip
    made.connect()
    yield made
    made.close()


FAR = np.diag([S] * 16)
SHALLOW = np.array([14, 7, 3, 1, 1] + 11 * [0])
"""Accepted as the first of FAR, not deeply; far from all others."""


def counts(pair: Pair, handle: Handle) -> list[int]:
    """What a tester sees who has both servers' shares: in all, in a month, in a day."""
    one, two = pair.s1._ledger.now, pair.s2._ledger.now
    assert one.epoch == two.epoch
    rule = rule_for(pair.s1._side, 1)
    at, (a, b) = np.array([handle], np.uint64), (one, two)
    low = np.uint64((1 << rule.width) - 1)
    shares = zip(counters_of(rule, a.of(at)), counters_of(rule, b.of(at)), strict=True)
    return [int(x[0] + y[0] & low) for x, y in shares]


def test_whoever_is_surely_meant_is_never_counted(pair: Pair) -> None:
    (a,) = pair.enroll(FAR[:1])
    for _ in range(TOTAL + 1):
        assert pair.ask(FAR[0], [a]) == [a]
    assert counts(pair, a) == [0, 0, 0]


def test_doubtful_questions_lock_for_a_day_a_month_and_for_good(pair: Pair, clock: Clock) -> None:
    a, b = pair.enroll(FAR[:2])
    assert pair.ask(SHALLOW, [a]) == [a], "accepted, and counted"
    assert [pair.ask(FAR[5], [a]) for _ in range(DAILY - 1)] == [[]] * (DAILY - 1)
    assert counts(pair, a) == [DAILY] * 3
    assert pair.ask(FAR[0], [a]) == [], "locked"
    assert pair.ask(FAR[1], [b]) == [b], "the other is not"
    assert pair.ask(FAR[5], [a]) == []
    assert counts(pair, a) == [DAILY] * 3, "while it is locked nothing is counted"
    clock.now = DAY
    assert pair.ask(FAR[0], [a]) == [a]
    assert counts(pair, a) == [DAILY, DAILY, 0]
    for _ in range(DAILY):
        pair.ask(FAR[5], [a])
    assert counts(pair, a) == [MONTHLY, MONTHLY, MONTHLY - DAILY]
    clock.now = 2 * DAY
    assert pair.ask(FAR[0], [a]) == [], "the month's are spent"
    clock.now = 30 * DAY
    assert pair.ask(FAR[0], [a]) == [a]
    for _ in range(DAILY):
        pair.ask(FAR[5], [a])
    assert counts(pair, a) == [TOTAL, TOTAL - MONTHLY, TOTAL - MONTHLY]
    clock.now = 400 * DAY
    assert pair.ask(FAR[0], [a]) == [], "for good"
    run_pair(pair.s1.unlock([a]), pair.s2.session())
    assert counts(pair, a) == [0, 0, 0]
    assert pair.ask(FAR[0], [a]) == [a]


def test_no_message_tells_whether_a_question_was_counted(pair: Pair) -> None:
    (a,) = pair.enroll(FAR[:1])
    seen = []
    for question in (FAR[0], SHALLOW, FAR[5], np.array([S - 1] + 15 * [0]), FAR[5], FAR[0]):
        pair.ask(question, [a])  # deep, shallow, not, of another length, the last that is answered, locked
        seen.append(pair.tally)
    assert counts(pair, a)[0] == DAILY
    assert seen[0].rounds > 0
    assert seen == [seen[0]] * len(seen)


def test_a_search_is_not_counted_and_finds_who_is_locked(pair: Pair) -> None:
    handles = pair.enroll(FAR)
    a = handles[0]
    for _ in range(DAILY):
        pair.ask(FAR[5], [a])
    assert pair.ask(FAR[0], [a]) == []
    assert pair.ask(FAR[0]) == [a]
    before = counts(pair, a)
    more = pair.enroll(np.roll(SHALLOW, 1)[None])
    assert len(handles + more) > FEW
    assert pair.ask(FAR[0], handles + more) == [a], "so many named are a search"
    assert counts(pair, a) == before


def test_a_question_of_another_length_moves_no_counter(pair: Pair) -> None:
    (a,) = pair.enroll(FAR[:1])
    assert pair.ask(np.array([S - 1] + 15 * [0]), [a]) == []
    assert counts(pair, a) == [0, 0, 0]


def test_only_entries_that_are_there_are_unlocked(pair: Pair, tmp_path: Path) -> None:
    pair.enroll(FAR[:1])
    with pytest.raises(UnknownEntry):
        run_pair(pair.s1.unlock([Handle(3)]), pair.s2.session())
    other = Pair(tmp_path / "other", dimension=16, scale=S, tau=TAU, packs=1, light_packs=0)
    with pytest.raises(BadConfig, match="no limit"):
        next(other.s1.unlock([Handle(3)]))
    other.close()


def test_windows_go_on_over_a_restart(tmp_path: Path, clock: Clock) -> None:
    lengths = (float("inf"), 300.0, 10.0)
    clock.now = 1000.0
    windows = FileWindows(tmp_path, lengths, clock)
    assert windows.over() == 0
    clock.now = 1010.0
    windows = FileWindows(tmp_path, lengths, clock)
    assert windows.over() == 0b100
    windows.begin(0b100)
    clock.now = 1301.0
    windows = FileWindows(tmp_path, lengths, clock)
    assert windows.over() == 0b110
    assert windows.began == [1000.0, 1000.0, 1010.0]
    clock.now = 0.0
    assert windows.over() == 0b110, "a clock that was set back does not make a window longer"
    (tmp_path / WINDOWS_FILE).write_text("torn")
    assert FileWindows(tmp_path, lengths, clock).over() == 0
    assert Windows((5.0,), clock, [1.0, 2.0]).began == [0.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tries": (0, 0, 5)},
        {"tries": (5, 4, 9)},
        {"tries": (1, 2, 1 << 16)},
        {"tries": (1, 2, 3), "tau_deep": TAU + 1},
    ],
)
def test_limits_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OutOfRange):
        Params(KeyId(bytes(32)), 2048, scale=S, tau_verify=TAU, tau_identify=TAU, **wrong)
