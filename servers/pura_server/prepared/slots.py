"""Which slots may still be used, and the nonces of the masks in them. In memory only, each server by itself.

A slot's mask comes from this server's key, a nonce and the slot's place (`masks`). An entry keeps the nonce under which
it was written. All other slots have one nonce, drawn at every connection, after every change that was cut off, and
before entries get other masks: so a slot whose share went out before has another mask afterwards. Until then a slot is
spent before the first share for it leaves, whatever happens, and an erased entry's slot is not used again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from pura.errors import ProtocolError
from pura.ids import BlockId
from pura.protocols.prepared.correlations import SLOTS

NONCE_BYTES = 16
MASKING = np.dtype([("nonces", "u1", (2, NONCE_BYTES)), ("versions", ">u4", (2,))])
"""How a slot is masked, and how it is stored of an entry: S1's and S2's nonce, and the versions of their mask keys."""
Place = tuple[BlockId, int]
MAX_BLOCKS = 1 << 20


class Slots:
    """The free slots since the nonces were drawn last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[BlockId, NDArray[np.bool_]] = {}
        self._version = 0
        self.nonces = b""
        """S1's and S2's of the free slots, one behind the other; empty before the first connection."""
        self.versions = (0, 0)
        """Of the keys that S1's and S2's new masks come from."""

    def renew(self, nonces: bytes, versions: tuple[int, int], taken: Mapping[BlockId, NDArray[np.int64]]) -> None:
        """Both servers' new nonces; the slots that hold an entry are not free."""
        with self._lock:
            self._spent = {}
            for block, slots in taken.items():
                self._of(block)[slots] = True
            self.nonces, self.versions = nonces, versions
            self._version = int.from_bytes(hashlib.sha256(nonces).digest()[:7], "big")

    @property
    def version(self) -> int:
        """Names the nonces; the same at both servers."""
        return self._version

    def masking(self, count: int) -> NDArray[np.void]:
        """How free slots are masked, (count,) of dtype MASKING."""
        out = np.zeros(count, MASKING)
        out["nonces"] = np.frombuffer(self.nonces, np.uint8).reshape(2, -1)
        out["versions"] = self.versions
        return out

    def take(self, count: int, among: Iterable[BlockId] | None = None) -> list[Place]:
        """Spend free slots of these blocks in order, else of all, new ones after those that exist. Places; fewer where
        there is no more room."""
        with self._lock:
            places: list[Place] = []
            for block in map(BlockId, range(MAX_BLOCKS)) if among is None else among:
                if len(places) == count:
                    break
                spent = self._of(block)
                free = np.flatnonzero(~spent)[: count - len(places)]
                spent[free] = True
                places += [(block, int(slot)) for slot in free]
            return places

    def spend(self, places: Iterable[Place]) -> None:
        """Spend the slots that the other server chose. Raises `ProtocolError`, and spends none, if one is not free."""
        with self._lock:
            chosen = list(places)
            if len(set(chosen)) != len(chosen) or any(not 0 <= b < MAX_BLOCKS or not 0 <= s < SLOTS for b, s in chosen):
                raise ProtocolError(detail="a place is out of range")
            if any(self._of(block)[slot] for block, slot in chosen):
                raise ProtocolError(detail="a slot is taken")
            for block, slot in chosen:
                self._of(block)[slot] = True

    def _of(self, block: BlockId) -> NDArray[np.bool_]:
        return self._spent.setdefault(block, np.zeros(SLOTS, bool))
