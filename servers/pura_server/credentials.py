"""S1's list of clients: `clients.json` in its data folder, by the hash of each certificate, never the certificate.

The list is read again whenever the file has changed, so that a revocation counts at the next call. A list that cannot
be read lets nobody in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pura.errors import BadConfig, NotAuthorised, StorageFull
from pura.ids import ClientId
from pura_server.tls import Fingerprint

_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

INSECURE_CLIENT = ClientId("insecure")
"""Whoever asks without TLS, which is possible on loopback only."""


class May(enum.StrEnum):
    """What a client may do: ask questions; enrol and erase."""

    ASK = "ask"
    ENROL = "enrol"


@dataclasses.dataclass(frozen=True)
class ClientRecord:
    """One credential. A client may have several, while one replaces another."""

    name: ClientId
    fingerprint: Fingerprint
    may: frozenset[May]
    added: int
    """Seconds since 1970, as `revoked`."""
    revoked: int | None = None


class ClientList:
    """The credentials in one file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._records: dict[Fingerprint, ClientRecord] = {}

    def find(self, shown: Fingerprint, may: May | None) -> ClientId:
        """Who shows this certificate, if it is good for `may` (None: for anything). Raises `NotAuthorised`."""
        record = self._current().get(shown)
        if record is None:
            raise NotAuthorised(detail="unknown certificate")
        if record.revoked is not None:
            raise NotAuthorised(detail="revoked certificate")
        if may is not None and may not in record.may:
            raise NotAuthorised(detail=f"may not {may}")
        return record.name

    def _current(self) -> dict[Fingerprint, ClientRecord]:
        with self._lock:
            try:
                found = os.stat(self._path)
                seen = (found.st_mtime_ns, found.st_ino, found.st_size)
                if seen != self._seen:
                    self._records = {record.fingerprint: record for record in read_clients(self._path)}
                    self._seen = seen
            except (OSError, BadConfig) as error:
                self._seen, self._records = None, {}
                raise NotAuthorised(detail=f"the list of clients: {error}") from error
            return self._records


def read_clients(path: Path) -> list[ClientRecord]:
    """All records, oldest first; none for a file that is not there. Raises `BadConfig`."""
    try:
        body = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BadConfig("the list of clients cannot be read") from error
    try:
        if body["version"] != _VERSION:
            raise ValueError
        return [_record(row) for row in body["clients"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig("the list of clients is damaged or made by another version") from error


def _record(row: dict[str, Any]) -> ClientRecord:
    if not _NAME.fullmatch(row["name"]) or not _FINGERPRINT.fullmatch(row["fingerprint"]):
        raise ValueError
    may = frozenset(May(one) for one in row["may"])
    revoked = row["revoked"]
    return ClientRecord(
        ClientId(row["name"]),
        Fingerprint(row["fingerprint"]),
        may,
        int(row["added"]),
        None if revoked is None else int(revoked),
    )


def add_client(path: Path, name: str, shown: Fingerprint, may: frozenset[May]) -> None:
    """Let a certificate in. Raises `BadConfig` for a bad name or a certificate that is in the list."""
    if not _NAME.fullmatch(name):
        raise BadConfig("a client's name has up to 64 letters, digits, dots, dashes and underscores")
    with _changing(path) as records:
        if any(record.fingerprint == shown for record in records):
            raise BadConfig("this certificate is in the list already; a revoked one never comes back")
        records.append(ClientRecord(ClientId(name), shown, may, int(time.time())))


def revoke_client(path: Path, name: str) -> int:
    """Shut out all certificates of a client; how many there were. Raises `BadConfig` for an unknown name."""
    with _changing(path) as records:
        if not any(record.name == name for record in records):
            raise BadConfig("there is no client of this name")
        current = [i for i, record in enumerate(records) if record.name == name and record.revoked is None]
        for i in current:
            records[i] = dataclasses.replace(records[i], revoked=int(time.time()))
    return len(current)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[ClientRecord]]:
    """The records, for a change that is written as a whole or not at all; one at a time."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = read_clients(path)
            yield records
            _write(path, records)
        finally:
            os.close(lock)
    except OSError as error:
        raise StorageFull("the list of clients could not be written; it is as it was", detail=str(error)) from error


def _write(path: Path, records: list[ClientRecord]) -> None:
    rows = [
        {
            "name": record.name,
            "fingerprint": record.fingerprint,
            "may": sorted(record.may),
            "added": record.added,
            "revoked": record.revoked,
        }
        for record in records
    ]
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"version": _VERSION, "clients": rows}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
