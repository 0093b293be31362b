"""From clients' ciphertexts to shares of their coordinates and of their lengths.

    S2 -> S1:  the ciphertexts under a mask, half opened              template.py
    S1, S2:    x_j modulo 2^W on shares                               digits.py
    S1, S2:    delta = x - a, opened; a was drawn ahead, one part at each server
    S1, S2:    |x|^2 on shares                                        norm.py

The same for a question, one template, and for a batch of enrolments. Whether |x|^2 = S^2 is computed where it is
wanted: in a question beside the tournament, for enrolments at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

from pura.bigint import Z
from pura.crypto.bits import Words
from pura.protocols.prepared import digits, norm, template
from pura.protocols.prepared.norm import Blinds
from pura.protocols.prepared.ring import opened
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.stock import Stock
from pura.protocols.prepared.template import Digits, Mask, MaskedTemplates
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, receive, send


@dataclasses.dataclass(frozen=True, repr=False)
class Converted:
    """A server's shares of n templates.

    x: coordinates modulo 2^W, (n, D); delta: x - a, the same at both servers, (n, D); norms: |x|^2 modulo 2^W, (n,).
    """

    x: Words
    delta: Words
    norms: Words


def convert_s1(side: Side, stock: Stock, blinds: Blinds) -> Rounds[Converted]:
    """As many templates as there are blinds."""
    got = yield from receive(MaskedTemplates)
    v = template.open_masked(side.pk, side.share, side.sizes, got, len(blinds))
    return (yield from _convert(side, stock, blinds, v))


def convert_s2(
    side: Side, stock: Stock, blinds: Blinds, masks: Sequence[Mask], templates: Sequence[Sequence[Z]]
) -> Rounds[Converted]:
    """S2's side of `convert_s1`. templates: the clients' own ciphertexts, validated."""
    yield from send(template.mask(side.pk, side.share, templates, masks))
    return (yield from _convert(side, stock, blinds, template.stacked(masks)))


def _convert(side: Side, stock: Stock, blinds: Blinds, own: Digits) -> Rounds[Converted]:
    sizes, first = side.sizes, side.first
    x = yield from digits.coordinates(stock, sizes, own, first=first)
    delta = yield from opened(x - blinds.a, sizes.ring_bits)
    return Converted(x, delta, norm.share_of_norm(sizes, delta, blinds, first=first))


@lru_cache
def need(sizes: Sizes, templates: int) -> Need:
    """The circuits of one conversion. Its daBits and blinds are made for the templates (`pack`)."""
    return digits.need(sizes, templates)
