"""A server's door: TLS in front of gRPC, which gets to see only those who may come in, clients at S1 and S1 at S2.

gRPC cannot look a client's certificate up in a list, count a client's connections or end one, and strangers can crash
its own TLS (docs/decisions/0018). Whoever comes in is carried, byte for byte, to gRPC's own socket, in a folder that
nobody else may enter. The name of that connection's end tells gRPC's side which visitor it is.

What a stranger can take is a handshake: so many are open at once, and an address may begin so many a second.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import os
import socket
import ssl
import tempfile
from collections.abc import Callable
from typing import Any

from pura.errors import BadConfig, NotAuthorised, Overloaded
from pura.ids import ClientId
from pura.transport import reach
from pura_server.endings import Endings
from pura_server.ends import End, Guest
from pura_server.greetings import Greetings, neighbourhood
from pura_server.refusals import Refusals, Why
from pura_server.tls import SHOWN_DIGITS
from pura_server.visitors import MYSELF, Judge, Visitor, fingerprint_of, why

HANDSHAKE_S = 5.0
_LOOK_S = 5.0
_EXHAUSTED_S = 0.2
_BACKLOG = 128


class Door:
    """Listens, greets, and carries. On one event loop."""

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        visitors: Judge,
        refusals: Refusals,
        connections: int,
        endings: Endings | None = None,
    ) -> None:
        """`context`: for each handshake; `connections`: so many of one client at once; `endings`: tells of clients'
        certificates that end soon."""
        self._endings = endings or Endings()
        self._context = context
        self.visitors = visitors
        self._refusals = refusals
        self._most = connections
        self._folder = tempfile.TemporaryDirectory(prefix="pura-")  # 0700
        self.inner = os.path.join(self._folder.name, "grpc")
        """The path of the socket on which gRPC listens."""
        self._numbers = itertools.count()
        self._inside: dict[str, tuple[Visitor, Guest]] = {}
        self._of_client: collections.Counter[ClientId] = collections.Counter()
        self._greeting = Greetings()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []

    def visitor(self, peer: str) -> Visitor:
        """Who a connection is, by the name that gRPC has for its far end. Raises `NotAuthorised`."""
        found = self._inside.get(peer.removeprefix("unix:"))
        if found is None:
            raise NotAuthorised(detail="not through the door")
        return found[0]

    @property
    def connections(self) -> int:
        """How many visitors' connections are open."""
        return len(self._inside)

    def listen(self, address: str) -> None:
        """Claim host:port. Raises `BadConfig`."""
        host, port = reach.host_and_port(address)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, name in dict.fromkeys(found):
                self._listeners.append(_listener(family, name))
        except OSError as error:
            self._close_listeners()
            reason = (error.strerror or "unknown").lower()
            raise BadConfig(f"listen: the address {address} cannot be used: {reason}", detail=str(error)) from None

    def open(self) -> None:
        """Let visitors in from now on; gRPC must be listening."""
        for listener in self._listeners:
            self._keep(asyncio.ensure_future(self._accept(listener)))
        self._keep(asyncio.ensure_future(self._look_again()))

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_listeners()
        for _, guest in list(self._inside.values()):
            guest.abort()
        self._folder.cleanup()

    # --- the way in -------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw, name = await loop.sock_accept(listener)
            except OSError as error:  # EMFILE, ENFILE, ENOBUFS; or the caller is gone already
                self._refusals.tell(Why.DESCRIPTORS, detail=error.strerror)
                await asyncio.sleep(_EXHAUSTED_S)
                continue
            address = neighbourhood(name[0])
            if self._greeting.may_begin(address):
                await self._greet(raw, address)
            else:
                raw.close()
                self._refusals.tell(Why.CROWD, address=address)
            await asyncio.sleep(0)  # a crowd must not keep the loop to itself

    async def _greet(self, raw: socket.socket, address: str) -> None:
        """Begin a handshake."""
        loop = asyncio.get_running_loop()

        def greeted(guest: Guest, der: bytes) -> None:
            over(guest)
            self._judge(guest, der, address)

        def failed(guest: Guest, reason: str) -> None:
            over(guest)
            self._refusals.tell(Why.HANDSHAKE, address=address, detail=reason)

        def over(guest: Guest) -> None:
            late.cancel()
            self._greeting.end(address, guest)

        guest = Guest(self._context(), greeted, failed)
        late = loop.call_later(HANDSHAKE_S, guest.give_up, "too slow")
        self._greeting.begin(address, guest)
        try:
            await loop.connect_accepted_socket(lambda: guest, raw)
        except OSError as error:
            raw.close()
            guest.give_up(type(error).__name__)

    def _judge(self, guest: Guest, der: bytes, address: str) -> None:
        """Let somebody in who has proved to own this certificate, or turn them away."""
        try:
            visitor = self.visitors.judge(der)
        except NotAuthorised as error:
            self._refusals.tell(why(error), fingerprint=fingerprint_of(der), address=address)
            guest.turn_away(error)
            return
        except Overloaded as error:
            self._refusals.tell(Why.DESCRIPTORS, address=address)
            guest.turn_away(error)
            return
        if self._of_client[visitor.client] >= self._most:
            shown, client = visitor.fingerprint, visitor.client
            self._refusals.tell(Why.CONNECTIONS, fingerprint=shown, client=client, address=address)
            guest.turn_away(Overloaded())
            return
        if visitor.client != MYSELF:
            self._endings.look(visitor.fingerprint[:SHOWN_DIGITS], visitor.ends, visitor.client)
        name = os.path.join(self._folder.name, str(next(self._numbers)))
        self._inside[name] = visitor, guest
        self._of_client[visitor.client] += 1
        guest.when_lost(lambda: self._left(name, visitor))
        self._keep(asyncio.ensure_future(self._carry(name, visitor, guest)))

    async def _carry(self, name: str, visitor: Visitor, guest: Guest) -> None:
        """Join a visitor's connection with one of its own to gRPC."""
        near = socket.socket(socket.AF_UNIX)
        try:
            near.setblocking(False)
            near.bind(name)
            near.connect(self.inner)
            _, inner = await asyncio.get_running_loop().create_unix_connection(End, sock=near)
        except OSError as error:
            near.close()
            guest.abort()
            self._refusals.tell(Why.DESCRIPTORS, client=visitor.client, detail=error.strerror)
            return
        End.join(guest, inner)

    def _left(self, name: str, visitor: Visitor) -> None:
        del self._inside[name]
        self._of_client[visitor.client] -= 1
        if not self._of_client[visitor.client]:
            del self._of_client[visitor.client]
        with contextlib.suppress(OSError):
            os.unlink(name)

    # --- those who are in -------------------------------------------------------------------------

    async def _look_again(self) -> None:
        """Who is revoked, or whose certificate ends, has to leave."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for visitor, guest in list(self._inside.values()):
                try:
                    self.visitors.again(visitor)
                except Overloaded:
                    break  # next time
                except NotAuthorised as error:
                    self._refusals.tell(why(error), fingerprint=visitor.fingerprint, client=visitor.client)
                    guest.abort()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()


def _listener(family: int, name: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, name[0] != "::")
        made.bind(name)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
