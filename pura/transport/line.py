"""A channel whose far end is on an event loop: the party runs in a thread, its messages in a grpc.aio stream.

A party holds one thread from its first step to its last, so that a round costs two wake-ups and not an executor call
for each step. The loop never waits for the thread; the thread waits for the loop in `receive` only.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from pura.errors import PeerUnavailable, ProtocolError, PuraError
from pura.rounds import Rounds, Tally
from pura.transport.channel import drive

R = TypeVar("R")

MAX_WAITING = 256
"""Messages that may wait for a party. The protocols need a few; a peer that floods is cut off."""


class Line:
    """`Channel` for the party's thread; `deliver`, `fail` and the queue `outbox` are the loop's side."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox: queue.SimpleQueue[bytes | PuraError] = queue.SimpleQueue()
        self._failed: PuraError | None = None
        self.outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.used = asyncio.Event()

    # --- in the party's thread ------------------------------------------------------------------

    def send(self, body: bytes) -> None:
        """See `Channel.send`. Raises what the loop said went wrong."""
        if self._failed is not None:
            raise self._failed
        self._loop.call_soon_threadsafe(self._put, body)

    def receive(self) -> bytes:
        """See `Channel.receive`."""
        if not self.used.is_set():
            self._loop.call_soon_threadsafe(self.used.set)
        item = self._inbox.get()
        if isinstance(item, PuraError):
            raise item
        return item

    # --- on the loop ----------------------------------------------------------------------------

    def _put(self, body: bytes) -> None:
        self.outbox.put_nowait(body)
        self.used.set()

    def deliver(self, body: bytes) -> None:
        """A message has arrived. Raises `ProtocolError` when the party does not keep up with what it was promised."""
        if self._inbox.qsize() >= MAX_WAITING:
            raise ProtocolError(detail="too many messages at once")
        self._inbox.put(body)

    def fail(self, error: PuraError) -> None:
        """Nothing more will arrive: the party gets `error` at its next step. The first error counts."""
        if self._failed is None:
            self._failed = error
            self._inbox.put(error)

    @property
    def failed(self) -> PuraError | None:
        """What `fail` was told first."""
        return self._failed


_FINISHING: set[asyncio.Task[None]] = set()
"""Readers of streams whose party is done."""

FAREWELL_S = 5.0
"""How long the side that failed waits until the other has closed the stream."""

Read = Callable[[], Awaitable[bytes | None]]
"""The stream's next message, or None at its end."""
Write = Callable[[bytes], Awaitable[None]]


async def converse(
    party: Rounds[R],
    line: Line,
    work: asyncio.Future[R],
    read: Read,
    write: Write,
    typed: Callable[[Exception], PuraError],
    half_close: Callable[[], Awaitable[None]] | None = None,
    farewell: Callable[[Exception], Awaitable[None]] | None = None,
) -> R:
    """Carry messages between a started party (`start`) and a stream until the party is done; its result.

    `typed` names what a stream raises. `half_close`, on the side that opened the stream, says that no more will be
    written; the stream is then read to its end in the background, because to stop reading would cancel it, and with it
    what the other party still has to do. `farewell`, on the other side, tells why the party failed; then the stream is
    kept until the other side has closed it, so that nothing it writes meanwhile fails. Cancelling this stops the party
    at its next step; either way its thread is free when this returns. Raises what the party raises.
    """

    async def reading() -> None:
        try:
            while (body := await read()) is not None:
                if not work.done():
                    line.deliver(body)
            line.fail(ProtocolError(detail="the other side ended the session early"))
        except asyncio.CancelledError:
            line.fail(_stopped())
            raise
        except PuraError as error:
            line.fail(error)
        except Exception as error:  # noqa: BLE001 - every library's error becomes a typed one here
            if not work.done():  # afterwards both sides may close at once, and grpc.aio calls that an error
                line.fail(typed(error))

    async def writing() -> None:
        while (body := await line.outbox.get()) is not None:
            try:
                await write(body)
            except Exception as error:  # noqa: BLE001 - as above
                # the reader learns more of a broken stream than the writer: let it speak first
                await asyncio.wait([reader], timeout=1)
                line.fail(typed(error))
                return

    finished = False
    reader = asyncio.ensure_future(reading())
    writer = asyncio.ensure_future(writing())
    try:
        result = await asyncio.shield(work)
        line.outbox.put_nowait(None)
        await writer
        if half_close is not None:
            with contextlib.suppress(Exception):  # a stream that broke now has no effect any more
                await half_close()
            finished = True
        return result
    except asyncio.CancelledError:
        line.fail(_stopped())
        await _ended(work)
        raise
    except Exception as error:
        if farewell is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(FAREWELL_S):
                    line.outbox.put_nowait(None)
                    await writer
                    await farewell(error)
                    await asyncio.wait([reader])
        raise
    finally:
        if finished:
            _FINISHING.add(reader)
            reader.add_done_callback(_FINISHING.discard)
        else:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)


def start(party: Rounds[R], line: Line, pool: Executor, tally: Tally | None = None) -> asyncio.Future[R]:
    """Begin to play a party in a thread of `pool`."""
    return asyncio.get_running_loop().run_in_executor(pool, drive, party, line, tally)


async def needs_stream(line: Line, work: asyncio.Future[R]) -> bool:
    """Wait until a started party exchanges something (True), or is done without (False). Cancelling stops the party."""
    used = asyncio.ensure_future(line.used.wait())
    try:
        await asyncio.wait((work, used), return_when=asyncio.FIRST_COMPLETED)
        return line.used.is_set()
    except asyncio.CancelledError:
        line.fail(_stopped())
        await _ended(work)
        raise
    finally:
        used.cancel()


def _stopped() -> PuraError:
    return PeerUnavailable("the operation was stopped before its end")


async def _ended(work: asyncio.Future[R]) -> None:
    """Wait until a thread is through with its party, however often this task is cancelled meanwhile."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    work.exception()
