"""A data folder under a new Paillier key of the same collection: no entry depends on it, in engine prepared."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pura.errors import BadDataFolder
from pura.store import schema
from pura.store.schema import Identity, connect, transaction, typed_errors


def rekey(folder: Path, old: Identity, new: Identity) -> int:
    """Make a stopped server's folder one of the new key; how many entries it has. Twice is once.

    S2's signature of the roster names the key, so it goes: the two servers make another when they meet. Raises
    `BadDataFolder` when a change is not settled yet, `ParameterMismatch` when the folder is of neither key or for the
    other server, `DataFolderInUse`, `StorageFull`.
    """
    try:
        lock = schema.lock_folder(folder)
    except OSError as error:
        raise BadDataFolder("there is no data folder here", detail=str(error)) from None
    try:
        with typed_errors(), contextlib.closing(connect(folder / schema.DATABASE)) as db, transaction(db):
            found = schema.read_identity(db)
            if found is None:
                raise BadDataFolder("there is no gallery in this data folder")
            if found != new:
                schema.compare_identity(found, old)
                (open_changes,) = db.execute("SELECT count(*) FROM prepared").fetchone()
                if open_changes:
                    raise BadDataFolder("a change is not settled yet: start both servers once more, then stop them")
                db.execute("UPDATE meta SET agreement = ?, key_id = ?", (new.agreement, new.key_id))
                db.execute("DELETE FROM signed")
            (entries,) = db.execute("SELECT count(*) FROM entry").fetchone()
        return int(entries)
    finally:
        os.close(lock)
