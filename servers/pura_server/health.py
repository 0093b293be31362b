"""grpc.health.v1: SERVING only while this server's keys and store are good and the other server agrees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pura.transport.options import DIRECT
from pura_server import tls
from pura_server.config import ServerConfig

SERVICES = {"s1": "pura.v1.Gateway", "s2": "pura.v1.Peer"}
_ASK_S = 5.0


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # untyped
    """Whoever watches holds a call open for nothing: probes ask."""

    async def Watch(self, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[object]:
        """Off."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Watch is off; use Check")
        yield None


class Health:
    """The state of one server, for the whole of it and under the name of its service."""

    def __init__(self, role: str) -> None:
        self._names = ("", SERVICES[role])
        self._servicer = _Health()

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answer on this server; not serving yet."""
        await self.set(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, serving: bool) -> None:
        """Tell all who ask."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever `set` is told."""
        await self._servicer.enter_graceful_shutdown()


def ask(config: ServerConfig, *, insecure: bool) -> bool:
    """Whether the server of this configuration, on this machine, is SERVING. Raises `BadConfig`."""
    channel = to_own_server(config, insecure=insecure)
    with channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_ASK_S)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def to_own_server(config: ServerConfig, *, insecure: bool) -> grpc.Channel:
    """A channel to the server of this configuration, on this machine, with its own certificate. Raises `BadConfig`."""
    host, _, port = config.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    target = f"{host}:{port}"
    if insecure:
        return grpc.insecure_channel(target, DIRECT)
    credentials, name = tls.own_credentials(config)
    return grpc.secure_channel(target, credentials, [*DIRECT, ("grpc.ssl_target_name_override", name)])
