"""The default store: an SQLite index beside memory-mappable block files.

Durability rests on three orders: a segment is whole and synced before the row that names it; that row is synced before
`prepare` returns; a replaced segment is removed after the commit that replaces it. So whatever a crash leaves is the
state before a call or after it, plus files that no row names, which the next start removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pura.errors import BadDataFolder, EnrolmentConflict, OutOfRange, ProtocolError, UnknownEntry
from pura.ids import NOBODY, BlockId, ClientId, EnrolmentId, Handle, KeyId, Party, TxnId
from pura.store import schema
from pura.store.base import (
    DIGEST_BYTES,
    NO_BLOCK,
    TXN_BYTES,
    AuditRow,
    Change,
    Entry,
    Gallery,
    Outcome,
    allocate,
)
from pura.store.schema import Identity, typed_errors
from pura.store.segments import Files, SystemFiles, check_segment, remove, segment_ref, write_segments

BATCH = 256
"""Rows fetched at once by the iterators and by lookups of many entries."""

_MAX_INTEGER = 1 << 63
_ENTRY = f"SELECT {schema.ENTRY_COLUMNS} FROM entry"  # noqa: S608
_Row = tuple[Any, ...]


class _SegmentFile:
    """Stands for a file on disk: as long as a gallery refers to it, the file stays."""

    __slots__ = ("__weakref__", "path")

    def __init__(self, path: str) -> None:
        self.path = path


class SqliteStore:
    """`Store` in one folder of this machine, for one process at a time."""

    def __init__(self, folder: Path, identity: Identity, files: Files, lock: int) -> None:
        """Takes over `lock`; use `open`."""
        self._folder = folder
        self._size = identity.block_bytes
        self._files = files
        self._lock = lock
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._gallery: Gallery | None = None
        self._held: dict[str, _SegmentFile] = {}
        self._leaving: list[weakref.finalize[[Files, list[str]], _SegmentFile]] = []
        self._scrub_due = True
        self._closed = False
        database = folder / schema.DATABASE
        fresh = not database.exists() or not database.stat().st_size
        if fresh and any((folder / schema.SEGMENTS).glob("*.seg")):
            raise BadDataFolder("the data folder has block files but no index")
        os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = _connect(database)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            found = schema.read_identity(self._db)
            if found is None:
                schema.create_tables(self._db, identity)
                files.fsync(str(folder))
            else:
                schema.compare_identity(found, identity)
            self._reader = _connect(database)
            self._reader.execute("PRAGMA query_only = ON")
            self._verify()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        role: Party,
        agreement: bytes,
        key_id: KeyId,
        block_bytes: int,
        files: Files | None = None,
    ) -> SqliteStore:
        """Open a data folder, or make one.

        block_bytes: the length of one ciphertext; a block is a whole number of them. `files` puts faults into tests.
        Raises `DataFolderInUse`; `ParameterMismatch` when the folder was made for something else; `BadDataFolder` when
        it is damaged, naming the block file, or of an unknown schema; `StorageFull`.
        """
        where = Path(folder).resolve()
        if block_bytes < 1:
            raise OutOfRange("a ciphertext has at least one byte")
        with typed_errors():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = schema.lock_folder(where, os.O_RDWR | os.O_CREAT)
            try:
                (where / schema.SEGMENTS).mkdir(mode=0o700, exist_ok=True)
                return cls(where, Identity(role, agreement, key_id, block_bytes), files or SystemFiles(), lock)
            except BaseException:
                os.close(lock)
                raise

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release files and locks; snapshots must not be read afterwards."""
        with self._writing, self._reading:
            if self._closed:
                return
            self._closed = True
            self._gallery = None
            self._held.clear()
            for leaving in self._leaving:
                leaving()
            self._reader.close()
            self._db.close()
            os.close(self._lock)

    # --- changes ------------------------------------------------------------------------------------

    def prepare(self, change: Change) -> None:
        """See `Store.prepare`."""
        staged = _staged(change, self._size)
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, change.txn)
            if outcome == "committed" or (outcome == "prepared" and not self._is_staged(change.txn, staged)):
                raise ProtocolError("this transaction number was used for another change")
            if outcome == "prepared":
                return
            folder = self._folder / schema.SEGMENTS
            refs = [segment_ref(folder, *row[1:5]) for row in staged["staged_block"]]
            if any(os.path.exists(ref.path) for ref in refs):
                raise ProtocolError("a block has had this version before")
            self._rehearse(change, staged)
            write_segments(self._files, folder, change.blocks, self._size)
            try:
                with self._transaction():
                    self._stage(change, staged)
            except Exception:
                remove(self._files, [ref.path for ref in refs])
                raise

    def commit(self, txn: TxnId) -> None:
        """See `Store.commit`."""
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, txn)
            if outcome == "unknown":
                raise ProtocolError("there is no such prepared change")
            if outcome == "prepared":
                with self._transaction():
                    replaced = schema.replaced_segments(self._db, self._folder, txn)
                    (base,) = self._db.execute("SELECT generation FROM prepared WHERE txn = ?", (txn,)).fetchone()
                    if base != self._generation(self._db):
                        raise ProtocolError("the gallery has changed since this change was prepared")
                    (erases,) = self._db.execute("SELECT count(*) FROM staged_remove WHERE txn = ?", (txn,)).fetchone()
                    self._apply(txn)
                    self._db.execute(schema.RECORD, {"txn": txn, "at": int(time.time())})
                    self._db.execute("DELETE FROM prepared WHERE txn = ?", (txn,))
                self._gallery = None
                for ref in replaced:
                    self._release(ref.path)
                self._scrub_due = self._scrub_due or bool(erases)
            self._scrub()

    def abort(self, txn: TxnId) -> None:
        """See `Store.abort`."""
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, txn)
            if outcome == "committed":
                raise ProtocolError("this change is committed")
            if outcome == "prepared":
                refs = schema.staged_segments(self._db, self._folder, txn)
                with self._transaction():
                    self._db.execute("DELETE FROM prepared WHERE txn = ?", (txn,))
                remove(self._files, [ref.path for ref in refs])
                self._scrub_due = True
                self._scrub()

    def apply(self, change: Change) -> None:
        """See `Store.apply`."""
        with self._writing:
            self.prepare(change)
            self.commit(change.txn)

    def prepared(self) -> list[TxnId]:
        """See `Store.prepared`."""
        return [TxnId(txn) for (txn,) in self._read("SELECT txn FROM prepared ORDER BY seq")]

    def outcome(self, txn: TxnId) -> Outcome:
        """See `Store.outcome`."""
        with self._reading, typed_errors():
            return self._outcome(self._reader, txn)

    def last_txn(self) -> TxnId | None:
        """See `Store.last_txn`."""
        rows = self._read("SELECT txn FROM committed ORDER BY generation DESC LIMIT 1")
        return TxnId(rows[0][0]) if rows else None

    def audit(self) -> Iterator[AuditRow]:
        """See `Store.audit`."""
        last = 0
        query = "SELECT * FROM committed WHERE generation > ? ORDER BY generation LIMIT ?"
        while rows := self._read(query, (last, BATCH)):
            yield from (AuditRow(*row) for row in rows)
            last = rows[-1][0]

    # --- the gallery --------------------------------------------------------------------------------

    def snapshot(self) -> Gallery:
        """See `Store.snapshot`."""
        gallery = self._gallery
        if gallery is None:
            with self._writing, typed_errors():
                gallery = self._gallery = self._gallery or self._picture()
        return gallery

    def allocate(self, count: int, capacity: int) -> list[tuple[BlockId, int]]:
        """See `Store.allocate`."""
        return allocate(self.snapshot(), count, capacity)

    def by_handle(self, handle: Handle) -> Entry | None:
        """See `Store.by_handle`."""
        rows = self._read(f"{_ENTRY} WHERE handle = ?", (_signed(handle),))
        return _entry(rows[0]) if rows else None

    def by_enrolment_id(self, enrolment_id: EnrolmentId) -> Entry | None:
        """See `Store.by_enrolment_id`."""
        rows = self._read(f"{_ENTRY} WHERE enrolment_id = ?", (enrolment_id,))
        return _entry(rows[0]) if rows else None

    def bodies(self, handles: Sequence[Handle]) -> list[bytes]:
        """See `Store.bodies`."""
        found: dict[int, bytes] = {}
        for i in range(0, len(handles), BATCH):
            some = [_signed(handle) for handle in handles[i : i + BATCH]]
            marks = ", ".join("?" * len(some))
            found.update(self._read(f"SELECT handle, body FROM entry WHERE handle IN ({marks})", some))  # noqa: S608
        try:
            return [found[_signed(handle)] for handle in handles]
        except KeyError:
            raise UnknownEntry() from None

    def entries(self) -> Iterator[Entry]:
        """See `Store.entries`."""
        last = -1
        query = f"SELECT {schema.ENTRY_COLUMNS}, seq FROM entry WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
        while rows := self._read(query, (last, BATCH)):
            yield from (_entry(row[:-1]) for row in rows)
            last = rows[-1][-1]

    def roster(self) -> list[tuple[Handle, bytes]]:
        """See `Store.roster`."""
        return [(_unsigned(h), label) for h, label in self._read("SELECT handle, label FROM entry ORDER BY seq")]

    def count(self) -> int:
        """See `Store.count`."""
        return int(self._read("SELECT count(*) FROM entry")[0][0])

    # --- inside -------------------------------------------------------------------------------------

    def _verify(self) -> None:
        """At start: every segment that a row names is whole; what no row names goes; erased bytes are gone."""
        known = schema.current_segments(self._db, self._folder)
        known_staged = schema.staged_segments(self._db, self._folder)
        for ref in known + known_staged:
            check_segment(ref)
        remove(self._files, schema.orphans(self._folder, known + known_staged))
        self._scrub()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _rehearse(self, change: Change, staged: dict[str, list[_Row]]) -> None:
        """Make sure that a change can be committed on this gallery, by doing it and rolling all of it back.

        Not inside the transaction that stages it: what a savepoint has put into free pages stays there after
        `ROLLBACK TO`, even with secure_delete, and would outlive the erasure of the entry.
        """
        (width,) = self._db.execute("SELECT max(length(norm_share)) FROM entry").fetchone()
        if len({len(entry.norm_share) for entry in change.adds} | ({width} - {None})) > 1:
            raise ProtocolError("the shares of the norms differ in length")
        taken = "SELECT 1 FROM entry WHERE enrolment_id = ?"
        if any(self._db.execute(taken, (entry.enrolment_id,)).fetchone() for entry in change.adds):
            raise EnrolmentConflict()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._stage(change, staged)
            self._apply(change.txn)
        except sqlite3.IntegrityError as error:
            raise ProtocolError("the change does not fit the gallery", detail=error.sqlite_errorname) from None
        finally:
            if self._db.in_transaction:  # SQLite ends it itself when the disk is full
                self._db.execute("ROLLBACK")

    def _stage(self, change: Change, staged: dict[str, list[_Row]]) -> None:
        """Within a transaction: write the rows of a prepared change."""
        self._db.execute(
            "INSERT INTO prepared (txn, kind, generation) VALUES (?, ?, ?)",
            (change.txn, change.kind, self._generation(self._db)),
        )
        for table, rows in staged.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self._db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def _apply(self, txn: TxnId) -> None:
        """Within a transaction: carry out a prepared change. Raises `UnknownEntry`, `ProtocolError`."""
        for statement, table in schema.APPLY:
            touched = self._db.execute(statement, {"txn": txn}).rowcount
            (wanted,) = self._db.execute(f"SELECT count(*) FROM {table} WHERE txn = ?", (txn,)).fetchone()  # noqa: S608
            if touched != wanted:
                raise UnknownEntry() if table != "staged_drop" else ProtocolError("there is no such block")

    def _is_staged(self, txn: TxnId, staged: dict[str, list[_Row]]) -> bool:
        """Whether a prepared change consists of exactly these rows."""
        return all(
            self._db.execute(f"SELECT * FROM {table} WHERE txn = ? ORDER BY rowid", (txn,)).fetchall() == rows  # noqa: S608
            for table, rows in staged.items()
        )

    def _release(self, path: str) -> None:
        """A committed change has replaced this file: it goes now, or with the last gallery that refers to it."""
        held = self._held.pop(path, None)
        reference = weakref.ref(held) if held is not None else None
        del held
        held = reference() if reference is not None else None
        self._leaving = [leaving for leaving in self._leaving if leaving.alive]
        if held is None:
            remove(self._files, [path])
        else:
            leaving = weakref.finalize(held, remove, self._files, [path])
            leaving.atexit = False  # the next start removes it just as well
            self._leaving.append(leaving)

    def _scrub(self) -> None:
        """Empty the write-ahead log, where bytes that were erased from the tables would still lie."""
        if not self._scrub_due:
            return
        # a full disk must not make a commit that has happened look failed: the next call, or start, tries again
        with self._reading, contextlib.suppress(sqlite3.OperationalError):
            (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._scrub_due = bool(busy)

    def _picture(self) -> Gallery:
        refs = schema.current_segments(self._db, self._folder)
        for ref in refs:
            self._held.setdefault(ref.path, _SegmentFile(ref.path))
        rows = self._db.execute(
            "SELECT handle, block, slot, norm_share FROM entry ORDER BY block, slot, seq"
        ).fetchall()
        width = len(rows[0][3]) if rows else 0
        shares = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.uint8).reshape(len(rows), width)
        numbers = np.array(
            [(h, NO_BLOCK if b is None else b, NO_BLOCK if s is None else s) for h, b, s, _ in rows], dtype=np.int64
        ).reshape(len(rows), 3)
        columns = [np.ascontiguousarray(numbers[:, i]) for i in range(3)]
        for column in columns:
            column.flags.writeable = False
        return Gallery(
            generation=self._generation(self._db),
            blocks={ref.id: ref for ref in refs},
            handles=columns[0].view(np.uint64),
            block_ids=columns[1],
            slots=columns[2],
            norm_shares=shares,
            files=tuple(self._held[ref.path] for ref in refs),
        )

    def _read(self, query: str, values: Sequence[object] = ()) -> list[_Row]:
        with self._reading, typed_errors():
            return self._reader.execute(query, values).fetchall()

    @staticmethod
    def _generation(db: sqlite3.Connection) -> int:
        (generation,) = db.execute("SELECT ifnull(max(generation), 0) FROM committed").fetchone()
        return int(generation)

    @staticmethod
    def _outcome(db: sqlite3.Connection, txn: TxnId) -> Outcome:
        if db.execute("SELECT 1 FROM committed WHERE txn = ?", (txn,)).fetchone():
            return "committed"
        return "prepared" if db.execute("SELECT 1 FROM prepared WHERE txn = ?", (txn,)).fetchone() else "unknown"


def _connect(database: Path) -> sqlite3.Connection:
    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=10)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
        db.execute(f"PRAGMA {pragma}")
    return db


def _staged(change: Change, size: int) -> dict[str, list[_Row]]:
    """The rows of a change, table by table. Raises `OutOfRange` for what no gallery could hold."""
    txn = bytes(change.txn)
    if len(txn) != TXN_BYTES:
        raise OutOfRange("a transaction number has 16 bytes")
    if any(len(entry.digest) != DIGEST_BYTES for entry in change.adds):
        raise OutOfRange("a digest has 32 bytes")
    if any(not update.data or len(update.data) % size for update in change.blocks):
        raise OutOfRange("a block is not a whole number of ciphertexts")
    if {update.id for update in change.blocks} & set(change.drops):
        raise OutOfRange("a block is both written and dropped")
    if any((entry.block is None) != (entry.slot is None) for entry in change.adds):
        raise OutOfRange("an entry has a block without a slot")
    return {
        "staged_block": [
            (txn, _natural(u.id), _natural(u.version), len(u.data) // size, size, hashlib.sha256(u.data).digest())
            for u in change.blocks
        ],
        "staged_remove": [(txn, _signed(handle)) for handle in change.removes],
        "staged_move": [
            (txn, _signed(handle), _natural(block), _natural(slot)) for handle, block, slot in change.moves
        ],
        "staged_entry": [
            (
                txn,
                _signed(entry.handle),
                bytes(entry.enrolment_id),
                bytes(entry.digest),
                bytes(entry.label),
                str(entry.client),
                None if entry.block is None else _natural(entry.block),
                None if entry.slot is None else _natural(entry.slot),
                bytes(entry.norm_share),
                _natural(entry.created),
                bytes(entry.body),
            )
            for entry in change.adds
        ],
        "staged_drop": [(txn, _natural(block)) for block in change.drops],
    }


def _natural(value: int) -> int:
    if not 0 <= value < _MAX_INTEGER:
        raise OutOfRange("a number does not fit 63 bits")
    return int(value)


def _signed(handle: Handle) -> int:
    """SQLite has no unsigned 64-bit integers."""
    if not NOBODY < handle < 2 * _MAX_INTEGER:
        raise OutOfRange("a handle is not 0 and has at most 64 bits")
    return int(handle) - 2 * _MAX_INTEGER if handle >= _MAX_INTEGER else int(handle)


def _unsigned(value: int) -> Handle:
    return Handle(value % (2 * _MAX_INTEGER))


def _entry(row: _Row) -> Entry:
    handle, enrolment_id, digest, label, client, block, slot, norm_share, created, body = row
    return Entry(
        handle=_unsigned(handle),
        enrolment_id=EnrolmentId(enrolment_id),
        digest=digest,
        label=label,
        body=body,
        client=ClientId(client),
        block=None if block is None else BlockId(block),
        slot=slot,
        norm_share=norm_share,
        created=created,
    )
