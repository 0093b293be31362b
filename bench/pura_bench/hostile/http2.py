"""Just enough of HTTP/2 to be rude: frames by hand, with nothing of what a library would not do."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ssl

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_HEAD = 9
_FIRST_WINDOW = (1 << 16) - 1
_FRAME = 1 << 14
_INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """One frame."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def literal(name: str, value: str) -> bytes:
    """A header field of HPACK, literal and never indexed; both below 127 bytes."""
    return b"\x10" + b"".join(bytes([len(text)]) + text.encode("ascii") for text in (name, value))


def request(stream: int, method: str, **more: str) -> bytes:
    """The headers of a gRPC call: all of it, until a message comes."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "s1",
        "te": "trailers",
        "content-type": "application/grpc",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return frame(HEADERS, END_HEADERS, stream, b"".join(literal(name, value) for name, value in fields.items()))


class Connection:
    """One connection; `ended` counts streams that the server ended, `closed` is set when it ended the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._next = 1
        self._first_window = _FIRST_WINDOW
        self._windows = collections.Counter({0: _FIRST_WINDOW})  # of each stream, and of all together: 0
        self._grown = asyncio.Event()
        self.open: set[int] = set()
        self.ended = 0
        self.changed = asyncio.Event()
        self.closed = asyncio.Event()
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        self._task = asyncio.ensure_future(self._read())

    @classmethod
    async def make(cls, host: str, port: int, source: str, context: ssl.SSLContext) -> Connection:
        """Connect, from one of this machine's addresses. Raises `OSError`."""
        return cls(*await asyncio.open_connection(host, port, ssl=context, local_addr=(source, 0)))

    def call(self, method: str, **more: str) -> int:
        """Begin a call; its stream."""
        stream, self._next = self._next, self._next + 2
        self.open.add(stream)
        self._windows[stream] = self._first_window
        self._writer.write(request(stream, method, **more))
        return stream

    async def send(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Bytes of a message, as fast as the server takes them. Raises `ConnectionError` when it has ended the call."""
        while body:
            room = min(self._windows[0], self._windows[stream], _FRAME, len(body))
            if stream not in self.open or self.closed.is_set():
                raise ConnectionError
            if room <= 0:
                self._grown.clear()
                await self._grown.wait()
                continue
            piece, body = body[:room], body[room:]
            self._windows.subtract({0: room, stream: room})
            self._writer.write(frame(DATA, END_STREAM if end and not body else 0, stream, piece))
            await self._writer.drain()

    async def close(self) -> None:
        """Leave."""
        self._task.cancel()
        self._writer.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(_HEAD)
                body = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], int.from_bytes(head[5:], "big"), body)
        except (OSError, asyncio.IncompleteReadError):
            self.closed.set()
            self.changed.set()
            self._grown.set()
        finally:
            with contextlib.suppress(Exception):
                self._writer.close()

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(body), 6):
                if int.from_bytes(body[at : at + 2], "big") == _INITIAL_WINDOW_SIZE:
                    self._first_window = int.from_bytes(body[at + 2 : at + 6], "big")
            self._writer.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, body))
        elif kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(body, "big")
            self._grown.set()
        elif stream in self.open and (kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM)):
            self.open.discard(stream)
            self._windows.pop(stream, None)
            self.ended += 1
            self.changed.set()
            self._grown.set()
