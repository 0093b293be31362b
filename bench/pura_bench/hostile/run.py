"""An attack as a process, for the benchmark and for tests."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

from pura.errors import NotReady
from pura_bench.hostile.attacks import Tally
from pura_bench.loopback import Files


def elsewhere() -> str:
    """An address of this machine that is not 127.0.0.1, for attackers of their own; else that one."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.2", 0))
        return "127.0.0.2"
    return "127.0.0.1"


class Running:
    """An attack that goes on; `tally` is its last word."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._changed = threading.Condition()
        self._tally = Tally()
        assert process.stdout is not None
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()

    @property
    def tally(self) -> Tally:
        """What became of it so far."""
        return self._tally

    def until(self, what: Callable[[Tally], bool], seconds: float) -> Tally:
        """Wait for a moment of the attack; the tally then. Raises `NotReady` when it does not come."""
        ends = time.monotonic() + seconds
        with self._changed:
            while not what(self._tally):
                left = ends - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    raise NotReady(f"the attack did not get there: {self._tally}")
                self._changed.wait(min(left, 1.0))
            return self._tally

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            with self._changed:
                self._tally = Tally(**json.loads(line))
                self._changed.notify_all()


@contextlib.contextmanager
def attacking(name: str, address: str, files: Files, *, niceness: int = 0) -> Iterator[Running]:
    """The attack of this name by the client of these files, from `elsewhere`, until the end of the block.
    `niceness`: 19 takes only what others leave; on a busy machine that is nothing."""
    paths = map(str, (files.cert, files.key, files.ca))
    process = subprocess.Popen(
        [sys.executable, "-m", "pura_bench.hostile.attacks", str(niceness), name, address, elsewhere(), *paths],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.wait()
