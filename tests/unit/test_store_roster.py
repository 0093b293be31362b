"""The roster of a store: its digest follows every commit, and changes since any generation lead to the latest."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pura.errors import BadDataFolder, ProtocolError
from pura.ids import ClientId, EnrolmentId, Handle, KeyId, Party, TxnId
from pura.roster import Changes, Listed, Roster
from pura.store import Change, Entry, SqliteStore
from pura.store import roster as in_store
from pura.store.check import check_folder


def open_store(folder: Path) -> SqliteStore:
    return SqliteStore.open(folder, role=Party.S1, agreement=b"a" * 32, key_id=KeyId(b"k" * 16))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with open_store(tmp_path) as made:
        yield made


def entry(handle: int) -> Entry:
    return Entry(
        handle=Handle(handle),
        enrolment_id=EnrolmentId(handle.to_bytes(16, "big")),
        digest=bytes(32),
        label=b"label of %d" % handle,
        body=b"",
        client=ClientId(""),
        block=None,
        slot=None,
        masking=b"",
        created=0,
    )


def listed(handle: int) -> Listed:
    return Listed(Handle(handle), EnrolmentId(handle.to_bytes(16, "big")), b"label of %d" % handle)


def change(number: int, adds: tuple[int, ...] = (), removes: tuple[int, ...] = ()) -> Change:
    return Change(
        TxnId(number.to_bytes(16, "big")), "x", tuple(map(entry, adds)), tuple(Handle(handle) for handle in removes)
    )


def digest_of(*handles: int) -> bytes:
    made = Roster()
    made.add(map(listed, handles))
    return made.digest()


def follow(known: Roster, changes: Changes) -> Roster:
    """As a client does."""
    if changes.full:
        known = Roster()
    else:
        known.remove(changes.removed)
    known.add(changes.entries)
    return known


HANDLES = (1, 2, 2**52 - 1, 2**52, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1)


def test_the_digest_follows_every_commit_and_changes_lead_from_every_generation(store: SqliteStore) -> None:
    draw = random.Random(7)
    rosters, there = [Roster()], set[int]()
    for number in range(1, 40):
        free = [h for h in HANDLES if h not in there]
        adds = tuple(draw.sample(free, min(len(free), draw.randrange(3))))
        removes = tuple(draw.sample(sorted(there), min(len(there), draw.randrange(3))))
        store.apply(change(number, adds, removes))
        there = (there | set(adds)) - set(removes)
        gallery = store.snapshot()
        assert (gallery.generation, gallery.roster) == (number, digest_of(*there))
        kept = Roster()
        kept.add(map(listed, there))
        rosters.append(kept)
    for since in range(40):
        changes = store.roster(since)
        assert (changes.generation, changes.full) == (39, since == 0)
        assert follow(rosters[since], changes).digest() == digest_of(*there)


def test_prepared_and_aborted_changes_leave_the_roster_as_it_was(store: SqliteStore) -> None:
    store.apply(change(1, (1, 2)))
    before = store.roster(), store.snapshot().roster
    store.prepare(change(2, (3,), (1,)))
    assert (store.roster(), store.snapshot().roster) == before
    store.abort(change(2).txn)
    assert (store.roster(), store.snapshot().roster) == before
    store.apply(change(3, (4,)))
    assert store.snapshot().generation == 2  # an aborted change does not count


def test_changes_name_what_was_added_and_what_was_erased(store: SqliteStore) -> None:
    store.apply(change(1, (1, 2)))
    store.apply(change(2, (3,)))
    store.apply(change(3, (), (1,)))
    store.apply(change(4))  # as a compaction
    assert store.roster(2) == Changes(4, False, [], [Handle(1)], b"", b"")
    assert store.roster(1) == Changes(4, False, [listed(3)], [Handle(1)], b"", b"")
    assert store.roster(4) == Changes(4, False, [], [], b"", b"")
    for since in (0, 5, 2**63):
        assert store.roster(since) == Changes(4, True, [listed(2), listed(3)], [Handle(1)], b"", b"")


def test_who_comes_from_too_far_back_is_given_everything(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_store, "KEPT", 3)
    monkeypatch.setattr(in_store, "RECENT", 2)
    store.apply(change(1, (1, 2, 3, 4)))
    for number in (2, 3, 4):
        store.apply(change(number, (), (number - 1,)))
    store.apply(change(5))
    assert [store.roster(since).full for since in range(6)] == [True, True, False, False, False, False]
    assert store.roster(2).removed == [Handle(2), Handle(3)]
    assert store.roster(1).removed == [Handle(3)]  # of a whole roster: lately


def test_what_was_erased_before_the_start_is_not_known(tmp_path: Path) -> None:
    """On the disk nothing of an erased entry is left, not even its handle."""
    with open_store(tmp_path) as store:
        store.apply(change(1, (1, 2)))
        store.apply(change(2, (), (1,)))
    with open_store(tmp_path) as store:
        assert store.roster(1) == Changes(2, True, [listed(2)], [], b"", b"")
        assert store.roster(2) == Changes(2, False, [], [], b"", b"")
        store.apply(change(3, (3,), (2,)))
        assert store.roster(2) == Changes(3, False, [listed(3)], [Handle(2)], b"", b"")


def test_a_commit_that_failed_erased_nothing(store: SqliteStore) -> None:
    store.apply(change(1, (1, 2)))
    store.prepare(change(2, (), (1,)))
    store._db.execute("CREATE TEMP TRIGGER no BEFORE DELETE ON prepared BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(BadDataFolder):
        store.commit(change(2).txn)
    store._db.execute("DROP TRIGGER no")
    assert store.roster(1) == Changes(1, False, [], [], b"", b"")
    store.abort(change(2).txn)
    store.apply(change(3, (4,)))
    assert store.roster(1) == Changes(2, False, [listed(4)], [], b"", b"")


def test_a_signature_lasts_until_the_next_change(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.keep_signature(0, digest_of(), b"of nothing")
        store.apply(change(1, (1,)))
        assert store.roster(1).signature == b""
        for generation, digest in ((0, digest_of()), (2, digest_of(1)), (1, digest_of(2))):
            with pytest.raises(ProtocolError):
                store.keep_signature(generation, digest, b"of something else")
        store.keep_signature(1, digest_of(1), b"old")
        store.keep_signature(1, digest_of(1), b"signature")
    with open_store(tmp_path) as store:
        assert store.roster(1) == Changes(1, False, [], [], digest_of(1), b"signature")
        store.prepare(change(2, (2,)))
        assert store.roster(1).signature == b"signature"
        store.commit(change(2).txn)
        assert store.roster(1) == Changes(2, False, [listed(2)], [], b"", b"")


def test_a_commit_hashes_the_buckets_it_touches_and_no_other(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply(change(1, tuple((bucket << 52) + 1 for bucket in range(4096))))
    hashed = []
    honest = in_store.bucket_hash
    monkeypatch.setattr(in_store, "bucket_hash", lambda leaves: hashed.append(len(leaves)) or honest(leaves))
    store.apply(change(2, (2, 3, 2**63 + 9), (1,)))
    assert sorted(hashed) == [2, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entry SET label = x'00'",
        "UPDATE entry SET leaf = zeroblob(32)",
        "DELETE FROM bucket",
        "DELETE FROM entry",
    ],
)
def test_a_digest_that_does_not_fit_is_found(tmp_path: Path, damage: str) -> None:
    with open_store(tmp_path) as store:
        store.apply(change(1, (1, 2)))
    assert check_folder(tmp_path).ok
    with sqlite3.connect(tmp_path / "gallery.db") as db:
        db.execute(damage)
    assert check_folder(tmp_path).problems == ("the roster's digest does not fit the entries",)
