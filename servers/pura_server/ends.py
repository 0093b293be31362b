"""The two ends of a connection that a server's door carries: a guest, with TLS, and gRPC. No more is held of either
than the other takes.

TLS over memory, not asyncio's own: a handshake that hangs costs some 50 KiB here instead of 300.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import cast

from pura.errors import PuraError
from pura.transport import reach

_CHUNK = 1 << 16
_LINGER_S = 5.0


class End(asyncio.Protocol):
    """The end at gRPC: bytes as they are."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._other: End | None = None
        self._lost = False
        self._when_lost: Callable[[], None] | None = None

    @staticmethod
    def join(one: End, other: End) -> None:
        """Carry both ways from now on, until either is lost."""
        one._other, other._other = other, one
        if one._lost or other._lost:
            one.close()
            other.close()
            return
        one._go_on()
        other._go_on()

    def when_lost(self, tell: Callable[[], None]) -> None:
        """`tell` is called once, when this end is no more: now, if that is so already."""
        if self._lost:
            tell()
        else:
            self._when_lost = tell

    def give(self, data: bytes) -> None:
        """Send to this end."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End it when what it was given is sent, or cannot be."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(_LINGER_S, self.abort)

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _hold(self) -> None:
        """Read nothing for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- told by the loop -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_CHUNK)
        self._hold()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._other is not None:
            self._other.give(data)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._other is not None:
            self._other._hold()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._other is not None:
            self._other._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lost = True
        if self._other is not None:
            self._other.close()
        if self._when_lost is not None:
            self._when_lost()


class Guest(End):
    """The end at a client. After the handshake it waits, read no further, until it is joined or ended."""

    def __init__(
        self, context: ssl.SSLContext, greeted: Callable[[Guest, bytes], None], failed: Callable[[Guest, str], None]
    ) -> None:
        """`greeted` gets the certificate (DER) that the client showed, `failed` why there was no handshake."""
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._greeted = greeted
        self._failed = failed
        self._greeting = True

    def give(self, data: bytes) -> None:
        """See `End`."""
        with contextlib.suppress(ssl.SSLError):  # it is about to be lost
            self._tls.write(data)
            self._flush()

    def turn_away(self, error: PuraError) -> None:
        """Say why, and end."""
        self.give(reach.turned_away(error.code))
        self.close()

    def close(self) -> None:
        """See `End`."""
        if not self._greeting:
            with contextlib.suppress(ssl.SSLError):  # what it says is that the client has not said goodbye yet
                self._tls.unwrap()
            self._flush()
        super().close()

    def give_up(self, why: str) -> None:
        """End it unless the handshake is through."""
        if self._greeting and not self._lost:
            self._greeting = False
            self._failed(self, why)
            self.abort()

    def _go_on(self) -> None:
        self._take()  # what came with the end of the handshake
        super()._go_on()

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._greeting = False
            self._failed(self, error.reason or "unknown")
            super().close()
            return False
        self._flush()
        self._greeting = False
        self._hold()
        self._greeted(self, self._tls.getpeercert(binary_form=True) or b"")
        return True

    def _take(self) -> None:
        if self._other is None or self._lost:
            return
        try:
            while data := self._tls.read(_CHUNK):
                self._other.give(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:  # goodbye, or nonsense
            self.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None:
            self._transport.write(data)

    # --- told by the loop -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        super()._go_on()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._incoming.write(data)
        if self._greeting and not self._handshake():
            return
        self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._greeting:
            self._greeting = False
            self._failed(self, "gone")
        super().connection_lost(exc)
