"""A network between two programs of this machine, by real delay: a TCP relay with a round-trip time and a rate."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import socket
import threading
import time

_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Network:
    """rtt_s: seconds there and back; rate: bytes a second in each direction, 0 for no limit."""

    name: str
    rtt_s: float
    rate: float = 0.0


LOOPBACK = Network("loopback", 0.0)
LAN = Network("lan", 0.0005)
WAN = Network("wan", 0.020, 100e6 / 8)
NETWORKS = {network.name: network for network in (LOOPBACK, LAN, WAN)}


class Relay:
    """Listens on `port` and passes everything on to `target`, late. Threads, because asyncio's clock is too coarse."""

    def __init__(self, target: int, network: Network, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target, self._network = target, network
        self._listener = socket.create_server((host, port))
        self.port: int = self._listener.getsockname()[1]
        self.bytes = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def close(self) -> None:
        """Stop, and cut the connections."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                if self._listener.fileno() < 0:
                    return
                time.sleep(0.05)
                continue
            self._open += [near, far]
            for one, two in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=self._take, args=(one, late), daemon=True).start()
                threading.Thread(target=self._give, args=(two, late), daemon=True).start()

    def _take(self, source: socket.socket, late: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        sent_until = 0.0
        while True:
            try:
                piece = source.recv(_CHUNK)
            except OSError:
                piece = b""
            self.bytes += len(piece)
            sent_until = max(sent_until, time.monotonic())
            if self._network.rate:
                sent_until += len(piece) / self._network.rate
            late.put((sent_until + self._network.rtt_s / 2, piece))
            if not piece:
                return

    @staticmethod
    def _give(sink: socket.socket, late: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            due, piece = late.get()
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            try:
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(piece)
            except OSError:
                return
