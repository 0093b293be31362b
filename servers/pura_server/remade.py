"""What is made from files that an operator may replace while the server runs: certificates, keys, pinned certificates.

New handshakes use what the files hold by then; connections that are open go on. Where the files do not fit each other
just now, as between two of them being replaced, or are damaged, what was made before stays.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pura.errors import PuraError
from pura_server.logs import logger

T = TypeVar("T")


class Remade(Generic[T]):
    """Thread-safe. Calling it gives what the files make now."""

    def __init__(self, files: Sequence[Path], make: Callable[[], T]) -> None:
        """Raises what `make` raises: at the start nothing may be wrong."""
        self._files = files
        self._make = make
        self._lock = threading.Lock()
        self._seen = self._look()
        self._made = make()

    def __call__(self) -> T:
        """As of now."""
        with self._lock:
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._made = self._make()
                except PuraError as error:
                    logger().warning("files not used", code=error.code, message=str(error), detail=error.detail)
                else:
                    logger().info("files read anew", detail=", ".join(path.name for path in self._files))
            return self._made

    def _look(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                stat = os.stat(path)
                found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
            except OSError:
                found.append(None)
        return found
