"""Questions, changes and offline work at the same time, in threads as in the servers, one change at a time."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import deal_base_ots
from pair import Pair
from waiting import PATIENCE_S

from pura.errors import NotReady, PeerUnavailable, PuraError
from pura.rounds import Done, advance
from pura.transport.channel import drive

ASKERS = 3
QUESTIONS = 6
CHANGES = 8


class Wire:
    """One end of a line between two threads."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[bytes | PuraError] = queue.SimpleQueue()
        self.other: Wire | None = None

    def send(self, body: bytes) -> None:
        assert self.other is not None
        self.other.inbox.put(body)

    def receive(self) -> bytes:
        got = self.inbox.get(timeout=PATIENCE_S)
        if isinstance(got, PuraError):
            raise got
        return got


def play(pair: Pair, pool: ThreadPoolExecutor, party: Any) -> Any:
    """S1's party in this thread against S2's in another; whoever fails breaks the line."""
    step = advance(party, None)
    if isinstance(step, Done):
        return step.result
    one, two = Wire(), Wire()
    one.other, two.other = two, one

    def begun() -> Any:
        now = step
        try:
            while not isinstance(now, Done):
                now = advance(party, (yield now))
            return now.result
        finally:
            party.close()

    def far() -> None:
        try:
            drive(pair.s2.session(), two)
        except PuraError as error:
            one.inbox.put(error)

    end = pool.submit(far)
    try:
        return drive(begun(), one)
    except PuraError:
        two.inbox.put(PeerUnavailable())
        raise
    finally:
        end.result(PATIENCE_S)


@pytest.mark.timeout(120)
def test_questions_are_right_while_the_gallery_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that stay are always found; one that is being changed is found or not; nothing else is ever refused."""
    deal_base_ots(monkeypatch)
    pair = Pair(tmp_path, dimension=16, scale=16, tau=64, packs=2, light_packs=1, lockout_tau=64, lockout_limit=1000)
    pair.connect()
    ys = 16 * np.concatenate([np.eye(16, dtype=np.int64)[:6], -np.eye(16, dtype=np.int64)[:6]])
    staying = dict(zip(pair.enroll(ys[:6]), ys[:6], strict=True))
    retries = []
    wrong: list[str] = []
    stop = threading.Event()
    pool = ThreadPoolExecutor(16)

    def ask(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for _ in range(QUESTIONS):
            handle, y = list(staying.items())[draw.integers(0, len(staying))]
            while True:
                named = draw.integers(0, 2)
                query, session = pair.query(y, [handle] if named else None)
                party = pair.s1.verify(query, [handle]) if named else pair.s1.identify(query)
                try:
                    answer = play(pair, pool, party)
                    break
                except NotReady as error:  # S2 has moved on between the two messages: clients ask again
                    retries.append(error)
            found = pair.opened(query, session, answer, [handle] if named else None).handles
            if found != [handle]:
                wrong.append(f"{found} instead of {handle}")

    def change() -> None:
        for i in range(CHANGES):
            outcomes = play(pair, pool, pair.s1.enroll([pair.entry(y) for y in ys[6 + i % 3 : 8 + i % 3]]))
            if i % 2:
                play(pair, pool, pair.s1.forget(outcomes))

    def work() -> None:
        while not stop.is_set():
            party = pair.s1.tidy() or pair.s1.refill()
            if party is None:
                stop.wait(0.05)
            else:
                play(pair, pool, party)

    with ThreadPoolExecutor(8) as threads:
        background = threads.submit(work)
        everybody = [threads.submit(change), *(threads.submit(ask, seed) for seed in range(ASKERS))]
        try:
            for each in everybody:
                each.result(PATIENCE_S)
        finally:
            stop.set()
        background.result(PATIENCE_S)
    assert wrong == []
    assert len(retries) <= CHANGES
    assert pair.s1._pictures.latest().digest == pair.s2._pictures.latest().digest
    assert len(pair.store1.roster().entries) == 6 + 2 * (CHANGES // 2)
    pool.shutdown()
    pair.close()
