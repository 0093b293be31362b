"""SMUL: [x], [y] -> [x y] for signed |x|, |y| < 2^64 (SOCI+), a batch at a time.

    S1:  X = [x + r1],  Y = [y + r2],  C = X^Lm Y,  Lm = 2^(m + 2);   sends C, PDec1(C)
    S2:  Lm (x + r1) + y + r2 = Dec(C);  splits it by div and mod Lm;  sends [(x + r1)(y + r2)]
    S1:  [x y] = [(x + r1)(y + r2)] [x]^(-r2) [y]^(-r1) [-r1 r2]

m = 64 + sigma bits are the masks' length. (x + r1)(y + r2) = x y + r2 x + r1 y + r1 r2 is taken apart over Z_N, so the
result is exact. S2 sees two uniformly masked values.
"""

from __future__ import annotations

from collections.abc import Sequence

from pura.bigint import Z, invert, power
from pura.errors import InvalidTemplate
from pura.messages import Message, message
from pura.protocols.published.side import SIGMA, VALUE_BITS, Side
from pura.protocols.published.tuples import SmulTuple
from pura.rounds import Rounds, receive, send


@message
class SmulAsk(Message):
    """S1 -> S2: C and PDec1(C) of each product."""

    ciphertexts: bytes
    partials: bytes


@message
class SmulReply(Message):
    """S2 -> S1: [(x + r1)(y + r2)] of each."""

    products: bytes


def lm_bits(side: Side) -> int:
    """log2 Lm = 64 + sigma + 2."""
    return VALUE_BITS + SIGMA + 2


def smul_s1(side: Side, xs: Sequence[Z], ys: Sequence[Z]) -> Rounds[list[Z]]:
    """S1's part for a batch: [x_i y_i] of each pair."""
    if not xs:
        return []
    tuples = side.smul_tuples.take(len(xs))
    yield from send(step_1(side, tuples, xs, ys))
    got = yield from receive(SmulReply)
    return step_3(side, tuples, xs, ys, side.pk.load_many(got.products, len(xs)))


def smul_s2(side: Side, count: int) -> Rounds[None]:
    """S2's part for a batch of `count`."""
    if count:
        yield from send(step_2(side, (yield from receive(SmulAsk)), count))


def step_1(side: Side, tuples: Sequence[SmulTuple], xs: Sequence[Z], ys: Sequence[Z]) -> SmulAsk:
    """X = [x] [r1];  Y = [y] [r2];  C = X^Lm Y;  PDec1(C). [r2] is fresh, and so is C."""
    pk, bits = side.pk, lm_bits(side)
    items = [(pk.add(x, t.enc_r1), pk.add(y, t.enc_r2), bits, pk.n2) for t, x, y in zip(tuples, xs, ys, strict=True)]
    return SmulAsk(*side.ask(side.workers.map(_join, items)))


def step_2(side: Side, asked: SmulAsk, count: int) -> SmulReply:
    """x + r1 = Dec(C) div Lm;  y + r2 = Dec(C) mod Lm;  [(x + r1)(y + r2)], fresh."""
    bits = lm_bits(side)
    products = []
    for plain in side.decrypt("smul", asked.ciphertexts, asked.partials, count):
        if not 0 <= plain < 1 << 2 * bits:
            raise InvalidTemplate(detail="a factor is out of range")
        products.append((plain >> bits) * (plain & ((1 << bits) - 1)))
    return SmulReply(side.pk.dump_many(side.fresh(products)))


def step_3(side: Side, tuples: Sequence[SmulTuple], xs: Sequence[Z], ys: Sequence[Z], products: Sequence[Z]) -> list[Z]:
    """[x y] = [(x + r1)(y + r2)] [x]^(-r2) [y]^(-r1) [-r1 r2]."""
    n2 = side.pk.n2
    items = [(x, y, t.r1, t.r2, n2) for t, x, y in zip(tuples, xs, ys, strict=True)]
    return [
        p * cross % n2 * t.enc_minus_r1r2 % n2
        for p, cross, t in zip(products, side.workers.map(_cross, items), tuples, strict=True)
    ]


def _join(item: tuple[Z, Z, int, Z]) -> Z:
    """X^Lm Y."""
    x, y, bits, n2 = item
    return power(x, 1 << bits, n2) * y % n2


def _cross(item: tuple[Z, Z, int, int, Z]) -> Z:
    """[x]^(-r2) [y]^(-r1), with one inversion."""
    x, y, r1, r2, n2 = item
    return invert(power(x, r2, n2) * power(y, r1, n2) % n2, n2)
