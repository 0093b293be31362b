"""The lockout's counters in a file, so that a restart does not set them back; masked, so that two stolen data folders
without the keys of the masks are uniform.

A file that is not there, torn, or of another collection is an empty ledger: the servers then notice that they do not
stand at the same question, and both begin anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pura.crypto.masks import MaskKeys
from pura.crypto.rng import Rng
from pura.descriptors import exhausted
from pura.errors import BadDataFolder, StorageFull
from pura.files import PRIVATE, replace_file
from pura.ids import NOBODY
from pura.protocols.shares.ledger import EPOCH_BYTES, Counters, Ledger, Windows
from pura_server.logs import logger
from pura_server.prepared.slots import NONCE_BYTES

FILE, WINDOWS_FILE = "counters", "windows.json"
_DIGEST = 32
_VERSION_BYTES = 4


def sealed_under(folder: Path) -> int | None:
    """The version of the mask keys that the file in this data folder needs; None without one."""
    try:
        return int.from_bytes((folder / FILE).read_bytes()[:_VERSION_BYTES], "big")
    except FileNotFoundError:
        return None


class MaskedLedger(Ledger):
    """A ledger that is written, whole and by rename, after every question, under a mask of its own every time."""

    def __init__(self, folder: Path, storage: bytes, keys: MaskKeys, rng: Rng) -> None:
        """`storage`: the hash of the collection that the counters belong to. Raises `BadDataFolder` for a file with a
        right checksum that no server wrote."""
        self._path, self._storage = folder / FILE, storage
        self._keys, self._rng = keys, rng
        now, before = self._load()
        super().__init__(now, before)
        if now and before and sealed_under(folder) != keys.version:
            self._write(now, before)  # so that nothing is forgotten when the older keys go

    def move(self, counters: Counters, stood: Counters) -> None:
        """See `Ledger.move`. Raises `StorageFull`; the question then counts at neither server."""
        if self.now is stood:
            self._write(counters, stood)
        super().move(counters, stood)

    def begins_anew(self) -> None:
        """See `Ledger.begins_anew`."""
        logger().warning("tries forgotten", message="the two servers had counted differently, and both begin anew")

    def _write(self, counters: Counters, stood: Counters) -> None:
        body = _dump(counters) + _dump(stood)
        new = self._path.with_suffix(".new")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(self._seal(hashlib.sha256(self._storage + body).digest() + body))
            new.replace(self._path)
        except OSError as error:
            raise exhausted(error) or StorageFull(detail=str(error)) from error

    def _seal(self, raw: bytes) -> bytes:
        nonce = self._rng.bytes(NONCE_BYTES)
        version = self._keys.version
        return version.to_bytes(_VERSION_BYTES, "big") + nonce + _xor(raw, self._keys.stream(version, nonce, len(raw)))

    def _open(self, raw: bytes) -> bytes:
        version, rest = int.from_bytes(raw[:_VERSION_BYTES], "big"), raw[_VERSION_BYTES:]
        nonce, body = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        return _xor(body, self._keys.stream(version, nonce, len(body))) if version in self._keys.versions else b""

    def _load(self) -> tuple[Counters | None, Counters | None]:
        try:
            raw = self._open(self._path.read_bytes())
        except OSError as error:
            if busy := exhausted(error):
                raise busy from error  # to begin anew would forget what was counted
            return None, None
        if hashlib.sha256(self._storage + raw[_DIGEST:]).digest() != raw[:_DIGEST]:
            return None, None
        now, rest = _parse(raw[_DIGEST:])
        before, rest = _parse(rest)
        if rest:
            raise _odd("its length")
        return now, before


class FileWindows(Windows):
    """When windows began, in a file, so that a restart neither ends nor lengthens one."""

    def __init__(self, folder: Path, lengths: Sequence[float], clock: Callable[[], float] = time.time) -> None:
        """A file that is torn, or of other limits, is as none: all windows begin now."""
        self._path = folder / WINDOWS_FILE
        try:
            told = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            told = []
        good = isinstance(told, list) and all(isinstance(value, int | float) for value in told)
        super().__init__(lengths, clock, told if good else [])
        self._write()

    def begin(self, over: int) -> None:
        """See `Windows.begin`. Raises `StorageFull`."""
        if over:
            super().begin(over)
            self._write()

    def _write(self) -> None:
        try:
            replace_file(self._path, json.dumps(self.began).encode(), PRIVATE)
        except OSError as error:
            raise exhausted(error) or StorageFull(detail=str(error)) from error


def _dump(counters: Counters) -> bytes:
    head = counters.epoch + len(counters.handles).to_bytes(8, "big")
    return head + counters.handles.astype("<u8").tobytes() + counters.shares.astype("<u8").tobytes()


def _parse(raw: bytes) -> tuple[Counters, bytes]:
    """What `_dump` wrote, and what comes behind it. Raises `BadDataFolder` for what it never writes."""
    at = EPOCH_BYTES + 8
    size = 8 * int.from_bytes(raw[EPOCH_BYTES:at], "big")
    if len(raw) < at + 2 * size:
        raise _odd("its length")
    parts = raw[at : at + size], raw[at + size : at + 2 * size]
    handles, shares = (np.frombuffer(part, "<u8").astype(np.uint64) for part in parts)
    if (handles[1:] <= handles[:-1]).any() or (len(handles) and handles[0] == NOBODY):
        raise _odd("its entries")
    return Counters(raw[:EPOCH_BYTES], handles, shares), raw[at + 2 * size :]


def _odd(what: str) -> BadDataFolder:
    """The checksum is right, so no disk did that."""
    return BadDataFolder(
        f"the file {FILE} was not written by a server of this version; remove it on both servers, and counting begins "
        "anew",
        detail=what,
    )


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")
