"""Random OTs and AND triples between the two servers, from base OTs made once (`pura.crypto.ot`).

Each server holds one end of two extensions, one in each direction. A message names the base OTs and the place in the
stream that it belongs to: when one was lost, the sender skips what the receiver has made; nothing is made twice.

Triples come from two random OTs of one bit each, one in each direction (Asharov, Lindell, Schneider, Zohner 2013):

    a = the choices as receiver,  w = the bits received;   b = m_0 + m_1,  v = m_0 as sender        (+ is XOR)
    w_1 = v_2 + a_1 b_2,  w_2 = v_1 + a_2 b_1,   so   c_i = a_i b_i + w_i + v_i   share   (a_1 + a_2)(b_1 + b_2)
"""

from __future__ import annotations

import dataclasses

from pura.crypto.bits import Octets, Words
from pura.crypto.ot import ExtensionReceiver, ExtensionSender, RandomReceived, RandomSent
from pura.crypto.rng import Rng
from pura.errors import ProtocolError
from pura.ids import Party
from pura.messages import Message, message
from pura.protocols.shares.base_ot import base_ots
from pura.rounds import Rounds, exchange, receive, send


@message
class Extension(Message):
    """Receiver of OTs -> sender: c and its proof, for the OTs from number `first` on, of base OTs named `session`."""

    session: int
    first: int
    c: bytes


@dataclasses.dataclass(frozen=True, repr=False)
class Ends:
    """A server's end of the extension in each direction."""

    party: Party
    sender: ExtensionSender
    receiver: ExtensionReceiver

    def fork(self, label: bytes) -> Ends:
        """Independent ends, if the other server forks with the same label. Raises `MaterialUsed` for a used label."""
        return Ends(self.party, self.sender.fork(label), self.receiver.fork(label))


@dataclasses.dataclass(frozen=True, repr=False)
class Triples:
    """A server's shares of n triples, packed, each (n / 64,) words: (a_1 + a_2)(b_1 + b_2) = c_1 + c_2. For one use."""

    a: Words
    b: Words
    c: Words


def setup(party: Party, binding: bytes, rng: Rng) -> Rounds[Ends]:
    """The base OTs in both directions at once; the same at both servers. Three rounds.

    binding: what both agree on, such as the key's id.
    """
    sender, receiver = yield from base_ots(party, binding, rng)
    return Ends(party, sender, receiver)


def extend_receive(state: ExtensionReceiver, n: int, rng: Rng, choices: Octets | None = None) -> Rounds[RandomReceived]:
    """The receiving end of n random OTs, n a multiple of 128; choices: n packed bits, else random. One message."""
    ask, received = ask_for(state, n, rng, choices)
    yield from send(ask)
    return received


def extend_send(state: ExtensionSender, n: int) -> Rounds[RandomSent]:
    """The sending end of n random OTs. Raises `ProtocolError` when the message does not fit the state."""
    got = yield from receive(Extension)
    return answer_to(state, n, got)


def triples(state: Ends, n: int, rng: Rng) -> Rounds[Triples]:
    """Shares of n triples, n a multiple of 128; the same at both servers. One round."""
    ask, received = ask_for(state.receiver, n, rng)
    got = yield from exchange(ask, Extension)
    sent = answer_to(state.sender, n, got)
    v, other = sent.bits()
    a, w = received.choices.view(v.dtype), received.bits()
    b = v ^ other
    return Triples(a, b, (a & b) ^ w ^ v)


def ask_for(
    state: ExtensionReceiver, n: int, rng: Rng, choices: Octets | None = None
) -> tuple[Extension, RandomReceived]:
    """The message for n OTs and this end of them, without sending it."""
    first = state.used
    c, received = state.extend(n, rng, choices)
    return Extension(state.session, first, c), received


def answer_to(state: ExtensionSender, n: int, got: Extension) -> RandomSent:
    """The sender's end of what `got` starts. Raises `ProtocolError`, and changes nothing, when it does not fit."""
    if got.session != state.session:
        raise ProtocolError(detail="an OT extension from other base OTs")
    if len(got.c) != state.message_bytes(n):
        raise ProtocolError(detail="length of an OT extension")
    state.skip_to(got.first)
    return state.extend(n, got.c)
