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
from pura.ids import Engine, Fingerprint, Party
from pura.process import keep_files_private, keep_memory_private
from pura.transport.options import ALIVE, PATIENT
from pura.wire._pb import pura_pb2_grpc
from pura_server import engines, logs, moves, refill, tls
from pura_server.audit import AuditLog
from pura_server.calls import Calls
from pura_server.config import ServerConfig
from pura_server.credentials import ClientList
from pura_server.door import Door
from pura_server.endings import Endings
from pura_server.engines import Parts
from pura_server.gateway import GatewayService, own_version, template_bytes
from pura_server.health import Health
from pura_server.link import CHANNEL_OPTIONS, PeerLink, State
from pura_server.logs import configure, logger
from pura_server.metrics import Metrics
from pura_server.operator import OperatorService
from pura_server.peer import PeerService
from pura_server.published import LEAKS
from pura_server.questions import Questions
from pura_server.reception import Reception, sizes
from pura_server.refusals import Refusals
from pura_server.remade import Remade
from pura_server.visitors import Judge, PinnedVisitors, Visitors

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_CALLS_S = 1.0
_THREADS_S = 5.0
_GREETING_MS = 10_000
"""From a connection's first byte to its HTTP/2 settings."""
_HEADER_BYTES = 8192
_UNREAD_BYTES = 1 << 16
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
    keep_files_private()
    keep_memory_private()
    try:
        parts = engines.prepare(config)  # before any gRPC object: workers must not see one
        try:
            asyncio.run(_serve(config, parts, insecure))
        finally:
            parts.workers.close()
            parts.store.close()
    finally:
        logs.flush()


async def _serve(config: ServerConfig, parts: Parts, insecure: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    metrics, health = Metrics(), Health(config.role)
    metrics.watch_dropped(logs.dropped)
    endings, certificates = Endings(), tls.ends(config)
    for name, at in certificates.items():
        metrics.expires(name, at)
    side = _gateway if config.party is Party.S1 else _peer
    async with contextlib.AsyncExitStack() as stack:
        if config.metrics.listen is not None:
            stack.callback(metrics.serve(config.metrics.listen))
        drain = await stack.enter_async_context(side(config, parts, insecure, metrics, health, endings))
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
        if parts.params.engine is Engine.PUBLISHED:
            logger().warning("leaky engine", message=LEAKS)
        watching = asyncio.ensure_future(endings.watch(certificates))
        await stop.wait()
        watching.cancel()
        logger().info("stopping")
        await drain()
    for number in _SIGNALS:  # one more must not kill what is just ending well
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    logger().info("stopped")


Drain = Callable[[], Any]


@contextlib.asynccontextmanager
async def _gateway(
    config: ServerConfig, parts: Parts, insecure: bool, metrics: Metrics, health: Health, endings: Endings
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
        lines=None if insecure else lambda port, epoch: moves.lines(config, port, epoch),
    )
    calls = Calls(metrics)
    clients = None if insecure else ClientList(config.clients_file)
    audit = _audit(config)
    service = GatewayService(
        backend,
        parts.pk,
        parts.params,
        link,
        calls,
        clients,
        questions,
        limits,
        parts.store,
        has_room,
        audit,
        tls.ends(config),
    )
    metrics.open.labels("question").set_function(lambda: service.asking.inside)
    metrics.open.labels("change").set_function(lambda: service.changing.inside)
    refusals = Refusals(metrics)
    door = None if clients is None else _door(config, Visitors(clients, _own(config)), refusals, endings)
    longest = sizes(template_bytes(parts.pk, parts.params), limits.batch)
    server = _for_clients(Reception(door, refusals, limits, longest), max(longest.values()), limits.streams)
    pura_pb2_grpc.add_GatewayServicer_to_server(service, server)
    pura_pb2_grpc.add_OperatorServicer_to_server(OperatorService(backend, link, calls, limits, audit), server)
    await health.add_to(server)
    if door is not None:
        metrics.open.labels("connection").set_function(lambda: door.connections)
    _listen(server, config, door)
    await server.start()
    if door is not None:
        door.open()
    tasks = [
        asyncio.ensure_future(link.run()),
        asyncio.ensure_future(
            refill.keep_full(
                backend,
                link,
                lambda: bool(service.asking.inside),
                lambda: bool(service.changing.inside),
                metrics,
                audit,
            )
        ),
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
        if door is not None:
            await door.close()
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _end_threads(pool)
        backend.close()
        questions.close()
        if audit is not None:
            audit.close()


@contextlib.asynccontextmanager
async def _peer(
    config: ServerConfig, parts: Parts, insecure: bool, metrics: Metrics, health: Health, endings: Endings
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
    pinned = None
    if not insecure and certificate is not None:
        pinned = Remade([certificate], lambda: tls.pinned(certificate))
    audit = _audit(config)
    refusals = Refusals(metrics)
    door = None if pinned is None else _door(config, PinnedVisitors(pinned, _own(config)), refusals, endings)
    service = PeerService(
        backend,
        parts.params,
        calls,
        pool,
        shown=None if door is None else lambda context: door.visitor(context.peer()).fingerprint,
        pinned=pinned,
        sessions=limits.sessions,
        agreed=agreed,
        audit=audit,
    )
    if not insecure:
        service.sessions = moves.door(config, service.admit, service.play, refusals)
    server = _for_s1(config)
    pura_pb2_grpc.add_PeerServicer_to_server(service, server)
    await health.add_to(server)
    _listen(server, config, door)
    await server.start()
    if door is not None:
        door.open()
    await health.set(True)  # until a hello says otherwise

    async def drain() -> None:
        await health.stop()
        calls.draining = True
        if not await calls.drained(limits.drain_s):
            logger().warning("calls were cut off")

    try:
        yield drain
    finally:
        if service.sessions is not None:
            service.sessions.close()
        await server.stop(_LAST_CALLS_S)
        if door is not None:
            await door.close()
        await _end_threads(pool)
        backend.close()
        if audit is not None:
            audit.close()


def _audit(config: ServerConfig) -> AuditLog | None:
    return None if config.audit.folder is None else AuditLog(config.audit.folder, config.party)


def _connector(config: ServerConfig, insecure: bool) -> Callable[[], grpc.aio.Channel]:
    address = config.peer.address
    assert address is not None
    if insecure:
        return lambda: grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    current = tls.remade(config, lambda: tls.peer_credentials(config))

    def connect() -> grpc.aio.Channel:
        credentials, name = current()
        options = [*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", name)]
        return grpc.aio.secure_channel(address, credentials, options=options)

    return connect


def _own(config: ServerConfig) -> Callable[[], Fingerprint]:
    cert = config.require_tls().cert
    return Remade([cert], lambda: tls.fingerprint(tls.read(cert)))


def _door(config: ServerConfig, visitors: Judge, refusals: Refusals, endings: Endings) -> Door:
    context = tls.remade(config, lambda: tls.door_context(config))
    context()  # what is wrong with the files is told at once
    return Door(context, visitors, refusals, config.limits.connections, endings)


def _for_clients(reception: Reception, longest: int, streams: int) -> grpc.aio.Server:
    """S1's gRPC. `longest`: the longest message in bytes; `streams`: calls at once over one connection."""
    options = {
        **dict((*ALIVE, *PATIENT)),
        "grpc.max_receive_message_length": longest,
        "grpc.max_concurrent_streams": streams,
        "grpc.max_metadata_size": _HEADER_BYTES,
        "grpc.server_handshake_timeout_ms": _GREETING_MS,
        "grpc.per_message_decompression": 0,  # the reception refuses it as it came
        # what waits unread of a stream stays this small, however fast the line is
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": _UNREAD_BYTES,
        "grpc.so_reuseport": 0,
    }
    return grpc.aio.server(interceptors=[reception], options=list(options.items()))


def _for_s1(config: ServerConfig) -> grpc.aio.Server:
    """S2's gRPC: nobody gets through the door but S1 and S2's own probe."""
    options = {
        **dict((*CHANNEL_OPTIONS, *PATIENT)),
        "grpc.so_reuseport": 0,
        "grpc.max_concurrent_streams": 1024,
        "grpc.server_handshake_timeout_ms": _GREETING_MS,
    }
    most = config.limits.sessions + 256
    return grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=most)


def _listen(server: grpc.aio.Server, config: ServerConfig, door: Door | None) -> None:
    if door is not None:
        door.listen(config.listen)
        server.add_insecure_port(f"unix:{door.inner}")
        return
    try:
        server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise BadConfig(f"listen: the address {config.listen} cannot be used", detail=str(error)) from None


async def _end_threads(pool: ThreadPoolExecutor) -> None:
    """Parties end at their next step, told so by the loop; one in the middle of a long step is not waited for."""
    pool.shutdown(wait=False, cancel_futures=True)
    ends = time.monotonic() + _THREADS_S
    while any(thread.is_alive() for thread in pool._threads):
        if time.monotonic() > ends:
            logger().warning("stopped in the middle of a step")
            logs.flush()
            os._exit(1)
        await asyncio.sleep(0.01)
