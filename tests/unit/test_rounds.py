"""Parties as generators: who is resumed when, what is counted, and what a party that breaks the rules gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.errors import MalformedMessage, OutOfRange, ProtocolError, PuraError
from pura.messages import Message, encode, message
from pura.rounds import (
    Bundle,
    Done,
    Receive,
    Rounds,
    Send,
    Tally,
    advance,
    exchange,
    receive,
    receive_any,
    run_pair,
    send,
    together,
)


@message
class RoundsPing(Message):
    """For these tests."""

    number: int


@message
class RoundsPong(Message):
    """For these tests."""

    body: bytes


PING, PONG = len(encode(RoundsPing(0))), len(encode(RoundsPong(b"")))


def nothing() -> Rounds[str]:
    yield from ()
    return "nothing"


def asks(numbers: list[int]) -> Rounds[list[bytes]]:
    out = []
    for n in numbers:
        yield from send(RoundsPing(n))
        out.append((yield from receive(RoundsPong)).body)
    return out


def answers(count: int) -> Rounds[int]:
    total = 0
    for _ in range(count):
        got = yield from receive(RoundsPing)
        total += got.number
        yield from send(RoundsPong(bytes(got.number)))
    return total


# --- one party ----------------------------------------------------------------------------------------


def test_a_party_step_by_step() -> None:
    party = asks([2])
    step = advance(party, None)
    assert isinstance(step, Send)
    assert step.message == RoundsPing(2)
    assert advance(party, None) == Receive(RoundsPong)
    done = advance(party, RoundsPong(b"xy"))
    assert isinstance(done, Done)
    assert done.result == [b"xy"]


def test_a_party_without_messages() -> None:
    done = advance(nothing(), None)
    assert isinstance(done, Done)
    assert done.result == "nothing"
    assert run_pair(nothing(), nothing()) == ("nothing", "nothing")


@pytest.mark.parametrize("got", [RoundsPong(b""), None], ids=["another kind", "none"])
def test_a_message_of_another_kind(got: Message | None) -> None:
    party = answers(1)
    advance(party, None)
    with pytest.raises(ProtocolError) as caught:
        advance(party, got)
    assert "RoundsPing" in caught.value.detail
    assert "RoundsPing" not in str(caught.value)


def test_a_subclass_is_another_kind() -> None:
    """Nothing but the named class, or its layout would not be known."""
    try:
        child = type("RoundsChild", (RoundsPing,), {"__annotations__": {}, "__module__": __name__})
        party = answers(1)
        advance(party, None)
        with pytest.raises(ProtocolError):
            advance(party, child(1))
    finally:
        Message.registry.pop("RoundsChild", None)


def test_receiving_whatever_comes_first() -> None:
    party = receive_any()
    assert advance(party, None) == Receive(Message)
    done = advance(party, RoundsPing(4))
    assert isinstance(done, Done)
    assert done.result == RoundsPing(4)
    party = receive_any()
    advance(party, None)
    with pytest.raises(ProtocolError):
        advance(party, None)


# --- two parties ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), max_size=10))
@settings(max_examples=30, deadline=None)
def test_asking_and_answering(numbers: list[int]) -> None:
    tally = Tally()
    got, total = run_pair(asks(numbers), answers(len(numbers)), tally)
    assert got == [bytes(n) for n in numbers]
    assert total == sum(numbers)
    assert tally.rounds == len(numbers)
    assert tally.bytes_sent == PING * len(numbers)
    assert tally.bytes_received == PONG * len(numbers) + sum(numbers)


def test_the_tally_is_of_the_first_party() -> None:
    tally = Tally()
    run_pair(answers(3), asks([1, 2, 3]), tally)
    assert tally.bytes_sent == 3 * PONG + 6
    assert tally.bytes_received == 3 * PING
    assert tally.rounds == 2  # the first question comes unasked; two answers wait for the next one


def test_a_tally_adds_up_over_runs() -> None:
    tally = Tally()
    for _ in range(3):
        run_pair(asks([0]), answers(1), tally)
    assert (tally.rounds, tally.bytes_sent) == (3, 3 * PING)


def test_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    def talks(count: int) -> Rounds[list[int]]:
        for n in range(count):
            yield from send(RoundsPing(n))
        heard = []
        for _ in range(count):
            heard.append((yield from receive(RoundsPing)).number)
        return heard

    tally = Tally()
    assert run_pair(talks(20), talks(20), tally) == (list(range(20)), list(range(20)))
    assert tally.rounds == 1


def test_an_exchange_is_one_round() -> None:
    tally = Tally()
    one, two = run_pair(exchange(RoundsPing(1), RoundsPing), exchange(RoundsPing(2), RoundsPing), tally)
    assert (one.number, two.number) == (2, 1)
    assert tally.rounds == 1


def test_each_party_gets_its_own_copy() -> None:
    """Everything goes through the codec: no object is shared, and what cannot be encoded does not arrive."""
    sent = RoundsPong(b"body")

    def gives() -> Rounds[None]:
        yield from send(sent)

    _, got = run_pair(gives(), receive(RoundsPong))
    assert got == sent
    assert got is not sent

    def gives_too_much() -> Rounds[None]:
        yield from send(RoundsPing(1 << 64))

    with pytest.raises(MalformedMessage):
        run_pair(gives_too_much(), receive(RoundsPing))


# --- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (receive(RoundsPing), receive(RoundsPing)),
        (asks([1, 2]), answers(1)),
        (asks([]), answers(1)),
        (answers(1), nothing()),
    ],
    ids=["both wait", "one answer too few", "never asked", "the other is done"],
)
def test_waiting_for_ever_is_an_error(one: Rounds[Any], two: Rounds[Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        run_pair(one, two)
    assert "wait" in caught.value.detail


@pytest.mark.parametrize("swapped", [False, True])
def test_a_message_that_nobody_reads_is_an_error(swapped: bool) -> None:
    pair = send(RoundsPing(1)), nothing()
    with pytest.raises(ProtocolError) as caught:
        run_pair(*(reversed(pair) if swapped else pair))
    assert "never read" in caught.value.detail


def test_the_wrong_kind_of_message() -> None:
    with pytest.raises(ProtocolError):
        run_pair(send(RoundsPing(1)), receive(RoundsPong))


def test_the_error_of_a_party_is_the_error_of_the_run() -> None:
    def fails() -> Rounds[None]:
        yield from receive(RoundsPing)
        raise OutOfRange("too large")

    with pytest.raises(OutOfRange, match="too large"):
        run_pair(asks([1]), fails())


def test_a_party_may_end_on_its_own_error_handling() -> None:
    """A failed party that is caught inside another one goes on."""

    def careful() -> Rounds[str]:
        try:
            yield from receive(RoundsPing)
        except ProtocolError:
            return "refused"
        return "taken"

    def wrong() -> Rounds[None]:
        yield from send(RoundsPong(b""))

    assert run_pair(careful(), wrong()) == ("refused", None)


def test_nothing_that_a_party_holds_is_printed() -> None:
    def secretive() -> Iterator[object]:
        yield Send(RoundsPong(b"secret"))
        yield Done(["secret"])
        yield Receive(RoundsPong)

    for step in secretive():
        assert "secret" not in f"{step!r} {step}"


# --- side by side ------------------------------------------------------------------------------------


def asking(count: int, start: int) -> Rounds[list[int]]:
    out = []
    for i in range(count):
        got = yield from exchange(RoundsPing(start + i), RoundsPing)
        out.append(got.number)
    return out


def telling(count: int) -> Rounds[str]:
    for i in range(count):
        yield from send(RoundsPing(i))
    return "told"


def listening(count: int) -> Rounds[int]:
    total = 0
    for _ in range(count):
        total += (yield from receive(RoundsPing)).number
    return total


def test_parties_side_by_side_take_as_many_rounds_as_the_longest() -> None:
    tally = Tally()
    one, two = run_pair(
        together(asking(3, 0), asking(7, 100), telling(4), nothing()),
        together(asking(3, 50), asking(7, 200), listening(4), nothing()),
        tally,
    )
    assert one == ([50, 51, 52], list(range(200, 207)), "told", "nothing")
    assert two == ([0, 1, 2], list(range(100, 107)), 6, "nothing")
    assert tally.rounds == 7


def test_side_by_side_within_side_by_side() -> None:
    def inner(start: int) -> Rounds[tuple[Any, ...]]:
        return together(asking(2, start), asking(3, start + 10))

    one, two = run_pair(together(inner(0), asking(4, 90)), together(inner(30), asking(4, 60)))
    assert one == (([30, 31], [40, 41, 42]), [60, 61, 62, 63])
    assert two == (([0, 1], [10, 11, 12]), [90, 91, 92, 93])


def test_parties_that_do_not_match_are_noticed() -> None:
    with pytest.raises(ProtocolError):
        run_pair(together(asking(3, 0), asking(2, 0)), together(asking(3, 0), asking(3, 0)))
    with pytest.raises(ProtocolError):
        run_pair(together(telling(2)), together(listening(1)))


def test_an_error_in_one_ends_all() -> None:
    closed = []

    def failing() -> Rounds[None]:
        yield from receive(RoundsPing)
        raise ProtocolError(detail="enough")

    def waiting() -> Rounds[None]:
        try:
            yield from receive(RoundsPing)
            yield from receive(RoundsPing)
        finally:
            closed.append(True)

    with pytest.raises(ProtocolError, match="did not follow"):
        run_pair(together(waiting(), failing()), together(telling(2), telling(1)))
    assert closed == [True]


@pytest.mark.parametrize(
    "raw", [b"\x00", b"\x00\x00\x00\x00\x09x", b"\x02" + (5).to_bytes(4, "big") + b"12345", b"\x00" + bytes(4)]
)
def test_a_malformed_bundle_is_refused(raw: bytes) -> None:
    with pytest.raises(PuraError):
        run_pair(together(listening(1), listening(1)), send(Bundle(raw)))
