"""Boolean circuits on XOR shares (Goldreich, Micali, Wigderson 1987), many instances side by side.

A bit plane is a row of packed bits, instance i in bit i % 8 of byte i // 8; arrays of planes have shape (planes, w)
with w = ceil(instances / 8). XOR and NOT are local; an AND takes a triple a b = c that was made ahead (Beaver 1991):

    d = x + a,  e = y + b  are opened;   x y = c + d b + e a + d e
"""

from __future__ import annotations

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


# --- numbers and planes -----------------------------------------------------------------------------


def octets(instances: int) -> int:
    """w: the bytes of a plane."""
    return -(-instances // 8)


def pack_bits(bits: Bits) -> Bits:
    """One plane of bits given one in a byte: (n,) -> (w,)."""
    return np.packbits(bits, bitorder="little")


def unpack_bits(plane: Bits, count: int) -> Bits:
    """The first `count` bits of a plane, one in a byte: (w,) -> (count,)."""
    return np.unpackbits(plane, bitorder="little", count=count)
