"""Protocols without I/O: a party is a generator that says what it sends and what it waits for.

    def step(...) -> Rounds[Result]:
        yield from send(Masked(...))
        reply = yield from receive(Squared)
        return ...

Nothing in a party touches a socket, a clock or a source of randomness of its own; all of that is passed in.
`run_pair` plays two parties against each other in memory; a transport drives one of them over a channel
(docs/decisions/0001).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, TypeAlias, TypeVar, cast

from pura.errors import ProtocolError
from pura.messages import Message, decode, encode, message

M = TypeVar("M", bound=Message)
R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True)
class Send:
    """Hand this message to the other party; do not wait."""

    message: Message


@dataclasses.dataclass(frozen=True)
class Receive:
    """Wait for the other party's next message, which must be of this kind."""

    kind: type[Message]


Step: TypeAlias = Send | Receive
Rounds: TypeAlias = Generator[Step, Message | None, R]


def send(message: Message) -> Rounds[None]:
    """Hand a message to the other party."""
    yield Send(message)


def receive(kind: type[M]) -> Rounds[M]:
    """The other party's next message. Raises `ProtocolError` when it is of another kind."""
    got = yield Receive(kind)
    if type(got) is not kind:
        raise ProtocolError(detail=f"expected {kind.__name__}, got {type(got).__name__}")
    return got


def receive_any() -> Rounds[Message]:
    """The other party's next message, of whatever kind: for dispatching on the first one of a session."""
    got = yield Receive(Message)
    if got is None:
        raise ProtocolError(detail="resumed without a message")
    return got


def exchange(message: Message, kind: type[M]) -> Rounds[M]:
    """Both parties send at once, then both receive: one round."""
    yield from send(message)
    return (yield from receive(kind))


@message
class Bundle(Message):
    """Both ways: what several parties of one server say at once.

    For each message the number of its party (1 byte), its length (4) and itself.
    """

    bodies: bytes


def together(*parties: Rounds[Any]) -> Rounds[tuple[Any, ...]]:
    """Play several parties of this server side by side, against as many in the same order at the other one: what they
    say while none can go on goes out as one message. Their results.

    What parties share (offline material) they must not take from in an order that depends on each other.
    """
    inbox: list[deque[Message]] = [deque() for _ in parties]
    with contextlib.ExitStack() as stack:
        for party in parties:
            stack.enter_context(contextlib.closing(party))
        steps = [advance(party, None) for party in parties]
        while True:
            said = b"".join(_said(i, party, steps, inbox[i]) for i, party in enumerate(parties))
            if said:
                yield from send(Bundle(said))
            if all(isinstance(step, Done) for step in steps):
                break
            for i, heard in _heard((yield from receive(Bundle)), len(parties)):
                inbox[i].append(heard)
    if any(inbox):
        raise ProtocolError(detail="a message was never read")
    return tuple(step.result for step in steps if isinstance(step, Done))


def _said(i: int, party: Rounds[Any], steps: list[Step | Done], inbox: deque[Message]) -> bytes:
    """Run a party until it is done or waits; what it said."""
    out = []
    while not isinstance(step := steps[i], Done):
        got = None
        if isinstance(step, Send):
            body = encode(step.message)
            out += [bytes([i]), len(body).to_bytes(4, "big"), body]
        elif inbox:
            got = inbox.popleft()
        else:
            break
        steps[i] = advance(party, got)
    return b"".join(out)


def _heard(bundle: Bundle, parties: int) -> Iterator[tuple[int, Message]]:
    raw, at = bundle.bodies, 0
    while at < len(raw):
        end = at + 5 + int.from_bytes(raw[at + 1 : at + 5], "big")
        if raw[at] >= parties or at + 5 > len(raw) or end > len(raw):
            raise ProtocolError(detail="form of a bundle")
        yield raw[at], decode(raw[at + 5 : end])
        at = end


def nothing() -> Rounds[None]:
    """A party that says nothing."""
    return
    yield


@dataclasses.dataclass
class Tally:
    """What crossed the wire, seen from the first party."""

    bytes_sent: int = 0
    bytes_received: int = 0
    rounds: int = 0


@dataclasses.dataclass(frozen=True, repr=False)
class Done:
    """A party has finished with this result, which may be a share: it is not printed."""

    result: object


def advance(party: Rounds[R], value: Message | None) -> Step | Done:
    """Resume a party with a message (None at the start and after a send): its next step, or `Done`."""
    try:
        return party.send(value)
    except StopIteration as end:
        return Done(end.value)


def run_pair(one: Rounds[T], two: Rounds[U], tally: Tally | None = None) -> tuple[T, U]:
    """Play both parties in this thread until both are done; every message goes through the codec.

    Raises what a party raises, and `ProtocolError` when both wait for each other or a message was never read.
    """
    count = tally if tally is not None else Tally()
    parties: list[Rounds[object]] = [cast("Rounds[object]", one), cast("Rounds[object]", two)]
    inbox: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
    state = [advance(party, None) for party in parties]
    spoke = False  # the first party has sent since it last received
    while not all(isinstance(s, Done) for s in state):
        moved = False
        for i, party in enumerate(parties):
            while not isinstance(step := state[i], Done):
                value: Message | None = None
                if isinstance(step, Send):
                    body = encode(step.message)
                    inbox[1 - i].append(body)
                    if i == 0:
                        count.bytes_sent += len(body)
                        spoke = True
                    else:
                        count.bytes_received += len(body)
                elif inbox[i]:
                    value = decode(inbox[i].popleft())
                    if i == 0 and spoke:
                        count.rounds += 1
                        spoke = False
                else:
                    break
                state[i] = advance(party, value)
                moved = True
        if not moved:
            raise ProtocolError(detail="both parties wait")
    if any(inbox):
        raise ProtocolError(detail="a message was never read")
    first, second = state
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    return cast(T, first.result), cast(U, second.result)
