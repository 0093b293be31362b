"""Two server processes on this machine, for the demo and the tests that need real ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pura.errors import NotReady, PeerUnavailable, PuraError
from pura_client.config import load
from pura_client.session import connect

STOP_S = 90.0
_LOG_LINES = 5
_LOWEST_PORT, _PORTS = 20_000, 12_000
_numbers = itertools.count(os.getpid() * 97)
_FIRST_LOOK_S, _LONGEST_LOOK_S, _PAUSE_S = 0.3, 10.0, 0.05


def server_command(*args: str) -> list[str]:
    """`pura-server ARGS` in the environment of this interpreter."""
    return [sys.executable, "-m", "pura_server", *args]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different. Not those that a system gives to whoever asks for
    any, which may be gone before a server is up; and no two processes look for them in the same place."""
    found: list[int] = []
    for number in itertools.islice(_numbers, _PORTS):
        if len(found) == count:
            break
        port = _LOWEST_PORT + number % _PORTS
        with contextlib.suppress(OSError), socket.socket() as each:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", port))
            found.append(port)
    if len(found) < count:
        raise NotReady(f"there are no {count} free ports from {_LOWEST_PORT} to {_LOWEST_PORT + _PORTS - 1}")
    return found


class Server:
    """One `pura-server --config FILE` process; its log goes to a file beside the configuration."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._file: IO[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet when this returns."""
        self._file = self.log.open("ab")
        self._process = subprocess.Popen(
            server_command("--config", str(self.config)),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        """Its process id. Raises `NotReady` when it was not started."""
        if self._process is None:
            raise NotReady(f"{self.config.name}: the server does not run")
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; its exit status. One that does not stop in `STOP_S` is killed."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._file is not None:
            self._file.close()
        self._process = None
        return status

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


@contextlib.contextmanager
def two_servers(s1: Path, s2: Path, client: Path, *, timeout_s: float = 120.0) -> Iterator[tuple[Server, Server]]:
    """Both servers, ready to answer the client of `client.toml`; stopped at the end whatever happens.

    Raises `NotReady` with the end of a server's log when one stops or does not get ready.
    """
    servers = Server(s1), Server(s2)
    try:
        for server in reversed(servers):
            server.start()
        wait_ready(servers, client, timeout_s)
        yield servers
    finally:
        for server in servers:
            server.stop()


def wait_ready(servers: tuple[Server, ...], client: Path, timeout_s: float) -> None:
    """Until S1 answers this client and says that S2 is there. Raises `NotReady`."""
    config, look_s = load(client), _FIRST_LOOK_S
    ends = time.monotonic() + timeout_s
    last: PuraError | None = None
    while time.monotonic() < ends:
        for server in servers:
            if server.exit_status is not None:
                raise NotReady(f"{server.config.name}: the server stopped at once\n{server.last_words()}")
        try:
            # a client would wait for a server that has stopped meanwhile, and longer each time for one that starts
            with connect(config.model_copy(update={"deadline_s": look_s})) as session:
                if session.status().peer_ready:
                    return
        except (PeerUnavailable, NotReady) as error:
            last = error
        look_s = min(1.5 * look_s, _LONGEST_LOOK_S)
        time.sleep(_PAUSE_S)
    words = "\n".join(f"{server.config.name}: {server.last_words()}" for server in servers)
    raise NotReady(f"the servers did not get ready in {timeout_s:.0f} s ({last})\n{words}")
