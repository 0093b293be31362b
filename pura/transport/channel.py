"""A channel between two parties: two methods. `drive` plays one party over it, in the thread that calls it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pura.messages import Message, decode, encode
from pura.rounds import Done, Rounds, Send, Tally, advance

R = TypeVar("R")


class Channel(Protocol):
    """The other party, as one party sees it. Whatever goes wrong is a `PuraError`."""

    def send(self, body: bytes) -> None:
        """Hand over one encoded message; do not wait until it has arrived."""
        ...

    def receive(self) -> bytes:
        """Wait for the other party's next encoded message."""
        ...


def drive(party: Rounds[R], channel: Channel, tally: Tally | None = None) -> R:
    """Play a party to its end and return its result.

    Raises what the party or the channel raises. The party is closed in any case, so that its `finally` blocks have run,
    in this thread, when this returns. `tally` counts what crosses the channel, as this party sees it; a round is a
    message received after something was sent.
    """
    count = tally if tally is not None else Tally()
    spoke = False
    try:
        step = advance(party, None)
        while not isinstance(step, Done):
            value: Message | None = None
            if isinstance(step, Send):
                body = encode(step.message)
                channel.send(body)
                count.bytes_sent += len(body)
                spoke = True
            else:
                body = channel.receive()
                count.bytes_received += len(body)
                count.rounds += spoke
                spoke = False
                value = decode(body)
            step = advance(party, value)
        return step.result  # type: ignore[return-value]
    finally:
        party.close()
