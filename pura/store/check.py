"""Verify a data folder that no server is using, without changing anything in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pura.errors import BadDataFolder
from pura.ids import TxnId
from pura.store import schema
from pura.store.segments import check_segment

_SHARED_SLOTS = "SELECT block, slot FROM entry WHERE block NOT NULL GROUP BY block, slot HAVING count(*) > 1"
_LOST_BLOCKS = "SELECT DISTINCT block FROM entry WHERE block NOT NULL AND block NOT IN (SELECT id FROM block)"


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found. Prepared changes and orphaned files are left by a crash and no damage: the next start settles the
    one with the other server and removes the other."""

    entries: int
    blocks: int
    prepared: tuple[TxnId, ...]
    orphans: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether a server can start on this folder."""
        return not self.problems


def check_folder(folder: Path | str) -> Report:
    """Verify the schema, the index, every block file's checksum, and that they fit each other.

    Raises `DataFolderInUse` while a server runs, `BadDataFolder` when this is no data folder.
    """
    where = Path(folder).resolve()
    try:
        lock = schema.lock_folder(where)
    except OSError as error:
        raise BadDataFolder("there is no data folder here", detail=str(error)) from None
    try:
        return _examine(where)
    finally:
        os.close(lock)


def _examine(folder: Path) -> Report:
    try:
        with _untouched(folder / schema.DATABASE) as db:
            if schema.read_identity(db) is None:
                return _unusable("the index has no tables")
            return _compare(db, folder)
    except BadDataFolder as error:
        return _unusable(str(error))
    except (sqlite3.Error, OSError) as error:
        return _unusable(f"the folder cannot be read ({getattr(error, 'sqlite_errorname', type(error).__name__)})")


def _compare(db: sqlite3.Connection, folder: Path) -> Report:
    problems = []
    if db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        problems.append("the index is damaged")
    current, staged = schema.current_segments(db, folder), schema.staged_segments(db, folder)
    for ref in current + staged:
        try:
            check_segment(ref)
        except BadDataFolder as error:
            problems.append(str(error))
    problems += [f"slot {slot} of block {block} is used twice" for block, slot in db.execute(_SHARED_SLOTS)]
    problems += [f"entries lie in block {block}, which is not there" for (block,) in db.execute(_LOST_BLOCKS)]
    return Report(
        entries=db.execute("SELECT count(*) FROM entry").fetchone()[0],
        blocks=len(current),
        prepared=tuple(TxnId(txn) for (txn,) in db.execute("SELECT txn FROM prepared ORDER BY seq")),
        orphans=tuple(os.path.basename(path) for path in schema.orphans(folder, current + staged)),
        problems=tuple(problems),
    )


def _unusable(problem: str) -> Report:
    return Report(entries=0, blocks=0, prepared=(), orphans=(), problems=(problem,))


@contextlib.contextmanager
def _untouched(database: Path) -> Iterator[sqlite3.Connection]:
    """Read a database without writing to its folder; the lock keeps others away meanwhile."""
    log, shared = (database.with_name(database.name + end) for end in ("-wal", "-shm"))
    had_shared = shared.exists()
    # a log that a crash left has to be read too, and SQLite needs a file of its own for that
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?{mode}", uri=True)) as db:
        yield db
    if not had_shared:
        shared.unlink(missing_ok=True)
