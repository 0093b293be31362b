"""Correlations without a lattice: the servers tell each other their rows and masks. Right, fast and not secret."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pura.crypto.bits import Words
from pura.crypto.rng import SeededRng
from pura.ids import BlockId, Party
from pura.messages import Message, message
from pura.protocols.prepared.correlations import SLOTS, MaskedBlock, Products, ReadMasks
from pura.rounds import Rounds, exchange


@message
class Told(Message):
    """Both ways: rows and masks in the clear."""

    rows: bytes
    masks: bytes


class ToldCorrelations:
    """`Correlations` of `party`, for k = `bits`."""

    def __init__(self, party: Party, bits: int, masks: ReadMasks) -> None:
        self._party, self._mask, self._masks = party, np.uint64((1 << bits) - 1), masks

    def products(self, rows: Words, blocks: Sequence[MaskedBlock]) -> Rounds[Products]:
        """See `Correlations.products`."""
        d = rows.shape[1]
        mine = Told((rows & self._mask).tobytes(), b"".join(self._masks(b).tobytes() for b in blocks))
        told = yield from exchange(mine, Told)
        a, also = (np.frombuffer(m.rows, np.uint64).reshape(-1, d) for m in (mine, told))
        b, more = (np.frombuffer(m.masks, np.uint32).astype(np.uint64).reshape(-1, d) for m in (mine, told))
        f = ((a + also) @ (b + more).T & self._mask).reshape(len(rows), len(blocks), SLOTS)
        first, second = sorted((mine.rows + mine.masks, told.rows + told.masks))
        stream = SeededRng(hashlib.sha256(first + second).digest())
        share = np.frombuffer(stream.bytes(4 * f.size), np.uint32).reshape(f.shape) & np.uint32(self._mask)
        return share if self._party is Party.S1 else ((f - share) & self._mask).astype(np.uint32)

    def forget(self, block: BlockId) -> None:
        """Nothing is held."""
