"""The SQLite store: what it keeps, what it refuses, what erasing leaves."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import pickle
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
from pura.store import BlockUpdate, Change, Entry, SqliteStore, Store, read_block
from pura.store.base import NO_BLOCK
from pura.store.segments import HEADER_BYTES, SystemFiles

SIZE = 64
COUNT = 4


def open_store(folder: Path, **different: object) -> SqliteStore:
    made_for = {"role": Party.S1, "agreement": b"a" * 32, "key_id": KeyId(b"k" * 16), "block_bytes": SIZE, **different}
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
        norm_share=(handle % 2**32).to_bytes(4, "big"),
        created=1_700_000_000,
    )
    return dataclasses.replace(made, **different)  # type: ignore[arg-type]


def block(number: int, version: int, fill: int) -> BlockUpdate:
    return BlockUpdate(BlockId(number), version, bytes([fill]) * (SIZE * COUNT))


def txn(number: int) -> TxnId:
    return TxnId(number.to_bytes(16, "big"))


def first(number: int = 1) -> Change:
    return Change(txn(number), "enrol", adds=(entry(2**64 - 1, 0, 1), entry(7, 0, 0)), blocks=(block(0, 1, 0xA1),))


def segment_files(store_folder: Path) -> set[str]:
    return set(os.listdir(store_folder / "segments"))


def test_sqlite_store_is_a_store(store: SqliteStore) -> None:
    as_protocol: Store = store
    assert as_protocol.count() == 0
    assert as_protocol.last_txn() is None
    assert len(as_protocol.snapshot()) == 0
    assert as_protocol.snapshot().norm_shares.shape == (0, 0)


def test_a_change_counts_only_after_its_commit(store: SqliteStore) -> None:
    store.prepare(first())
    assert store.outcome(txn(1)) == "prepared"
    assert store.prepared() == [txn(1)]
    assert (store.count(), len(store.snapshot())) == (0, 0)
    store.commit(txn(1))
    assert store.outcome(txn(1)) == "committed"
    assert (store.prepared(), store.count(), store.last_txn()) == ([], 2, txn(1))
    store.commit(txn(1))
    assert store.count() == 2
    assert store.outcome(txn(9)) == "unknown"


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
        store.prepare(Change(txn(2), "enrol", adds=(entry(9, 1, 0),), blocks=(block(1, 1, 0xB2),)))
    with open_store(tmp_path) as store:
        assert store.prepared() == [txn(2)]
        store.commit(txn(2))
        assert store.by_handle(Handle(2**64 - 1)) == entry(2**64 - 1, 0, 1)
        assert store.by_enrolment_id(entry(9).enrolment_id) == entry(9, 1, 0)
        assert list(store.entries()) == [entry(2**64 - 1, 0, 1), entry(7, 0, 0), entry(9, 1, 0)]
        assert store.roster() == [(h, b"label of %d" % h) for h in (2**64 - 1, 7, 9)]
        assert store.bodies([Handle(9), Handle(7), Handle(9)]) == [b"body of 9", b"body of 7", b"body of 9"]
        assert [(row.generation, row.txn, row.kind, row.adds, row.blocks) for row in store.audit()] == [
            (1, txn(1), "enrol", 2, 1),
            (2, txn(2), "enrol", 1, 1),
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
    store.apply(Change(txn(2), "enrol", adds=(entry(3, 1, 0), entry(4, 0, 2)), blocks=(block(0, 2, 1), block(1, 9, 2))))
    gallery = store.snapshot()
    assert gallery is store.snapshot()
    assert gallery.generation == 2
    assert gallery.handles.dtype == np.uint64
    assert gallery.handles.tolist() == [7, 2**64 - 1, 4, 3]
    assert gallery.block_ids.tolist() == [0, 0, 0, 1]
    assert gallery.slots.tolist() == [0, 1, 2, 0]
    assert gallery.norm_shares.tobytes() == b"".join(entry(h).norm_share for h in (7, 2**64 - 1, 4, 3))
    assert gallery.positions([Handle(3), Handle(2**64 - 1)]).tolist() == [3, 1]
    assert not any(a.flags.writeable for a in (gallery.handles, gallery.block_ids, gallery.slots, gallery.norm_shares))
    for absent in (1, 8, 2**64 - 2):
        with pytest.raises(UnknownEntry):
            gallery.positions([Handle(3), Handle(absent)])
    assert {b: (r.version, r.count, r.size) for b, r in gallery.blocks.items()} == {0: (2, 4, SIZE), 1: (9, 4, SIZE)}
    assert bytes(read_block(gallery.blocks[BlockId(1)])) == bytes([2]) * (SIZE * COUNT)


def test_entries_without_a_block(store: SqliteStore) -> None:
    store.apply(Change(txn(1), "enrol", adds=(entry(5, norm_share=b""), entry(3, norm_share=b""))))
    gallery = store.snapshot()
    assert gallery.handles.tolist() == [5, 3]
    assert gallery.block_ids.tolist() == [NO_BLOCK, NO_BLOCK]
    assert gallery.norm_shares.shape == (2, 0)
    assert store.by_handle(Handle(3)) == entry(3, norm_share=b"")


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
    moves = ((Handle(7), BlockId(0), 1), (Handle(2**64 - 1), BlockId(0), 0))
    store.apply(Change(txn(2), "compact", moves=moves, blocks=(block(0, 2, 0xC3),)))
    assert store.snapshot().handles.tolist() == [2**64 - 1, 7]


def test_a_block_goes_with_its_last_entry(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(first())
    with pytest.raises(ProtocolError):
        store.prepare(Change(txn(2), "erase", removes=(Handle(7),), drops=(BlockId(0),)))
    store.apply(Change(txn(3), "erase", removes=(Handle(7), Handle(2**64 - 1)), drops=(BlockId(0),)))
    assert (store.count(), dict(store.snapshot().blocks), segment_files(tmp_path / "data")) == (0, {}, set())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (Change(txn(2), "x", adds=(entry(7, 0, 2, enrolment_id=EnrolmentId(b"n" * 16)),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 0),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 5, 0),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, enrolment_id=entry(7).enrolment_id),)), EnrolmentConflict),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, norm_share=b"12345"),)), ProtocolError),
        (Change(txn(2), "x", adds=(entry(8, 0, 2, digest=b"short"),)), OutOfRange),
        (Change(txn(2), "x", adds=(entry(8, 0),)), OutOfRange),
        (Change(txn(2), "x", adds=(entry(0, 0, 2),)), OutOfRange),
        (Change(txn(2), "x", removes=(Handle(8),)), UnknownEntry),
        (Change(txn(2), "x", removes=(Handle(7), Handle(7))), ProtocolError),
        (Change(txn(2), "x", moves=((Handle(8), BlockId(0), 5),)), UnknownEntry),
        (Change(txn(2), "x", moves=((Handle(7), BlockId(0), 1),)), ProtocolError),
        (Change(txn(2), "x", moves=((Handle(7), BlockId(2**63), 1),)), OutOfRange),
        (Change(txn(2), "x", drops=(BlockId(3),)), ProtocolError),
        (Change(txn(2), "x", blocks=(block(0, 2, 1),), drops=(BlockId(0),)), OutOfRange),
        (Change(txn(2), "x", blocks=(block(0, 1, 1),)), ProtocolError),
        (Change(txn(2), "x", blocks=(block(4, 1, 1), block(4, 2, 1))), ProtocolError),
        (Change(txn(2), "x", blocks=(BlockUpdate(BlockId(0), 2, b"x" * (SIZE + 1)),)), OutOfRange),
        (Change(txn(2), "x", blocks=(BlockUpdate(BlockId(0), 2, b""),)), OutOfRange),
        (Change(TxnId(b"short"), "x"), OutOfRange),
        (Change(txn(1), "x"), ProtocolError),
    ],
)
def test_what_does_not_fit_is_refused_whole(
    store: SqliteStore, tmp_path: Path, change: Change, error: type[PuraError]
) -> None:
    store.apply(first())
    files = segment_files(tmp_path / "data")
    rider = block(90, 1, 0xEE)
    with pytest.raises(error):
        store.prepare(dataclasses.replace(change, blocks=(*change.blocks, rider)))
    assert store.prepared() == []
    assert segment_files(tmp_path / "data") == files
    assert store.snapshot().handles.tolist() == [7, 2**64 - 1]
    store.apply(Change(txn(3), "enrol", adds=(entry(8, 0, 2),), blocks=(block(0, 2, 3),)))
    assert store.count() == 3


def test_preparing_twice(store: SqliteStore) -> None:
    store.prepare(first())
    store.prepare(first())
    assert store.prepared() == [txn(1)]
    others = (
        dataclasses.replace(first(), adds=first().adds[:1]),
        dataclasses.replace(first(), blocks=(block(0, 1, 0xA2),)),
        dataclasses.replace(first(), blocks=()),
        Change(txn(1), "x"),
    )
    for other in others:
        with pytest.raises(ProtocolError):
            store.prepare(other)
    store.commit(txn(1))
    with pytest.raises(ProtocolError):
        store.prepare(first())


def test_abort_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    store.abort(txn(1))
    store.prepare(first())
    assert segment_files(tmp_path / "data")
    store.abort(txn(1))
    store.abort(txn(1))
    assert (store.outcome(txn(1)), segment_files(tmp_path / "data")) == ("unknown", set())
    with pytest.raises(ProtocolError):
        store.commit(txn(1))
    store.apply(first())
    with pytest.raises(ProtocolError):
        store.abort(txn(1))
    assert store.count() == 2


def test_a_change_fits_only_the_gallery_it_was_prepared_on(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(first())
    store.prepare(Change(txn(2), "enrol", adds=(entry(8, 0, 2),), blocks=(block(0, 2, 2),)))
    store.prepare(Change(txn(3), "enrol", adds=(entry(9, 0, 3),), blocks=(block(0, 3, 3),)))
    store.commit(txn(3))
    with pytest.raises(ProtocolError):
        store.commit(txn(2))
    assert store.prepared() == [txn(2)]
    store.abort(txn(2))
    assert store.snapshot().handles.tolist() == [7, 2**64 - 1, 9]
    assert len(segment_files(tmp_path / "data")) == 1


def test_replaced_files_stay_for_a_snapshot(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(first())
    early = store.snapshot()
    store.apply(Change(txn(2), "erase", removes=(Handle(7),), blocks=(block(0, 2, 0xB2),)))
    late = store.snapshot()
    store.apply(Change(txn(3), "erase", removes=(Handle(2**64 - 1),), drops=(BlockId(0),)))
    assert early.handles.tolist() == [7, 2**64 - 1]
    assert bytes(read_block(early.blocks[BlockId(0)])) == b"\xa1" * (SIZE * COUNT)
    assert bytes(read_block(late.blocks[BlockId(0)])) == b"\xb2" * (SIZE * COUNT)
    with pytest.raises(ProtocolError):  # the old file is still there: its name must not be taken
        store.prepare(Change(txn(4), "enrol", blocks=(block(0, 1, 0xC3),)))
    view = read_block(late.blocks[BlockId(0)])
    del late
    gc.collect()
    assert len(segment_files(tmp_path / "data")) == 1
    assert bytes(view) == b"\xb2" * (SIZE * COUNT)  # a map outlives its file's name
    del early
    gc.collect()
    assert segment_files(tmp_path / "data") == set()


def test_closing_removes_replaced_files(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
        early = store.snapshot()
        store.apply(Change(txn(2), "x", blocks=(block(0, 2, 0xB2),)))
        assert len(segment_files(tmp_path)) == 2
    assert len(segment_files(tmp_path)) == 1
    with pytest.raises(BadDataFolder, match=os.path.basename(early.blocks[BlockId(0)].path)):
        read_block(early.blocks[BlockId(0)])


def test_block_refs_are_small_hashable_and_equal_by_value(store: SqliteStore) -> None:
    store.apply(first())
    ref = store.snapshot().blocks[BlockId(0)]
    again = pickle.loads(pickle.dumps(ref))
    assert (again, hash(again)) == (ref, hash(ref))
    assert len(pickle.dumps(ref)) < 300 + len(ref.path)
    view = read_block(again)
    assert view.readonly
    assert len(view) == SIZE * COUNT


def every_file(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("length", [100, 2048, 65536])
def test_erased_bodies_are_in_no_file(store: SqliteStore, tmp_path: Path, length: int) -> None:
    bodies = {h: bytes([h]) + os.urandom(length - 1) for h in range(1, 6)}
    adds = tuple(entry(h, 0, h, body=body, label=b"label" + body[:32]) for h, body in bodies.items())
    store.apply(Change(txn(1), "enrol", adds=adds, blocks=(block(0, 1, 1),)))
    store.snapshot()

    def found(h: int) -> bool:
        pieces = (bodies[h][:24], bodies[h][length // 2 : length // 2 + 24], bodies[h][-24:])
        return any(piece in data for data in every_file(tmp_path).values() for piece in pieces)

    assert all(found(h) for h in bodies)
    store.prepare(Change(txn(2), "erase", removes=(Handle(2), Handle(4)), blocks=(block(0, 2, 2),)))
    store.commit(txn(2))
    assert [h for h in bodies if found(h)] == [1, 3, 5]
    store.prepare(Change(txn(3), "enrol", adds=(entry(9, 0, 9, body=bodies[2]),), blocks=(block(0, 3, 3),)))
    assert found(2)
    store.abort(txn(3))
    assert [h for h in bodies if found(h)] == [1, 3, 5]


def test_a_second_store_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    with open_store(tmp_path), pytest.raises(DataFolderInUse):
        open_store(tmp_path)
    open_store(tmp_path).close()


@pytest.mark.parametrize(
    "different", [{"role": Party.S2}, {"agreement": b"b" * 32}, {"key_id": b"l" * 16}, {"block_bytes": 2 * SIZE}]
)
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
    "statement",
    ["UPDATE meta SET schema = 2", "DROP TABLE meta", "DELETE FROM meta"],
)
def test_an_unknown_schema_is_refused_and_left_alone(tmp_path: Path, statement: str) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
    change_index(tmp_path, statement)
    before = every_file(tmp_path)
    with pytest.raises(BadDataFolder):
        open_store(tmp_path)
    after = every_file(tmp_path)
    assert {n: d for n, d in after.items() if "segments" in n} == {n: d for n, d in before.items() if "segments" in n}
    assert after[str(tmp_path / "gallery.db")] == before[str(tmp_path / "gallery.db")]


@pytest.mark.parametrize("at", [0, 9, 20, 31, 45, 70, HEADER_BYTES, -1])
@pytest.mark.parametrize("committed", [True, False])
def test_one_changed_byte_in_a_segment(tmp_path: Path, at: int, committed: bool) -> None:
    with open_store(tmp_path) as store:
        store.prepare(first())
        if committed:
            store.commit(txn(1))
    (path,) = (tmp_path / "segments").iterdir()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadDataFolder, match=path.name):
        open_store(tmp_path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("damage", ["cut", "longer", "gone"])
def test_a_torn_segment(tmp_path: Path, damage: str) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
        ref = store.snapshot().blocks[BlockId(0)]
    path = Path(ref.path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "cut" else path.read_bytes() + b"\0")
    with pytest.raises(BadDataFolder, match=path.name):
        open_store(tmp_path)
    with pytest.raises(BadDataFolder, match=path.name):
        read_block(ref)


def test_an_index_that_is_garbage_or_missing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
    index = tmp_path / "gallery.db"
    index.rename(tmp_path / "aside")
    with pytest.raises(BadDataFolder):  # an empty one must not be made: it would make every block an orphan
        open_store(tmp_path)
    assert len(segment_files(tmp_path)) == 1
    index.write_bytes(b"not a database at all" * 500)
    with pytest.raises(BadDataFolder):
        open_store(tmp_path)
    shutil.copy(tmp_path / "aside", index)
    with open_store(tmp_path) as store:
        assert store.count() == 2


def test_orphans_go_at_start(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.apply(first())
    (name,) = segment_files(tmp_path)
    for orphan in (f"{1:016x}-{1:016x}.seg", f"{name}.tmp"):
        (tmp_path / "segments" / orphan).write_bytes(b"left by a crash")
    with open_store(tmp_path):
        assert segment_files(tmp_path) == {name}


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with open_store(folder) as store:
        store.apply(first())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in every_file(folder):
            assert stat.S_IMODE(os.stat(name).st_mode) & 0o077 == 0, name


def test_nothing_secret_is_printed() -> None:
    change = first()
    for text in (repr(change), str(change), repr(change.adds[0]), repr(change.blocks[0])):
        assert "label" not in text
        assert "body" not in text
        assert "\\xa1" not in text


def test_a_full_index_keeps_nothing_of_the_change(store: SqliteStore, tmp_path: Path) -> None:
    store.apply(first())
    files = segment_files(tmp_path / "data")
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    big = Change(txn(2), "enrol", adds=(entry(8, 0, 2, body=os.urandom(100_000)),), blocks=(block(0, 2, 2),))
    with pytest.raises(StorageFull):
        store.prepare(big)
    assert (store.prepared(), segment_files(tmp_path / "data"), store.count()) == ([], files, 2)
    store._db.execute("PRAGMA max_page_count = 100000")
    store.apply(big)
    assert store.count() == 3


def test_other_trouble_of_the_disk_is_typed_too(tmp_path: Path) -> None:
    class Broken(SystemFiles):
        def write(self, path: str, data: bytes) -> None:
            raise OSError(errno.EIO, "input/output error")

    with open_store(tmp_path, files=Broken()) as store, pytest.raises(BadDataFolder):
        store.prepare(first())


def test_readers_see_whole_changes_while_one_writes(store: SqliteStore) -> None:
    """Generation g has the entries 1..g in slots 1..g, and the one block full of bytes g."""
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
            if g and bytes(read_block(gallery.blocks[BlockId(0)])) != bytes([g]) * (SIZE * COUNT):
                wrong.append("block")
            if store.count() < g or len(store.roster()) < g or (g and store.by_handle(Handle(g)) is None):
                wrong.append("lookups")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    try:
        for g in range(1, rounds + 1):
            store.apply(Change(txn(g), "enrol", adds=(entry(g, 0, g),), blocks=(block(0, g, g),)))
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
