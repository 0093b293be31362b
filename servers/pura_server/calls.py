"""What every call goes through: a number for the log, errors as the wire has them, one log line, the metrics."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc.aio
import structlog

from pura.descriptors import exhausted
from pura.errors import DeviatingServer, NotAuthorised, NotReady, PuraError
from pura.rounds import Tally
from pura_server.logs import frames_of, logger
from pura_server.metrics import Metrics
from pura_server.status import refuse

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


REQUEST_KEY = "pura-request"
_NUMBER = re.compile(r"[0-9a-f]{12}")


def _given(context: Context) -> str | None:
    value = dict(context.invocation_metadata() or ()).get(REQUEST_KEY)
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _known(method: str, unknown: Exception) -> PuraError:
    """What the caller is told of an error that nobody named: that something is wrong. The log learns where."""
    if busy := exhausted(unknown):
        return busy
    logger().error("unexpected", method=method, error=type(unknown).__name__, frames=frames_of(unknown))
    return PuraError()


def new_number() -> str:
    """An operation's number, under which both servers' logs have it."""
    return secrets.token_hex(6)


class Call:
    """One call as it is answered: what its log line will tell."""

    def __init__(self, method: str, number: str | None, context: Context | None) -> None:
        """`number`: under which logs have it, a new one if None; `context`: of a call by gRPC."""
        self.method = method
        self.number = number or new_number()
        self._context = context
        self.tally = Tally()
        self.waited_s = 0.0
        self.notes: dict[str, object] = {}

    @property
    def context(self) -> Context:
        """The call, as gRPC has it."""
        assert self._context is not None
        return self._context


class Calls:
    """Answers calls until it is told to drain."""

    def __init__(self, metrics: Metrics, stopping: type[PuraError] = NotReady) -> None:
        """`stopping` is what callers are told while the server drains."""
        self._metrics = metrics
        self._stopping = stopping
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    async def answer(
        self, method: str, context: Context, work: Callable[[Call], Awaitable[T]], *, follow: bool = False
    ) -> T:
        """The result of `work`; an error ends the call with its code. Of an unexpected one nothing is told.

        `follow`: log under the number that the caller gave the operation, so that both servers' logs can be compared.
        """
        call = Call(method, _given(context) if follow else None, context)
        with structlog.contextvars.bound_contextvars(request=call.number):
            started = time.monotonic()
            code, error = "internal", None
            self._begin()
            try:
                if self.draining:
                    raise self._stopping("the server is stopping; try again")
                result = await work(call)
                code = "ok"
                return result
            except PuraError as known:
                code, error = known.code, known
            except asyncio.CancelledError:
                code = "cancelled"
                raise
            except Exception as unknown:  # noqa: BLE001 - the caller learns that something is wrong, the log learns where
                error = _known(method, unknown)
                code = error.code
            finally:
                self._end()
                self._tell(call, code, error, time.monotonic() - started)
            await refuse(context, error)

    def in_thread(
        self, method: str, number: str, loop: asyncio.AbstractEventLoop, work: Callable[[Call], object]
    ) -> None:
        """The same for an operation that has a thread of its own. Raises the error that the caller may be told."""
        call = Call(method, number if _NUMBER.fullmatch(number) else None, None)
        with structlog.contextvars.bound_contextvars(request=call.number):
            started = time.monotonic()
            code, error = "internal", None
            loop.call_soon_threadsafe(self._begin)
            try:
                if self.draining:
                    raise self._stopping("the server is stopping; try again")
                work(call)
                code = "ok"
            except PuraError as known:
                code, error = known.code, known
                raise
            except Exception as unknown:  # as above
                error = _known(method, unknown)
                code = error.code
                raise error from unknown
            finally:
                loop.call_soon_threadsafe(self._end)
                self._tell(call, code, error, time.monotonic() - started)

    def _tell(self, call: Call, code: str, error: PuraError | None, seconds: float) -> None:
        metrics = self._metrics
        metrics.calls.labels(call.method, code).inc()
        metrics.seconds.labels(call.method).observe(seconds)
        fields: dict[str, object] = {"method": call.method, "code": code, "ms": round(seconds * 1000, 1), **call.notes}
        if call.waited_s:
            metrics.waited.labels(call.method).observe(call.waited_s)
            fields["waited_ms"] = round(call.waited_s * 1000, 1)
        if call.tally.bytes_sent or call.tally.bytes_received:
            metrics.count(call.method, call.tally)
            fields |= {
                "rounds": call.tally.rounds,
                "sent": call.tally.bytes_sent,
                "received": call.tally.bytes_received,
            }
        if error is not None and error.detail:
            fields["detail"] = error.detail
        if isinstance(error, NotAuthorised):
            metrics.refused.labels(error.detail.partition(":")[0] or "other").inc()
        if isinstance(error, DeviatingServer):
            logger().error("alarm", **fields)
        else:
            logger().info("call", **fields)

    def _begin(self) -> None:
        self._open += 1
        self._idle.clear()

    def _end(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until no call is open; whether that was so in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
