"""The gallery's columns after a change: carried on from those before, and the same as read anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pura.ids import BlockId, ClientId, EnrolmentId, Handle, KeyId, Party, TxnId
from pura.store import Change, Entry, Gallery, Relabel, SqliteStore
from pura.store.base import Move


def open_store(folder: Path) -> SqliteStore:
    return SqliteStore.open(
        folder,
        role=Party.S1,
        agreement=b"a" * 32,
        key_id=KeyId(b"k" * 16),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with open_store(tmp_path) as made:
        yield made


def entry(draw: random.Random, place: tuple[int, int] | None) -> Entry:
    return Entry(
        handle=Handle(draw.getrandbits(64) | 1),
        enrolment_id=EnrolmentId(draw.randbytes(16)),
        digest=bytes(32),
        label=b"label",
        body=draw.randbytes(8),
        client=ClientId(""),
        block=None if place is None else BlockId(place[0]),
        slot=None if place is None else place[1],
        masking=draw.randbytes(4),
        created=0,
        expires=draw.choice([0, draw.getrandbits(31)]),
    )


def same(one: Gallery, other: Gallery) -> None:
    for name in ("handles", "block_ids", "slots", "masking", "expires"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes(), name
        assert not mine.flags.writeable
    assert (one.generation, one.roster) == (other.generation, other.roster)


def read_anew(store: SqliteStore) -> Gallery:
    store._columns = None
    return store._picture()


@pytest.mark.parametrize("placed", [True, False])
def test_columns_that_are_carried_on_are_those_that_are_read_anew(store: SqliteStore, placed: bool) -> None:
    draw = random.Random(3)
    there: dict[Handle, tuple[int, int] | None] = {}
    before = store.snapshot()
    for number in range(60):
        taken = set(there.values())
        free = [(b, s) for b in range(4) for s in range(6) if (b, s) not in taken]
        chosen = draw.sample(free, min(len(free), draw.randrange(5))) if placed else [None] * draw.randrange(3)
        adds = tuple(entry(draw, place) for place in chosen)
        removes = tuple(draw.sample(sorted(there), min(len(there), draw.randrange(4))))
        left = [handle for handle in there if handle not in removes]
        empty = [place for place in free if place not in chosen]
        moving = draw.sample(left, min(len(left), len(empty), draw.randrange(3))) if placed else []
        moves = tuple(
            Move(handle, BlockId(b), s, draw.choice([None, b"x"]), draw.choice([None, draw.randbytes(4)]))
            for handle, (b, s) in zip(moving, empty, strict=False)
        )
        changed = {e.block for e in adds} | {m.block for m in moves}
        changed |= {there[h][0] for h in (*removes, *moving)} if placed else set()  # type: ignore[index]
        store.apply(Change(TxnId(number.to_bytes(16, "big")), "x", adds, removes, moves))
        there = {h: place for h, place in there.items() if h not in removes}
        there |= {e.handle: None if e.block is None else (e.block, e.slot) for e in adds}  # type: ignore[misc]
        there |= {m.handle: (m.block, m.slot) for m in moves}
        now = store.snapshot()
        assert now.touched == (before.generation, frozenset(changed) - {None})
        same(now, read_anew(store))
        assert set(now.handles.tolist()) == set(there)
        before = now
    assert store.snapshot() is now


def test_changes_between_two_galleries_add_up(store: SqliteStore) -> None:
    draw = random.Random(4)
    store.snapshot()
    for number in range(3):
        store.apply(Change(TxnId(number.to_bytes(16, "big")), "x", (entry(draw, (number, 0)),)))
    now = store.snapshot()
    assert now.touched == (0, frozenset({0, 1, 2}))
    assert now.block_ids.tolist() == [0, 1, 2]


def test_another_label_touches_no_block(store: SqliteStore) -> None:
    draw = random.Random(5)
    one = entry(draw, (0, 0))
    store.apply(Change(TxnId(bytes(16)), "x", (one,)))
    first = store.snapshot()
    new = Relabel(one.handle, one.enrolment_id, b"another", one.expires)
    store.apply(Change(TxnId(b"1" * 16), "x", relabels=(new,)))
    second = store.snapshot()
    assert second.touched == (1, frozenset())
    assert second.handles is first.handles
    assert second.roster != first.roster


def test_a_change_that_fails_leaves_the_columns_alone(store: SqliteStore) -> None:
    draw = random.Random(6)
    store.apply(Change(TxnId(bytes(16)), "x", (entry(draw, (0, 0)),)))
    before = store.snapshot()
    store.prepare(Change(TxnId(b"1" * 16), "x", (entry(draw, (0, 1)),)))
    store.abort(TxnId(b"1" * 16))
    assert store.snapshot() is before
    same(before, read_anew(store))
    assert np.shares_memory(before.handles, store.snapshot().handles)
