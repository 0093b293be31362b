"""Where a log's lines go. The rule for all of them: **no line fails a call, and no call waits for a line.**

A disk may be full, and whoever reads a pipe may be gone or asleep. Lines are written by a thread of their own; one that
cannot be written, or finds too many before it, is dropped and counted.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time

MOST_WAITING = 2000
_NAP_S = 0.01


class Lines:
    """Whole lines to one file descriptor, in order; a logger as structlog takes one. Thread-safe."""

    def __init__(self, fd: int, most_waiting: int = MOST_WAITING) -> None:
        self._fd = fd
        self._waiting: queue.Queue[bytes] = queue.Queue(most_waiting)
        self._lock = threading.Lock()
        self._dropped = 0
        self._torn = False
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """How many lines were lost so far."""
        return self._dropped

    def msg(self, line: str) -> None:
        """Write a line some time soon. Never raises, never waits."""
        try:
            self._waiting.put_nowait(line.encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            self._drop()

    debug = info = warning = error = critical = log = msg

    def flush(self, seconds: float) -> bool:
        """Wait until all lines so far are written or dropped; whether that was so in time."""
        ends = time.monotonic() + seconds
        while self._waiting.unfinished_tasks:
            if time.monotonic() > ends:
                return False
            time.sleep(_NAP_S)
        return True

    def _write_all(self) -> None:
        while True:
            line = self._waiting.get()
            try:
                self._write(line)
            except OSError:
                self._drop()
            finally:
                self._waiting.task_done()

    def _write(self, line: bytes) -> None:
        """A line that an error cuts short is ended before the next one: no two share a line."""
        rest = memoryview(b"\n" + line if self._torn else line)
        whole = len(rest)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:  # somebody made the pipe non-blocking
                    select.select([], [self._fd], [])
        finally:
            if len(rest) < whole:
                self._torn = bool(rest)

    def _drop(self) -> None:
        with self._lock:
            self._dropped += 1
