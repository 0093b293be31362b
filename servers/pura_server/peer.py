"""S2's service: it greets S1 and plays the other party of whatever S1 begins."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import Executor

from pura.descriptors import exhausted
from pura.errors import BadDataFolder, NotAuthorised, Overloaded, PeerUnavailable, ProtocolError, PuraError
from pura.ids import Fingerprint
from pura.params import PROTOCOL_VERSION, Params
from pura.rounds import Rounds
from pura.transport import FAREWELL_S, Line, converse, start
from pura.transport.channel import Channel, drive
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.audit import AuditLog
from pura_server.backend import PeerBackend
from pura_server.calls import Call, Calls, Context
from pura_server.link import EPOCH_KEY, compare
from pura_server.logs import logger
from pura_server.moves import Door
from pura_server.status import typed
from pura_server.tls import SHOWN_DIGITS

EPOCH_BYTES = 16
_OLD_SESSIONS_S = 30.0


class PeerService(pura_pb2_grpc.PeerServicer):
    """`pinned` gives the certificates of S1 as of now; None on a loopback connection without TLS."""

    def __init__(
        self,
        backend: PeerBackend,
        params: Params,
        calls: Calls,
        pool: Executor,
        *,
        shown: Callable[[Context], Fingerprint] | None = None,
        pinned: Callable[[], frozenset[Fingerprint]] | None,
        sessions: int,
        agreed: Callable[[bool], None],
        audit: AuditLog | None = None,
    ) -> None:
        """`shown`: the certificate behind a call, None without TLS; `agreed` is told whether the two servers have the
        same parameters and the same gallery; `audit`: where what clients ask for is written. `sessions`, once it is
        set, takes sessions on connections of their own."""
        self._backend = backend
        self._params = params
        self._calls = calls
        self._pool = pool
        self._shown = shown
        self._pinned = pinned
        self._most = sessions
        self._agreed = agreed
        self._audit = audit
        self._epoch: str | None = None
        self._greeter: Fingerprint | None = None
        self._settled = self._apart = False
        self._greeting = asyncio.Lock()
        self._lines: set[Line] = set()
        self._loop = asyncio.get_running_loop()
        self.sessions: Door | None = None

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloReply:
        """Compare parameters; from now on only sessions of this greeting count."""

        async def work(call: Call) -> pb.HelloReply:
            shown = self._authenticate(call, greeting=True)
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
                self._greeter = shown
            self._agreed(not self._apart)
            logger().info("greeted", epoch=self._epoch[:8])
            self._settled = False
            return pb.HelloReply(
                protocol=PROTOCOL_VERSION,
                agreement=mine.agreement,
                key_id=mine.key_id,
                epoch=epoch,
                proof_epoch=self._backend.epoch(),
                sessions=self.sessions.port if self.sessions is not None else 0,
            )

        return await self._calls.answer("Hello", context, work)

    async def Epoch(self, request: pb.EpochRequest, context: Context) -> pb.EpochReply:
        """The epoch that proofs should name now."""

        async def work(call: Call) -> pb.EpochReply:
            self._authenticate(call)
            return pb.EpochReply(epoch=self._backend.epoch())

        return await self._calls.answer("Epoch", context, work)

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

    def admit(self, epoch: bytes) -> None:
        """Whether a session of this greeting may begin. From any thread. Raises `PeerUnavailable`."""
        if self._epoch is None or self._epoch != epoch.hex():
            raise PeerUnavailable("say hello first")

    def play(self, session: Channel, number: str) -> None:
        """S2's party of one session, in this thread."""
        try:
            self._calls.in_thread(
                "Session", number, self._loop, lambda call: drive(self._party(call), session, call.tally)
            )
        except BadDataFolder as error:
            self._loop.call_soon_threadsafe(self._over, error)
            raise
        self._loop.call_soon_threadsafe(self._over, None)

    def _party(self, call: Call) -> Rounds[None]:
        return self._backend.session(lambda kind: self._audit.write(kind, call.number) if self._audit else None)

    def _over(self, error: BadDataFolder | None) -> None:
        """A session has ended well, or has found that this gallery is not S1's: the first after a greeting settles."""
        if error is not None:
            self._apart = True
            self._agreed(False)
            logger().warning("peer differs", code=error.code, message=str(error), detail=error.detail)
        elif not self._settled:
            self._settled, self._apart = True, False
            self._agreed(True)
            logger().info("peer ready", epoch=(self._epoch or "")[:8])

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

        party = self._party(call)
        work = start(party, line, self._pool, call.tally)
        try:
            await converse(party, line, work, read, write, typed, farewell=lambda error: _tell(context, error))
        except BadDataFolder as error:
            self._over(error)
            raise
        except asyncio.CancelledError:
            # S1 leaves as soon as it knows that the galleries differ; the party, which has ended, knows it too
            if work.done() and not work.cancelled() and isinstance(found := work.exception(), BadDataFolder):
                self._over(found)
            raise
        self._over(None)

    async def _end_sessions(self) -> None:
        """Whatever an earlier S1 began is over."""
        for line in self._lines:
            line.fail(PeerUnavailable("another connection took over"))
        if self.sessions is not None:
            await asyncio.to_thread(self.sessions.end_sessions)
        ends = asyncio.get_running_loop().time() + _OLD_SESSIONS_S
        while self._lines:
            if asyncio.get_running_loop().time() > ends:
                raise ProtocolError("sessions of an earlier connection do not end; try again")
            await asyncio.sleep(0.01)

    def _authenticate(self, call: Call, *, greeting: bool = False) -> Fingerprint | None:
        """What S1 showed. Whoever greeted with a certificate that was pinned then may end what it began."""
        if self._pinned is None or self._shown is None:
            return None
        shown = self._shown(call.context)
        if shown in self._pinned() or (not greeting and shown == self._greeter):
            return shown
        call.notes["certificate"] = shown[:SHOWN_DIGITS]
        raise NotAuthorised(detail="not the pinned certificate")


async def _tell(context: Context, error: Exception) -> None:
    """Say why a session ends, in the stream: a status alone is lost when S1 writes at the same moment."""
    known = error if isinstance(error, PuraError) else exhausted(error) or PuraError()
    await context.write(pb.Frame(error_code=known.code, error_message=str(known)))


async def _refuse(context: Context, error: PuraError) -> None:
    """The same for a session that does not begin; then wait until S1 has heard it."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(FAREWELL_S):
            await _tell(context, error)
            while isinstance(await context.read(), pb.Frame):
                pass
