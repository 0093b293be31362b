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

import dataclasses
from collections import deque
from collections.abc import Generator
from typing import TypeAlias, TypeVar, cast

from pura.errors import ProtocolError
from pura.messages import Message, decode, encode

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
