"""Choosing between shared values with a shared bit, by oblivious transfer.

A candidate is a key (a number shared additively modulo 2^b) and a handle (64 bits, shared by XOR). For a bit s = s1 +
s2 (XOR) and a candidate D the servers get shares of s D. S1 holds D1 and S2 holds D2, and s D = s D1 + s D2, where

    s D1 = s1 D1 + s2 (1 - 2 s1) D1:        a number y of S1's times a bit of S2's,

which takes an OT that was made at random ahead, with S1 as its sender (pads k_0, k_1 at S1; c, k_c at S2):

    S2 -> S1:  e = s2 + c                    S1 -> S2:  m = y - (k_1 - k_0)                at once
    S1 keeps   s1 D1 + (k_1 if e else -k_0)
    S2 gets    s2 m + (-k_c if e else k_c)

since s2 (k_1 - k_0) = k_c - k_0 for e = 0, where s2 = c, and k_1 - k_c for e = 1, where s2 = 1 - c. The other way round
for s D2, in the same message. m hides y behind the pad that S2 does not have, e hides s2 behind c. For handles, + and -
are XOR.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.shares.gmw import Bits, Words, octets, pack_bits, unpack_bits
from pura.rounds import Rounds, exchange

Pads = NDArray[np.uint8]

_PAD = np.dtype([("handle", "<u8"), ("key", "<u4"), ("unused", "<u4")])
_MASKED = np.dtype([("handle", "<u8"), ("key", "<u4")])


class Transfers(Protocol):
    """Where random OTs of 16-byte pads come from; each is handed out once."""

    def sent(self, count: int) -> tuple[Pads, Pads]:
        """k_0 and k_1 of OTs that this server sends: (count, 16) each."""
        ...

    def received(self, count: int) -> tuple[Bits, Pads]:
        """c (one in a byte, (count,)) and k_c (count, 16) of OTs that this server receives."""
        ...


@dataclasses.dataclass(frozen=True, repr=False)
class Candidates:
    """A server's shares of n candidates: keys modulo 2^b and handles, both (n,) uint64."""

    keys: Words
    handles: Words

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, which: slice | Bits | NDArray[np.intp]) -> Candidates:
        return Candidates(self.keys[which], self.handles[which])

    def plus(self, other: Candidates, bits: int) -> Candidates:
        """Shares of the sum: keys added modulo 2^bits, handles XORed."""
        return Candidates((self.keys + other.keys) & mask_of(bits), self.handles ^ other.handles)

    def minus(self, other: Candidates, bits: int) -> Candidates:
        """Shares of the difference."""
        return Candidates((self.keys - other.keys) & mask_of(bits), self.handles ^ other.handles)


@message
class Selected(Message):
    """Both ways: e of the OTs that this server receives, one bit each, and m of those that it sends, 12 bytes each."""

    e: bytes
    m: bytes


def mask_of(bits: int) -> np.uint64:
    """2^bits - 1."""
    return np.uint64((1 << bits) - 1)


def joined(*parts: Candidates) -> Candidates:
    """Candidates one behind the other."""
    return Candidates(np.concatenate([p.keys for p in parts]), np.concatenate([p.handles for p in parts]))


def select(stock: Transfers, s: Bits, d: Candidates, bits: int) -> Rounds[Candidates]:
    """Shares of s_i D_i. s: this server's shares of n bits, one in a byte; d: its shares of n candidates. One round."""
    n, mask = len(d), mask_of(bits)
    k0, k1 = (_split(k, mask) for k in stock.sent(n))
    c, k_c = stock.received(n)
    own_e = s ^ c
    y = Candidates(np.where(s, np.uint64(0) - d.keys, d.keys), d.handles)  # (1 - 2 s1) D1
    m = y.minus(k1, bits).plus(k0, bits)
    out = np.empty(n, _MASKED)
    out["handle"], out["key"] = m.handles, m.keys

    got = yield from exchange(Selected(pack_bits(own_e).tobytes(), out.tobytes()), Selected)
    if len(got.e) != octets(n) or len(got.m) != n * _MASKED.itemsize:
        raise ProtocolError(detail="number of choices")

    e = unpack_bits(np.frombuffer(got.e, np.uint8), n)
    mine = _times(s, d).plus(_turned(_either(e, k1, k0), e ^ np.uint8(1)), bits)
    raw = np.frombuffer(got.m, _MASKED)
    theirs = Candidates(raw["key"].astype(np.uint64) & mask, raw["handle"].astype(np.uint64))
    return mine.plus(_times(s, theirs).plus(_turned(_split(k_c, mask), own_e), bits), bits)


SELECT_ROUNDS = 1


def _split(pads: Pads, mask: np.uint64) -> Candidates:
    fields = np.ascontiguousarray(pads).view(_PAD).reshape(-1)
    return Candidates(fields["key"].astype(np.uint64) & mask, fields["handle"].astype(np.uint64))


def _either(which: Bits, yes: Candidates, no: Candidates) -> Candidates:
    return Candidates(np.where(which, yes.keys, no.keys), np.where(which, yes.handles, no.handles))


def _turned(x: Candidates, which: Bits) -> Candidates:
    """-x where a bit is set; handles are their own negatives."""
    return Candidates(np.where(which, np.uint64(0) - x.keys, x.keys), x.handles)


def _times(bit: Bits, x: Candidates) -> Candidates:
    one = bit.astype(np.uint64)
    return Candidates(one * x.keys, (np.uint64(0) - one) & x.handles)
