"""grpc.health.v1: SERVING only while this server's keys and store are good and the other server agrees."""

from __future__ import annotations

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pura_server import tls
from pura_server.config import ServerConfig

SERVICES = {"s1": "pura.v1.Gateway", "s2": "pura.v1.Peer"}
_ASK_S = 5.0


class Health:
    """The state of one server, for the whole of it and under the name of its service."""

    def __init__(self, role: str) -> None:
        self._names = ("", SERVICES[role])
        self._servicer = health.aio.HealthServicer()

    async def add_to(self, server: grpc.aio.Server) -> None:
        """Answer on this server; not serving yet."""
        await self.set(False)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, serving: bool) -> None:
        """Tell all who ask or watch."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever `set` is told."""
        await self._servicer.enter_graceful_shutdown()


def ask(config: ServerConfig, *, insecure: bool) -> bool:
    """Whether the server of this configuration, on this machine, is SERVING. Raises `BadConfig`."""
    host, _, port = config.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    target = f"{host}:{port}"
    if insecure:
        channel = grpc.insecure_channel(target)
    else:
        credentials, name = tls.own_credentials(config)
        channel = grpc.secure_channel(target, credentials, [("grpc.ssl_target_name_override", name)])
    with channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_ASK_S)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
