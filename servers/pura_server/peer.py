"""S2's service: it greets S1 and plays the other party of whatever S1 begins."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import Executor

from pura.errors import NotAuthorised, Overloaded, PeerUnavailable, ProtocolError, PuraError
from pura.params import PROTOCOL_VERSION, Params
from pura.transport import FAREWELL_S, Line, converse, start
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.backend import PeerBackend
from pura_server.calls import Call, Calls, Context
from pura_server.link import EPOCH_KEY, compare
from pura_server.logs import logger
from pura_server.status import typed
from pura_server.tls import Fingerprint, caller

EPOCH_BYTES = 16
_OLD_SESSIONS_S = 30.0


class PeerService(pura_pb2_grpc.PeerServicer):
    """`pinned` are the certificates of S1; None on a loopback connection without TLS."""

    def __init__(
        self,
        backend: PeerBackend,
        params: Params,
        calls: Calls,
        pool: Executor,
        *,
        pinned: frozenset[Fingerprint] | None,
        sessions: int,
        agreed: Callable[[bool], None],
    ) -> None:
        """`agreed` is told after each hello whether the two servers have the same parameters."""
        self._backend = backend
        self._params = params
        self._calls = calls
        self._pool = pool
        self._pinned = pinned
        self._most = sessions
        self._agreed = agreed
        self._epoch: str | None = None
        self._greeting = asyncio.Lock()
        self._lines: set[Line] = set()

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloReply:
        """Compare parameters; from now on only sessions of this greeting count."""

        async def work(call: Call) -> pb.HelloReply:
            self._authenticate(call)
            mine = self._params
            try:
                compare(request, mine)
            except Exception:
                self._agreed(False)
                raise
            async with self._greeting:
                self._epoch = None
                await self._end_sessions()
                await asyncio.to_thread(self._backend.connected)
                epoch = secrets.token_bytes(EPOCH_BYTES)
                self._epoch = epoch.hex()
            self._agreed(True)
            logger().info("peer ready", epoch=self._epoch[:8])
            return pb.HelloReply(protocol=PROTOCOL_VERSION, agreement=mine.agreement, key_id=mine.key_id, epoch=epoch)

        return await self._calls.answer("Hello", context, work)

    async def Session(self, requests: object, context: Context) -> None:  # type: ignore[override]  # context.write
        """One operation."""

        async def work(call: Call) -> None:
            self._authenticate(call)
            try:
                self._admit(context)
            except PuraError as error:
                await _refuse(context, error)
                raise
            line = Line(asyncio.get_running_loop())
            self._lines.add(line)
            try:
                await self._play(call, line)
            finally:
                self._lines.discard(line)

        await self._calls.answer("Session", context, work, follow=True)

    def _admit(self, context: Context) -> None:
        if self._epoch is None or self._epoch != dict(context.invocation_metadata() or ()).get(EPOCH_KEY):
            raise PeerUnavailable("say hello first")
        if len(self._lines) >= self._most:
            raise Overloaded()

    async def _play(self, call: Call, line: Line) -> None:
        context = call.context

        async def read() -> bytes | None:
            frame = await context.read()
            return frame.body if isinstance(frame, pb.Frame) else None

        async def write(body: bytes) -> None:
            await context.write(pb.Frame(body=body))

        party = self._backend.session()
        work = start(party, line, self._pool, call.tally)
        await converse(party, line, work, read, write, typed, farewell=lambda error: _tell(context, error))

    async def _end_sessions(self) -> None:
        """Whatever an earlier S1 began is over."""
        for line in self._lines:
            line.fail(PeerUnavailable("another connection took over"))
        ends = asyncio.get_running_loop().time() + _OLD_SESSIONS_S
        while self._lines:
            if asyncio.get_running_loop().time() > ends:
                raise ProtocolError("sessions of an earlier connection do not end; try again")
            await asyncio.sleep(0.01)

    def _authenticate(self, call: Call) -> None:
        if self._pinned is not None and caller(call.context) not in self._pinned:
            raise NotAuthorised(detail="not the pinned certificate")


async def _tell(context: Context, error: Exception) -> None:
    """Say why a session ends, in the stream: a status alone is lost when S1 writes at the same moment."""
    known = error if isinstance(error, PuraError) else PuraError()
    await context.write(pb.Frame(error_code=known.code, error_message=str(known)))


async def _refuse(context: Context, error: PuraError) -> None:
    """The same for a session that does not begin; then wait until S1 has heard it."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(FAREWELL_S):
            await _tell(context, error)
            while isinstance(await context.read(), pb.Frame):
                pass
