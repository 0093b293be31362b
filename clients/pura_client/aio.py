"""The client for asyncio: the same session, whose calls travel over grpc.aio on the caller's event loop.

    async with await aio.connect("client.toml") as pura:
        print((await pura.identify("photo.jpg")).label)

What a session computes - a face's embedding, a ciphertext, a proof - takes milliseconds of a processor, and would
stop the loop: it runs in threads, `AT_ONCE` at the same time, and each waits there while its call is on the loop. So
there is one session, written once (docs/decisions/0025). A task that is cancelled cancels its call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import grpc

from pura.params import Params
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import config as client_config
from pura_client import session
from pura_client.answers import Identified
from pura_client.config import ClientConfig
from pura_client.gateway import Line, credentials_of, options_of
from pura_client.session import Client
from pura_client.templates import Photo

AT_ONCE = 32
"""Methods of one client that are under way at the same time; more wait for their turn."""

P = ParamSpec("P")
R = TypeVar("R")


class _Operation:
    """One method of the client under way: the calls that it waits for, so that they end when it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.calls: set[concurrent.futures.Future[Any]] = set()

    def cancel(self) -> None:
        self.cancelled = True
        for call in list(self.calls):
            call.cancel()


_operation: contextvars.ContextVar[_Operation | None] = contextvars.ContextVar("pura_client_operation", default=None)


class _Stub:
    """The methods of a stub of grpc.aio, for threads: each waits there until its call is done on the loop."""

    def __init__(self, stub: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._stub, self._loop = stub, loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(self._call, getattr(self._stub, name))

    def _call(self, method: Callable[..., Any], request: Any, timeout: float) -> Any:
        async def made() -> Any:
            call = method(request, timeout=timeout)
            return [page async for page in call] if isinstance(call, grpc.aio.UnaryStreamCall) else await call

        operation = _operation.get()
        if operation is not None and operation.cancelled:
            raise concurrent.futures.CancelledError
        future = asyncio.run_coroutine_threadsafe(made(), self._loop)
        if operation is None:
            return future.result()
        operation.calls.add(future)
        try:
            if operation.cancelled:  # between the two lines before
                future.cancel()
            return future.result()
        finally:
            operation.calls.discard(future)


def _awaited(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate[AsyncClient, P], Awaitable[R]]:
    """The same method, to be awaited."""

    async def wrapped(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(functools.partial(method, self._client, *args, **kwargs))

    functools.update_wrapper(wrapped, method)
    return wrapped


class AsyncClient:
    """A session on an event loop; made by `connect`. Its methods are those of `pura_client.Client`, awaited. Callbacks
    are called in a thread of the client."""

    def __init__(self, client: Client, threads: concurrent.futures.Executor, channel: grpc.aio.Channel) -> None:
        self._client, self._threads, self._channel = client, threads, channel

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def params(self) -> Params:
        """The collection's parameters, as this client sees them."""
        return self._client.params

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    identify = _awaited(Client.identify)
    identify_all = _awaited(Client.identify_all)
    faces = _awaited(Client.faces)
    verify = _awaited(Client.verify)
    enroll = _awaited(Client.enroll)
    enroll_many = _awaited(Client.enroll_many)
    forget = _awaited(Client.forget)
    forget_many = _awaited(Client.forget_many)
    forget_entries = _awaited(Client.forget_entries)
    forget_photo = _awaited(Client.forget_photo)
    relabel = _awaited(Client.relabel)
    relabel_entries = _awaited(Client.relabel_entries)
    roster = _awaited(Client.roster)
    list = _awaited(Client.list)
    entries = _awaited(Client.entries)
    status = _awaited(Client.status)

    async def identify_many(
        self,
        photos: Iterable[Photo],
        *,
        all_faces: bool = False,
        largest: bool = False,
        top_k: int | None = None,
    ) -> AsyncIterator[Identified]:
        """See `pura_client.Client.identify_many`."""
        found = self._client.identify_many(photos, all_faces=all_faces, largest=largest, top_k=top_k)
        while (one := await self._run(lambda: next(found, None))) is not None:
            yield one

    async def _run(self, work: Callable[[], R]) -> R:
        operation = _Operation()

        def worked() -> R:
            _operation.set(operation)
            return work()

        context = contextvars.copy_context()
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, context.run, worked)
        try:
            return await waiting
        except asyncio.CancelledError:
            operation.cancel()
            raise


async def connect(
    config: ClientConfig | str | os.PathLike[str] | None = None, *, insecure: bool = False, at_once: int = AT_ONCE
) -> AsyncClient:
    """A session on the running event loop, by `client.toml`. Raises what `pura_client.connect` does."""
    if not isinstance(config, ClientConfig):
        config = client_config.load(config)
    loop = asyncio.get_running_loop()
    channel = _channel(config, insecure)
    line = Line(cast(GatewayStub, _Stub(GatewayStub(channel), loop)), lambda: None)
    threads = concurrent.futures.ThreadPoolExecutor(at_once, "pura")
    opened = functools.partial(session.connect_by, line, config, insecure=insecure)
    try:
        return AsyncClient(await loop.run_in_executor(threads, opened), threads, channel)
    except BaseException:
        await channel.close()
        threads.shutdown(wait=False)
        raise


def _channel(config: ClientConfig, insecure: bool) -> grpc.aio.Channel:
    credentials = credentials_of(config, insecure=insecure)
    if credentials is None:
        return grpc.aio.insecure_channel(config.server, options=options_of(config))
    return grpc.aio.secure_channel(config.server, credentials, options=options_of(config))
