"""A lost data folder made again from the other server's: in engine prepared both hold the same E, nonces and labels.

    copy_for_peer   on the server that has its folder, while it is stopped: one file, for the other server
    install         on the server that lost it, into an empty folder

What only S1 knows (which client enrolled an entry, and what its enrolment id stood for) is not in a copy: after S1 was
rebuilt, nobody may erase an entry as one's own, and a repeated enrolment of an old one is a conflict. The counters of
the lockout begin anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from pura.errors import BadDataFolder, WouldOverwrite
from pura.store import schema
from pura.store.schema import Identity, connect, transaction, typed_errors

_BLANK = "UPDATE entry SET client = '', digest = zeroblob(32)"


def copy_for_peer(folder: Path, out: Path) -> int:
    """Write the other server's copy of a stopped server's data folder to a new file; how many entries it has.

    Raises `DataFolderInUse`, `BadDataFolder`, `WouldOverwrite`, `StorageFull`.
    """
    if out.exists():
        raise WouldOverwrite(f"{out.name} exists already; nothing was changed")
    try:
        lock = schema.lock_folder(folder)
    except OSError as error:
        raise BadDataFolder("there is no data folder here", detail=str(error)) from None
    made = out.with_name(f".{out.name}.new")
    try:
        with typed_errors():
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            with contextlib.closing(connect(folder / schema.DATABASE)) as db:
                identity = schema.read_identity(db)
                if identity is None:
                    raise BadDataFolder("there is no gallery in this data folder")
                db.execute("VACUUM INTO ?", (str(made),))  # an empty file is taken as it is: nobody else ever reads it
            with contextlib.closing(connect(made)) as copy:
                with transaction(copy):
                    copy.execute("UPDATE meta SET role = ?", (int(identity.role.other),))
                    copy.execute(_BLANK)
                    copy.execute("DELETE FROM prepared")
                copy.execute("VACUUM")
                (entries,) = copy.execute("SELECT count(*) FROM entry").fetchone()
            made.rename(out)
        return int(entries)
    finally:
        made.unlink(missing_ok=True)
        os.close(lock)


def install(copy: Path, folder: Path, identity: Identity) -> int:
    """Make an empty data folder the one that a copy was made for; how many entries it has.

    Raises `WouldOverwrite` when there is a gallery already; `ParameterMismatch` for a copy that was made for the other
    server, another key or other parameters; `BadDataFolder`, `DataFolderInUse`, `StorageFull`.
    """
    with typed_errors():
        with contextlib.closing(schema.read_only(copy, "mode=ro")) as db:
            found = schema.read_identity(db)
            if found is None:
                raise BadDataFolder("this is no copy of a data folder")
            schema.compare_identity(found, identity)
            (entries,) = db.execute("SELECT count(*) FROM entry").fetchone()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = schema.lock_folder(folder, os.O_RDWR | os.O_CREAT)
        database = folder / schema.DATABASE
        made = folder / f".{schema.DATABASE}.new"
        try:
            if database.exists() and database.stat().st_size:
                raise WouldOverwrite("there is a gallery in this data folder; nothing was changed")
            os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            shutil.copyfile(copy, made)
            schema.sync(made)
            for log in ("-wal", "-shm"):
                database.with_name(database.name + log).unlink(missing_ok=True)
            made.rename(database)
        finally:
            made.unlink(missing_ok=True)
            os.close(lock)
    return int(entries)
