"""Verify a data folder that no server is using, without changing anything in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pura.descriptors import exhausted
from pura.errors import BadDataFolder
from pura.ids import TxnId
from pura.store import roster, schema
from pura.store.moments import Apart, Moment, read_apart

_SHARED_SLOTS = "SELECT block, slot FROM entry WHERE block NOT NULL GROUP BY block, slot HAVING count(*) > 1"


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found. Prepared changes are left by a crash and no damage: the next start settles them with the other
    server. blocks: how many have entries."""

    entries: int
    blocks: int
    prepared: tuple[TxnId, ...]
    problems: tuple[str, ...]
    moment: Moment
    apart: Apart | None
    """The other server held another gallery when they met last."""

    @property
    def ok(self) -> bool:
        """Whether a server can start on this folder, and work with the other one as far as is known here."""
        return not self.problems and self.apart is None


def check_folder(folder: Path | str) -> Report:
    """Verify the schema, the database, and the roster's digest.

    Raises `DataFolderInUse` while a server runs, `BadDataFolder` when this is no data folder.
    """
    where = Path(folder).resolve()
    try:
        lock = schema.lock_folder(where)
    except OSError as error:
        raise exhausted(error) or BadDataFolder("there is no data folder here", detail=str(error)) from None
    try:
        return examine(where)
    finally:
        os.close(lock)


def examine(folder: Path) -> Report:
    """The same for a folder that nobody else knows: a copy."""
    try:
        with _untouched(folder / schema.DATABASE) as db:
            if schema.read_identity(db) is None:
                return _unusable("the index has no tables")
            return _compare(db, folder)
    except BadDataFolder as error:
        return _unusable(str(error))
    except (sqlite3.Error, OSError) as error:
        if busy := exhausted(error):
            raise busy from None
        return _unusable(f"the folder cannot be read ({getattr(error, 'sqlite_errorname', type(error).__name__)})")


def _compare(db: sqlite3.Connection, folder: Path) -> Report:
    problems = []
    if db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        problems.append("the index is damaged")
    problems += [f"slot {slot} of block {block} is used twice" for block, slot in db.execute(_SHARED_SLOTS)]
    if not roster.is_whole(db):
        problems.append("the roster's digest does not fit the entries")
    return Report(
        entries=db.execute("SELECT count(*) FROM entry").fetchone()[0],
        blocks=db.execute("SELECT count(DISTINCT block) FROM entry").fetchone()[0],
        prepared=tuple(TxnId(txn) for (txn,) in db.execute("SELECT txn FROM prepared ORDER BY seq")),
        problems=tuple(problems),
        moment=_moment(db),
        apart=read_apart(folder),
    )


def _moment(db: sqlite3.Connection) -> Moment:
    row = db.execute(schema.LAST).fetchone()
    return Moment(0, TxnId(b"")) if row is None else Moment(row[0], TxnId(row[1]))


def _unusable(problem: str) -> Report:
    none = Moment(0, TxnId(b""))
    return Report(entries=0, blocks=0, prepared=(), problems=(problem,), moment=none, apart=None)


@contextlib.contextmanager
def _untouched(database: Path) -> Iterator[sqlite3.Connection]:
    """Read a database without writing to its folder; the lock keeps others away meanwhile."""
    log, shared = (database.with_name(database.name + end) for end in ("-wal", "-shm"))
    had_shared = shared.exists()
    # a log that a crash left has to be read too, and SQLite needs a file of its own for that
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    with contextlib.closing(schema.read_only(database, mode)) as db:
        yield db
    if not had_shared:
        shared.unlink(missing_ok=True)
