"""A link between the two servers that can be cut, silenced, delayed and throttled while they use it."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
import time

_CHUNK = 1 << 16
_NAP_S = 0.02


class Mood(enum.Enum):
    """What the link does to bytes now."""

    FINE = "fine"
    SILENT = "half-open"
    """Nothing arrives, and nobody is told: what a lost NAT entry does."""
    LATE = "delayed"
    SLOW = "throttled"


LATE_S = 0.15
SLOW_RATE = 300_000
"""Bytes a second, each connection and direction."""


class Link:
    """Listens at `near` and passes everything on to `far`, both (host, port), as its mood is."""

    def __init__(self, near: tuple[str, int], far: tuple[str, int]) -> None:
        self.mood = Mood.FINE
        self._far = far
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(near, backlog=64)
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    def cut(self) -> None:
        """End all connections that there are."""
        with self._lock:
            found, self._open = self._open, set()
        for each in found:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """No more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._far, 5.0)
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):  # which a cut may have closed by now
                threading.Thread(target=self._carry, args=(one, other), name="carry", daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_CHUNK):
                while self.mood is Mood.SILENT:
                    if source.fileno() < 0:
                        return
                    time.sleep(_NAP_S)
                if self.mood is Mood.LATE:
                    time.sleep(LATE_S)
                elif self.mood is Mood.SLOW:
                    time.sleep(len(piece) / SLOW_RATE)
                sink.sendall(piece)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}
        source.close()
        sink.close()
