"""S1's connection with S2: greet, settle, keep; after a loss the same again, without anybody's help.

DOWN      nobody is there, or the two do not agree; what is asked meanwhile is refused at once
SETTLING  both stores settle what was in flight; what is asked waits for that
READY     sessions may begin
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
import structlog

from pura.errors import BadDataFolder, ParameterMismatch, PeerRefused, PeerUnavailable, PuraError, WrongKey, from_code
from pura.messages import MAX_BODY
from pura.params import PROTOCOL_VERSION, Params
from pura.rounds import Rounds, Tally
from pura.transport import Line, converse, needs_stream, start
from pura.transport.options import ALIVE, DIRECT
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import PeerStub
from pura_server.calls import REQUEST_KEY
from pura_server.logs import frames_of, logger
from pura_server.moves import Lines, Stop
from pura_server.status import BROKEN, typed

if TYPE_CHECKING:
    from pura.wire._pb.pura_pb2_grpc import PeerAsyncStub

R = TypeVar("R")

EPOCH_KEY = "pura-epoch"
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_BODY + 1024),
    ("grpc.max_send_message_length", MAX_BODY + 1024),
    *ALIVE,
    *DIRECT,
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    # each attempt is a connection of its own; the pauses between attempts are ours
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]

EPOCH_EVERY_S = 60.0
"""How often S1 asks for S2's epoch, which lasts an hour and is accepted for another."""

_HELLO_S = 10.0
_SETTLE_S = 300.0
_LEAVE_S = 60.0
_END_S = 5.0
_SETTLE_WAIT_S = 10.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
_TOLD = (ParameterMismatch, WrongKey, PeerRefused, BadDataFolder)
"""Reasons why the peer is not there that a client may know."""


class State(enum.Enum):
    """See the module."""

    DOWN = "down"
    SETTLING = "settling"
    READY = "ready"


class PeerLink:
    """One connection at a time, kept by `run`. On one event loop."""

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        params: Params,
        reconcile: Callable[[], Rounds[None]],
        pool: Executor,
        *,
        changed: Callable[[State], Awaitable[None]],
        diagnose: Callable[[], PeerRefused | None] | None = None,
        epoch_every_s: float = EPOCH_EVERY_S,
        lines: Callable[[int, bytes], Lines] | None = None,
    ) -> None:
        """`connect` opens a channel; `changed` is told each new state; `diagnose` blocks and says whether a certificate
        is why a connection fails; `lines`, if sessions may have connections of their own, makes these for a port of S2
        and the greeting's epoch."""
        self._connect = connect
        self._params = params
        self._reconcile = reconcile
        self._pool = pool
        self._changed = changed
        self._diagnose = diagnose
        self._epoch_every_s = epoch_every_s
        self._new_lines = lines
        self._lines: Lines | None = None
        self._channel: grpc.aio.Channel | None = None
        self._stub: PeerAsyncStub | None = None
        self._epoch = ""
        self.proof_epochs: tuple[bytes, ...] = ()
        """S2's epochs that a proof may name, as far as known: the current one, and the one before if it is of this
        connection."""
        self._broken = asyncio.Event()
        self._lost: PuraError | None = None
        self._settled = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._of_channel: list[asyncio.Task[None]] = []
        self.state = State.DOWN
        self.why: PuraError = PeerUnavailable("the other server has not been reached yet; try again")
        self._changes = asyncio.Lock()  # held by whoever changes the gallery, or settles

    # --- keeping the connection -----------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        attempt = 0
        try:
            while True:
                try:
                    await self._once()
                    attempt = 0
                    await self._broken.wait()
                    if self._lost is not None:
                        raise self._lost
                except PuraError as error:
                    attempt += 1
                    error = await self._reason(error)
                    self.why = error
                    await self._become(State.DOWN)
                    self._leave()
                    longest = min(_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                    pause = secrets.SystemRandom().uniform(0, longest)
                    logger().warning(
                        "peer lost", code=error.code, message=str(error), detail=error.detail, attempt=attempt
                    )
                    await asyncio.sleep(pause)
        finally:
            self.state = State.DOWN
            for task in self._background:
                task.cancel()
            channel, self._channel, self._stub = self._channel, None, None
            if channel is not None:
                await channel.close()

    async def _once(self) -> None:
        """From whatever state to READY. Raises why not."""
        fresh = self._channel is None
        await self._become(State.SETTLING)
        async with self._changes:
            self._broken.clear()
            self._lost = None
            if fresh:
                await self._hello()
            try:
                await self._play(self._reconcile(), Tally(), _SETTLE_S)
            except PuraError:
                raise
            except Exception as error:
                logger().error("unexpected", method="reconcile", error=type(error).__name__, frames=frames_of(error))
                raise PuraError(detail="settling failed") from error
        if self._lost is not None:
            raise self._lost
        await self._become(State.READY)
        logger().info("peer ready", epoch=self._epoch[:8] if fresh else None)

    async def _hello(self) -> None:
        channel = self._channel = self._connect()
        stub = self._stub = PeerStub(channel)
        mine = self._params
        request = pb.HelloRequest(protocol=PROTOCOL_VERSION, agreement=mine.agreement, key_id=mine.key_id)
        try:
            reply = await stub.Hello(request, timeout=_HELLO_S)
        except grpc.aio.AioRpcError as error:
            raise typed(error) from None
        compare(pb.HelloRequest(protocol=reply.protocol, agreement=reply.agreement, key_id=reply.key_id), mine)
        self._epoch = reply.epoch.hex()
        self.proof_epochs = (reply.proof_epoch,)
        if reply.sessions and self._new_lines is not None:
            self._lines = self._new_lines(reply.sessions, reply.epoch)
            await asyncio.to_thread(self._lines.try_out)
        self._of_channel = [self._keep(self._watch(channel)), self._keep(self._follow(stub))]

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        """Notice that a connection broke while nobody used it."""
        state = channel.get_state()
        while state is grpc.ChannelConnectivity.READY and channel is self._channel:
            await channel.wait_for_state_change(state)
            state = channel.get_state()
        if channel is self._channel:
            self._lose(PeerUnavailable(detail="the connection broke"))

    async def _follow(self, stub: PeerAsyncStub) -> None:
        """Keep up with S2's epochs."""
        while True:
            await asyncio.sleep(self._epoch_every_s)
            if stub is not self._stub:
                return
            await self._ask_epoch(stub)

    async def _ask_epoch(self, stub: PeerAsyncStub) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):  # a connection that broke is noticed elsewhere
            epoch = (await stub.Epoch(pb.EpochRequest(), timeout=_HELLO_S)).epoch
            if stub is self._stub and epoch not in self.proof_epochs:
                self.proof_epochs = (epoch, *self.proof_epochs[:1])

    def _lose(self, error: PuraError) -> None:
        if self._lost is None:
            self._lost = error
        self._broken.set()

    async def _reason(self, error: PuraError) -> PuraError:
        if isinstance(error, PeerUnavailable) and self._diagnose is not None:
            return await asyncio.to_thread(self._diagnose) or error
        return error

    def _leave(self) -> None:
        """Give a connection up. What runs over it may still come to its end: S2 may only be about to stop."""
        channel, self._channel, self._stub = self._channel, None, None
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()
        for task in self._of_channel:
            task.cancel()
        if channel is not None:
            self._keep(channel.close(_LEAVE_S))

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _become(self, state: State) -> None:
        if state is State.READY:
            self._settled.set()
        else:
            self._settled.clear()
        if state is not self.state:
            self.state = state
            await self._changed(state)

    # --- using it -------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return when sessions may begin. Raises why they may not: at once while nobody is there."""
        if self.state is State.SETTLING:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_WAIT_S):
                    await self._settled.wait()
        if self.state is not State.READY:
            raise type(self.why)(str(self.why)) if isinstance(self.why, _TOLD) else PeerUnavailable()

    async def ask(self, party: Rounds[R], tally: Tally, seconds: float) -> R:
        """Play a party that changes nothing. Raises what it raises, `PeerUnavailable`."""
        await self.ready()
        if self._lines is None:
            return await self._play(party, tally, seconds)
        number = structlog.contextvars.get_contextvars().get("request", "")
        stop = Stop()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._lines.play, party, number, seconds, tally, stop)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop()
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            work.exception()
            raise

    async def change(
        self, party: Rounds[R], tally: Tally, seconds: float, begins: Callable[[], None] = lambda: None
    ) -> R:
        """Play a party that changes the gallery, when no other does; `begins` is told when that is. If it fails on the
        way, both servers settle before anything else."""
        while True:
            await self.ready()
            async with self._changes:
                if self.state is not State.READY:
                    continue
                begins()
                try:
                    return await self._play(party, tally, seconds)
                except BaseException:
                    if tally.bytes_sent and self.state is State.READY:
                        await self._become(State.SETTLING)
                        self._broken.set()
                    raise

    async def _play(self, party: Rounds[R], tally: Tally, seconds: float) -> R:
        line = Line(asyncio.get_running_loop())
        work = start(party, line, self._pool, tally)
        if not await needs_stream(line, work):
            return await work
        stub = self._stub
        if stub is None:
            line.fail(PeerUnavailable())
            return await work
        number = structlog.contextvars.get_contextvars().get("request", "")
        # what a session that failed leaves behind, errors and their frames, must not hold the call: a channel that was
        # closed keeps its connection while there is a call, here and at S2, which bounds how many there are
        calls: list[Any] = []
        try:
            calls.append(stub.Session(metadata=((EPOCH_KEY, self._epoch), (REQUEST_KEY, number)), timeout=seconds))
        except grpc.aio.UsageError as error:  # the channel was closed meanwhile; the party waits in its thread
            line.fail(PeerUnavailable(detail=str(error)))
            return await work

        told = False

        def lost(error: PuraError) -> None:
            if stub is self._stub:  # not by what still runs over an earlier connection
                self._lose(error)

        async def read() -> bytes | None:
            nonlocal told
            frame = await calls[0].read()
            if not isinstance(frame, pb.Frame):
                return None
            if frame.error_code:
                told = True
                error = from_code(frame.error_code, frame.error_message)
                if isinstance(error, PeerUnavailable):
                    lost(error)
                raise error
            return frame.body

        async def write(body: bytes) -> None:
            await calls[0].write(pb.Frame(body=body))

        async def done() -> None:
            await calls[0].done_writing()

        def named(error: Exception) -> PuraError:
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, grpc.aio.AioRpcError) and error.code() in BROKEN:
                lost(PeerUnavailable(detail=f"{error.code().name}: {error.details()}"))
            return typed(error)

        try:
            return await converse(party, line, work, read, write, named, done)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)
            if told:
                self._keep(_to_the_end(calls.pop()))
            else:
                calls.pop().cancel()
            raise


async def _to_the_end(call: Any) -> None:
    """S2 has said why it ends the session: let it end."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_END_S):
            await call.done_writing()
            await call.code()
    call.cancel()


def compare(theirs: pb.HelloRequest, mine: Params) -> None:
    """Raises `WrongKey` or `ParameterMismatch` unless the other server has what this one has."""
    if theirs.protocol != PROTOCOL_VERSION:
        raise ParameterMismatch("the other server speaks another version of the protocol")
    if theirs.key_id != mine.key_id:
        raise WrongKey("the two servers do not have shares of the same key")
    if theirs.agreement != mine.agreement:
        raise ParameterMismatch()
