"""Two parties in one thread, with faults: for simulations, where a run must be the same every time.

    play(one, two)                                    both to their ends
    play(one, two, Kill(party=2, message=3))          S2 dies instead of sending its third message
    play(one, two, Cut(message=5))                    the line breaks before the fifth message of the session arrives

Messages are counted from 1: by `Kill` among those that the party sends, by `Cut` and `Spoil` among all, in the order in
which they are sent. Every message goes through the codec.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar, cast

from pura.errors import PeerUnavailable, ProtocolError, PuraError
from pura.messages import Message, decode, encode
from pura.rounds import Done, Rounds, Send, Step, Tally, advance

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True)
class Kill:
    """One party's process dies when it is about to send a message (or, with `sent`, right after that): no more of its
    code runs, not even `finally`. The other party sees the line break."""

    party: int
    message: int
    sent: bool = False


@dataclasses.dataclass(frozen=True)
class Cut:
    """The line breaks in place of one message: both parties see it break, and are closed."""

    message: int


@dataclasses.dataclass(frozen=True)
class Spoil:
    """One message arrives changed."""

    message: int
    change: Callable[[bytes], bytes]


Fault: TypeAlias = Kill | Cut | Spoil


@dataclasses.dataclass
class End(Generic[T]):
    """How one party ended: with a result, with an error, or killed (neither)."""

    done: bool = False
    result: T | None = None
    error: Exception | None = None
    killed: bool = False

    def get(self) -> T:
        """The result; raises the error, or `PeerUnavailable` for a party that was killed."""
        if self.error is not None:
            raise self.error
        if not self.done:
            raise PeerUnavailable("this party was killed")
        return cast(T, self.result)


_GRAVE: list[object] = []
"""Killed parties, kept so that nothing of them runs when they would be collected."""


class _Party:
    def __init__(self, party: Rounds[object]) -> None:
        self.party = party
        self.inbox: deque[bytes] = deque()
        self.end: End[object] = End()
        self.step: Step | Done | None = None
        self.sent = 0

    @property
    def over(self) -> bool:
        return self.end.done or self.end.error is not None or self.end.killed

    def resume(self, value: Message | None) -> None:
        try:
            self.step = advance(self.party, value)
        except Exception as error:  # noqa: BLE001 - whatever a party raises is its end
            self.fail(error)
            return
        if isinstance(self.step, Done):
            self.end.done, self.end.result = True, self.step.result

    def fail(self, error: Exception) -> None:
        if not self.over:
            self.end.error = error
            self.party.close()

    def kill(self) -> None:
        self.end.killed = True
        _GRAVE.append(self.party)


def play(
    one: Rounds[T], two: Rounds[U], fault: Fault | None = None, tally: Tally | None = None
) -> tuple[End[T], End[U]]:
    """Play both parties until neither can go on; how each of them ended. Never raises what a party raises.

    `tally` counts as the first party sees it.
    """
    count = tally if tally is not None else Tally()
    parties = (_Party(cast("Rounds[object]", one)), _Party(cast("Rounds[object]", two)))
    number = 0
    spoke = False
    for party in parties:
        party.resume(None)
    moved = True
    while moved:
        moved = False
        for i, party in enumerate(parties):
            other = parties[1 - i]
            while not party.over:
                if isinstance(party.step, Send):
                    party.sent += 1
                    number += 1
                    dies = isinstance(fault, Kill) and (fault.party, fault.message) == (i + 1, party.sent)
                    if dies and isinstance(fault, Kill) and not fault.sent:
                        party.kill()
                        break
                    if isinstance(fault, Cut) and fault.message == number:
                        for each in parties:
                            each.fail(PeerUnavailable())
                        break
                    body = encode(party.step.message)
                    if isinstance(fault, Spoil) and fault.message == number:
                        body = fault.change(body)
                    other.inbox.append(body)
                    if i == 0:
                        count.bytes_sent += len(body)
                        spoke = True
                    else:
                        count.bytes_received += len(body)
                    moved = True
                    if dies:
                        party.kill()
                        break
                    party.resume(None)
                elif party.inbox:
                    if i == 0:
                        count.rounds += spoke
                        spoke = False
                    moved = True
                    try:
                        value = decode(party.inbox.popleft())
                    except PuraError as error:
                        party.fail(error)
                        break
                    party.resume(value)
                elif other.over:
                    # gRPC tells the cause of an error to the other side; an early end is a breach
                    theirs = other.end.error
                    cause = theirs if isinstance(theirs, PuraError) else None
                    silent: PuraError = PeerUnavailable() if other.end.killed or theirs else ProtocolError()
                    party.fail(cause or silent)
                    moved = True
                else:
                    break
    for party in parties:
        party.fail(ProtocolError(detail="both parties wait"))
    return cast("tuple[End[T], End[U]]", (parties[0].end, parties[1].end))
