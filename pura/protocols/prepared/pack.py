"""The offline part of questions: everything that does not depend on who asks, made ahead for many at a time, used once.

    mask       S2: R and the blind of the client's ciphertext        template.py
    blinds     a = a_1 + a_2, shares of <a_1, a_2>                   norm.py
    hand       daBits, material of circuits                          material.py
    products   f_1 + f_2 = <a, B_i> for every slot of every block    correlations.py

Both servers know what the other one holds, so that what is missing when a question comes (the gallery has grown, or
there was no pack) is made on the spot by the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.errors import MaterialUsed
from pura.protocols.prepared import convert, norm
from pura.protocols.prepared.correlations import SLOTS, Correlations, MaskedBlock
from pura.protocols.prepared.material import Hand, deal, lifts_s1, lifts_s2, numbers_received, numbers_sent
from pura.protocols.prepared.norm import Blinds, transfers_for
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import Mask
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.material import provide
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds

Share = NDArray[np.uint32]


class Once:
    """What is used once."""

    _used = False

    def use(self) -> None:
        """Raises `MaterialUsed` the second time."""
        if self._used:
            raise MaterialUsed()
        self._used = True


@dataclasses.dataclass(repr=False)
class Pack(Once):
    """A server's side of what one operation on `len(blinds)` templates takes. masks: S2's; none at S1."""

    blinds: Blinds
    masks: Sequence[Mask]
    hand: Hand
    products: dict[MaskedBlock, Share] = dataclasses.field(default_factory=dict)

    def add_products(self, correlations: Correlations, blocks: Sequence[MaskedBlock]) -> Rounds[None]:
        """Make what is missing for a question about these blocks; the same at both servers."""
        yield from add_products([self], correlations, blocks)

    def keep_only(self, blocks: Sequence[MaskedBlock]) -> None:
        """Let go of the products of blocks that are not there any more."""
        self.products = {block: self.products[block] for block in blocks if block in self.products}

    @staticmethod
    def bytes_for(sizes: Sizes, need: Need, blocks: int) -> int:
        """About how much memory a pack for one question takes."""
        return need.memory + 4 * SLOTS * blocks + 25 * sizes.dimension + sizes.n_bits // 2


def make(side: Side, ends: Ends, need: Need, count: int, templates: int = 1) -> Rounds[list[Pack]]:
    """`count` packs for operations of `templates` templates each, without products, in a fork of the OTs; the same at
    both servers."""
    sizes, total = side.sizes, count * templates
    ots = total * transfers_for(sizes)
    if side.first:
        blinds = yield from norm.blinds_s1(sizes, *(yield from numbers_received(ends, ots, side.rng)))
        lifts = yield from lifts_s1(ends, sizes, total * sizes.dimension, side.rng)
        masks: list[Mask] = []
    else:
        blinds = yield from norm.blinds_s2(sizes, *(yield from numbers_sent(ends, ots)), side.rng)
        lifts = yield from lifts_s2(ends, sizes, total * sizes.dimension, side.rng)
        masks = [Mask.draw(side.pk, sizes, side.rng) for _ in range(total)]
    whole = yield from provide(ends, need * count, side.rng)
    hands = deal(whole, lifts, need, templates, sizes)
    parts = (slice(at, at + templates) for at in range(0, total, templates))
    return [Pack(blinds[part], masks[part], hand) for part, hand in zip(parts, hands, strict=True)]


def make_with_products(
    side: Side, ends: Ends, need: Need, count: int, correlations: Correlations, blocks: Sequence[MaskedBlock]
) -> Rounds[list[Pack]]:
    """`count` packs for questions about these blocks."""
    packs = yield from make(side, ends, need, count)
    yield from add_products(packs, correlations, blocks)
    return packs


def add_products(packs: Sequence[Pack], correlations: Correlations, blocks: Sequence[MaskedBlock]) -> Rounds[None]:
    """What packs of one question each, all alike, lack of the products of these blocks; the same at both servers."""
    lacking = [block for block in blocks if block not in packs[0].products]
    if lacking:
        made = yield from correlations.products(np.concatenate([pack.blinds.a for pack in packs]), lacking)
        for pack, products in zip(packs, made, strict=True):
            pack.products.update(zip(lacking, products, strict=True))


def need_for_templates(side: Side, templates: int) -> Need:
    """The circuits of an operation that converts templates and looks at their lengths."""
    return convert.need(side.sizes, templates) + norm.need(side.sizes, templates)
