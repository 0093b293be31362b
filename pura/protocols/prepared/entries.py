"""Writing the gallery: an entry y in a slot is E = y - B_1 - B_2, known to both servers.

    enrolment     each opens y_p - B_p                      after the norm bit, in a slot that was never used
    move          each opens B_old,p - B_new,p:             E_new = E_old + B_old - B_new

Whoever calls has spent the slots, in memory and by itself, before: a second share for the same masks would tell y - y'.
"""

from __future__ import annotations

import numpy as np

from pura.crypto.bits import Words
from pura.protocols.prepared.blocks import Matrix
from pura.protocols.prepared.ring import opened
from pura.protocols.prepared.sizes import Sizes
from pura.rounds import Rounds


def masked_entries(sizes: Sizes, x: Words, masks: Matrix) -> Rounds[Matrix]:
    """E of some templates. x: this server's shares of their coordinates, (n, D); masks: its B_p of their slots."""
    return (yield from opened(x - masks.astype(np.uint64), sizes.key_bits)).astype(np.uint32)


def moved_entries(sizes: Sizes, e: Matrix, old: Matrix, new: Matrix) -> Rounds[Matrix]:
    """E under other masks: of another slot, another nonce or another key; all (n, D)."""
    change = yield from opened(old.astype(np.uint64) - new.astype(np.uint64), sizes.key_bits)
    return (e + change.astype(np.uint32)) & np.uint32((1 << sizes.key_bits) - 1)
