"""Faults of a deployment that runs: drawn, carried out, and what was done written down."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from pura_bench.soak.chaos import Link, Mood
from pura_client.processes import Server, server_command, wait_ready

READY_S = 120.0


class Faults:
    """What can happen to two servers and the link between them."""

    def __init__(
        self,
        servers: Sequence[Server],
        links: Sequence[Link],
        client: Path,
        quiet: Callable[[], AbstractContextManager[None]],
        seed: int,
    ) -> None:
        """`quiet`: while nobody changes the gallery."""
        self._servers, self._links, self._client, self._quiet = tuple(servers), links, client, quiet
        self._rng = np.random.default_rng(seed)
        self.done: list[dict[str, object]] = []
        self._taken = ""
        """The last snapshot."""
        kill = lambda: self._again(signal.SIGKILL, self._either())  # noqa: E731
        self._kinds: list[Callable[[], str]] = [
            kill,
            kill,
            lambda: self._again(signal.SIGKILL, *self._servers),
            self._stop,
            lambda: self._again(signal.SIGTERM, self._either()),
            self._cut,
            lambda: self._mood(Mood.SILENT, float(self._rng.uniform(2, 20))),
            lambda: self._mood(Mood.LATE, 10.0),
            lambda: self._mood(Mood.SLOW, 10.0),
            lambda: self._snapshot() or "snapshot",
            self._restore,
            self._renew,
        ]
        self._began = time.monotonic()

    def one(self) -> None:
        """The next fault, until the servers are ready again."""
        at = time.monotonic() - self._began
        kind = self._kinds[int(self._rng.integers(len(self._kinds)))]
        what = kind()
        wait_ready(self._servers, self._client, READY_S)
        ready = time.monotonic() - self._began
        self.done.append({"at_s": round(at, 1), "fault": what, "ready_after_s": round(ready - at, 1)})

    def _either(self) -> Server:
        return self._servers[int(self._rng.integers(2))]

    def _again(self, how: signal.Signals, *servers: Server) -> str:
        for server in servers:
            server.stop(how)
        for server in servers:
            server.start()
        return f"{how.name} {servers[0].config.stem if len(servers) == 1 else 'both'}"

    def _stop(self) -> str:
        server, seconds = self._either(), float(self._rng.uniform(1, 20))
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(server.pid, signal.SIGCONT)
        return f"SIGSTOP {server.config.stem} for {seconds:.0f} s"

    def _cut(self) -> str:
        for link in self._links:
            link.cut()
        return "link cut"

    def _mood(self, mood: Mood, seconds: float) -> str:
        for link in self._links:
            link.mood = mood
        time.sleep(seconds)
        for link in self._links:
            link.mood = Mood.FINE
            if mood is Mood.SILENT:
                link.cut()
        return f"link {mood.value} for {seconds:.0f} s"

    def _snapshot(self) -> str:
        """Take one, which is `self._taken` then; else why it was refused."""
        done = _command("snapshot", self._servers[0])
        self._taken = done.stdout.partition(":")[0]
        return f"snapshot refused: {done.stderr.strip()[-120:]}" if done.returncode else ""

    def _renew(self) -> str:
        """A new key for one server's masks, which entries follow to while everybody asks."""
        server = self._either()
        _command("masks", server, "renew").check_returncode()
        return f"masks renewed, {self._again(signal.SIGTERM, server)}"

    def _restore(self) -> str:
        """Both data folders lost, and made again from a snapshot since which nothing was confirmed."""
        with self._quiet():
            if refused := self._snapshot():
                return refused
            for server in self._servers:
                server.stop()
            for server in self._servers:
                folder = server.config.parent / "snapshots" / self._taken
                _command("restore", server, "--from", str(folder), "--replace").check_returncode()
                server.start()
            return f"both restored from {self._taken}"


def _command(name: str, server: Server, *more: str) -> subprocess.CompletedProcess[str]:
    """`pura-server NAME ... --config ...`, to its end."""
    command = server_command(name, *more, "--config", str(server.config))
    return subprocess.run(command, capture_output=True, text=True, check=False)
