"""Step 3: ||x||^2 on shares, and the check that it is a template's.

S2 holds v_j = x_j + S + r_j and S1 holds r_j; with v'_j = v_j - S, x_j = v'_j - r_j and

    ||x||^2 = sum v'_j^2 - 2 sum v'_j r_j + sum r_j^2.

The cross term comes from Gilboa products (Gilboa 1999): for bit t of r_j, a random OT whose choice is that bit (r does
not depend on the query, so it was made ahead; k_0, k_1 at S2, k_c at S1) is turned into a correlated one:

    S2 -> S1:  M = k_0 - k_1 + v'_j 2^t;     S1 adds k_c + r_j[t] M,  S2 adds -k_0      (mod 2^W)

W is so wide that nothing wraps that a client can put into a slot of u bits: |x_j| < 2^u, so ||x||^2 < D 2^(2u), and W
is at least 2 u + log2 D + 2. Then the bit [lo <= ||x||^2 <= hi] is computed from the signs of ||x||^2 - lo and hi -
||x||^2 and opened: it is 1 for every honest template. It bounds every coordinate, so no slot of a score can wrap around
afterwards. Modulo 2^b the shares go on as each server's share of the norm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.protocols.packed.convert import Masks
from pura.protocols.packed.gmw import Bits, complement, conjunction, octets, opened, planes_of_wide, sign, sign_cost
from pura.protocols.packed.select import Pads
from pura.protocols.packed.side import Side
from pura.protocols.packed.tournament import Need, Stock
from pura.rounds import Rounds, receive, send

Limbs = NDArray[np.int64]
"""Numbers modulo 2^W as W / 32 limbs, low first, each in [0, 2^32) when settled: (n, W / 32)."""

_LIMB = 32


def ring_bits(side: Side) -> int:
    """W, a multiple of 32."""
    least = 2 * side.rows.slot_bits + side.params.dimension.bit_length() + 2
    return -(-least // _LIMB) * _LIMB


def transfers_for(side: Side) -> int:
    """How many OTs the cross term of one template takes: D times the bits of r_j."""
    return side.params.dimension * side.rows.mask_bits


def choices_of(side: Side, masks: Masks) -> Bits:
    """The bits of every r_j, lowest first, one in a byte: the choices of S1's OTs."""
    width = -(-side.rows.mask_bits // 8)
    raw = np.frombuffer(b"".join(r.to_bytes(width, "little") for r in masks.r), np.uint8).reshape(-1, width)
    bits = np.unpackbits(raw, axis=1, bitorder="little", count=side.rows.mask_bits)
    return np.ascontiguousarray(bits.reshape(-1))


@dataclasses.dataclass(frozen=True, repr=False)
class CrossSender:
    """S2's OTs for one template's cross term; for one use."""

    k0: Pads
    k1: Pads


@dataclasses.dataclass(frozen=True, repr=False)
class CrossReceiver:
    """S1's OTs for one template's cross term: k_c for its choices; for one use."""

    choices: Bits
    pads: Pads


@message
class CrossTerms(Message):
    """S2 -> S1: M of every OT of one template that fits."""

    m: bytes


@dataclasses.dataclass(frozen=True, repr=False)
class NormShare:
    """A server's share of one accepted template's ||x||^2 modulo 2^b."""

    value: int


def check_s1(
    side: Side, stock: Stock, masks: Sequence[Masks], cross: Sequence[CrossReceiver]
) -> Rounds[list[NormShare | None]]:
    """S1's share of each template's norm, None for one whose norm no template has."""
    if not masks:
        return []
    w = ring_bits(side)
    shares = []
    for mask, ots in zip(masks, cross, strict=True):
        got = yield from receive(CrossTerms)
        if len(got.m) != transfers_for(side) * w // 8:
            raise ProtocolError(detail="number of cross terms")
        m = _limbs(np.frombuffer(got.m, np.uint8), w)
        total = _sum(_limbs(_wide(ots.pads, w), w) + m * ots.choices[:, None].astype(np.int64))
        shares.append((sum(r * r for r in mask.r) - 2 * total) % (1 << w))
    return (yield from _check(side, stock, shares, first=True))


def check_s2(
    side: Side, stock: Stock, vs: Sequence[Sequence[int]], cross: Sequence[CrossSender]
) -> Rounds[list[NormShare | None]]:
    """S2's side of `check_s1`: v of each template that fits its slots."""
    if not vs:
        return []
    w = ring_bits(side)
    shares = []
    for v, ots in zip(vs, cross, strict=True):
        centred = [value - side.params.scale for value in v]
        k0 = _limbs(_wide(ots.k0, w), w)
        m = _settle(k0 - _limbs(_wide(ots.k1, w), w) + _shifted(centred, side.rows.mask_bits, w))
        yield from send(CrossTerms(m.astype("<u4").tobytes()))
        shares.append((sum(value * value for value in centred) + 2 * _sum(k0)) % (1 << w))
    return (yield from _check(side, stock, shares, first=False))


def _check(side: Side, stock: Stock, shares: Sequence[int], *, first: bool) -> Rounds[list[NormShare | None]]:
    w, count = ring_bits(side), len(shares)
    lo, hi = side.params.min_norm2, side.params.max_norm2
    above = [(n - lo if first else n) % (1 << w) for n in shares]
    below = [(hi - n if first else -n) % (1 << w) for n in shares]
    # each test begins a byte of its own, so that the two rows of signs can be taken apart
    planes = np.concatenate([planes_of_wide(above, w), planes_of_wide(below, w)], axis=1)
    negative = yield from sign(stock, planes, first=first)
    fine = complement(negative.reshape(2, -1), first=first)
    both = yield from conjunction(stock, fine[0], fine[1], first=first)
    good = np.unpackbits((yield from opened(both)), bitorder="little", count=count)
    return [
        NormShare(n % (1 << side.columns.slot_bits)) if ok else None
        for n, ok in zip(shares, good.tolist(), strict=True)
    ]


def need(side: Side, templates: int) -> Need:
    """The triples of one check of so many templates. The OTs of the cross terms are made for their masks."""
    ands, _ = sign_cost(ring_bits(side))
    return Need((2 * ands + 1) * octets(templates), 0)


# --- numbers modulo 2^W -----------------------------------------------------------------------------


def _limbs(raw: NDArray[Any], w: int) -> Limbs:
    return np.ascontiguousarray(raw).view("<u4").reshape(-1, w // _LIMB).astype(np.int64)


def _settle(x: Limbs) -> Limbs:
    """Carries and borrows run up; what leaves the top is dropped."""
    carry = np.zeros(len(x), np.int64)
    out = np.empty_like(x)
    for i in range(x.shape[1]):
        now = x[:, i] + carry
        out[:, i] = now & 0xFFFFFFFF
        carry = now >> _LIMB
    return out


def _sum(x: Limbs) -> int:
    """The sum of all rows, an integer that is right modulo 2^W."""
    return sum(int(total) << (_LIMB * i) for i, total in enumerate(x.sum(axis=0)))


def _shifted(values: Sequence[int], bits: int, w: int) -> Limbs:
    """v 2^t mod 2^W for every v and t = 0 .. bits - 1: (len(values) bits, W / 32)."""
    base = np.frombuffer(b"".join((v % (1 << w)).to_bytes(w // 8, "little") for v in values), np.uint8)
    x = _limbs(base, w)
    out = np.empty((len(values), bits, w // _LIMB), np.int64)
    for t in range(bits):
        out[:, t] = x
        x = _settle(2 * x)
    return out.reshape(-1, w // _LIMB)


def _wide(pads: Pads, w: int) -> NDArray[np.uint8]:
    """W bits from each 16-byte pad: the pad itself, or AES_K(pad) + pad for public keys K where W is longer."""
    octets_wanted = w // 8
    if octets_wanted <= pads.shape[1]:
        return pads[:, :octets_wanted]
    blocks = [_expand(pads, i) for i in range(-(-octets_wanted // 16))]
    return np.concatenate(blocks, axis=1)[:, :octets_wanted]


def _expand(pads: Pads, block: int) -> Pads:
    encrypted = _fixed_key(block).encryptor().update(np.ascontiguousarray(pads).tobytes())
    return np.frombuffer(encrypted, np.uint8).reshape(-1, 16) ^ pads


@cache
def _fixed_key(block: int) -> Cipher[ECB]:
    return Cipher(AES(b"pura norm prg" + bytes([0, 0, block])), ECB())  # noqa: S305 (one block a pad, never chained)
