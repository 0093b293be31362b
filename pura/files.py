"""New files: all or none, nothing overwritten, and never more open than they are meant to be, whatever the umask."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pura.descriptors import exhausted
from pura.errors import StorageFull, WouldOverwrite

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of files: for the owner's eyes only; for everybody's."""

Files = Mapping[str, tuple[bytes, int]]
"""By path below a folder: what goes in, and the mode."""


@contextlib.contextmanager
def new_files(folder: Path, files: Files, *, mode: int = 0o700) -> Iterator[None]:
    """Write files below a folder; if anything fails, also what is done in the `with`, they are taken away again.

    Folders that are missing are made: with `mode` down to `folder`, and private below it. Raises `WouldOverwrite` when
    a file is there already (nothing is changed then), `StorageFull`.
    """
    made: list[Path] = []
    try:
        try:
            for name, (body, file_mode) in files.items():
                _write(folder, folder / name, body, file_mode, mode, made)
        except FileExistsError as error:
            raise WouldOverwrite(f"{error.filename} exists already; nothing was changed") from error
        except OSError as error:
            raise exhausted(error) or StorageFull(
                f"the files could not be written ({error.strerror}); nothing was left behind", detail=str(error)
            ) from error
        yield
    except BaseException:  # also when a person gives up
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def write_new(folder: Path, files: Files, *, mode: int = 0o700) -> None:
    """`new_files`, with nothing after it that could fail."""
    with new_files(folder, files, mode=mode):
        pass


def replace_file(path: Path, body: bytes, mode: int) -> None:
    """Write a file as a whole or not at all, in the place of an older one. Raises `OSError`; then nothing is left."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _write(folder: Path, path: Path, body: bytes, file_mode: int, folder_mode: int, made: list[Path]) -> None:
    missing = []
    parent = path.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for one in reversed(missing):  # `parents=True` would leave the mode of all but the last to the umask
        one.mkdir(0o700 if folder in one.parents else folder_mode)
        made.append(one)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode), "wb") as file:
        made.append(path)
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
