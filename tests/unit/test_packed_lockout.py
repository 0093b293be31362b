"""The lockout: what it counts, that both servers count alike, and that neither has to know anything for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packed_pair import Pair

from pura.errors import OutOfRange, ProtocolError
from pura.params import Params
from pura.protocols.packed.lockout import Counters, Ledger
from pura.rounds import Done, Send, advance
from pura_server.packed.counters import FILE, FileLedger

D, TAU, NEAR, LIMIT = 6, 100_000, 300_000, 3


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
        tmp_path, dimension=D, tau=TAU, lockout_tau=NEAR, lockout_limit=LIMIT, packs=1, light_packs=0,
        clock=clock, lockout_window_s=100.0,
    )  # fmt: skip
    made.connect()
    yield made
    made.close()


def mixed(a: np.ndarray, b: np.ndarray, part: float) -> np.ndarray:
    """A template between two others."""
    v = (1 - part) * a + part * b
    return np.rint(512 * v / np.linalg.norm(v)).astype(np.int64)


def people(pair: Pair) -> tuple[list[int], np.ndarray]:
    """Three entries that are far from each other."""
    ys = np.rint(512 * np.eye(D)[:3]).astype(np.int64)
    return pair.enroll(ys), ys


def counts(pair: Pair) -> dict[int, int]:
    """What a tester sees who has both servers' shares."""
    one, two = pair.s1._ledger.now, pair.s2._ledger.now
    assert one.epoch == two.epoch
    mask = (1 << pair.s1._side.columns.slot_bits) - 1
    return dict(zip(one.handles.tolist(), (int(v) & mask for v in one.shares + two.shares), strict=True))


def test_an_entry_answers_so_many_questions_near_it_and_no_more(pair: Pair) -> None:
    (a, b, c), ys = people(pair)
    assert [pair.ask(ys[0]) for _ in range(LIMIT)] == [[a]] * LIMIT
    assert counts(pair) == {a: LIMIT, b: 0, c: 0}
    assert pair.ask(ys[0]) == []
    assert pair.ask(ys[0], [a]) == []
    assert pair.ask(ys[1]) == [b]
    pair.refill()
    assert pair.ask(ys[0]) == []
    assert counts(pair)[a] == LIMIT  # it stays there, however often it is asked


def test_a_near_miss_counts_and_a_stranger_does_not(pair: Pair) -> None:
    (a, b, c), ys = people(pair)
    near = mixed(ys[0], np.rint(512 * np.eye(D)[4]).astype(np.int64), 0.45)
    d = int(((near - ys[0]) ** 2).sum())
    assert TAU < d <= NEAR
    for _ in range(LIMIT):
        assert pair.ask(near) == []
    stranger = np.rint(512 * np.eye(D)[5]).astype(np.int64)
    for _ in range(LIMIT + 1):
        assert pair.ask(stranger) == []
    assert counts(pair) == {a: LIMIT, b: 0, c: 0}
    assert pair.ask(ys[0]) == []
    assert pair.ask(ys[2]) == [c]


def test_a_locked_entry_does_not_stand_in_the_way_of_the_next_nearest(pair: Pair) -> None:
    (a, _b, _c), ys = people(pair)
    between = mixed(ys[0], ys[1], 0.1)
    for _ in range(LIMIT):
        pair.ask(ys[0], [a])
    (other,) = pair.enroll(mixed(ys[0], ys[1], 0.2)[None])
    assert pair.ask(between) == [other]


def test_a_new_window_begins_anew(pair: Pair, clock: Clock) -> None:
    (a, *_), ys = people(pair)
    for _ in range(LIMIT + 1):
        pair.ask(ys[0])
    assert pair.ask(ys[0]) == []
    clock.now = 101.0
    assert pair.ask(ys[0]) == [a]
    assert counts(pair)[a] == 1
    clock.now = 150.0
    pair.ask(ys[0])
    assert counts(pair)[a] == 2


def test_a_question_that_is_cut_off_anywhere_counts_at_both_servers_or_at_none(pair: Pair) -> None:
    (a, *_), ys = people(pair)
    total = 0
    pair.ask(ys[0])
    before = counts(pair)[a]
    for cut in range(0, 60, 5):
        if counts(pair)[a] >= LIMIT - 1:
            pair.s1._ledger, pair.s2._ledger = Ledger(), Ledger()
        query, _ = pair.query(ys[0])
        one, two = pair.s1.identify(query), pair.s2.session()
        _play(one, two, cut)
        found = pair.ask(ys[0])
        assert found == [a]
        assert counts(pair)[a] <= LIMIT
        total += 1
    assert total == 12
    assert before == 1


def _play(one: object, two: object, cut: int) -> None:
    """Carry so many messages, then drop both parties."""
    parties, inbox = [one, two], ([], [])  # type: ignore[var-annotated]
    states = [advance(p, None) for p in parties]  # type: ignore[arg-type]
    carried = 0
    while carried < cut and not all(isinstance(s, Done) for s in states):
        for i in (0, 1):
            step = states[i]
            if isinstance(step, Send):
                inbox[1 - i].append(step.message)
                states[i] = advance(parties[i], None)  # type: ignore[arg-type]
                carried += 1
            elif not isinstance(step, Done) and inbox[i]:
                states[i] = advance(parties[i], inbox[i].pop(0))  # type: ignore[arg-type]
    for party in parties:
        party.close()  # type: ignore[attr-defined]


def test_counters_outlive_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    ledger = FileLedger(folder, b"c" * 32)
    handles, shares = np.array([3, 9], np.uint64), np.array([5, 1 << 20], np.uint64)
    first = ledger.now
    ledger.move(first.plus(handles, shares, b"1" * 16, 23), first)
    again = FileLedger(folder, b"c" * 32)
    assert again.now.epoch == b"1" * 16
    assert again.now.of(np.array([9, 4, 3], np.uint64)).tolist() == [1 << 20, 0, 5]
    assert again.go_back_to(first.epoch)
    assert FileLedger(folder, b"d" * 32).now.epoch == bytes(16)
    raw = (folder / FILE).read_bytes()
    for broken in (raw[:-1], raw[:40] + b"\1" + raw[41:], b""):
        (folder / FILE).write_bytes(broken)
        assert FileLedger(folder, b"c" * 32).now.epoch == bytes(16)
    assert (folder / FILE).stat().st_mode & 0o077 == 0


def test_a_restart_of_both_servers_keeps_the_count(pair: Pair, tmp_path: Path) -> None:
    for name, server in (("a", pair.s1), ("b", pair.s2)):
        (tmp_path / name).mkdir()
        server._ledger = FileLedger(tmp_path / name, pair.params.storage)
    (a, *_), ys = people(pair)
    for _ in range(LIMIT):
        assert pair.ask(ys[0]) == [a]
    for name, server in (("a", pair.s1), ("b", pair.s2)):
        server._ledger = FileLedger(tmp_path / name, pair.params.storage)
    assert pair.ask(ys[0]) == []
    assert counts(pair)[a] == LIMIT


def test_a_party_that_comes_late_does_not_move_the_counters() -> None:
    ledger = Ledger()
    old = ledger.now
    none = np.zeros(0, np.uint64)
    ledger.move(old.plus(none, none, b"1" * 16, 23), old)
    with pytest.raises(ProtocolError):
        ledger.move(Counters(b"2" * 16), old)


def test_a_policy_that_makes_no_sense_is_refused(pair: Pair) -> None:
    for how in (
        {"tau": 9, "lockout_tau": 8, "lockout_limit": 1},
        {"lockout_limit": -1},
        {"lockout_limit": 1 << 16},
        {"scale": 16, "dimension": 6, "lockout_limit": 4000},
    ):
        with pytest.raises(OutOfRange):
            Params(pair.pk.key_id, 2048, **how)  # type: ignore[arg-type]
