"""Entries that are kept for a time: not matched afterwards, erased by both servers' clocks, not by one that jumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair import Pair, templates

from pura.errors import NotReady, StorageFull, UnknownEntry
from pura.ids import Handle
from pura.roster import Listed, Roster
from pura.rounds import run_pair
from pura.store.base import Store
from pura_server.backend import Begins, Kind
from pura_server.expiry import DAY_S, DOUBT_S, FILE, SLACK_S, STEP_S, Calendar, expires_at

NOW = 1_800_000_000


class Clock:
    """A clock that somebody sets, and one that nobody does."""

    def __init__(self, at: float = NOW) -> None:
        self.at, self.steady = float(at), 1000.0

    def passes(self, seconds: float) -> None:
        self.at += seconds
        self.steady += seconds

    def calendar(self, folder: Path | None = None) -> Calendar:
        return Calendar(folder, lambda: self.at, lambda: self.steady)


class Timed(Pair):
    """A pair whose servers have clocks."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.clocks = [Clock(), Clock()]
        super().__init__(folder, **how)

    def open_s1(self) -> None:
        super().open_s1()
        self.s1._calendar = self.clocks[0].calendar(self.folder / "S1")

    def open_s2(self) -> None:
        super().open_s2()
        self.s2._calendar = self.clocks[1].calendar(self.folder / "S2")

    def passes(self, seconds: float) -> None:
        for clock in self.clocks:
            clock.passes(seconds)

    def keep(self, ys: np.ndarray, days: int) -> list[Handle]:
        items = [self.entry(y, keep_days=days) for y in ys]
        handles: list[Handle] = self.run(self.s1.enroll(items))
        self.model.update(zip(handles, ys, strict=True))
        return handles

    def gone(self, handles: list[Handle]) -> None:
        for handle in handles:
            del self.model[handle]


@pytest.fixture
def pair(tmp_path: Path) -> Timed:
    made = Timed(tmp_path, dimension=16, scale=16, tau=0, packs=2, light_packs=1, retention_days=30)
    made.connect()
    return made


YS = np.unique(templates(type("P", (), {"dimension": 16, "scale": 16}), 40, seed=4), axis=0)[:6]  # type: ignore[arg-type]


def test_the_fewer_of_the_collections_days_and_the_enrolments_own_count() -> None:
    assert [expires_at(NOW, *days) - NOW for days in ((30, 7), (30, 90), (30, 0), (0, 7))] == [
        7 * DAY_S,
        30 * DAY_S,
        30 * DAY_S,
        7 * DAY_S,
    ]
    assert expires_at(NOW, 0, 0) == 0


def test_an_entry_is_not_matched_any_more_and_then_erased_at_both(pair: Timed) -> None:
    week, month = pair.keep(YS[:2], 7), pair.keep(YS[2:4], 0)
    pair.refill()
    told = {one.handle: one.expires for one in pair.s1.roster().entries}
    assert told == {**dict.fromkeys(week, NOW + 7 * DAY_S), **dict.fromkeys(month, NOW + 30 * DAY_S)}
    pair.passes(7 * DAY_S - 1)
    for y in YS[:4]:
        pair.check(y)
        pair.check(y, [*week, *month])
    pair.passes(1)
    bodies = pair.store2.bodies(week)
    generation = pair.s1.roster().generation
    pair.gone(week)
    for y in YS[:4]:  # before anything is erased
        pair.check(y)
    assert pair.ask(YS[0], [*week, *month]) == []
    assert pair.ask(YS[2], [*week, *month]) == month[:1]
    with pytest.raises(UnknownEntry):
        pair.ask(YS[0], week)
    assert pair.s1.levels()["entries"] == 4
    pair.refill()
    assert pair.s1.levels()["entries"] == pair.s2.levels()["entries"] == 2
    changes = pair.s1.roster(generation)
    assert set(changes.removed) == set(week)
    assert pair.verifier.roster(changes.signature, changes.generation, changes.digest)
    assert [row.kind for row in pair.store2.audit()] == ["enrol", "enrol", "expire"]
    assert all(pair.store2.by_handle(handle) is None for handle in week)
    raw = b"".join(path.read_bytes() for path in (pair.folder / "S2").glob("gallery.db*"))
    assert not any(body in raw for body in bodies)
    for y in YS[:4]:
        pair.check(y)
    pair.passes(23 * DAY_S)
    pair.model.clear()
    assert pair.ask(YS[2]) == []
    pair.refill()
    assert pair.s1.levels()["entries"] == 0
    assert pair.ask(YS[2]) == []


def test_entries_are_kept_across_a_restart_with_their_time(pair: Timed) -> None:
    week = pair.keep(YS[:1], 7)
    pair.relabel({week[0]: b"another"})
    pair.close()
    pair.passes(DAY_S)
    pair.open()
    pair.connect()
    assert [one.expires for one in pair.s1.roster().entries] == [NOW + 7 * DAY_S]
    pair.check(YS[0])
    pair.passes(6 * DAY_S)
    pair.gone(week)
    pair.check(YS[0])
    pair.refill()
    assert pair.s1.levels()["entries"] == 0


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("by", [1000 * DAY_S, -1000 * DAY_S])
def test_a_clock_that_jumps_at_one_server_erases_nothing(pair: Timed, who: int, by: float) -> None:
    pair.keep(YS[:3], 7)
    pair.clocks[who].at += by
    pair.passes(3 * DOUBT_S)  # the jump is believed there by now
    pair.refill()
    assert pair.s1.levels()["entries"] == pair.s2.levels()["entries"] == 3
    wants = (lambda: pair.ask(YS[0])) if by > 0 else (lambda: pair.keep(YS[3:4], 0))
    with pytest.raises(NotReady, match="the clocks of the two servers differ"):
        wants()
    pair.connect()
    pair.clocks[who].at -= by
    for y in YS[:3]:
        pair.check(y)


def test_clocks_that_jump_at_both_servers_erase_nothing_for_a_day(pair: Timed) -> None:
    handles = pair.keep(YS[:3], 7)
    assert pair.s1._calendar.sure() == pair.s2._calendar.sure() == NOW
    for clock in pair.clocks:
        clock.at += 1000 * DAY_S
    pair.refill()
    assert pair.s1.levels()["clock_doubtful"] == 1.0
    for _ in range(4):
        pair.passes(DOUBT_S / 5)
        pair.s2.epoch()
        pair.refill()
    assert pair.s1.levels()["entries"] == 3
    assert pair.ask(YS[0]) == []  # which can be undone
    for clock in pair.clocks:
        clock.at -= 1000 * DAY_S
    pair.refill()
    assert "clock_doubtful" not in pair.s1.levels()
    for y in YS[:3]:
        pair.check(y)
    for clock in pair.clocks:  # and now in earnest: it stays there
        clock.at += 1000 * DAY_S
    for _ in range(7):
        pair.s2.epoch()
        pair.refill()
        pair.passes(DOUBT_S / 5)
    assert pair.s1.levels()["entries"] == 0
    pair.gone(handles)


def test_both_servers_say_that_they_erase_before_they_do(pair: Timed) -> None:
    week = pair.keep(YS[:1], 7)
    pair.passes(7 * DAY_S)
    told: list[tuple[str, Kind, bool]] = []

    def begins(who: str, store: Store) -> Begins:
        return lambda kind: told.append((who, kind, store.by_handle(week[0]) is not None))

    run_pair(pair.s1.tidy(begins("S1", pair.store1)), pair.s2.session(begins("S2", pair.store2)))
    assert told == [("S1", Kind.EXPIRE, True), ("S2", Kind.EXPIRE, True)]
    assert pair.store1.by_handle(week[0]) is pair.store2.by_handle(week[0]) is None
    assert pair.s1.tidy(begins("S1", pair.store1)) is None


def test_nothing_is_erased_that_cannot_be_written_down(pair: Timed) -> None:
    week = pair.keep(YS[:1], 7)
    pair.passes(7 * DAY_S)

    def full(_: Kind) -> None:
        raise StorageFull()

    with pytest.raises(StorageFull):
        run_pair(pair.s1.tidy(full), pair.s2.session())
    assert pair.store1.by_handle(week[0]) is not None


def test_a_clock_that_gets_ahead_little_by_little_is_not_believed_either() -> None:
    clock = Clock()
    calendar = clock.calendar()
    for _ in range(12 * 60):  # half a day, and 59 minutes more at every look
        clock.passes(60)
        clock.at += 59 * 60
        believed = calendar.sure()
    assert believed <= NOW + DAY_S / 2 + STEP_S
    assert calendar.doubtful
    honest = Clock()
    calendar = honest.calendar()
    for _ in range(10_000):  # a week by a clock that is fast by 500 ppm, which is what NTP corrects at most
        honest.passes(60)
        honest.at += 0.03
        assert calendar.sure() == int(honest.at)
    assert not calendar.doubtful


def test_s1_alone_can_neither_erase_early_nor_match_late_nor_leave_out(pair: Timed) -> None:
    week = pair.keep(YS[:2], 7)
    pair.s1._calendar = Clock(NOW + 8 * DAY_S).calendar()  # a deviating S1's word
    assert pair.run(pair.s1.expire()) == 0
    assert pair.store2.by_handle(week[0]) is not None
    with pytest.raises(NotReady):  # "nobody", signed by S2, for somebody who is enrolled
        pair.ask(YS[0])
    pair.s1._calendar = Clock(NOW).calendar()
    pair.clocks[1].passes(7 * DAY_S + SLACK_S)
    pair.s2.epoch()
    with pytest.raises(NotReady):  # still asks about entries whose time is over
        pair.ask(YS[0])


def test_clocks_a_little_apart_do_no_harm(pair: Timed) -> None:
    week = pair.keep(YS[:2], 7)
    for apart in (-SLACK_S + 60, SLACK_S - 60):
        pair.clocks[1].at = pair.clocks[0].at + apart
        pair.check(YS[0])
    pair.passes(7 * DAY_S)
    pair.s2.epoch()
    pair.gone(week)
    pair.check(YS[0])
    pair.clocks[1].at = pair.clocks[0].at - SLACK_S + 60
    pair.refill()
    assert pair.s1.levels()["entries"] == 0


def test_a_calendar_follows_its_clock_and_doubts_a_jump(tmp_path: Path) -> None:
    clock = Clock()
    calendar = clock.calendar(tmp_path)
    for _ in range(5):
        clock.passes(1000)
        clock.at += STEP_S / 10  # a clock that is set right by little steps
        assert calendar.sure() == int(clock.at)
    clock.at -= 10 * DAY_S
    assert calendar.sure() == int(clock.at), "set back, it is believed: less is erased"
    before = calendar.sure()
    clock.at += 2 * STEP_S
    clock.passes(60)
    assert calendar.sure() == before + 60
    assert calendar.doubtful
    clock.passes(DOUBT_S)
    assert calendar.sure() == int(clock.at)
    assert not calendar.doubtful


def test_a_calendar_remembers_across_restarts(tmp_path: Path) -> None:
    clock = Clock()
    assert clock.calendar(tmp_path).sure() == NOW
    clock.at += DAY_S - 1  # switched off over night
    assert clock.calendar(tmp_path).sure() == int(clock.at)
    before = clock.at
    clock.at += 90 * DAY_S  # for months, or the clock is wrong: who knows
    calendar = clock.calendar(tmp_path)
    assert calendar.sure() == before
    clock.passes(DOUBT_S / 2)
    assert calendar.sure() == before + DOUBT_S / 2
    later = clock.calendar(tmp_path)  # a restart does not begin the doubt anew
    clock.passes(DOUBT_S / 2 + 1)
    assert later.sure() == int(clock.at)
    for rubbish in (b"", b"{", b"[]", b'{"at": "x", "doubt_s": 0}', b'{"at": 1e999}', b"\xff"):
        (tmp_path / FILE).write_bytes(rubbish)
        assert clock.calendar(tmp_path).sure() == int(clock.at)


def test_the_rosters_digest_has_the_time(pair: Timed) -> None:
    one, other, never = Roster(), Roster(), Roster()
    entry = Listed(Handle(1), YS.tobytes()[:16], b"label", NOW)  # type: ignore[arg-type]
    for roster, expires in ((one, NOW), (other, NOW + 1), (never, 0)):
        roster.add([Listed(entry.handle, entry.enrolment_id, entry.label, expires)])
    assert len({roster.digest() for roster in (one, other, never)}) == 3
