"""Wires between a client and a server that misbehave: one that goes dead without a word, and a proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Wire:
    """A TCP relay on loopback. `cut` makes all present connections half-open: nothing is carried any more, nothing is
    closed. Connections that come later are carried."""

    def __init__(self, target: tuple[str, int], *, answers_connect: bool = False) -> None:
        """`answers_connect`: an HTTP proxy, that carries to `target` whatever it is asked for."""
        self._target = target
        self._answers_connect = answers_connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._dead: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self.port: int = self._listener.getsockname()[1]
        self.asked_for: list[bytes] = []
        """The first line of each request to the proxy."""
        self.given_up = threading.Event()
        """One end of a dead connection has closed it."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> int:
        """From now on what is open is dead; how many ends that were."""
        with self._lock:
            self._dead |= self._open
            return len(self._dead)

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._answers_connect:
                self.asked_for.append(near.recv(4096).splitlines()[0])
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            far = socket.create_connection(self._target)
            with self._lock:
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while body := source.recv(1 << 16):
                if source not in self._dead:
                    sink.sendall(body)
        if source in self._dead:
            self.given_up.set()
            return
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wire(target: tuple[str, int], *, answers_connect: bool = False) -> Iterator[Wire]:
    """A wire for a while."""
    made = Wire(target, answers_connect=answers_connect)
    try:
        yield made
    finally:
        made.close()
