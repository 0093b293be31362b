"""The SQLite store: what it keeps, what it refuses, what erasing leaves."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pura.errors import (
    BadDataFolder,
    DataFolderInUse,
    EnrolmentConflict,
    OutOfRange,
    ParameterMismatch,
    ProtocolError,
    PuraError,
    StorageFull,
    UnknownEntry,
)
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, KeyId, Party, TxnId
from pura.store import Change, Entry, SqliteStore, Store
from pura.store.base import NO_BLOCK, Move
from pura.store.moments import Moment


def open_store(folder: Path, **different: object) -> SqliteStore:
    made_for = {"role": Party.S1, "agreement": b"a" * 32, "key_id": KeyId(b"k" * 16), **different}
    return SqliteStore.open(folder, **made_for)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with open_store(tmp_path / "data") as made:
        yield made


def entry(handle: int, block: int | None = None, slot: int | None = None, **different: object) -> Entry:
    made = Entry(
        handle=Handle(handle),
        enrolment_id=EnrolmentId(handle.to_bytes(16, "big")),
        digest=handle.to_bytes(32, "big"),
        label=b"label of %d" % handle,
        body=b"body of %d" % handle,
        client=ClientId("camera"),
        block=None if block is None else BlockId(block),
        slot=slot,
        masking=(handle % 2**32).to_bytes(4, "big"),
        created=1_700_000_000,
    )
    return dataclasses.replace(made, **different)  # type: ignore[arg-type]


def txn(number: int) -> TxnId:
    return TxnId(number.to_bytes(16, "big"))


def first(number: int = 1) -> Change:
    return Change(txn(number), "enrol", adds=(entry(2**64 - 1, 0, 1), entry(7, 0, 0)))


def test_sqlite_store_is_a_store(store: SqliteStore) -> None:
    as_protocol: Store = store
    assert as_protocol.count() == 0
    assert str(as_protocol.moment()) == "0"
    assert len(as_protocol.snapshot()) == 0
    assert as_protocol.snapshot().masking.shape == (0, 0)


def test_a_change_counts_only_after_its_commit(store: SqliteStore) -> None:
    store.prepare(first())
    assert store.outcome(txn(1)) == "prepared"
    assert store.prepared() == [txn(1)]
    assert (store.count(), len(store.snapshot())) == (0, 0)
    store.commit(txn(1))
    assert store.outcome(txn(1)) == "committed"
    assert (store.prepared(), store.count(), store.moment()) == ([], 2, Moment(1, txn(1)))
    store.commit(txn(1))
    assert store.count() == 2
    assert store.outcome(txn(9)) == "unknown"


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
        store.prepare(Change(txn(2), "enrol", adds=(entry(9, 1, 0),)))
    with open_store(tmp_path) as store:
        assert store.prepared() == [txn(2)]
        store.commit(txn(2))
        assert store.by_handle(Handle(2**64 - 1)) == entry(2**64 - 1, 0, 1)
        assert store.by_enrolment_id(entry(9).enrolment_id) == entry(9, 1, 0)
        assert list(store.entries()) == [entry(2**64 - 1, 0, 1), entry(7, 0, 0), entry(9, 1, 0)]
        assert {one.handle: one.label for one in store.roster().entries} == {
            h: b"label of %d" % h for h in (2**64 - 1, 7, 9)
        }
        assert store.bodies([Handle(9), Handle(7), Handle(9)]) == [b"body of 9", b"body of 7", b"body of 9"]
        assert [(row.generation, row.txn, row.kind, row.adds) for row in store.audit()] == [
            (1, txn(1), "enrol", 2),
            (2, txn(2), "enrol", 1),
        ]


def test_lookups_of_what_is_not_there(store: SqliteStore) -> None:
    store.apply(first())
    assert store.by_handle(Handle(8)) is None
    assert store.by_enrolment_id(EnrolmentId(b"?" * 16)) is None
    with pytest.raises(UnknownEntry):
        store.bodies([Handle(7), Handle(8)])
    assert store.bodies([]) == []


def test_snapshot_is_ordered_by_block_and_slot(store: SqliteStore) -> None:
    store.apply(first())
    store.apply(Change(txn(2), "enrol", adds=(entry(3, 1, 0), entry(4, 0, 2))))
    gallery = store.snapshot()
    assert gallery is store.snapshot()
    assert gallery.generation == 2
    assert gallery.handles.dtype == np.uint64
    assert gallery.handles.tolist() == [7, 2**64 - 1, 4, 3]
    assert gallery.block_ids.tolist() == [0, 0, 0, 1]
    assert gallery.slots.tolist() == [0, 1, 2, 0]
    assert gallery.masking.tobytes() == b"".join(entry(h).masking for h in (7, 2**64 - 1, 4, 3))
    assert not any(a.flags.writeable for a in (gallery.handles, gallery.block_ids, gallery.slots, gallery.masking))


def test_entries_without_a_block(store: SqliteStore) -> None:
    store.apply(Change(txn(1), "enrol", adds=(entry(5, masking=b""), entry(3, masking=b""))))
    gallery = store.snapshot()
    assert gallery.handles.tolist() == [5, 3]
    assert gallery.block_ids.tolist() == [NO_BLOCK, NO_BLOCK]
    assert gallery.masking.shape == (2, 0)
    assert store.by_handle(Handle(3)) == entry(3, masking=b"")


def test_entries_come_in_batches_while_others_are_erased(store: SqliteStore) -> None:
    store.apply(Change(txn(1), "enrol", adds=tuple(entry(h) for h in range(1, 601))))
    seen = []
    for i, one in enumerate(store.entries()):
        if i == 0:
            store.apply(Change(txn(2), "erase", removes=(Handle(1), Handle(600))))
        seen.append(one.handle)
    assert seen == list(range(1, 600))
    assert store.bodies([Handle(h) for h in range(599, 1, -1)]) == [b"body of %d" % h for h in range(599, 1, -1)]


def test_moves_may_exchange_slots(store: SqliteStore) -> None:
    store.apply(first())
    moves = (Move(Handle(7), BlockId(0), 1), Move(Handle(2**64 - 1), BlockId(0), 0))
    store.apply(Change(txn(2), "compact", moves=moves))
    assert store.snapshot().handles.tolist() == [2**64 - 1, 7]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (Change(txn(2), "x", adds=(entry(7, 0, 2, enrolment_id=EnrolmentId(b"n" * 16)),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 0),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, enrolment_id=entry(7).enrolment_id),)), EnrolmentConflict),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, masking=b"12345"),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, digest=b"short"),)), OutOfRange),
        (Change(txn(2), "x", adds=(entry(8, 0),)), OutOfRange),
        (Change(txn(2), "x", adds=(entry(0, 0, 2),)), OutOfRange),
        (Change(txn(2), "x", removes=(Handle(8),)), UnknownEntry),
        (Change(txn(2), "x", removes=(Handle(7), Handle(7))), ProtocolError),
        (Change(txn(2), "x", moves=(Move(Handle(8), BlockId(0), 5),)), UnknownEntry),
        (Change(txn(2), "x", moves=(Move(Handle(7), BlockId(0), 1),)), ProtocolError),
        (Change(txn(2), "x", moves=(Move(Handle(7), BlockId(2**63), 1),)), OutOfRange),
        (Change(TxnId(b"short"), "x"), OutOfRange),
        (Change(txn(1), "x"), ProtocolError),
    ],
)
def test_what_does_not_fit_is_refused_whole(store: SqliteStore, change: Change, error: type[PuraError]) -> None:
    store.apply(first())
    with pytest.raises(error):
        store.prepare(change)
    assert store.prepared() == []
    assert store.snapshot().handles.tolist() == [7, 2**64 - 1]
    store.apply(Change(txn(3), "enrol", adds=(entry(8, 0, 2),)))
    assert store.count() == 3


def test_preparing_twice(store: SqliteStore) -> None:
    store.prepare(first())
    store.prepare(first())
    assert store.prepared() == [txn(1)]
    others = (
        dataclasses.replace(first(), adds=first().adds[:1]),
        Change(txn(1), "x"),
    )
    for other in others:
        with pytest.raises(ProtocolError):
            store.prepare(other)
    store.commit(txn(1))
    with pytest.raises(ProtocolError):
        store.prepare(first())


def test_abort_leaves_nothing(store: SqliteStore) -> None:
    store.abort(txn(1))
    store.prepare(first())
    store.abort(txn(1))
    store.abort(txn(1))
    assert store.outcome(txn(1)) == "unknown"
    with pytest.raises(ProtocolError):
        store.commit(txn(1))
    store.apply(first())
    with pytest.raises(ProtocolError):
        store.abort(txn(1))
    assert store.count() == 2


def test_a_change_fits_only_the_gallery_it_was_prepared_on(store: SqliteStore) -> None:
    store.apply(first())
    store.prepare(Change(txn(2), "enrol", adds=(entry(8, 0, 2),)))
    store.prepare(Change(txn(3), "enrol", adds=(entry(9, 0, 3),)))
    store.commit(txn(3))
    with pytest.raises(ProtocolError):
        store.commit(txn(2))
    assert store.prepared() == [txn(2)]
    store.abort(txn(2))
    assert store.snapshot().handles.tolist() == [7, 2**64 - 1, 9]


def every_file(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("length", [100, 2048, 65536])
def test_erased_bodies_are_in_no_file(store: SqliteStore, tmp_path: Path, length: int) -> None:
    bodies = {h: bytes([h]) + os.urandom(length - 1) for h in range(1, 6)}
    adds = tuple(entry(h, 0, h, body=body, label=b"label" + body[:32]) for h, body in bodies.items())
    store.apply(Change(txn(1), "enrol", adds=adds))
    store.snapshot()

    def found(h: int) -> bool:
        pieces = (bodies[h][:24], bodies[h][length // 2 : length // 2 + 24], bodies[h][-24:])
        return any(piece in data for data in every_file(tmp_path).values() for piece in pieces)

    assert all(found(h) for h in bodies)
    store.prepare(Change(txn(2), "erase", removes=(Handle(2), Handle(4))))
    store.commit(txn(2))
    assert [h for h in bodies if found(h)] == [1, 3, 5]
    store.prepare(Change(txn(3), "enrol", adds=(entry(9, 0, 9, body=bodies[2]),)))
    assert found(2)
    store.abort(txn(3))
    assert [h for h in bodies if found(h)] == [1, 3, 5]


def test_a_second_store_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    with open_store(tmp_path), pytest.raises(DataFolderInUse):
        open_store(tmp_path)
    open_store(tmp_path).close()


@pytest.mark.parametrize("different", [{"role": Party.S2}, {"agreement": b"b" * 32}, {"key_id": b"l" * 16}])
def test_a_folder_made_for_something_else(tmp_path: Path, different: dict[str, object]) -> None:
    open_store(tmp_path).close()
    with pytest.raises(ParameterMismatch):
        open_store(tmp_path, **different)
    open_store(tmp_path).close()


def change_index(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / "gallery.db")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE meta SET schema = 4", "of form 4, of an earlier Pura.* enrol everybody anew"),
        ("UPDATE meta SET schema = 6", "of form 6, of a later Pura: start that one"),
        ("DROP TABLE meta", "no data folder"),
        ("DELETE FROM meta", "no data folder"),
    ],
)
def test_an_unknown_schema_is_refused_and_left_alone(tmp_path: Path, statement: str, told: str) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
    change_index(tmp_path, statement)
    before = every_file(tmp_path)
    with pytest.raises(BadDataFolder, match=told):
        open_store(tmp_path)
    after = every_file(tmp_path)
    assert after[str(tmp_path / "gallery.db")] == before[str(tmp_path / "gallery.db")]


def test_an_index_that_is_garbage_or_missing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
    index = tmp_path / "gallery.db"
    index.rename(tmp_path / "aside")
    index.write_bytes(b"not a database at all" * 500)
    with pytest.raises(BadDataFolder):
        open_store(tmp_path)
    shutil.copy(tmp_path / "aside", index)
    with open_store(tmp_path) as store:
        assert store.count() == 2


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with open_store(folder) as store:
        store.apply(first())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in every_file(folder):
            assert stat.S_IMODE(os.stat(name).st_mode) & 0o077 == 0, name


def test_nothing_secret_is_printed() -> None:
    change = first()
    for text in (repr(change), str(change), repr(change.adds[0])):
        assert "label" not in text
        assert "body" not in text


def test_a_full_index_keeps_nothing_of_the_change(store: SqliteStore) -> None:
    store.apply(first())
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    big = Change(txn(2), "enrol", adds=(entry(8, 0, 2, body=os.urandom(100_000)),))
    with pytest.raises(StorageFull):
        store.prepare(big)
    assert (store.prepared(), store.count()) == ([], 2)
    store._db.execute("PRAGMA max_page_count = 100000")
    store.apply(big)
    assert store.count() == 3


def test_readers_see_whole_changes_while_one_writes(store: SqliteStore) -> None:
    """Generation g has the entries 1..g in slots 1..g."""
    rounds = 25
    wrong: list[str] = []
    done = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            gallery = store.snapshot()
            g = gallery.generation
            seen.add(g)
            if gallery.handles.tolist() != list(range(1, g + 1)):
                wrong.append("entries")
            if store.count() < g or len(store.roster().entries) < g or (g and store.by_handle(Handle(g)) is None):
                wrong.append("lookups")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    try:
        for g in range(1, rounds + 1):
            store.apply(Change(txn(g), "enrol", adds=(entry(g, 0, g),)))
    finally:
        done.set()
        for thread in readers:
            thread.join()
    assert wrong == []
    assert len(seen) > 2
    assert store.snapshot().generation == rounds


def test_writers_take_turns(store: SqliteStore) -> None:
    """Each change fits the gallery that it finds: `apply` lets no other in between."""

    def write(begin: int) -> None:
        for h in range(begin, begin + 8):
            store.apply(Change(txn(h), "enrol", adds=(entry(h),)))

    writers = [threading.Thread(target=write, args=(100 * i + 1,)) for i in range(3)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    assert store.count() == 24
    assert store.snapshot().generation == 24
