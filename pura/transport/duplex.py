"""Frames over TLS in the calling thread: a move between two parties without an event loop in between.

    frame = u32 length of what follows || u8 kind || body

TLS runs over memory buffers (`ssl.MemoryBIO`), so that a message costs one system call on each side, and that a side
which cannot send because the other does not read goes on reading: both may send 16 MB at once. One thread uses a
`Duplex`; `shut` may be called from any other, and makes it fail at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable

from pura.errors import PeerUnavailable, ProtocolError
from pura.messages import MAX_BODY

_HEAD = 5
_CHUNK = 1 << 18
_RECORD = 16384
HANDSHAKE_S = 10.0
_ALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # a peer that is gone without a word is noticed within 20 s
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),
)


class Duplex:
    """One connection. Every method raises `PeerUnavailable` when it breaks or its deadline is over."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shakes hands; closes the socket if that fails. Raises `ssl.SSLError` for a certificate that does not do."""
        self._sock, self._clock = sock, clock
        for level, option, value in _ALIVE:
            sock.setsockopt(level, option, value)
        sock.setblocking(False)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server)
        self._raw = memoryview(bytearray(_CHUNK))
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._ends = clock() + HANDSHAKE_S
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    self._flush()
                    break
                except ssl.SSLWantReadError:
                    self._flush()
                    self._fill()
        except BaseException:
            with contextlib.suppress(Exception):  # the alert must leave, or the other side waits
                self._flush()
            sock.close()
            raise

    def certificate(self) -> bytes | None:
        """The other side's certificate, DER."""
        return self._tls.getpeercert(binary_form=True)

    def deadline(self, seconds: float) -> None:
        """From now on, everything until the next `deadline` has so long."""
        self._ends = self._clock() + seconds

    def send(self, kind: int, body: bytes) -> None:
        """One frame."""
        head = (1 + len(body)).to_bytes(4, "big") + bytes([kind])
        if len(body) <= _RECORD - _HEAD:
            self._write(head + body)
        else:
            view = memoryview(body)
            self._write(head + bytes(view[: _RECORD - _HEAD]))
            self._write(view[_RECORD - _HEAD :])
        self._flush()

    def receive(self) -> tuple[int, bytes]:
        """The next frame: its kind and body. Raises `ProtocolError` for one that is too long."""
        while len(self._buffer) < _HEAD:
            self._buffer += self._record()
        size = int.from_bytes(self._buffer[:4], "big")
        if not 0 < size <= MAX_BODY + 1:
            raise ProtocolError(detail="length of a frame")
        while len(self._buffer) < 4 + size:
            self._buffer += self._record()
        kind, body = self._buffer[4], bytes(self._buffer[_HEAD : 4 + size])
        del self._buffer[: 4 + size]
        return kind, body

    def shut(self) -> None:
        """From any thread: whatever is going on fails, now."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The end."""
        with contextlib.suppress(Exception):
            self._tls.unwrap()
        with contextlib.suppress(Exception):
            self._flush()
        self._sock.close()

    # --- inside -------------------------------------------------------------------------------------

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            raise PeerUnavailable(detail=error.reason or "tls") from None

    def _record(self) -> bytes:
        while True:
            try:
                got = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                self._fill()
                continue
            except ssl.SSLError as error:
                raise PeerUnavailable(detail=error.reason or "tls") from None
            if not got:
                raise PeerUnavailable(detail="the connection was closed")
            return got

    def _fill(self) -> None:
        """Take in what has come, waiting for it."""
        while True:
            try:
                count = self._sock.recv_into(self._raw)
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except OSError as error:
                raise PeerUnavailable(detail=error.strerror or "connection") from None
            if not count:
                raise PeerUnavailable(detail="the connection broke")
            self._in.write(self._raw[:count])
            return

    def _flush(self) -> None:
        """Let everything go, and take in what comes meanwhile when that is slow."""
        data = self._out.read()
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                if self._wait(select.POLLIN | select.POLLOUT) & select.POLLIN:
                    self._fill()
            except OSError as error:
                raise PeerUnavailable(detail=error.strerror or "connection") from None

    def _wait(self, events: int) -> int:
        left = self._ends - self._clock()
        if left <= 0:
            raise PeerUnavailable("the other server did not answer in time", detail="deadline")
        self._poll.modify(self._sock, events)
        ready = self._poll.poll(left * 1000)
        if not ready:
            raise PeerUnavailable("the other server did not answer in time", detail="deadline")
        return ready[0][1]
