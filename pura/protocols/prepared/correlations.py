"""What a question needs ahead of time from both servers' masks: shares of <a, B_i>.

    a = a_1 + a_2                server p's row for one question, drawn by itself, used once
    B_i = B_1,i + B_2,i          server p's mask of slot i, from its own PRF (`pura.crypto.masks`)
    f_1,i + f_2,i = <a_1 + a_2, B_1,i + B_2,i>   mod 2^k

`Correlations` is one server's end of what makes the f; `correlate` makes them by ring-LWE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe import parameters
from pura.ids import BlockId
from pura.rounds import Rounds

SLOTS = parameters.SLOTS
"""n: the slots of a block."""

Masks = NDArray[np.uint32]
"""B_p of a block: (SLOTS, D), below 2^k."""
Products = NDArray[np.uint32]
"""f_p of some rows: (rows, blocks, SLOTS), below 2^k."""


class MaskedBlock(NamedTuple):
    """The name of one assignment of masks to the slots of a block; other masks ask for another `version`."""

    block: BlockId
    version: int


ReadMasks = Callable[[MaskedBlock], Masks]
"""This server's own masks of a block."""


class Correlations(Protocol):
    """One server's end; the other one calls the same method at the same place with as many rows and the same blocks."""

    def products(self, rows: Words, blocks: Sequence[MaskedBlock]) -> Rounds[Products]:
        """This server's shares f_p of <a, B_i> modulo 2^k, for every row, block and slot, empty slots included.

        rows (R, D): this server's a_p of R questions. They may be shares modulo any 2^W, W >= k (digits on shares want
        room for |x|^2): only the low k bits count here, and f fits a = a_1 + a_2 modulo 2^k. The same rows may be given
        again with other blocks, when a question finds the gallery grown. Blocks that the other server's end does not
        know yet are told to it on the way. Raises `ProtocolError`.
        """
        ...

    def forget(self, block: BlockId) -> None:
        """A block is no more: what is held of it may go. Nobody has to."""
        ...
