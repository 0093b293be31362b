"""SMIN and batch SMIN: the smallest of M encrypted values and the handle of its entry, both still encrypted.

    [u] = [x < y] by SCMP;   [min] = [y + u (x - y)],   [h_min] = [h_y + u (h_x - h_y)] by SMUL

Batch SMIN is a tournament of ceil(log2 M) levels; each level is one batch of SCMP and one of SMUL. y is the left one
of a pair, so the first of equal values wins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z, invert_many
from pura.errors import OutOfRange
from pura.protocols.published.scmp import scmp_s1, scmp_s2
from pura.protocols.published.side import Side
from pura.protocols.published.smul import smul_s1, smul_s2
from pura.rounds import Rounds


@dataclasses.dataclass(frozen=True, repr=False)
class Candidate:
    """[d] and [handle] of one entry; 0 <= d, handle < 2^64."""

    distance: Z
    handle: Z


def smin_s1(side: Side, ys: Sequence[Candidate], xs: Sequence[Candidate]) -> Rounds[list[Candidate]]:
    """S1's part: the smaller one of each pair, y when they are equal."""
    n2 = side.pk.n2
    us = yield from scmp_s1(side, [x.distance for x in xs], [y.distance for y in ys])
    pairs = [(x.distance, y.distance) for x, y in zip(xs, ys, strict=True)]
    pairs += [(x.handle, y.handle) for x, y in zip(xs, ys, strict=True)]
    minus = invert_many([y for _, y in pairs], n2)
    differences = [x * m % n2 for (x, _), m in zip(pairs, minus, strict=True)]
    steps = yield from smul_s1(side, us + us, differences)
    chosen = [y * s % n2 for (_, y), s in zip(pairs, steps, strict=True)]
    return [Candidate(d, h) for d, h in zip(chosen[: len(xs)], chosen[len(xs) :], strict=True)]


def smin_s2(side: Side, count: int) -> Rounds[None]:
    """S2's part for `count` pairs."""
    yield from scmp_s2(side, count)
    yield from smul_s2(side, 2 * count)


def batch_smin_s1(side: Side, candidates: Sequence[Candidate]) -> Rounds[Candidate]:
    """S1's part of the tournament: the first smallest candidate. Raises `OutOfRange` for none."""
    if not candidates:
        raise OutOfRange("the minimum of no values")
    level = list(candidates)
    while len(level) > 1:
        winners = yield from smin_s1(side, level[: len(level) & ~1 : 2], level[1::2])
        level = winners + level[len(level) & ~1 :]
    return level[0]


def batch_smin_s2(side: Side, count: int) -> Rounds[None]:
    """S2's part for `count` candidates."""
    while count > 1:
        yield from smin_s2(side, count // 2)
        count = (count + 1) // 2
