"""Keys on shares: with delta = x - a opened and f_1 + f_2 = <a, B_i> made ahead,

    <x, y_i> = <a, B_i> + <a, E_i> + <delta, B_i + E_i>,           B = B_1 + B_2,   E = y - B
    S1:  f_1,i + <a_1, E_i> + <delta, E_i + B_1,i>                 S2:  f_2,i + <a_2, E_i> + <delta, B_2,i>

modulo 2^k. Only the last term waits for the question. Y_1 = E + B_1 and Y_2 = B_2 are a sharing of the gallery.
"""

from __future__ import annotations

import numpy as np

from pura.crypto.bits import Words
from pura.protocols.prepared.blocks import Targets
from pura.protocols.prepared.pack import Pack
from pura.protocols.prepared.ring import reduced
from pura.protocols.prepared.side import Side


def keys(side: Side, pack: Pack, targets: Targets, delta: Words) -> Words:
    """This server's shares of -<x, y_i> modulo 2^k, (n,). delta: (D,)."""
    k = side.sizes.key_bits
    sums = side.arithmetic.sums(targets.blocks, reduced(pack.blinds.a[0], k), reduced(delta, k), k)
    sums += np.concatenate([pack.products[block] for block in targets.masked])
    return reduced(np.uint64(0) - sums[targets.positions].astype(np.uint64), k)
