"""Base OTs by Chou and Orlandi ("The simplest protocol for oblivious transfer", LATINCRYPT 2015) over P-256.

G generates the group; c_j are the receiver's choices, (m_0j, m_1j) the sender's strings of 16 bytes, added by XOR.

    sender   -> receiver:  A = a G
    receiver -> sender:    B_j = b_j G + c_j A
    sender   -> receiver:  E_0j = m_0j + H(j, a B_j),  E_1j = m_1j + H(j, a (B_j - A))
    receiver:              m_cj = E_cj + H(j, b_j A)

    H(j, X) = the first 16 bytes of SHA-256(tag, session, j, A, B_j, x of X)

*The sender learns no choice*: b_j is uniform, so b_j G + c_j A is uniform for either c_j and whatever A is (up to 1 / n
for the identity, which is never sent). *The receiver gets one string*: for both it must hash the x of a B_j and of
a (B_j - A), so their sums and differences up to sign give it a A = a^2 G from a G, which is as hard as Diffie-Hellman
in P-256 (H is a random oracle; whether a guess was right shows later, so the assumption is the gap one). The session in
H names this connection, both servers' A and the direction: no message of another run, or sent back, answers here.

Why not on X25519, whose library functions have no addition of points: the choice would have to be hidden by sending a
u for which b_j is known, or a random one. But only half of all u belong to the curve, the other half to its twist. A
"random" u off the curve shows the choice (`tests/unit/test_base_ot.py` does it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pura.crypto.p256 import POINT_BYTES, Point, Scalar, add, dump, load, negative
from pura.crypto.rng import Rng
from pura.crypto.secret import Secret
from pura.errors import MaterialUsed, ProtocolError
from pura.ids import Party

STRING_BYTES = 16
Pair = tuple[bytes, bytes]


class BaseSender(Secret):
    """The end that has both strings."""

    def __init__(self, rng: Rng) -> None:
        self._a: Scalar | None = Scalar.draw(rng)
        self.point = dump(self._a.point)
        """A, 65 bytes."""

    def answer(self, session: bytes, points: bytes, pairs: Sequence[Pair]) -> bytes:
        """E_0j and E_1j of every pair, 32 bytes each.

        points: B_j one after the other. Raises `ProtocolError` for what are not so many points, or one that no honest
        receiver sends; `MaterialUsed` the second time.
        """
        bs = _load_many(points, len(pairs))
        a, self._a = self._a, None
        if a is None:
            raise MaterialUsed(detail="these base OTs were made")
        less = negative(a.point)
        out = []
        for j, (b, (m_0, m_1)) in enumerate(zip(bs, pairs, strict=True)):
            other = add(b, less)
            if other is None:  # B_j = A, which has b_j = 0 or a
                raise ProtocolError(detail="a point of a base OT")
            out.append(_xor(m_0, _hash(session, j, self.point, dump(b), a.x_times(b))))
            out.append(_xor(m_1, _hash(session, j, self.point, dump(b), a.x_times(other))))
        return b"".join(out)


class BaseReceiver(Secret):
    """The end that chooses."""

    def __init__(self, choices: Sequence[int]) -> None:
        self._choices = tuple(choices)
        self._keys: list[bytes] | None = None

    def choose(self, session: bytes, point: bytes, rng: Rng) -> bytes:
        """B_j of every choice, from the sender's A: 65 bytes each. Raises `ProtocolError` for what is no point."""
        a, keys, out = load(point), [], []
        for j, c in enumerate(self._choices):
            b, pair = _pair(a, rng)
            raw = dump(pair[c])
            keys.append(_hash(session, j, point, raw, b.x_times(a)))
            out.append(raw)
        self._keys = keys
        return b"".join(out)

    def open(self, strings: bytes) -> list[bytes]:
        """The chosen strings. Raises `ProtocolError` for another number; `MaterialUsed` the second time."""
        if len(strings) != 2 * STRING_BYTES * len(self._choices):
            raise ProtocolError(detail="number of base OTs")
        keys, self._keys = self._keys, None
        if keys is None:
            raise MaterialUsed(detail="these base OTs were opened")
        at = [STRING_BYTES * (2 * j + c) for j, c in enumerate(self._choices)]
        return [_xor(strings[i : i + STRING_BYTES], key) for i, key in zip(at, keys, strict=True)]


def session_name(binding: bytes, sender: Party, own: bytes, other: bytes) -> bytes:
    """The session of one direction: what both agreed on, who sends, its A and the A of the other direction."""
    head = b"pura base ot session\x00" + hashlib.sha256(binding).digest() + bytes([sender.value])
    return hashlib.sha256(head + own + other).digest()


def _pair(a: Point, rng: Rng) -> tuple[Scalar, tuple[Point, Point]]:
    """b, and b G with b G + A. Both are made for either choice, so that time does not tell which is used."""
    while True:
        b = Scalar.draw(rng)
        both = add(b.point, a)
        if both is not None:  # b = -a would show the choice 1 by having no point to send
            return b, (b.point, both)


def _load_many(raw: bytes, count: int) -> list[Point]:
    if len(raw) != count * POINT_BYTES:
        raise ProtocolError(detail="number of base OTs")
    return [load(raw[at : at + POINT_BYTES]) for at in range(0, len(raw), POINT_BYTES)]


def _hash(session: bytes, j: int, a: bytes, b: bytes, x: bytes) -> bytes:
    return hashlib.sha256(b"pura base ot\x00" + session + j.to_bytes(2, "big") + a + b + x).digest()[:STRING_BYTES]


def _xor(one: bytes, two: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(one, two, strict=True))
