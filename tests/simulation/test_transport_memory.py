"""The in-memory transport: results, tallies, and what each fault does to both parties."""

from __future__ import annotations

import queue
import threading

import pytest
from waiting import PATIENCE_S

from pura.errors import MalformedMessage, PeerUnavailable, ProtocolError
from pura.messages import Message, message
from pura.rounds import Rounds, Tally, exchange, receive, send
from pura.transport import Cut, Kill, Spoil, drive, play


@message
class Count(Message):
    value: int


def asker(log: list[str]) -> Rounds[int]:
    try:
        total = 0
        for i in range(3):
            total += (yield from exchange(Count(i), Count)).value
        return total
    finally:
        log.append("asker closed")


def doubler(log: list[str]) -> Rounds[str]:
    try:
        for _ in range(3):
            got = yield from receive(Count)
            yield from send(Count(2 * got.value))
        return "done"
    finally:
        log.append("doubler closed")


def test_both_to_their_ends() -> None:
    tally = Tally()
    one, two = play(asker([]), doubler([]), tally=tally)
    assert (one.get(), two.get()) == (6, "done")
    assert (tally.rounds, tally.bytes_sent, tally.bytes_received) == (3, 42, 42)


def test_a_killed_party_runs_no_more_of_its_code() -> None:
    for party, sent in ((1, False), (1, True), (2, False), (2, True)):
        log: list[str] = []
        ends = play(asker(log), doubler(log), Kill(party, 2, sent))
        assert ends[party - 1].killed
        survivor = ends[2 - party]
        assert isinstance(survivor.error, PeerUnavailable)
        assert log == [("doubler", "asker")[party - 1] + " closed"]
        with pytest.raises(PeerUnavailable):
            ends[party - 1].get()


def test_a_cut_line_closes_both() -> None:
    for number in range(1, 7):
        log: list[str] = []
        for end in play(asker(log), doubler(log), Cut(number)):
            assert isinstance(end.error, PeerUnavailable)
        assert sorted(log) == ["asker closed", "doubler closed"]
    assert play(asker([]), doubler([]), Cut(7))[0].get() == 6


def test_a_spoilt_message_is_refused_and_its_cause_told() -> None:
    for end in play(asker([]), doubler([]), Spoil(3, lambda body: body + b"\0")):
        assert isinstance(end.error, MalformedMessage)


def test_parties_that_wait_for_each_other() -> None:
    for end in play(receive(Count), receive(Count)):
        assert isinstance(end.error, ProtocolError)
    one, two = play(send(Count(1)), exchange(Count(1), Count))
    assert one.done
    assert two.done
    one, early = play(receive(Count), send(Count(1)))
    assert early.done
    ended, waits = play(send(Count(1)), doubler([]))
    assert ended.done
    assert isinstance(waits.error, ProtocolError)


class Pipe:
    def __init__(self, out: queue.SimpleQueue[bytes], back: queue.SimpleQueue[bytes]) -> None:
        self.out, self.back = out, back

    def send(self, body: bytes) -> None:
        self.out.put(body)

    def receive(self) -> bytes:
        return self.back.get(timeout=PATIENCE_S)


def test_driving_over_a_channel() -> None:
    to_two: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    to_one: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    log: list[str] = []
    thread = threading.Thread(target=drive, args=(doubler(log), Pipe(to_one, to_two)))
    thread.start()
    tally = Tally()
    assert drive(asker(log), Pipe(to_two, to_one), tally) == 6
    thread.join()
    assert (tally.rounds, tally.bytes_sent) == (3, 42)
    assert sorted(log) == ["asker closed", "doubler closed"]


def test_driving_closes_the_party_when_the_channel_fails() -> None:
    class Broken(Pipe):
        def receive(self) -> bytes:
            raise PeerUnavailable()

    log: list[str] = []
    with pytest.raises(PeerUnavailable):
        drive(asker(log), Broken(queue.SimpleQueue(), queue.SimpleQueue()))
    assert log == ["asker closed"]
