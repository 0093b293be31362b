"""What stands between a call's first header and its service: who calls is judged before a message is read.

gRPC reads a unary call's message before it runs anything of ours, however long that takes and up to one limit for all
methods. Here every method is to gRPC a stream of messages: its handler runs at the header, refuses, or reads one
message within a time and a length of its own, and only then becomes the unary call that the service knows.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio

from pura.errors import MalformedMessage, NotAuthorised, Overloaded, PuraError
from pura.ids import ClientId
from pura_server import tls
from pura_server.backend import MAX_LABEL
from pura_server.calls import Context
from pura_server.config import Limits
from pura_server.credentials import INSECURE_CLIENT
from pura_server.door import Door
from pura_server.gateway import MAX_HANDLES
from pura_server.refusals import Refusals, Why
from pura_server.status import refuse
from pura_server.visitors import MYSELF, why

SMALL = 1024
"""The longest message of a method that says nothing else."""
_HEALTH = "/grpc.health.v1.Health/"
_WATCH = _HEALTH + "Watch"
_GATEWAY = "/pura.v1.Gateway/"
_OPERATOR = "/pura.v1.Operator/"
_GZIP = b"\x1f\x8b"
"""No message of protobuf begins like this."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Reception(grpc.aio.ServerInterceptor):
    """Judges, admits and reads, for services whose streams are generators."""

    def __init__(
        self,
        door: Door | None,
        refusals: Refusals,
        limits: Limits,
        longest: Mapping[str, int],
    ) -> None:
        """`door` knows the visitors; None where anybody may come in. `longest`: the longest message of a method, by its
        full name."""
        self._door = door
        self._refusals = refusals
        self._most = limits.calls
        self._seconds = limits.message_s
        self._sizes = longest
        self._open: collections.Counter[ClientId] = collections.Counter()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The service's handler behind one that refuses or reads. See `grpc.aio.ServerInterceptor`."""
        handler: Any = await continuation(handler_call_details)  # whose types are those of the other, threaded gRPC
        if handler is None or handler.request_streaming:
            return None  # there is no such method
        method = handler_call_details.method

        async def pages(_: object, context: Context) -> AsyncIterator[Any]:
            async with self._received(method, handler, context) as request:
                async for page in handler.unary_stream(request, context):
                    yield page

        async def unary(_: object, context: Context) -> Any:
            async with self._received(method, handler, context) as request:
                return await handler.unary_unary(request, context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(pages, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(unary, None, handler.response_serializer)

    @contextlib.asynccontextmanager
    async def _received(self, method: str, handler: Any, context: Context) -> AsyncIterator[Any]:
        """The message of a call, which has a place among its client's until the end. Ends a call that may not be."""
        try:
            client = self._admit(method, context)
        except PuraError as error:
            await refuse(context, error)
        self._open[client] += 1
        try:
            try:
                request = await self._read(method, handler, client, context)
            except PuraError as error:
                await refuse(context, error)
            yield request
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def _admit(self, method: str, context: Context) -> ClientId:
        """Whose call this is. Raises `NotAuthorised`, `Overloaded`."""
        client, shown = INSECURE_CLIENT.name, None
        if self._door is not None:
            visitor = self._door.visitor(context.peer())
            client, shown = visitor.client, visitor.fingerprint
            try:
                self._door.visitors.again(visitor)
            except NotAuthorised as error:
                self._refusals.tell(why(error), fingerprint=shown, client=client, method=method)
                raise
            except Overloaded:
                self._refusals.tell(Why.DESCRIPTORS, client=client, method=method)
                raise
            if (client == MYSELF) != method.startswith(_OPERATOR) and not method.startswith(_HEALTH):
                self._refusals.tell(Why.METHOD, fingerprint=shown, client=client, method=method)
                raise NotAuthorised()
            tls.SHOWN.set(shown)
        if method == _WATCH:  # its service then refuses, in the way that probes understand
            self._refusals.tell(Why.METHOD, fingerprint=shown, client=client, method=method)
        if self._open[client] >= self._most:
            self._refusals.tell(Why.CALLS, fingerprint=shown, client=client, method=method)
            raise Overloaded("this client has too many calls open; wait for their answers")
        return client

    async def _read(self, method: str, handler: Any, client: ClientId, context: Context) -> Any:
        """The call's one message. Raises `MalformedMessage`."""
        try:
            async with asyncio.timeout(self._seconds):
                raw = await context.read()
        except TimeoutError:
            self._refusals.tell(Why.SLOW, client=client, method=method)
            raise MalformedMessage(f"the message did not arrive within {self._seconds:g} seconds") from None
        except asyncio.CancelledError:  # the client has gone, or gRPC refused the message as too long
            self._refusals.tell(Why.BROKEN, client=client, method=method)
            raise
        if not isinstance(raw, bytes):
            self._refusals.tell(Why.BROKEN, client=client, method=method)
            raise MalformedMessage("the call has no message")
        if len(raw) > self._sizes.get(method, SMALL):
            self._refusals.tell(Why.LONG, client=client, method=method)
            raise MalformedMessage(f"the message has more than {self._sizes.get(method, SMALL)} bytes")
        if raw.startswith(_GZIP):
            self._refusals.tell(Why.UNREADABLE, client=client, method=method, detail="compressed")
            raise MalformedMessage("compressed messages are not taken")
        try:
            return handler.request_deserializer(raw)
        except Exception as error:  # noqa: BLE001 - protobuf's, of whatever kind
            self._refusals.tell(Why.UNREADABLE, client=client, method=method)
            raise MalformedMessage(detail=type(error).__name__) from None


def sizes(template: int, batch: int) -> dict[str, int]:
    """The longest message of each method of the gateway that needs more than `SMALL`, for templates of so many bytes
    and so many enrolments or labels in a batch. A proof is shorter than what it proves."""
    question = 2 * template + 2 * SMALL
    handles = 9 * MAX_HANDLES
    of = {
        "Identify": question,
        "Verify": question + handles,
        "Forget": handles + SMALL,
        "Relabel": batch * (MAX_LABEL + SMALL) + SMALL,
        "Enroll": batch * (2 * template + MAX_LABEL + SMALL) + SMALL,
    }
    return {_GATEWAY + name: length for name, length in of.items()}
