"""Which masks the slots of a block have, under a name that both servers give it.

    a slot with an entry     the masks that the entry is written under
    a free slot              those of the nonces that were drawn last, under which the next entry is written

Correlations and packs are kept under the name, so it stands for the same masks for as long as it lives, whatever
happens to the gallery meanwhile. Entries that come and go do not change them: one that comes is written under the masks
of its free slot, and the slot of one that goes is not used again before other nonces are drawn. Those change the masks,
and the name, of every block that has a free slot; and a block whose entries get other masks where they lie has another
name from the picture on that shows them so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pura.errors import NotReady
from pura.ids import BlockId
from pura.protocols.prepared.correlations import SLOTS, MaskedBlock
from pura_server.prepared.slots import MASKING

EARLIER = 3
"""Names of before so many drawings of nonces are still known: to questions that began then."""


Names = Mapping[BlockId, MaskedBlock]


class Written(NamedTuple):
    """The entries of a block: their slots (n,), how they are masked (n,) of dtype MASKING, and a hash of all of it."""

    slots: NDArray[np.int64]
    masking: NDArray[np.void]
    hashed: bytes


_NOBODY = Written(np.zeros(0, np.int64), np.zeros(0, MASKING), b"")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Assignment:
    """A block's name, and how each of its slots is masked, (SLOTS,) of dtype MASKING."""

    masked: MaskedBlock
    masking: NDArray[np.void]

    @classmethod
    def of(cls, block: BlockId, written: Written, free: NDArray[np.void]) -> Assignment:
        """Of a block with these entries, when free slots are masked as `free` (1,). Both servers give the same name."""
        masking = np.repeat(free, SLOTS)
        masking[written.slots] = written.masking
        name = hashlib.sha256(b"pura masks" + free.tobytes() + written.hashed).digest()
        return cls(MaskedBlock(block, int.from_bytes(name[:7], "big")), masking)

    def fits(self, written: Written) -> bool:
        """Whether these entries are masked as it says."""
        return bool((self.masking[written.slots] == written.masking).all())


class Assignments:
    """Of all blocks, by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: NDArray[np.void] = np.zeros(1, MASKING)
        self._now: dict[BlockId, Assignment] = {}
        self._earlier: deque[dict[MaskedBlock, Assignment]] = deque([{}], EARLIER)

    def renew(self, free: NDArray[np.void], blocks: Mapping[BlockId, Written], *, fresh: bool = False) -> Names:
        """Free slots have other masks; the names of these blocks now. A block without a free slot keeps its masks and
        name, but for a new connection (`fresh`): the other server may have started anew, and knows no earlier name."""
        with self._lock:
            full = {b for b, written in blocks.items() if len(written.slots) == SLOTS and not fresh}
            now = {b: self._now[b] if b in full else Assignment.of(b, one, free) for b, one in blocks.items()}
            if fresh:
                self._earlier.clear()  # of a connection that is over
            self._earlier.append({one.masked: one for b, one in self._now.items() if b not in full})
            self._free, self._now = free, now
            return {block: one.masked for block, one in now.items()}

    def name(self, block: BlockId, written: Written) -> MaskedBlock:
        """The name of a block with these entries: another one from now on if one of them has got other masks."""
        with self._lock:
            known = self._now.get(block) or Assignment.of(block, _NOBODY, self._free)
            if not known.fits(written):
                self._earlier[-1][known.masked] = known
                known = Assignment.of(block, written, self._free)
            self._now[block] = known
            return known.masked

    def find(self, name: MaskedBlock) -> NDArray[np.void]:
        """How the slots are masked, (SLOTS,) of dtype MASKING. Raises `NotReady` for a name that is no more."""
        with self._lock:
            now = self._now.get(name.block)
            if now is not None and now.masked == name:
                return now.masking
            for some in reversed(self._earlier):
                if name in some:
                    return some[name].masking
        raise NotReady("the gallery is being changed; try again")
