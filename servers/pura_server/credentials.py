"""S1's list of clients: `clients.json`, by the hash of each certificate, never the certificate.

A revocation counts at the next call. A list that cannot be read lets nobody in.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pura.descriptors import exhausted
from pura.errors import BadConfig, NotAuthorised
from pura.ids import ClientId, Fingerprint
from pura_server.lists import ListKind, Watched, check_name

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class May(enum.StrEnum):
    """What a client may do: ask questions; enrol; erase what it enrolled itself; erase whatever there is."""

    ASK = "ask"
    ENROL = "enrol"
    ERASE = "erase"
    ERASE_ALL = "erase-all"


@dataclasses.dataclass(frozen=True)
class ClientRecord:
    """One credential. A client may have several, while one replaces another."""

    name: ClientId
    fingerprint: Fingerprint
    may: frozenset[May]
    added: int
    """Seconds since 1970, as `revoked`."""
    revoked: int | None = None

    def allows(self, may: May) -> bool:
        """Whether this credential is good for that; whoever may erase everything may erase its own."""
        return may in self.may or (may is May.ERASE and May.ERASE_ALL in self.may)


INSECURE_CLIENT = ClientRecord(ClientId("insecure"), Fingerprint("0" * 64), frozenset(May), 0)
"""Whoever asks without TLS, which is possible on loopback only."""


class ClientList:
    """The credentials in one file, read again whenever it has changed. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._records = Watched(path, lambda path: {record.fingerprint: record for record in read_clients(path)})

    def find(self, shown: Fingerprint, may: May | None) -> ClientRecord:
        """Who shows this certificate, if it is good for `may` (None: for anything).

        Raises `NotAuthorised`, `Overloaded` when the list cannot be read just now.
        """
        try:
            record = self._records.current().get(shown)
        except (OSError, BadConfig) as error:
            raise exhausted(error) or NotAuthorised(detail=f"the list of clients: {error}") from error
        if record is None:
            raise NotAuthorised(detail="unknown certificate")
        if record.revoked is not None:
            raise NotAuthorised(detail="revoked certificate")
        if may is not None and not record.allows(may):
            raise NotAuthorised(f"this client may not {may}", detail=f"may not {may}")
        return record


def read_clients(path: Path) -> list[ClientRecord]:
    """All records, oldest first; none for a file that is not there. Raises `BadConfig`."""
    return _CLIENTS.read(path)


def dump_clients(records: Iterable[ClientRecord]) -> bytes:
    """The text of a list of clients."""
    return _CLIENTS.text(records)


def add_client(path: Path, name: str, shown: Fingerprint, may: frozenset[May]) -> None:
    """Let a certificate in. Raises `BadConfig` for a bad name or a certificate that is in the list."""
    check_name(name)
    with _CLIENTS.changing(path) as records:
        if any(record.fingerprint == shown for record in records):
            raise BadConfig("this certificate is in the list already; a revoked one never comes back")
        records.append(ClientRecord(ClientId(name), shown, may, int(time.time())))


def revoke_client(path: Path, name: str, *, older: bool = False) -> int:
    """Shut out all certificates of a client, or all but the one that was added last; how many there were. Raises
    `BadConfig` for an unknown name."""
    with _CLIENTS.changing(path) as records:
        if not any(record.name == name for record in records):
            raise BadConfig("there is no client of this name")
        current = [i for i, record in enumerate(records) if record.name == name and record.revoked is None]
        if older:
            del current[-1:]
        for i in current:
            records[i] = dataclasses.replace(records[i], revoked=int(time.time()))
        return len(current)


def _load(row: Mapping[str, Any]) -> ClientRecord:
    if not _FINGERPRINT.fullmatch(row["fingerprint"]):
        raise ValueError
    revoked = row["revoked"]
    return ClientRecord(
        ClientId(check_name(row["name"])),
        Fingerprint(row["fingerprint"]),
        frozenset(May(one) for one in row["may"]),
        int(row["added"]),
        None if revoked is None else int(revoked),
    )


def _dump(record: ClientRecord) -> Mapping[str, object]:
    return {
        "name": record.name,
        "fingerprint": record.fingerprint,
        "may": sorted(record.may),
        "added": record.added,
        "revoked": record.revoked,
    }


_CLIENTS = ListKind("clients", 2, _load, _dump)
