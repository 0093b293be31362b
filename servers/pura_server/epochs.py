"""S2's epochs: what a proof must name, so that no server and no client can use one twice or keep one for later.

An epoch is 16 random bytes, drawn at every connection and every hour. Proofs of the current and of the previous one are
accepted, each once: their challenges are remembered as long as their epoch counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pura.crypto.rng import Rng
from pura.errors import BadProof, StaleEpoch

EPOCH_BYTES = 16
EPOCH_S = 3600.0
MOST = 1 << 18
"""Challenges remembered of one epoch, some 30 MB; a full epoch ends early."""


class Epochs:
    """The current epoch and the one before. Thread-safe."""

    def __init__(self, rng: Rng, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._rng = rng
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._seen: dict[bytes, set[bytes]] = {}  # at most two, oldest first
        self._began = 0.0
        self.renew()

    def renew(self) -> None:
        """Begin a new epoch, whatever the age of this one."""
        with self._lock:
            self._renew()

    def current(self) -> bytes:
        """The epoch that new proofs should name."""
        with self._lock:
            self._age()
            return self._newest()

    def check(self, epoch: bytes) -> None:
        """Raises `StaleEpoch` for any but the current and the previous one."""
        with self._lock:
            self._age()
            if epoch not in self._seen:
                raise StaleEpoch()

    def accept(self, epoch: bytes, challenge: bytes) -> None:
        """Use up a proof that holds. Raises `StaleEpoch`; `BadProof` for one that was used before."""
        with self._lock:
            self._age()
            if epoch not in self._seen:
                raise StaleEpoch()
            if challenge in self._seen[epoch]:
                raise BadProof(detail="used before")
            self._seen[epoch].add(challenge)
            if len(self._seen[epoch]) >= self._most:
                self._renew()

    def _newest(self) -> bytes:
        return next(reversed(self._seen))

    def _age(self) -> None:
        age = self._clock() - self._began
        if age >= 2 * EPOCH_S:
            self._seen.clear()  # nobody asked for an hour: what was current has had its time as the previous one
        if age >= EPOCH_S:
            self._renew()

    def _renew(self) -> None:
        while len(self._seen) > 1:
            del self._seen[next(iter(self._seen))]
        self._seen[self._rng.bytes(EPOCH_BYTES)] = set()
        self._began = self._clock()
