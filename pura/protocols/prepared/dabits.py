"""Shared bits as shared numbers modulo 2^W, by bits that were shared both ways ahead of time (daBits).

A daBit is a random bit r with shares r1 + r2 by XOR and R1 + R2 = r modulo 2^W. To bring a shared bit c over, c + r is
opened, z, and

    c = z + r (1 - 2 z)        so  C1 = z + R1 (1 - 2 z),   C2 = R2 (1 - 2 z).

A daBit is made of one random OT, whose choice is r2 (k_0, k_1 at S1; k_c at S2; numbers modulo 2^W):

    S1 -> S2:  M = r1 + k_0 - k_1;      r1 r2 = (k_c + r2 M) + (-k_0)
    R1 = r1 + 2 k_0,   R2 = r2 - 2 (k_c + r2 M).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from pura.crypto.bits import Words
from pura.crypto.rng import Rng
from pura.messages import Message, message
from pura.protocols.prepared.ring import dump, load, reduced
from pura.protocols.shares.gmw import Bits, opened, pack_bits, unpack_bits
from pura.rounds import Rounds, receive, send


@dataclasses.dataclass(frozen=True, repr=False)
class DaBits:
    """A server's shares of n daBits: bits one in a byte, numbers modulo 2^W; (n,) each. For one use."""

    bits: Bits
    numbers: Words


class Lifts(Protocol):
    """Where daBits come from; each is handed out once."""

    def dabits(self, count: int) -> DaBits:
        """The next `count` daBits."""
        ...


@message
class DaBitTerms(Message):
    """S1 -> S2: M of every daBit."""

    m: bytes


def lift(stock: Lifts, bits: Bits, ring: int, *, first: bool) -> Rounds[Words]:
    """Shares modulo 2^ring of shared bits, one in a byte: (n,) -> (n,). One round."""
    dabits = stock.dabits(len(bits))
    masked = yield from opened(pack_bits(bits ^ dabits.bits))
    z = unpack_bits(masked, len(bits)).astype(np.uint64)
    turned: Words = dabits.numbers * (np.uint64(1) - np.uint64(2) * z)
    return reduced(turned + z if first else turned, ring)


def make_s1(k0: Words, k1: Words, ring: int, rng: Rng) -> Rounds[DaBits]:
    """S1's daBits from n OTs that it sends; pads (n,)."""
    n = len(k0)
    r1 = unpack_bits(np.frombuffer(rng.bytes(-(-n // 8)), np.uint8), n)
    one: Words = r1.astype(np.uint64)
    yield from send(DaBitTerms(dump(reduced(one + k0 - k1, ring), ring)))
    return DaBits(r1, reduced(one + np.uint64(2) * k0, ring))


def make_s2(choices: Bits, k: Words, ring: int) -> Rounds[DaBits]:
    """S2's side of `make_s1`: choices one in a byte and the pads received."""
    got = yield from receive(DaBitTerms)
    r2: Words = choices.astype(np.uint64)
    product: Words = k + r2 * load(got.m, k.shape, ring)
    return DaBits(choices, reduced(r2 - np.uint64(2) * product, ring))
