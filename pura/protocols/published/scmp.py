"""SCMP: [x], [y] -> [x < y] for signed x, y (SOCI+), a batch at a time.

    S1:  r1 in [1, 2^sigma],  r2 = N/2 - rho,  0 <= rho < r1,  a coin pi
         D = [r1 (x - y) + r1 + r2] if pi = 0,  [r1 (y - x) + r2] if pi = 1;   sends D, PDec1(D)
    S2:  u' = 1 if D > N/2, else 0;   sends [u'], fresh
    S1:  [x < y] = [1 - u'] if pi = 0,  [u'] if pi = 1

N/2 is (N - 1) / 2. With pi = 0, D > N/2 says r1 (x - y + 1) > rho, which is x >= y; with pi = 1, y > x. Exact for
r1 (|x - y| + 1) < N/2, which holds for |x - y| < 2^(|N| - sigma - 3).

What it leaks: S2 sees D - N/2, about r1 |x - y|, and so log2 |x - y| to within 1 or 2 bits. No sigma helps.
"""

from __future__ import annotations

from collections.abc import Sequence

from pura.bigint import Z, invert_many, power
from pura.messages import Message, message
from pura.protocols.published.side import SIGMA, Side
from pura.rounds import Rounds, receive, send


@message
class ScmpAsk(Message):
    """S1 -> S2: D and PDec1(D) of each comparison."""

    ciphertexts: bytes
    partials: bytes


@message
class ScmpReply(Message):
    """S2 -> S1: [D > N/2] of each."""

    bits: bytes


def scmp_s1(side: Side, xs: Sequence[Z], ys: Sequence[Z]) -> Rounds[list[Z]]:
    """S1's part for a batch: [x_i < y_i] of each pair."""
    if not xs:
        return []
    coins = [side.rng.bits(1) for _ in xs]
    yield from send(step_1(side, coins, xs, ys))
    got = yield from receive(ScmpReply)
    return step_3(side, coins, side.pk.load_many(got.bits, len(xs)))


def scmp_s2(side: Side, count: int) -> Rounds[None]:
    """S2's part for a batch of `count`."""
    if count:
        yield from send(step_2(side, (yield from receive(ScmpAsk)), count))


def step_1(side: Side, coins: Sequence[int], xs: Sequence[Z], ys: Sequence[Z]) -> ScmpAsk:
    """D = [r1 (x - y) + r1 + r2] or [r1 (y - x) + r2], re-randomised;  PDec1(D)."""
    pk = side.pk
    # larger - smaller: x - y for pi = 0, y - x for pi = 1
    plus = [y if coin else x for coin, x, y in zip(coins, xs, ys, strict=True)]
    minus = invert_many([x if coin else y for coin, x, y in zip(coins, xs, ys, strict=True)], pk.n2)
    r1s = [1 + side.rng.below(1 << SIGMA) for _ in xs]
    scaled = side.workers.map(_scale, [(a * b % pk.n2, r1, pk.n2) for a, b, r1 in zip(plus, minus, r1s, strict=True)])
    offsets = []
    for coin, r1 in zip(coins, r1s, strict=True):
        r2 = int(pk.n) // 2 - side.rng.below(r1)
        offsets.append(r2 if coin else r1 + r2)
    return ScmpAsk(*side.ask([pk.add(c, e) for c, e in zip(scaled, side.fresh(offsets), strict=True)]))


def step_2(side: Side, asked: ScmpAsk, count: int) -> ScmpReply:
    """u' = 1 if D > N/2: a plaintext above N/2 is read as a negative number."""
    plains = side.decrypt("scmp", asked.ciphertexts, asked.partials, count)
    return ScmpReply(side.pk.dump_many(side.fresh([int(d < 0) for d in plains])))


def step_3(side: Side, coins: Sequence[int], bits: Sequence[Z]) -> list[Z]:
    """[x < y] = [u'] if pi = 1, else [1 - u']."""
    pk = side.pk
    flipped = invert_many(bits, pk.n2)
    return [u if coin else pk.add_plain(v, 1) for coin, u, v in zip(coins, bits, flipped, strict=True)]


def _scale(item: tuple[Z, int, Z]) -> Z:
    """c^r1."""
    c, r1, n2 = item
    return power(c, r1, n2)
