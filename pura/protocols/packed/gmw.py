"""Boolean circuits on XOR shares (Goldreich, Micali, Wigderson 1987), many instances side by side.

A bit plane is a row of packed bits, instance i in bit i % 8 of byte i // 8; arrays of planes have shape (planes, w)
with w = ceil(instances / 8). XOR and NOT are local; an AND takes a triple a b = c that was made ahead (Beaver 1991):

    d = x + a,  e = y + b  are opened;   x y = c + d b + e a + d e

The one circuit that matching needs is the sign of a number that the servers share additively modulo 2^b: the top bit of
s1 + s2, which is s1's xor s2's xor the carry into it. The carry comes from a parallel prefix tree over (g, p), generate
g_i = s1_i s2_i and propagate p_i = s1_i + s2_i:

    (g, p)_hi o (g, p)_lo = (g_hi + p_hi g_lo, p_hi p_lo)

which is 1 + ceil(log2(b - 1)) rounds and about 3 b ANDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.rounds import Rounds, exchange

Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]


class Triples(Protocol):
    """Where AND triples come from; each is handed out once."""

    def triples(self, octets: int) -> tuple[Bits, Bits, Bits]:
        """This server's shares of 8 `octets` triples, packed: a, b, c of shape (octets,)."""
        ...


@message
class MaskedBits(Message):
    """Both ways: d and e of a layer of ANDs."""

    d: bytes
    e: bytes


@message
class OpenedBits(Message):
    """Both ways: shares of bits that both servers may know."""

    bits: bytes


def conjunction(stock: Triples, x: Bits, y: Bits, *, first: bool) -> Rounds[Bits]:
    """Shares of x AND y, bit by bit; x and y of one shape. `first` is S1. One round."""
    a, b, c = stock.triples(x.size)
    d, e = x.reshape(-1) ^ a, y.reshape(-1) ^ b
    got = yield from exchange(MaskedBits(d.tobytes(), e.tobytes()), MaskedBits)
    if len(got.d) != d.size or len(got.e) != e.size:
        raise ProtocolError(detail="number of masked bits")
    d ^= np.frombuffer(got.d, np.uint8)
    e ^= np.frombuffer(got.e, np.uint8)
    z: Bits = c ^ (d & b) ^ (e & a)
    if first:
        z ^= d & e
    return z.reshape(x.shape)


def opened(bits: Bits) -> Rounds[Bits]:
    """The bits themselves, at both servers. One round."""
    got = yield from exchange(OpenedBits(bits.tobytes()), OpenedBits)
    if len(got.bits) != bits.size:
        raise ProtocolError(detail="number of opened bits")
    return bits ^ np.frombuffer(got.bits, np.uint8).reshape(bits.shape)


def complement(bits: Bits, *, first: bool) -> Bits:
    """Shares of NOT bits: S1 flips its own."""
    return ~bits if first else bits


def sign(stock: Triples, planes: Bits, *, first: bool) -> Rounds[Bits]:
    """Shares of the top bit of s1 + s2 mod 2^b, shape (w,). planes: the b planes of this server's addend, low first."""
    low, top = planes[:-1], planes[-1]
    carry = yield from _carry(stock, low, first=first)
    out: Bits = top ^ carry
    return out


def _carry(stock: Triples, own: Bits, *, first: bool) -> Rounds[Bits]:
    """Shares of the carry out of s1 + s2, shape (w,)."""
    nothing = np.zeros_like(own)
    g = yield from conjunction(stock, own if first else nothing, nothing if first else own, first=first)
    p = own  # XOR shares of s1_i + s2_i: each server's own bits
    while len(g) > 1:
        pairs = len(g) // 2
        odd = slice(2 * pairs, None)  # the topmost plane of an odd number waits for the next level
        g_lo, g_hi, p_lo, p_hi = g[0 : 2 * pairs : 2], g[1::2], p[0 : 2 * pairs : 2], p[1::2]
        # the lowest pair's propagate is never used: nothing is carried into bit 0
        both = yield from conjunction(
            stock, np.concatenate([p_hi, p_hi[1:]]), np.concatenate([g_lo, p_lo[1:]]), first=first
        )
        g_next, p_next = g_hi ^ both[:pairs], np.concatenate([p_hi[:1], both[pairs:]])
        g, p = np.concatenate([g_next, g[odd]]), np.concatenate([p_next, p[odd]])
    return g[0] if len(g) else np.zeros(own.shape[1:], np.uint8)


def sign_cost(bits: int) -> tuple[int, int]:
    """(ANDs, rounds) of `sign` for one instance of `bits` bits."""
    count = bits - 1
    ands, rounds = count, 1
    while count > 1:
        pairs = count // 2
        ands += 2 * pairs - 1
        rounds += 1
        count -= pairs
    return ands, rounds


# --- numbers and planes -----------------------------------------------------------------------------


def octets(instances: int) -> int:
    """w: the bytes of a plane."""
    return -(-instances // 8)


def planes_of(values: Words, bits: int) -> Bits:
    """The `bits` lowest planes of some numbers below 2^64, low first: (n,) -> (bits, w)."""
    raw = np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, 8)
    return np.packbits(np.unpackbits(raw, axis=1, bitorder="little", count=bits).T, axis=1, bitorder="little")


def planes_of_wide(values: Sequence[int], bits: int) -> Bits:
    """The same for numbers in [0, 2^bits) of any size; bits is a multiple of 8."""
    raw = np.frombuffer(b"".join(v.to_bytes(bits // 8, "little") for v in values), np.uint8).reshape(-1, bits // 8)
    return np.packbits(np.unpackbits(raw, axis=1, bitorder="little").T, axis=1, bitorder="little")


def pack_bits(bits: Bits) -> Bits:
    """One plane of bits given one in a byte: (n,) -> (w,)."""
    return np.packbits(bits, bitorder="little")


def unpack_bits(plane: Bits, count: int) -> Bits:
    """The first `count` bits of a plane, one in a byte: (w,) -> (count,)."""
    return np.unpackbits(plane, bitorder="little", count=count)
