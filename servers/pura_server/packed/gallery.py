"""The gallery as a query sees it: the blocks to multiply, where each entry lies, its handle, the share of its norm."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pura.errors import UnknownEntry
from pura.ids import BlockId, Handle
from pura.protocols.packed.pack import BlockVersion, Targets
from pura.store.base import BlockRef, Gallery
from pura.store.segments import read_block

NORM_BYTES = 4
"""A norm share modulo 2^b, b <= 31, big-endian, as it is stored with an entry."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads one version of a block from its segment, in whatever process it is called."""

    ref: BlockRef

    def __call__(self) -> bytes:
        """The block's ciphertexts, one behind the other."""
        return bytes(read_block(self.ref))


@dataclasses.dataclass(frozen=True)
class View:
    """An immutable picture of the gallery, or of some entries of it.

    positions[i] is entry i's place in the slots of all `blocks` put one behind the other; handles and norms have the
    same order and shape (n,). `source` keeps the segments' files alive.
    """

    source: Gallery
    digest: bytes
    blocks: tuple[BlockId, ...]
    readers: tuple[Reader, ...]
    positions: NDArray[np.int64]
    handles: NDArray[np.uint64]
    norms: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.handles)

    @cached_property
    def targets(self) -> Targets:
        """The view as the protocols take it."""
        versions = tuple(BlockVersion(block, self.source.blocks[block].version) for block in self.blocks)
        return Targets(versions, self.readers, self.positions, self.handles, self.norms)

    @property
    def nothing(self) -> Targets:
        """No entry at all."""
        none = np.zeros(0, np.uint64)
        return Targets((), (), np.zeros(0, np.int64), none, none)

    def only(self, wanted: Sequence[Handle], capacity: int) -> View:
        """The view of some entries, with the blocks that hold them. Raises `UnknownEntry` if one is not there."""
        chosen = np.flatnonzero(np.isin(self.handles, np.array(wanted, dtype=np.uint64)))
        if len(chosen) != len(set(wanted)) or not wanted:
            raise UnknownEntry()
        at = self.positions[chosen] // capacity
        used = np.unique(at)
        return dataclasses.replace(
            self,
            blocks=tuple(self.blocks[i] for i in used),
            readers=tuple(self.readers[i] for i in used),
            positions=np.searchsorted(used, at) * capacity + self.positions[chosen] % capacity,
            handles=self.handles[chosen],
            norms=self.norms[chosen],
        )


def view_of(gallery: Gallery, capacity: int) -> View:
    """The whole gallery; `capacity` is L, the entries a block holds. Both servers get the same digest for the same
    entries in the same slots of the same versions of blocks."""
    blocks = tuple(sorted(gallery.blocks))
    index = np.array([int(b) for b in blocks], dtype=np.int64)
    positions = np.searchsorted(index, gallery.block_ids.astype(np.int64)) * capacity + gallery.slots.astype(np.int64)
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(int(block).to_bytes(8, "big") + gallery.blocks[block].version.to_bytes(8, "big"))
    digest.update(gallery.handles.astype(">u8").tobytes() + positions.astype(">i8").tobytes())
    norms = np.frombuffer(gallery.norm_shares.tobytes(), dtype=">u4").astype(np.uint64)
    return View(
        gallery,
        digest.digest(),
        blocks,
        tuple(Reader(gallery.blocks[b]) for b in blocks),
        positions,
        gallery.handles.astype(np.uint64),
        norms,
    )
