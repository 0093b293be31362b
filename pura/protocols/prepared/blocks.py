"""Blocks of the gallery as a server holds them, and which entries of them a question is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.protocols.prepared.correlations import MaskedBlock

Matrix = NDArray[np.uint32]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Block:
    """A block as a server holds it, n slots: E, 0 in free slots, and Y_p; both (n, D) and below 2^k. Immutable."""

    masked: MaskedBlock
    e: Matrix
    y: Matrix


@dataclasses.dataclass(frozen=True, repr=False)
class Targets:
    """The entries that a question is matched with.

    blocks: those that hold them; positions (n,): each entry's place in the slots of all blocks put one behind the
    other; handles (n,) uint64.
    """

    blocks: Sequence[Block]
    positions: NDArray[np.int64]
    handles: Words

    def __len__(self) -> int:
        return len(self.handles)

    @property
    def masked(self) -> list[MaskedBlock]:
        """What the products of a pack have to cover."""
        return [block.masked for block in self.blocks]
