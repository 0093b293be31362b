"""A data folder: its files, its lock, and the tables of its index.

    lock        held by the one process that uses the folder
    gallery.db  the index, SQLite in WAL mode: entries, current blocks, committed and prepared changes
    segments/   the blocks (pura.store.segments)

A prepared change lies in the tables staged_*; to commit it is to copy them, within SQLite, into `entry` and `block`.
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

from pura.errors import BadDataFolder, DataFolderInUse, ParameterMismatch, StorageFull
from pura.ids import Party
from pura.store.base import BlockRef
from pura.store.segments import segment_ref

LOCK = "lock"
DATABASE = "gallery.db"
SEGMENTS = "segments"
SCHEMA = 1

ENTRY_COLUMNS = "handle, enrolment_id, digest, label, client, block, slot, norm_share, created, body"
_ENTRY = """
  handle INTEGER NOT NULL, enrolment_id BLOB NOT NULL, digest BLOB NOT NULL CHECK (length(digest) = 32),
  label BLOB NOT NULL, client TEXT NOT NULL, block INTEGER, slot INTEGER, norm_share BLOB NOT NULL,
  created INTEGER NOT NULL, body BLOB NOT NULL, CHECK ((block IS NULL) = (slot IS NULL))"""
_BLOCK = "version INTEGER NOT NULL, count INTEGER NOT NULL, size INTEGER NOT NULL"
_OF_TXN = "txn BLOB NOT NULL REFERENCES prepared(txn) ON DELETE CASCADE"

TABLES = f"""
CREATE TABLE meta (schema INTEGER NOT NULL, role INTEGER NOT NULL, agreement BLOB NOT NULL, key_id BLOB NOT NULL,
  block_bytes INTEGER NOT NULL);
CREATE TABLE block (id INTEGER PRIMARY KEY, {_BLOCK});
CREATE TABLE entry (seq INTEGER PRIMARY KEY, {_ENTRY}, UNIQUE (handle), UNIQUE (enrolment_id), UNIQUE (block, slot),
  FOREIGN KEY (block) REFERENCES block(id));
CREATE TABLE committed (generation INTEGER PRIMARY KEY, txn BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
  adds INTEGER NOT NULL, removes INTEGER NOT NULL, moves INTEGER NOT NULL, blocks INTEGER NOT NULL,
  drops INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE prepared (seq INTEGER PRIMARY KEY, txn BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
  generation INTEGER NOT NULL);
CREATE TABLE staged_entry ({_OF_TXN}, {_ENTRY}, UNIQUE (txn, handle));
CREATE TABLE staged_remove ({_OF_TXN}, handle INTEGER NOT NULL, UNIQUE (txn, handle));
CREATE TABLE staged_move ({_OF_TXN}, handle INTEGER NOT NULL, block INTEGER NOT NULL, slot INTEGER NOT NULL,
  UNIQUE (txn, handle));
CREATE TABLE staged_block ({_OF_TXN}, id INTEGER NOT NULL, {_BLOCK}, digest BLOB NOT NULL, UNIQUE (txn, id),
  UNIQUE (id, version));
CREATE TABLE staged_drop ({_OF_TXN}, id INTEGER NOT NULL, UNIQUE (txn, id));
"""

APPLY = (
    # new blocks before what lies in them, slots freed before they are filled again, emptied blocks last
    (
        """INSERT INTO block SELECT id, version, count, size FROM staged_block WHERE txn = :txn
           ON CONFLICT (id) DO UPDATE SET version = excluded.version, count = excluded.count, size = excluded.size""",
        "staged_block",
    ),
    ("DELETE FROM entry WHERE handle IN (SELECT handle FROM staged_remove WHERE txn = :txn)", "staged_remove"),
    (
        "UPDATE entry SET block = NULL, slot = NULL WHERE handle IN (SELECT handle FROM staged_move WHERE txn = :txn)",
        "staged_move",
    ),
    (
        """UPDATE entry SET block = m.block, slot = m.slot FROM staged_move AS m
           WHERE m.txn = :txn AND m.handle = entry.handle""",
        "staged_move",
    ),
    (
        f"""INSERT INTO entry ({ENTRY_COLUMNS}) SELECT {ENTRY_COLUMNS} FROM staged_entry WHERE txn = :txn
            ORDER BY staged_entry.rowid""",  # noqa: S608
        "staged_entry",
    ),
    ("DELETE FROM block WHERE id IN (SELECT id FROM staged_drop WHERE txn = :txn)", "staged_drop"),
)
"""The statements that carry out a prepared change, in order, and the table of which each touches as many rows."""

RECORD = """INSERT INTO committed (txn, kind, adds, removes, moves, blocks, drops, at) SELECT txn, kind,
  (SELECT count(*) FROM staged_entry WHERE txn = :txn), (SELECT count(*) FROM staged_remove WHERE txn = :txn),
  (SELECT count(*) FROM staged_move WHERE txn = :txn), (SELECT count(*) FROM staged_block WHERE txn = :txn),
  (SELECT count(*) FROM staged_drop WHERE txn = :txn), :at FROM prepared WHERE txn = :txn"""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a data folder was made for."""

    role: Party
    agreement: bytes
    key_id: bytes
    block_bytes: int


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """The system's and SQLite's errors as `StorageFull`, else `BadDataFolder`."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)  # never the message: it may quote a value
        if name == "SQLITE_FULL":
            raise StorageFull(detail=name) from None
        raise BadDataFolder(detail=name) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(detail=str(error)) from None
        raise BadDataFolder(detail=str(error)) from None


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
        raise BadDataFolder("the data folder was made by a version of Pura that is not known here")
    role, agreement, key_id, block_bytes = db.execute(
        "SELECT role, agreement, key_id, block_bytes FROM meta"
    ).fetchone()
    return Identity(Party(role), agreement, key_id, block_bytes)


def compare_identity(found: Identity, wanted: Identity) -> None:
    """Raises `ParameterMismatch` that says what differs."""
    names = {
        "role": "for the other server",
        "key_id": "for another key",
        "agreement": "for other parameters",
        "block_bytes": "for blocks of another length",
    }
    for field, meaning in names.items():
        if getattr(found, field) != getattr(wanted, field):
            raise ParameterMismatch(f"the data folder was made {meaning}")


def create_tables(db: sqlite3.Connection, identity: Identity) -> None:
    """Make an empty database a data folder's, in one transaction."""
    row = (SCHEMA, int(identity.role), identity.agreement, identity.key_id, identity.block_bytes)
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?)", row)
    db.execute("COMMIT")


def current_segments(db: sqlite3.Connection, folder: Path) -> list[BlockRef]:
    """The segments of the committed gallery."""
    rows = db.execute("SELECT id, version, count, size FROM block ORDER BY id").fetchall()
    return [segment_ref(folder / SEGMENTS, *row) for row in rows]


def staged_segments(db: sqlite3.Connection, folder: Path, txn: bytes | None = None) -> list[BlockRef]:
    """The segments of one prepared change, or of all."""
    query = "SELECT id, version, count, size FROM staged_block WHERE txn = ifnull(?, txn) ORDER BY id"
    return [segment_ref(folder / SEGMENTS, *row) for row in db.execute(query, (txn,)).fetchall()]


def replaced_segments(db: sqlite3.Connection, folder: Path, txn: bytes) -> list[BlockRef]:
    """The segments of the committed gallery that a prepared change replaces or drops."""
    query = """SELECT id, version, count, size FROM block WHERE id IN
      (SELECT id FROM staged_block WHERE txn = :txn UNION SELECT id FROM staged_drop WHERE txn = :txn)"""
    return [segment_ref(folder / SEGMENTS, *row) for row in db.execute(query, {"txn": txn}).fetchall()]


def orphans(folder: Path, known: list[BlockRef]) -> list[str]:
    """Paths in the segment folder that no committed or prepared version stands for."""
    expected = {ref.path for ref in known}
    return sorted(entry.path for entry in os.scandir(folder / SEGMENTS) if entry.path not in expected)
