"""A data folder: its files, its lock, and the tables of its gallery.

    lock        held by the one process that uses the folder
    gallery.db  SQLite in WAL mode: entries, committed and prepared changes

A prepared change lies in the tables staged_*; to commit it is to copy them, within SQLite, into `entry`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pura.descriptors import exhausted
from pura.errors import BadDataFolder, DataFolderInUse, ParameterMismatch, StorageFull
from pura.ids import Handle, Party

LOCK = "lock"
DATABASE = "gallery.db"
SCHEMA = 5

ENTRY_COLUMNS = "handle, enrolment_id, digest, label, client, block, slot, masking, created, expires, body"
_ENTRY = """
  handle INTEGER NOT NULL, enrolment_id BLOB NOT NULL, digest BLOB NOT NULL CHECK (length(digest) = 32),
  label BLOB NOT NULL, client TEXT NOT NULL, block INTEGER, slot INTEGER, masking BLOB NOT NULL,
  created INTEGER NOT NULL, expires INTEGER NOT NULL CHECK (expires >= 0), body BLOB NOT NULL,
  CHECK ((block IS NULL) = (slot IS NULL))"""
_LEAF = "leaf BLOB NOT NULL CHECK (length(leaf) = 32)"
_OF_TXN = "txn BLOB NOT NULL REFERENCES prepared(txn) ON DELETE CASCADE"

TABLES = f"""
CREATE TABLE meta (schema INTEGER NOT NULL, role INTEGER NOT NULL, agreement BLOB NOT NULL, key_id BLOB NOT NULL);
CREATE TABLE entry (seq INTEGER PRIMARY KEY, generation INTEGER NOT NULL, {_LEAF}, {_ENTRY}, UNIQUE (handle),
  UNIQUE (enrolment_id), UNIQUE (block, slot));
CREATE INDEX entry_leaf ON entry (handle, leaf);
CREATE INDEX entry_since ON entry (generation);
CREATE TABLE bucket (id INTEGER PRIMARY KEY, hash BLOB NOT NULL CHECK (length(hash) = 32));
CREATE TABLE signed (generation INTEGER PRIMARY KEY, digest BLOB NOT NULL, signature BLOB NOT NULL);
CREATE TABLE committed (generation INTEGER PRIMARY KEY, txn BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
  adds INTEGER NOT NULL, removes INTEGER NOT NULL, moves INTEGER NOT NULL,
  relabels INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE prepared (seq INTEGER PRIMARY KEY, txn BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
  generation INTEGER NOT NULL);
CREATE TABLE staged_entry ({_OF_TXN}, {_LEAF}, {_ENTRY}, UNIQUE (txn, handle));
CREATE TABLE staged_remove ({_OF_TXN}, handle INTEGER NOT NULL, UNIQUE (txn, handle));
CREATE TABLE staged_move ({_OF_TXN}, handle INTEGER NOT NULL, block INTEGER NOT NULL, slot INTEGER NOT NULL, body BLOB,
  masking BLOB, UNIQUE (txn, handle));
CREATE TABLE staged_label ({_OF_TXN}, {_LEAF}, handle INTEGER NOT NULL, enrolment_id BLOB NOT NULL,
  label BLOB NOT NULL, expires INTEGER NOT NULL, UNIQUE (txn, handle));
"""

_NEXT = "(SELECT ifnull(max(generation), 0) + 1 FROM committed)"

APPLY = (
    # slots are freed before they are filled again
    ("DELETE FROM entry WHERE handle IN (SELECT handle FROM staged_remove WHERE txn = :txn)", "staged_remove"),
    (
        "UPDATE entry SET block = NULL, slot = NULL WHERE handle IN (SELECT handle FROM staged_move WHERE txn = :txn)",
        "staged_move",
    ),
    (
        """UPDATE entry SET block = m.block, slot = m.slot, body = ifnull(m.body, entry.body),
             masking = ifnull(m.masking, entry.masking)
           FROM staged_move AS m WHERE m.txn = :txn AND m.handle = entry.handle""",
        "staged_move",
    ),
    (
        f"""INSERT INTO entry (generation, leaf, {ENTRY_COLUMNS}) SELECT {_NEXT}, leaf, {ENTRY_COLUMNS}
            FROM staged_entry WHERE txn = :txn ORDER BY staged_entry.rowid""",  # noqa: S608
        "staged_entry",
    ),
    (
        f"""UPDATE entry SET label = l.label, leaf = l.leaf, generation = {_NEXT} FROM staged_label AS l
            WHERE l.txn = :txn AND l.handle = entry.handle AND l.enrolment_id = entry.enrolment_id
              AND l.expires = entry.expires""",  # noqa: S608
        "staged_label",
    ),
)
"""The statements that carry out a prepared change, in order, and the table of which each touches as many rows."""

LEFT = """SELECT handle FROM staged_remove WHERE txn = :txn
  UNION ALL SELECT handle FROM staged_move WHERE txn = :txn"""
"""Entries that are not where they were, after a change, or not there."""
CAME = """SELECT handle FROM staged_entry WHERE txn = :txn UNION ALL SELECT handle FROM staged_move WHERE txn = :txn"""
"""Entries that are where they were not, or as they were not."""

RECORD = """INSERT INTO committed (txn, kind, adds, removes, moves, relabels, at) SELECT txn,
  kind,
  (SELECT count(*) FROM staged_entry WHERE txn = :txn), (SELECT count(*) FROM staged_remove WHERE txn = :txn),
  (SELECT count(*) FROM staged_move WHERE txn = :txn),
  (SELECT count(*) FROM staged_label WHERE txn = :txn), :at FROM prepared WHERE txn = :txn"""


LAST = "SELECT generation, txn FROM committed ORDER BY generation DESC LIMIT 1"
"""The change that was committed last."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a data folder was made for."""

    role: Party
    agreement: bytes
    key_id: bytes


_MAX_INTEGER = 1 << 63


def signed(handle: Handle) -> int:
    """A handle as a row has it: SQLite has no unsigned 64-bit integers."""
    return int(handle) - 2 * _MAX_INTEGER if handle >= _MAX_INTEGER else int(handle)


def unsigned(value: int) -> Handle:
    """The handle of a row."""
    return Handle(value % (2 * _MAX_INTEGER))


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """The system's and SQLite's errors as `Overloaded` or `StorageFull`, else `BadDataFolder`."""
    try:
        yield
    except sqlite3.Error as error:
        if busy := exhausted(error):
            raise busy from None
        name = getattr(error, "sqlite_errorname", type(error).__name__)  # never the message: it may quote a value
        if name == "SQLITE_FULL":
            raise StorageFull(detail=name) from None
        raise BadDataFolder(detail=name) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(detail=str(error)) from None
        raise exhausted(error) or BadDataFolder(detail=str(error)) from None


def connect(database: Path) -> sqlite3.Connection:
    """The index; erased bytes are overwritten, and what was committed survives a crash."""
    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    return db


def read_only(database: Path, mode: str) -> sqlite3.Connection:
    """A database that is not written to; `mode` is "mode=ro", or "immutable=1" where nobody else writes either."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?{mode}", uri=True)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, *, writes: bool = True) -> Iterator[None]:
    """All or nothing; and all that is read is of one moment."""
    db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite ends it itself when the disk is full
            db.execute("ROLLBACK")
        raise


def lock_folder(folder: Path, flags: int = os.O_RDONLY) -> int:
    """An open file that holds the folder's lock until it is closed. Raises `DataFolderInUse`, `OSError`."""
    fd = os.open(folder / LOCK, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DataFolderInUse() from None
    except OSError:
        os.close(fd)
        raise
    return fd


def read_identity(db: sqlite3.Connection) -> Identity | None:
    """What the folder was made for; None for an empty database. Raises `BadDataFolder` for a schema not known here."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    rows = db.execute("SELECT schema FROM meta").fetchall() if "meta" in tables else []
    if rows != [(SCHEMA,)]:
        raise BadDataFolder(_other(rows[0][0] if len(rows) == 1 else None))
    role, agreement, key_id = db.execute("SELECT role, agreement, key_id FROM meta").fetchone()
    return Identity(Party(role), agreement, key_id)


def _other(version: object) -> str:
    """What to do about a folder of another version."""
    if not isinstance(version, int):
        return "this is no data folder of Pura"
    if version > SCHEMA:
        return f"the data folder is of form {version}, of a later Pura: start that one; this one knows form {SCHEMA}"
    return (
        f"the data folder is of form {version}, of an earlier Pura, and cannot be taken over: start that one, or enrol "
        f"everybody anew in an empty folder of form {SCHEMA}"
    )


def compare_identity(found: Identity, wanted: Identity) -> None:
    """Raises `ParameterMismatch` that says what differs."""
    names = {
        "role": "for the other server",
        "key_id": "for another key",
        "agreement": "for other parameters",
    }
    for field, meaning in names.items():
        if getattr(found, field) != getattr(wanted, field):
            raise ParameterMismatch(f"the data folder was made {meaning}")


def create_tables(db: sqlite3.Connection, identity: Identity) -> None:
    """Make an empty database a data folder's, in one transaction."""
    row = (SCHEMA, int(identity.role), identity.agreement, identity.key_id)
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?, ?, ?, ?)", row)
    db.execute("COMMIT")


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
