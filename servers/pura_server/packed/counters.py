"""The lockout's counters in a file, so that a restart does not set them back.

A file that is not there, torn, or of another collection is an empty ledger: the servers then notice that they do not
stand at the same question, and both begin anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from pura.errors import StorageFull
from pura.protocols.packed.lockout import EPOCH_BYTES, Counters, Ledger

FILE = "counters"
_DIGEST = 32


class FileLedger(Ledger):
    """A ledger that is written, whole and by rename, after every question."""

    def __init__(self, folder: Path, storage: bytes) -> None:
        """`storage`: the hash of the collection that the counters belong to."""
        self._path, self._storage = folder / FILE, storage
        super().__init__(*self._load())

    def move(self, counters: Counters, stood: Counters) -> None:
        """See `Ledger.move`. Raises `StorageFull`; the question then counts at neither server."""
        body = _dump(counters) + _dump(stood)
        new = self._path.with_suffix(".new")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(hashlib.sha256(self._storage + body).digest() + body)
            new.replace(self._path)
        except OSError as error:
            raise StorageFull(detail=str(error)) from error
        super().move(counters, stood)

    def _load(self) -> tuple[Counters | None, Counters | None]:
        try:
            raw = self._path.read_bytes()
        except OSError:
            return None, None
        if hashlib.sha256(self._storage + raw[_DIGEST:]).digest() != raw[:_DIGEST]:
            return None, None
        now, rest = _parse(raw[_DIGEST:])
        before, _ = _parse(rest)
        return now, before


def _dump(counters: Counters) -> bytes:
    head = counters.epoch + len(counters.handles).to_bytes(8, "big")
    return head + counters.handles.astype("<u8").tobytes() + counters.shares.astype("<u8").tobytes()


def _parse(raw: bytes) -> tuple[Counters, bytes]:
    at = EPOCH_BYTES + 8
    size = 8 * int.from_bytes(raw[EPOCH_BYTES:at], "big")
    handles, shares = raw[at : at + size], raw[at + size : at + 2 * size]
    columns = (np.frombuffer(part, "<u8").astype(np.uint64) for part in (handles, shares))
    return Counters(raw[:EPOCH_BYTES], *columns), raw[at + 2 * size :]
