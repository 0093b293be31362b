"""Steps 2 and 4: from the query's shares to shares of every distance, a block of L entries at a time.

    G_j encrypts sum_i y_ij 2^(b i);  x_j = v_j - r_j, v at S2, r at S1 (r_j + S of the conversion, called r here)
    S1, ahead of time:  A = prod_j G_j^(r_j) * fresh [0]                        -> S2
    S2:  C = (A / prod_j G_j^(v_j))^8 * (1 + (sum_i 8 hi 2^(b i) + R) N) * fresh [0],  PDec2(C)    -> S1
    S1:  opens Q = P + R,  P = sum_i p_i 2^(b i),  p_i = 8 hi - 8 <x, y_i>

Everything up to C is linear over Z_N, so no slot overflows on the way. |<x, y_i>| <= hi by the norm checks, so
0 <= p_i <= 16 hi < 2^(b-1). R is uniform of L b + sigma bits over the *whole* plaintext: Q tells S1 nothing (2^-sigma),
and C is re-randomised because S1 will learn its randomness. Slot-wise, with rho_i the slots of R,

    q_i - rho_i = p_i + c_i  (mod 2^b),   c_i in {0, 1}

the carry from the slot below. With the norms' shares this makes the key 4 d_i + c_i. The factor 4 makes comparisons
exact and *independent of c*, which depends on the entry in the slot below: no answer may (docs/decisions/0008).

    d_i < d_j    <=>  (4 d_i + c_i) - (4 d_j + c_j) + 2 < 0         d_i <= tau  <=>  4 d_i + c_i < 4 tau + 4
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.bigint import Z, power
from pura.crypto.encoding import pack_slots
from pura.crypto.threshold import dump_partials, load_partials
from pura.errors import MalformedCiphertext, ProtocolError
from pura.messages import Message, message
from pura.protocols.packed.side import Side
from pura.protocols.packed.tasks import openings

Words = NDArray[np.uint64]


@message
class ScoreBlocks(Message):
    """S2 -> S1: C of some blocks and PDec2 of each."""

    blocks: int
    ciphertexts: bytes
    partials: bytes


def blind_products(side: Side, a: Sequence[Z]) -> list[Z]:
    """S1, offline: A * fresh [0], so that S2 sees only fresh ciphertexts."""
    return [side.pk.rerandomise(x, side.rng) for x in a]


def scores_s2(side: Side, a: Sequence[Z], b_inverse: Sequence[Z]) -> tuple[ScoreBlocks, list[int]]:
    """C and PDec2(C) of some blocks from A and 1 / prod_j G_j^(v_j), and the R that each hides behind."""
    pk, columns = side.pk, side.columns
    bias = pack_slots([columns.bias] * columns.entries, columns.slot_bits)
    cs, masks = [], []
    for a_k, b_k in zip(a, b_inverse, strict=True):
        r = side.rng.bits(columns.entries * columns.slot_bits + side.params.sigma)
        c = power(a_k * b_k, 8, pk.n2)
        cs.append(pk.rerandomise(pk.add_plain(c, bias + r), side.rng))
        masks.append(r)
    u2 = side.share.partial_decrypt_many(pk, cs)
    return ScoreBlocks(len(cs), pk.dump_many(cs), dump_partials(pk, u2)), masks


def open_s1(side: Side, got: ScoreBlocks, blocks: int) -> list[Words]:
    """The slots of Q = P + R of so many blocks. Raises `MalformedCiphertext` when S2's part does not open one."""
    pk = side.pk
    if got.blocks != blocks:
        raise ProtocolError(detail="number of score blocks")
    cs = pk.load_many(got.ciphertexts, got.blocks)
    u2 = load_partials(pk, got.partials, got.blocks)
    u1 = side.share.partial_decrypt_many(pk, cs)
    out = []
    for q in side.run_all(openings(pk, cs, u1, u2)):
        if q is None:
            raise MalformedCiphertext("the other server's part does not open a block of scores")
        out.append(slots_of(side, q))
    return out


def slots_of(side: Side, plain: int | Z) -> Words:
    """The L slots of a masked plaintext, each in [0, 2^b): shape (L,)."""
    count, bits = side.columns.entries, side.columns.slot_bits
    body = int(plain) & ((1 << (count * bits)) - 1)
    octets = np.frombuffer(body.to_bytes(-(-count * bits // 8), "little"), dtype=np.uint8)
    bit = np.unpackbits(octets, bitorder="little")[: count * bits].reshape(count, bits)
    weights = np.left_shift(np.uint64(1), np.arange(bits, dtype=np.uint64))
    out: Words = bit.astype(np.uint64) @ weights
    return out


def distance_keys(side: Side, slots: Words, entry_norms: Words, query_norm: int, *, first: bool) -> Words:
    """A server's share of 4 d_i + c_i modulo 2^b: its slots, plus four times its shares of ||y_i||^2 and ||x||^2;
    S1 (`first`) takes the bias off. slots and entry_norms: shape (n,) of the n entries in question."""
    b = side.columns.slot_bits
    shift = (4 * query_norm - (side.columns.bias if first else 0)) % (1 << b)
    out: Words = (slots + np.uint64(4) * entry_norms + np.uint64(shift)) & np.uint64((1 << b) - 1)
    return out
