"""The base OTs of both directions at once, by Chou and Orlandi (`pura.crypto.base_ot`); the same at both servers.

Each server is the sender of 128 base OTs, of its trees' level sums, and the receiver of 128, whose choices are the bits
of its s. With P the server that sends, and Q the other:

    1  P -> Q:  A_P                                                     65 bytes
    2  Q -> P:  B_j, j < 128                                            65 bytes each
    3  P -> Q:  E_0j, E_1j, and what P vouches for its trees with       32 bytes each, and 33 times 32

Nothing in it depends on a template, a key share or a client; no ciphertext is made.
"""

from __future__ import annotations

from pura.crypto.base_ot import BaseReceiver, BaseSender, session_name
from pura.crypto.ot import BASE_OTS, ExtensionReceiver, ExtensionSender, session_number
from pura.crypto.rng import Rng
from pura.crypto.trees import SEED_BYTES
from pura.errors import DeviatingServer
from pura.ids import Party
from pura.messages import Message, message
from pura.rounds import Rounds, exchange


@message
class BasePoint(Message):
    """Both ways: A."""

    point: bytes


@message
class BaseChoices(Message):
    """Both ways: B_j of every choice."""

    points: bytes


@message
class BaseStrings(Message):
    """Both ways: E_0j and E_1j of every pair, and the vouchers of the trees that they make."""

    strings: bytes
    vouchers: bytes


def base_ots(party: Party, binding: bytes, rng: Rng) -> Rounds[tuple[ExtensionSender, ExtensionReceiver]]:
    """This server's end of the extension in each direction. Three rounds, some hundredths of a second.

    binding: what both servers agree on, such as the key's id. Raises `ProtocolError` for what is no point, and
    `DeviatingServer` when the other server's trees are not what it vouches for.
    """
    s = rng.bytes(SEED_BYTES)
    bits = int.from_bytes(s, "little")
    receiver = ExtensionReceiver.draw(rng)
    sending, choosing = BaseSender(rng), BaseReceiver([bits >> j & 1 for j in range(BASE_OTS)])

    a = yield from exchange(BasePoint(sending.point), BasePoint)
    if a.point == sending.point:
        raise DeviatingServer(detail="the other server sent back a point")
    out = session_name(binding, party, sending.point, a.point)
    back = session_name(binding, party.other, a.point, sending.point)

    b = yield from exchange(BaseChoices(choosing.choose(back, a.point, rng)), BaseChoices)
    answer = BaseStrings(sending.answer(out, b.points, receiver.base_pairs()), receiver.vouchers())
    got = yield from exchange(answer, BaseStrings)

    receiver.session = session_number(out, answer.strings)
    sender = ExtensionSender(s, choosing.open(got.strings), session_number(back, got.strings))
    sender.trust(got.vouchers)
    return sender, receiver
