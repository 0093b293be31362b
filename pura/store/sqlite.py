"""The default store: one SQLite database. Whatever a crash leaves is the state before a call or after it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pura.errors import EnrolmentConflict, OutOfRange, ProtocolError, UnknownEntry
from pura.ids import NOBODY, BlockId, ClientId, EnrolmentId, Handle, KeyId, Party, TxnId
from pura.roster import Changes, Listed, roster_digest
from pura.store import moments, roster, schema
from pura.store.base import (
    DIGEST_BYTES,
    TXN_BYTES,
    AuditRow,
    Change,
    Entry,
    Gallery,
    Outcome,
)
from pura.store.moments import Moment
from pura.store.picture import Columns
from pura.store.schema import Identity, connect, signed, transaction, typed_errors, unsigned

BATCH = 256
"""Rows fetched at once by the iterators and by lookups of many entries."""

_MAX_INTEGER = 1 << 63
_ENTRY = f"SELECT {schema.ENTRY_COLUMNS} FROM entry"  # noqa: S608
_PLACED = "SELECT handle, block, slot, masking, expires FROM entry"
_Row = tuple[Any, ...]


class SqliteStore:
    """`Store` in one folder of this machine, for one process at a time."""

    def __init__(self, folder: Path, identity: Identity, lock: int) -> None:
        """Takes over `lock`; use `open`."""
        self._folder = folder
        self._lock = lock
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._gallery: Gallery | None = None
        self._columns: Columns | None = None
        self._base: int | None = None
        """The generation of the last gallery that was handed out, and which blocks have changed since."""
        self._touched: set[int] = set()
        self._scrub_due = True
        self._closed = False
        database = folder / schema.DATABASE
        os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = connect(database)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            found = schema.read_identity(self._db)
            if found is None:
                schema.create_tables(self._db, identity)
                schema.sync(folder)
            else:
                schema.compare_identity(found, identity)
            self._reader = connect(database)
            self._reader.execute("PRAGMA query_only = ON")
            self._scrub()
            self._erasures = roster.Erasures(roster.generation_of(self._db))
            self._hashes = roster.read_hashes(self._db)
            self._digest: bytes | None = None
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
    ) -> SqliteStore:
        """Open a data folder, or make one.

        Raises `DataFolderInUse`; `ParameterMismatch` when the folder was made for something else; `BadDataFolder` when
        it is damaged or of an unknown schema; `StorageFull`.
        """
        where = Path(folder).resolve()
        with typed_errors():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = schema.lock_folder(where, os.O_RDWR | os.O_CREAT)
            try:
                return cls(where, Identity(role, agreement, key_id), lock)
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
            self._gallery = self._columns = None
            self._reader.close()
            self._db.close()
            os.close(self._lock)

    # --- changes ------------------------------------------------------------------------------------

    def prepare(self, change: Change) -> None:
        """See `Store.prepare`."""
        staged = _staged(change)
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, change.txn)
            if outcome == "committed" or (outcome == "prepared" and not self._is_staged(change.txn, staged)):
                raise ProtocolError("this transaction number was used for another change")
            if outcome == "prepared":
                return
            self._rehearse(change, staged)
            with transaction(self._db):
                self._stage(change, staged)

    def commit(self, txn: TxnId) -> None:
        """See `Store.commit`."""
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, txn)
            if outcome == "unknown":
                raise ProtocolError("there is no such prepared change")
            if outcome == "prepared":
                with transaction(self._db):
                    (base,) = self._db.execute("SELECT generation FROM prepared WHERE txn = ?", (txn,)).fetchone()
                    if base != roster.generation_of(self._db):
                        raise ProtocolError("the gallery has changed since this change was prepared")
                    (erases,) = self._db.execute("SELECT count(*) FROM staged_remove WHERE txn = ?", (txn,)).fetchone()
                    self._apply(txn)
                    self._db.execute(schema.RECORD, {"txn": txn, "at": int(time.time())})
                    hashes = roster.follow(self._db, txn, self._erasures)
                    carried = self._carried(txn)
                    self._db.execute("DELETE FROM prepared WHERE txn = ?", (txn,))
                for bucket, value in hashes.items():
                    self._hashes[bucket] = value
                self._digest = None
                if carried is not None:
                    self._columns = carried[0]
                    self._touched |= carried[1]
                self._gallery = None
                self._scrub_due = self._scrub_due or bool(erases)
            self._scrub()

    def abort(self, txn: TxnId) -> None:
        """See `Store.abort`."""
        with self._writing, typed_errors():
            outcome = self._outcome(self._db, txn)
            if outcome == "committed":
                raise ProtocolError("this change is committed")
            if outcome == "prepared":
                with transaction(self._db):
                    self._db.execute("DELETE FROM prepared WHERE txn = ?", (txn,))
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

    def moment(self) -> Moment:
        """See `Store.moment`."""
        rows = self._read(schema.LAST)
        return Moment(rows[0][0], TxnId(rows[0][1])) if rows else Moment(0, TxnId(b""))

    def apart(self, there: Moment) -> None:
        """See `Store.apart`."""
        moments.keep_apart(self._folder, self.moment(), there)

    def together(self) -> None:
        """See `Store.together`."""
        moments.forget_apart(self._folder)

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

    def roster(self, since: int = 0) -> Changes:
        """See `Store.roster`."""
        with self._reading, typed_errors(), transaction(self._reader, writes=False):
            return roster.changes(self._reader, since, self._erasures)

    def keep_signature(self, generation: int, digest: bytes, signature: bytes) -> None:
        """See `Store.keep_signature`."""
        with self._writing, typed_errors(), transaction(self._db):
            if (generation, digest) != (roster.generation_of(self._db), self._roster_digest()):
                raise ProtocolError("a signature is of another roster than this server's")
            roster.sign(self._db, generation, digest, signature)

    def count(self) -> int:
        """See `Store.count`."""
        return int(self._read("SELECT count(*) FROM entry")[0][0])

    # --- inside -------------------------------------------------------------------------------------

    def _rehearse(self, change: Change, staged: dict[str, list[_Row]]) -> None:
        """Make sure that a change can be committed on this gallery, by doing it and rolling all of it back.

        Not inside the transaction that stages it: what a savepoint has put into free pages stays there after
        `ROLLBACK TO`, even with secure_delete, and would outlive the erasure of the entry.
        """
        (width,) = self._db.execute("SELECT max(length(masking)) FROM entry").fetchone()
        if len({len(entry.masking) for entry in change.adds} | ({width} - {None})) > 1:
            raise ProtocolError("what says how entries are masked differs in length")
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
            (change.txn, change.kind, roster.generation_of(self._db)),
        )
        for table, rows in staged.items():
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self._db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    def _apply(self, txn: TxnId) -> None:
        """Within a transaction: carry out a prepared change. Raises `UnknownEntry`."""
        for statement, table in schema.APPLY:
            touched = self._db.execute(statement, {"txn": txn}).rowcount
            (wanted,) = self._db.execute(f"SELECT count(*) FROM {table} WHERE txn = ?", (txn,)).fetchone()  # noqa: S608
            if touched != wanted:
                raise UnknownEntry()

    def _is_staged(self, txn: TxnId, staged: dict[str, list[_Row]]) -> bool:
        """Whether a prepared change consists of exactly these rows."""
        return all(
            self._db.execute(f"SELECT * FROM {table} WHERE txn = ? ORDER BY rowid", (txn,)).fetchall() == rows  # noqa: S608
            for table, rows in staged.items()
        )

    def _scrub(self) -> None:
        """Empty the write-ahead log, where bytes that were erased from the tables would still lie."""
        if not self._scrub_due:
            return
        # a full disk must not make a commit that has happened look failed: the next call, or start, tries again
        with self._reading, contextlib.suppress(sqlite3.OperationalError):
            (busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._scrub_due = bool(busy)

    def _picture(self) -> Gallery:
        columns = self._columns
        if columns is None:
            columns = self._columns = Columns.of(self._db.execute(f"{_PLACED} ORDER BY block, slot, seq").fetchall())
        generation, touched = roster.generation_of(self._db), None
        if self._base is not None:
            touched = self._base, frozenset(self._touched)
        self._base = generation
        self._touched.clear()
        return Gallery(
            generation=generation,
            roster=self._roster_digest(),
            handles=columns.handles,
            block_ids=columns.blocks,
            slots=columns.slots,
            masking=columns.masking,
            expires=columns.expires,
            touched=touched,
        )

    def _roster_digest(self) -> bytes:
        """Of the roster as it is now; the hashes of its buckets are in memory, too."""
        if self._digest is None:
            self._digest = roster_digest(self._hashes)
        return self._digest

    def _carried(self, txn: TxnId) -> tuple[Columns, frozenset[int]] | None:
        """Within the transaction of a change that was carried out: what the columns are after it."""
        if self._columns is None:
            return None
        gone = [h for (h,) in self._db.execute(schema.LEFT, {"txn": txn})]
        rows = self._db.execute(f"{_PLACED} WHERE handle IN ({schema.CAME}) ORDER BY seq", {"txn": txn}).fetchall()
        return self._columns.changed(gone, rows)

    def _read(self, query: str, values: Sequence[object] = ()) -> list[_Row]:
        with self._reading, typed_errors():
            return self._reader.execute(query, values).fetchall()

    @staticmethod
    def _outcome(db: sqlite3.Connection, txn: TxnId) -> Outcome:
        if db.execute("SELECT 1 FROM committed WHERE txn = ?", (txn,)).fetchone():
            return "committed"
        return "prepared" if db.execute("SELECT 1 FROM prepared WHERE txn = ?", (txn,)).fetchone() else "unknown"


def _staged(change: Change) -> dict[str, list[_Row]]:
    """The rows of a change, table by table. Raises `OutOfRange` for what no gallery could hold."""
    txn = bytes(change.txn)
    if len(txn) != TXN_BYTES:
        raise OutOfRange("a transaction number has 16 bytes")
    if any(len(entry.digest) != DIGEST_BYTES for entry in change.adds):
        raise OutOfRange("a digest has 32 bytes")
    if any((entry.block is None) != (entry.slot is None) for entry in change.adds):
        raise OutOfRange("an entry has a block without a slot")
    return {
        "staged_remove": [(txn, _signed(handle)) for handle in change.removes],
        "staged_move": [
            (txn, _signed(m.handle), _natural(m.block), _natural(m.slot), m.body, m.masking) for m in change.moves
        ],
        "staged_entry": [
            (
                txn,
                _leaf(entry),
                _signed(entry.handle),
                bytes(entry.enrolment_id),
                bytes(entry.digest),
                bytes(entry.label),
                str(entry.client),
                None if entry.block is None else _natural(entry.block),
                None if entry.slot is None else _natural(entry.slot),
                bytes(entry.masking),
                _natural(entry.created),
                _natural(entry.expires),
                bytes(entry.body),
            )
            for entry in change.adds
        ],
        "staged_label": [
            (
                txn,
                Listed(one.handle, one.enrolment_id, one.label, one.expires).leaf,
                _signed(one.handle),
                bytes(one.enrolment_id),
                bytes(one.label),
                _natural(one.expires),
            )
            for one in change.relabels
        ],
    }


def _natural(value: int) -> int:
    if not 0 <= value < _MAX_INTEGER:
        raise OutOfRange("a number does not fit 63 bits")
    return int(value)


def _signed(handle: Handle) -> int:
    if not NOBODY < handle < 2 * _MAX_INTEGER:
        raise OutOfRange("a handle is not 0 and has at most 64 bits")
    return signed(handle)


def _leaf(entry: Entry) -> bytes:
    _signed(entry.handle)  # raises for what is none
    return Listed(entry.handle, entry.enrolment_id, entry.label, entry.expires).leaf


def _entry(row: _Row) -> Entry:
    handle, enrolment_id, digest, label, client, block, slot, masking, created, expires, body = row
    return Entry(
        handle=unsigned(handle),
        enrolment_id=EnrolmentId(enrolment_id),
        digest=digest,
        label=label,
        body=body,
        client=ClientId(client),
        block=None if block is None else BlockId(block),
        slot=slot,
        masking=masking,
        created=created,
        expires=expires,
    )
