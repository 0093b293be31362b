"""Snapshots: copies of a data folder's gallery, taken while the server runs, each a folder of its own.

    SNAPSHOTS/<moment>/gallery.db      the index as of that moment, erased entries not in it
    SNAPSHOTS/<moment>/snapshot.json   whose it is, and a checksum

A moment names the last change that both servers have committed, so that equal names are the same gallery. Masks,
shares, the lists of clients and groups, budgets and counters are not in a snapshot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from pura.errors import BadDataFolder, WouldOverwrite
from pura.files import PRIVATE, replace_file
from pura.store import moments, schema
from pura.store.check import examine
from pura.store.moments import Moment
from pura.store.schema import Identity, connect, transaction, typed_errors

MANIFEST = "snapshot.json"
KEPT = 14
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Taken:
    """A snapshot that is on disk and was read again."""

    path: Path
    moment: str
    entries: int
    at: int


class Snapshots:
    """Where one server puts its snapshots."""

    def __init__(self, data: Path, folder: Path, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self._data, self._folder, self._kept, self._clock = data, folder, kept, clock

    def take(self, moment: Moment) -> Taken:
        """A copy of the gallery, which stands at this moment and is changed by nobody meanwhile. One that there is
        already is read again, and made anew if it is damaged. The oldest beyond `kept` go.

        Raises `BadDataFolder`, `StorageFull`; nothing half-written is left.
        """
        path = self._folder / str(moment)
        with typed_errors():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists():
                with contextlib.suppress(BadDataFolder):
                    return verify(path)
                shutil.rmtree(path)
            made = self._folder / f".{moment}.new"
            shutil.rmtree(made, ignore_errors=True)
            try:
                made.mkdir(mode=0o700)
                self._copy(made, moment)
                os.rename(made, path)
                schema.sync(self._folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
            taken = verify(path)
            for old in listed(self._folder)[self._kept :]:
                shutil.rmtree(old.path)
        return taken

    def _copy(self, made: Path, moment: Moment) -> None:
        database = made / schema.DATABASE
        os.close(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
        with contextlib.closing(connect(self._data / schema.DATABASE)) as db:
            db.execute("VACUUM INTO ?", (str(database),))
        with contextlib.closing(connect(database)) as copy:
            identity = schema.read_identity(copy)
            if identity is None:
                raise BadDataFolder("there is no gallery in this data folder")
            if copy.execute(schema.LAST).fetchone() != ((moment.generation, moment.txn) if moment.generation else None):
                raise BadDataFolder("the gallery changed while it was copied")
            with transaction(copy):
                copy.execute("DELETE FROM prepared")
            (entries,) = copy.execute("SELECT count(*) FROM entry").fetchone()
        schema.sync(database)
        body = {
            "format": _FORMAT,
            "role": identity.role.name.lower(),
            "key_id": identity.key_id.hex(),
            "moment": str(moment),
            "entries": entries,
            "at": int(self._clock()),
            "sha256": _digest(database),
        }
        replace_file(made / MANIFEST, json.dumps(body, indent=1).encode() + b"\n", PRIVATE)


def listed(folder: Path) -> list[Taken]:
    """The snapshots in a folder that have a readable manifest, the newest first; their galleries are not read."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(BadDataFolder):
            found.append(_manifest(path)[0])
    return sorted(found, key=lambda one: (one.at, one.moment), reverse=True)


def verify(path: Path) -> Taken:
    """Read a snapshot again, all of it. Raises `BadDataFolder` that says what is wrong."""
    taken, sha256 = _manifest(path)
    database = path / schema.DATABASE
    with typed_errors():
        if not database.is_file() or _digest(database) != sha256:
            raise BadDataFolder(f"the snapshot {path.name} is damaged: its gallery is not what was written")
        report = examine(path)
    if report.problems or (str(report.moment), report.entries) != (taken.moment, taken.entries):
        raise BadDataFolder(f"the snapshot {path.name} is damaged: {'; '.join(report.problems) or 'another moment'}")
    return taken


def masks_of(path: Path) -> bytes:
    """What a snapshot keeps of each entry beside its body, one after the other: for engine prepared its nonces and the
    versions of its masks. Raises `BadDataFolder`."""
    with typed_errors(), contextlib.closing(_read_only(path)) as db:
        return b"".join(row for (row,) in db.execute("SELECT masking FROM entry"))


def restore(path: Path, data: Path, identity: Identity, *, replace: bool) -> Taken:
    """Make a stopped server's data folder hold the gallery of a snapshot.

    `replace`: also where there is a gallery, which is lost. Counters and budgets that are there stay. Raises
    `WouldOverwrite`; `ParameterMismatch` for a snapshot of the other server, key or parameters; `BadDataFolder`,
    `DataFolderInUse`, `StorageFull`. Then nothing was changed.
    """
    taken = verify(path)
    with typed_errors():
        with contextlib.closing(_read_only(path)) as db:
            found = schema.read_identity(db)
            if found is None:
                raise BadDataFolder("this is no snapshot of a data folder")
            schema.compare_identity(found, identity)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = schema.lock_folder(data, os.O_RDWR | os.O_CREAT)
        database = data / schema.DATABASE
        made = data / f".{schema.DATABASE}.new"
        try:
            if not replace and database.exists() and database.stat().st_size:
                raise WouldOverwrite("there is a gallery in this data folder; nothing was changed")
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE))
            shutil.copyfile(path / schema.DATABASE, made)
            schema.sync(made)
            for log in ("-wal", "-shm"):
                database.with_name(database.name + log).unlink(missing_ok=True)
            os.replace(made, database)
            moments.forget_apart(data)
            schema.sync(data)
        finally:
            made.unlink(missing_ok=True)
            os.close(lock)
    return taken


def _manifest(path: Path) -> tuple[Taken, str]:
    try:
        body = json.loads((path / MANIFEST).read_text("utf-8"))
        if body["format"] != _FORMAT:
            raise BadDataFolder(f"the snapshot {path.name} was made by a version of Pura that is not known here")
        return Taken(path, str(body["moment"]), int(body["entries"]), int(body["at"])), str(body["sha256"])
    except (OSError, ValueError, ArithmeticError, TypeError, KeyError, RecursionError) as error:
        raise BadDataFolder(f"{path.name} is no snapshot", detail=type(error).__name__) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_only(path: Path) -> sqlite3.Connection:
    return schema.read_only(path / schema.DATABASE, "immutable=1")
