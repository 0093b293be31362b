"""The attacks, each without an end, in a process of its own that says on standard output what becomes of them.

    python -m pura_bench.hostile.attacks ATTACK HOST:PORT FROM CERT KEY CA

FROM is the address of this machine that the attack comes from. A line of JSON every half a second: a `Tally`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import itertools
import json
import os
import ssl
import sys
from collections.abc import Awaitable, Callable

from pura.transport.reach import host_and_port
from pura_bench.hostile.http2 import Connection

_METHODS = tuple(f"/pura.v1.Gateway/{name}" for name in ("Identify", "Enroll", "Info", "Verify"))
_WATCH = "/grpc.health.v1.Health/Watch"
_MIB = 1 << 20
_AGAIN_S = 0.2
_TELL_S = 0.5
_SLOW_S = 0.2
_PATIENCE_S = 20.0


@dataclasses.dataclass
class Tally:
    """What became of an attack so far. Connections: got through TLS, were refused before, were ended by the server;
    calls: begun, ended by the server, and held open now."""

    connected: int = 0
    refused: int = 0
    closed: int = 0
    begun: int = 0
    ended: int = 0
    held: int = 0


Act = Callable[[Connection, str], Awaitable[None]]
"""One call of a method, until nothing more is to be done for it."""


def _message(length: int, body: bytes = b"", *, compressed: bool = False) -> bytes:
    """A gRPC message that claims a length, with what there is of it."""
    return bytes([compressed]) + length.to_bytes(4, "big") + body


def _calling(body: bytes = b"", *, only: str | None = None, **headers: str) -> Act:
    """A call with this message, or with the header alone. `only`: always of this method."""

    async def act(connection: Connection, method: str) -> None:
        await connection.send(connection.call(only or method, **headers), body, end=True)

    return act


_idle = _calling()


async def _slow(connection: Connection, method: str) -> None:
    stream = connection.call(method)
    await connection.send(stream, _message(900))
    for _ in range(900):
        await asyncio.sleep(_SLOW_S)
        await connection.send(stream, b"\0")


@dataclasses.dataclass(frozen=True)
class Attack:
    """`connections` at once, a new one for each that ends, and over each `calls` at once, likewise. `tls`: whether as
    much as TLS begins on them."""

    what: str
    connections: int
    calls: int = 0
    act: Act = _idle
    tls: bool = True


_BIG = _message(8 * _MIB, bytes(8 * _MIB))
_PACKED = gzip.compress(bytes(64 * _MIB), 9)
_BOMB = _message(len(_PACKED), _PACKED, compressed=True)

ATTACKS = {
    "idle": Attack("calls of which only the header comes", 4, 85),
    "watch": Attack("Health.Watch", 4, 100, _calling(_message(0), only=_WATCH)),
    "big": Attack("messages of 8 MiB", 4, 3, _calling(_BIG)),
    "slow": Attack("messages that come a byte at a time", 4, 85, _slow),
    "bomb": Attack("64 MiB of zeros, compressed", 4, 8, _calling(_BOMB, grpc_encoding="gzip")),
    "connections": Attack("connections over which nothing is asked", 400),
    "handshakes": Attack("connections on which not even TLS begins", 400, tls=False),
}


class Attacker:
    """Keeps one attack going."""

    def __init__(self, attack: Attack, address: str, source: str, context: ssl.SSLContext) -> None:
        """`source`: the address that it comes from."""
        self._attack = attack
        self._host, self._port = host_and_port(address)
        self._source = source
        self._context = context
        self._methods = itertools.cycle(_METHODS)
        self._over = Tally()
        self._live: set[Connection] = set()

    @property
    def tally(self) -> Tally:
        """So far."""
        ended = self._over.ended + sum(one.ended for one in self._live)
        return dataclasses.replace(self._over, ended=ended, held=sum(len(one.open) for one in self._live))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*(self._keep() for _ in range(self._attack.connections)))

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                await (self._visit() if self._attack.tls else self._hold_tcp())
            await asyncio.sleep(_AGAIN_S)

    async def _hold_tcp(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port, local_addr=(self._source, 0))
        self._over.connected += 1
        try:
            await reader.read()
        finally:
            self._over.closed += 1
            writer.transport.abort()

    async def _visit(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = await Connection.make(self._host, self._port, self._source, self._context)
        except (OSError, TimeoutError):
            self._over.refused += 1
            raise
        self._over.connected += 1
        self._live.add(connection)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while not connection.closed.is_set():
                connection.changed.clear()
                for _ in range(self._attack.calls - len(connection.open)):
                    self._over.begun += 1
                    task = asyncio.ensure_future(_quietly(self._attack.act(connection, next(self._methods))))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                await connection.changed.wait()
                await asyncio.sleep(_AGAIN_S)
        finally:
            for task in tasks:
                task.cancel()
            await connection.close()
            self._live.discard(connection)
            self._over.ended += connection.ended
            self._over.closed += 1


async def _quietly(act: Awaitable[None]) -> None:
    with contextlib.suppress(OSError, AttributeError):  # the latter is asyncio's for a connection that has just gone
        await act


async def _main(attack: Attack, address: str, source: str, cert: str, key: str, ca: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    attacker = Attacker(attack, address, source, context)
    running = asyncio.ensure_future(attacker.run())
    while not running.done():
        sys.stdout.write(json.dumps(dataclasses.asdict(attacker.tally)) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(_TELL_S)
    await running


if __name__ == "__main__":
    os.nice(int(sys.argv[1]))
    asyncio.run(_main(ATTACKS[sys.argv[2]], *sys.argv[3:]))
