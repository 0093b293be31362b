"""Choosing between shared values with a shared bit, by oblivious transfer.

A candidate is a key (a number shared additively modulo 2^b) and a handle (64 bits, shared by XOR). For a bit s = s1 +
s2 (XOR) and a candidate D the servers get shares of s D. S1 holds D1 and S2 holds D2, and s D = s D1 + s D2; for s D1,
with S1 as the sender of an OT that was made at random ahead (pads k_0, k_1 at S1; c, k_c at S2):

    S2 -> S1:  e = s2 + c
    S1 keeps   s1 D1 - k_e
    S1 -> S2:  M = k_e + (1 - 2 s1) D1 - k_(1-e)
    S2 gets    k_c + s2 M                          (= s D1 - S1's share, for s2 = 0 and for s2 = 1)

and the other way round for s D2. M hides D1 and s1 behind the pad that S2 does not have. For handles, + and - are XOR.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.packed.gmw import Bits, Words, octets, pack_bits, unpack_bits
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
class Derandomise(Message):
    """Both ways: e, the bits that turn random OTs into chosen ones."""

    e: bytes


@message
class Transferred(Message):
    """Both ways: M of every OT, 12 bytes each."""

    m: bytes


def mask_of(bits: int) -> np.uint64:
    """2^bits - 1."""
    return np.uint64((1 << bits) - 1)


def joined(*parts: Candidates) -> Candidates:
    """Candidates one behind the other."""
    return Candidates(np.concatenate([p.keys for p in parts]), np.concatenate([p.handles for p in parts]))


def select(stock: Transfers, s: Bits, d: Candidates, bits: int) -> Rounds[Candidates]:
    """Shares of s_i D_i. s: this server's shares of n bits, one in a byte; d: its shares of n candidates. Two
    rounds."""
    n, mask = len(d), mask_of(bits)
    k0, k1 = (_split(k, mask) for k in stock.sent(n))
    c, k_c = stock.received(n)
    received = _split(k_c, mask)

    got = yield from exchange(Derandomise(pack_bits(s ^ c).tobytes()), Derandomise)
    if len(got.e) != octets(n):
        raise ProtocolError(detail="number of choices")
    e = unpack_bits(np.frombuffer(got.e, np.uint8), n).astype(bool)

    k_e, k_other = _either(e, k1, k0), _either(e, k0, k1)
    one = s.astype(np.uint64)
    mine = _times(one, d).minus(k_e, bits)
    turned = Candidates(np.where(s, np.uint64(0) - d.keys, d.keys), d.handles)  # (1 - 2 s1) D1
    out = np.empty(n, _MASKED)
    m = k_e.plus(turned, bits).minus(k_other, bits)
    out["handle"], out["key"] = m.handles, m.keys

    back = yield from exchange(Transferred(out.tobytes()), Transferred)
    if len(back.m) != n * _MASKED.itemsize:
        raise ProtocolError(detail="number of transfers")
    raw = np.frombuffer(back.m, _MASKED)
    theirs = Candidates(raw["key"].astype(np.uint64), raw["handle"].astype(np.uint64))
    return mine.plus(received.plus(_times(one, theirs), bits), bits)


SELECT_ROUNDS = 2


def _split(pads: Pads, mask: np.uint64) -> Candidates:
    fields = np.ascontiguousarray(pads).view(_PAD).reshape(-1)
    return Candidates(fields["key"].astype(np.uint64) & mask, fields["handle"].astype(np.uint64))


def _either(which: NDArray[np.bool_], yes: Candidates, no: Candidates) -> Candidates:
    return Candidates(np.where(which, yes.keys, no.keys), np.where(which, yes.handles, no.handles))


def _times(bit: Words, d: Candidates) -> Candidates:
    return Candidates(d.keys * bit, d.handles * bit)
