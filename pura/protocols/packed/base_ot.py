"""Base OTs from the servers' own Paillier key: many choices of one of two 16-byte strings.

    receiver -> sender:  [b_j]
    sender   -> receiver:  c = prod_j ([b_j]^(m_1j - m_0j) (1 + m_0j N))^(2^(128 j)) * fresh [0],  PDec(c)
    receiver:  opens sum_j m_(b_j) 2^(128 j)

as many to one c as a plaintext holds. Every term is in [0, 2^128), so nothing carries. The sender sees fresh
ciphertexts and holds one share of the key. The receiver opens the strings that it chose and, with them, c's randomness:
re-randomising first makes that the sender's own. Semi-honest, like all between the servers: bits that are no bits would
give other sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pura.bigint import Z, power
from pura.crypto.ot import SEED_BYTES
from pura.crypto.threshold import combine_many, dump_partials, load_partials
from pura.errors import ProtocolError
from pura.messages import Message, encode, message
from pura.protocols.packed.side import Side
from pura.rounds import Rounds, receive, send

SEED_BITS = 8 * SEED_BYTES

Pair = tuple[bytes, bytes]


@message
class BaseChoices(Message):
    """Receiver -> sender: [b_j]."""

    ciphertexts: bytes


@message
class BaseAnswers(Message):
    """Sender -> receiver: every c and its partial decryption."""

    ciphertexts: bytes
    partials: bytes


def base_send(side: Side, pairs: Sequence[Pair]) -> Rounds[None]:
    """The sender's part: of each pair (m_0, m_1) of 16 bytes the receiver gets one, unknown to this side which."""
    got = yield from receive(BaseChoices)
    yield from send(answer(side, got, pairs))


def base_receive(side: Side, choices: Sequence[int]) -> Rounds[list[bytes]]:
    """The receiver's part: m_b of each pair, 16 bytes, for choices b in {0, 1}."""
    yield from send(choose(side, choices))
    got = yield from receive(BaseAnswers)
    return open_answers(side, got, len(choices))


def choose(side: Side, choices: Sequence[int]) -> BaseChoices:
    """[b_j]."""
    return BaseChoices(side.pk.dump_many([side.pk.encrypt(b, side.rng) for b in choices]))


def answer(side: Side, got: BaseChoices, pairs: Sequence[Pair]) -> BaseAnswers:
    """c and PDec(c) of each group of pairs."""
    pk = side.pk
    bs = pk.load_many(got.ciphertexts, len(pairs))
    cs = []
    for part in _groups(side, len(pairs)):
        c, known = Z(1), 0
        for b, (m_0, m_1) in reversed(list(zip(bs[part], pairs[part], strict=True))):
            zero, one = int.from_bytes(m_0, "big"), int.from_bytes(m_1, "big")
            c = power(c, 1 << SEED_BITS, pk.n2) * pk.scale(b, one - zero) % pk.n2
            known = known << SEED_BITS | zero
        cs.append(pk.rerandomise(pk.add_plain(c, known), side.rng))
    u = side.share.partial_decrypt_many(pk, cs)
    return BaseAnswers(pk.dump_many(cs), dump_partials(pk, u))


def open_answers(side: Side, got: BaseAnswers, count: int) -> list[bytes]:
    """m_b of each pair. Raises `MalformedCiphertext` or `ProtocolError` when what comes out are no strings."""
    pk, groups = side.pk, _groups(side, count)
    cs = pk.load_many(got.ciphertexts, len(groups))
    theirs = load_partials(pk, got.partials, len(groups))
    own = side.share.partial_decrypt_many(pk, cs)
    out: list[bytes] = []
    for part, plain in zip(groups, combine_many(pk, cs, theirs, own), strict=True):
        held = min(part.stop, count) - part.start
        if not 0 <= plain < 1 << (held * SEED_BITS):
            raise ProtocolError(detail="base OT out of range")
        octets = plain.to_bytes(held * SEED_BYTES, "big")
        out += [octets[at : at + SEED_BYTES] for at in reversed(range(0, len(octets), SEED_BYTES))]
    return out


def session_of(choices: BaseChoices, answers: BaseAnswers) -> int:
    """A number that names these base OTs, the same at both ends: from everything that was sent."""
    return int.from_bytes(hashlib.sha256(encode(choices) + encode(answers)).digest()[:8], "big")


def _groups(side: Side, count: int) -> list[slice]:
    held = side.pk.plaintext_bits // SEED_BITS
    return [slice(at, at + held) for at in range(0, count, held)]
