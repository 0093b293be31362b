"""Lists of who may do what, in JSON files beside a server's configuration, that its operator changes while it runs.

They do not lie in the data folder: a backup of that, restored, must not bring back what was taken away since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pura.descriptors import exhausted
from pura.errors import BadConfig, PuraError, StorageFull
from pura.files import PRIVATE, replace_file

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: object) -> str:
    """The name of a client or a group. Raises `BadConfig` for what cannot be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadConfig(
            "a name has up to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        )
    return name


@dataclasses.dataclass(frozen=True)
class ListKind(Generic[T]):
    """`{"version": 2, "clients": [...]}`: what stands in such a file.

    load: a record from its row; raises `KeyError`, `TypeError`, `ValueError`, `OverflowError` or a `PuraError`. dump:
    the other way.
    """

    name: str
    version: int
    load: Callable[[Mapping[str, Any]], T]
    dump: Callable[[T], Mapping[str, object]]

    def read(self, path: Path) -> list[T]:
        """All records, oldest first; none for a file that is not there. Raises `BadConfig`."""
        try:
            body = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            raise BadConfig(f"the list of {self.name} cannot be read") from error
        try:
            if body["version"] != self.version:
                raise ValueError
            return [self.load(row) for row in body[self.name]]
        except (KeyError, TypeError, ValueError, ArithmeticError, PuraError) as error:  # 1e999 is infinity
            raise BadConfig(f"the list of {self.name} is damaged or made by another version") from error

    def text(self, records: Iterable[T]) -> bytes:
        """What stands in the file."""
        rows = [self.dump(record) for record in records]
        return (json.dumps({"version": self.version, self.name: rows}, indent=1) + "\n").encode()

    @contextlib.contextmanager
    def changing(self, path: Path) -> Iterator[list[T]]:
        """The records, for a change that is written as a whole or not at all; one at a time. Raises `StorageFull`."""
        try:
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                records = self.read(path)
                yield records
                replace_file(path, self.text(records), PRIVATE)
            finally:
                os.close(lock)
        except OSError as error:
            raise exhausted(error) or StorageFull(
                f"the list of {self.name} could not be written; it is as it was", detail=str(error)
            ) from error


class Watched(Generic[T]):
    """What was made from a file, made again whenever the file has changed. Thread-safe."""

    def __init__(self, path: Path, make: Callable[[Path], T]) -> None:
        self._path = path
        self._make = make
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._made: T | None = None

    def current(self) -> T:
        """As of now. Raises `OSError` when the file is not there, and what `make` raises."""
        with self._lock:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._made is None or seen != self._seen:
                self._made = None
                self._made = self._make(self._path)
                self._seen = seen
            return self._made
