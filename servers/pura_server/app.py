"""One server from its start to its end: prepare, listen, serve, and on SIGTERM drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from pura.errors import BadConfig, PeerUnavailable
from pura.ids import Party
from pura.wire._pb import pura_pb2_grpc
from pura_server import engines, refill, tls
from pura_server.calls import Calls
from pura_server.config import ServerConfig
from pura_server.credentials import ClientList
from pura_server.engines import Parts
from pura_server.gateway import GatewayService, own_version
from pura_server.health import Health
from pura_server.link import CHANNEL_OPTIONS, PeerLink, State
from pura_server.logs import configure, logger
from pura_server.metrics import Metrics
from pura_server.peer import PeerService
from pura_server.questions import Questions

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_CALLS_S = 1.0
_THREADS_S = 5.0
_EXTRA_THREADS = 4
"""Beside the questions: a change, a refill, a settling, and one to spare."""


def run(config: ServerConfig, *, insecure: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. Raises what is wrong with the files, before anything is served."""
    if insecure:
        config.require_loopback()
    else:
        config.require_tls()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure(config.log.level, config.role)
    parts = engines.prepare(config)  # before any gRPC object: workers must not see one
    try:
        asyncio.run(_serve(config, parts, insecure))
    finally:
        parts.workers.close()
        parts.store.close()


async def _serve(config: ServerConfig, parts: Parts, insecure: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    metrics, health = Metrics(), Health(config.role)
    if config.tls is not None and config.peer.certificate is not None:
        metrics.expires("own", tls.expiry(config.tls.cert))
        metrics.expires("peer", tls.expiry(config.peer.certificate))
    side = _gateway if config.party is Party.S1 else _peer
    async with contextlib.AsyncExitStack() as stack:
        if config.metrics.listen is not None:
            stack.callback(metrics.serve(config.metrics.listen))
        drain = await stack.enter_async_context(side(config, parts, insecure, metrics, health))
        logger().info(
            "started",
            version=own_version(),
            engine=parts.params.engine.value,
            key_id=parts.pk.key_id.hex(),
            n_bits=parts.pk.n_bits,
            dimension=parts.params.dimension,
            workers=parts.workers.count,
            listen=config.listen,
            entries=parts.store.count(),
        )
        await stop.wait()
        logger().info("stopping")
        await drain()
    for number in _SIGNALS:  # one more must not kill what is just ending well
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    logger().info("stopped")


Drain = Callable[[], Any]


@contextlib.asynccontextmanager
async def _gateway(
    config: ServerConfig, parts: Parts, insecure: bool, metrics: Metrics, health: Health
) -> AsyncIterator[Drain]:
    backend = engines.gateway(parts)
    metrics.watch_levels(backend.levels)
    questions = Questions(config.data, config.budget)
    limits = config.limits
    pool = ThreadPoolExecutor(limits.at_once + _EXTRA_THREADS, thread_name_prefix="party")

    async def changed(state: State) -> None:
        metrics.peer_ready.set(state is State.READY)
        await health.set(state is State.READY)

    def has_room() -> bool:
        return shutil.disk_usage(config.data).free >= limits.reserve_mib << 20

    link = PeerLink(
        _connector(config, insecure),
        parts.params,
        backend.reconcile,
        pool,
        changed=changed,
        diagnose=None if insecure else lambda: tls.diagnose(config),
    )
    calls = Calls(metrics)
    clients = None if insecure else ClientList(config.clients_file)
    service = GatewayService(backend, parts.pk, parts.params, link, calls, clients, questions, limits, has_room)
    metrics.open.labels("question").set_function(lambda: service.asking.inside)
    metrics.open.labels("change").set_function(lambda: service.changing.inside)
    server = _server(config, limits.message_mib << 20)
    pura_pb2_grpc.add_GatewayServicer_to_server(service, server)
    await health.add_to(server)
    _listen(server, config, insecure)
    await server.start()
    busy = lambda: bool(service.asking.inside or service.changing.inside)  # noqa: E731
    tasks = [
        asyncio.ensure_future(link.run()),
        asyncio.ensure_future(refill.keep_full(backend, link, busy, metrics)),
    ]

    async def drain() -> None:
        await health.stop()
        calls.draining = True
        tasks[1].cancel()
        started = time.monotonic()
        if not await calls.drained(limits.drain_s):
            logger().warning("calls were cut off")
        await service.changed(max(0.0, limits.drain_s - (time.monotonic() - started)))

    try:
        yield drain
    finally:
        await server.stop(_LAST_CALLS_S)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _end_threads(pool)
        backend.close()
        questions.close()


@contextlib.asynccontextmanager
async def _peer(
    config: ServerConfig, parts: Parts, insecure: bool, metrics: Metrics, health: Health
) -> AsyncIterator[Drain]:
    backend = engines.peer(parts)
    metrics.watch_levels(backend.levels)
    limits = config.limits
    pool = ThreadPoolExecutor(limits.sessions, thread_name_prefix="party")
    calls = Calls(metrics, PeerUnavailable)
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Task[None]] = set()

    def agreed(same: bool) -> None:
        metrics.peer_ready.set(same)
        task = loop.create_task(health.set(same))
        pending.add(task)
        task.add_done_callback(pending.discard)

    certificate = config.peer.certificate
    pinned = None if insecure or certificate is None else tls.pinned(certificate)
    service = PeerService(backend, parts.params, calls, pool, pinned=pinned, sessions=limits.sessions, agreed=agreed)
    server = _server(config, None)
    pura_pb2_grpc.add_PeerServicer_to_server(service, server)
    await health.add_to(server)
    _listen(server, config, insecure)
    await server.start()
    await health.set(True)  # until a hello says otherwise

    async def drain() -> None:
        await health.stop()
        calls.draining = True
        if not await calls.drained(limits.drain_s):
            logger().warning("calls were cut off")

    try:
        yield drain
    finally:
        await server.stop(_LAST_CALLS_S)
        await _end_threads(pool)
        backend.close()


def _connector(config: ServerConfig, insecure: bool) -> Callable[[], grpc.aio.Channel]:
    address = config.peer.address
    assert address is not None
    if insecure:
        return lambda: grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    tls.refuse_authorities(config.peer.certificate) if config.peer.certificate else None
    credentials, name = tls.peer_credentials(config)
    options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name)]
    return lambda: grpc.aio.secure_channel(address, credentials, options=options)


def _server(config: ServerConfig, message_bytes: int | None) -> grpc.aio.Server:
    """`message_bytes`: the longest message of a client; None between the servers."""
    options = dict(CHANNEL_OPTIONS) if message_bytes is None else {"grpc.max_receive_message_length": message_bytes}
    options |= {
        "grpc.so_reuseport": 0,
        "grpc.http2.min_ping_interval_without_data_ms": 5_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 5_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.max_concurrent_streams": 1024,
    }
    most = config.limits.at_once + config.limits.waiting + config.limits.changes_waiting + 256
    return grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=most)


def _listen(server: grpc.aio.Server, config: ServerConfig, insecure: bool) -> None:
    try:
        if insecure:
            server.add_insecure_port(config.listen)
        else:
            server.add_secure_port(config.listen, tls.server_credentials(config))
    except RuntimeError as error:
        raise BadConfig("listen: the address cannot be used", detail=str(error)) from None


async def _end_threads(pool: ThreadPoolExecutor) -> None:
    """Parties end at their next step, told so by the loop; one in the middle of a long step is not waited for."""
    pool.shutdown(wait=False, cancel_futures=True)
    ends = time.monotonic() + _THREADS_S
    while any(thread.is_alive() for thread in pool._threads):
        if time.monotonic() > ends:
            logger().warning("stopped in the middle of a step")
            os._exit(1)
        await asyncio.sleep(0.01)
