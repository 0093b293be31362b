"""The roster within the index: its digest, kept up with every commit, and the changes since an earlier generation.

    bucket   the hash of each bucket that ever held an entry (pura.roster)
    signed   S2's signature of the roster of one generation, at S1 the last that came

Which handles were erased is known in memory only, since the start: on the disk nothing of an erased entry is left. All
functions run within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from pura.ids import EnrolmentId, Handle
from pura.roster import BUCKETS, EMPTY_BUCKET, Changes, Listed, bucket_hash, bucket_of, bucket_range
from pura.store.schema import signed, unsigned

KEPT = 4096
"""For so many generations it is known what was erased; who comes from further back is given the whole roster."""
RECENT = 64
"""A whole roster names what was erased in so many generations: whoever asked a question meanwhile may have got it."""

_LISTED = "SELECT handle, enrolment_id, label, expires FROM entry"
_TOUCHED = """SELECT handle FROM staged_entry WHERE txn = :txn
  UNION SELECT handle FROM staged_remove WHERE txn = :txn UNION SELECT handle FROM staged_label WHERE txn = :txn"""


def generation_of(db: sqlite3.Connection) -> int:
    """How many changes were committed."""
    (generation,) = db.execute("SELECT ifnull(max(generation), 0) FROM committed").fetchone()
    return int(generation)


class Erasures:
    """What was erased in each generation since the start."""

    def __init__(self, generation: int) -> None:
        """`generation`: the store's at its start; nothing is known of what was before."""
        self._first = generation
        self._handles: dict[int, list[Handle]] = {}

    def note(self, generation: int, handles: list[Handle]) -> None:
        """The change that is about to lead to this generation, if its commit succeeds, erases these."""
        self._handles[generation] = handles
        self._handles.pop(generation - KEPT, None)

    def knows(self, since: int, now: int) -> bool:
        """Whether everything that was erased after the generation `since` is known."""
        return max(1, self._first, now - KEPT) <= since <= now

    def after(self, since: int, now: int) -> list[Handle]:
        """What was erased after the generation `since`, up to `now`, as far as it is known."""
        first = max(since, self._first, now - KEPT) + 1
        return [handle for generation in range(first, now + 1) for handle in self._handles.get(generation, ())]


def follow(db: sqlite3.Connection, txn: bytes, erasures: Erasures) -> dict[int, bytes]:
    """A change was carried out and recorded: hash the buckets that it touched, and note what it erased. The hashes."""
    buckets = {bucket_of(unsigned(handle)) for (handle,) in db.execute(_TOUCHED, {"txn": txn})}
    rows = [(bucket, bucket_hash(_leaves(db, bucket))) for bucket in sorted(buckets)]
    db.executemany("INSERT OR REPLACE INTO bucket (id, hash) VALUES (?, ?)", rows)
    erased = db.execute("SELECT handle FROM staged_remove WHERE txn = ?", (txn,)).fetchall()
    erasures.note(generation_of(db), [unsigned(handle) for (handle,) in erased])
    return dict(rows)


def read_hashes(db: sqlite3.Connection) -> list[bytes]:
    """The hashes of all buckets."""
    hashes = dict(db.execute("SELECT id, hash FROM bucket"))
    return [hashes.get(bucket, EMPTY_BUCKET) for bucket in range(BUCKETS)]


def sign(db: sqlite3.Connection, generation: int, digest: bytes, signature: bytes) -> None:
    """Keep the signature of a generation and its digest; earlier ones go. Writes nothing that is there already."""
    if db.execute("SELECT generation, digest, signature FROM signed").fetchall() == [(generation, digest, signature)]:
        return
    db.execute("DELETE FROM signed")
    db.execute("INSERT INTO signed (generation, digest, signature) VALUES (?, ?, ?)", (generation, digest, signature))


def changes(db: sqlite3.Connection, since: int, erasures: Erasures) -> Changes:
    """What happened since a generation, 0 for none; the whole roster when that is not known any more."""
    generation = generation_of(db)
    full = not erasures.knows(since, generation)
    entries = _LISTED if full else f"{_LISTED} WHERE generation > :since"
    row = db.execute("SELECT digest, signature FROM signed WHERE generation = ?", (generation,)).fetchone()
    digest, signature = row or (b"", b"")
    return Changes(
        generation=generation,
        full=full,
        entries=_listed(db.execute(entries, {"since": since}).fetchall()),
        removed=erasures.after(generation - RECENT if full else since, generation),
        digest=digest,
        signature=signature,
    )


def is_whole(db: sqlite3.Connection) -> bool:
    """Whether the hashes are those of the entries; they are, unless the index was damaged."""
    hashes = dict(db.execute("SELECT id, hash FROM bucket"))
    if any(hashes.get(bucket, EMPTY_BUCKET) != bucket_hash(_leaves(db, bucket)) for bucket in range(BUCKETS)):
        return False
    rows = db.execute("SELECT leaf, handle, enrolment_id, label, expires FROM entry")
    return all(leaf == one.leaf for leaf, *row in rows for one in _listed([tuple(row)]))


def _leaves(db: sqlite3.Connection, bucket: int) -> list[bytes]:
    ends = [signed(handle) for handle in bucket_range(bucket)]  # of one sign, so in the same order
    return [leaf for (leaf,) in db.execute("SELECT leaf FROM entry WHERE handle BETWEEN ? AND ? ORDER BY handle", ends)]


def _listed(rows: Sequence[tuple[Any, ...]]) -> list[Listed]:
    return [Listed(unsigned(handle), EnrolmentId(name), label, expires) for handle, name, label, expires in rows]
