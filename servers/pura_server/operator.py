"""What S1's operator asks of the running server; the reception lets nobody else in who has not S1's own key."""

from __future__ import annotations

import asyncio

from pura.ids import Handle
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.audit import AuditLog
from pura_server.backend import GatewayBackend, Kind
from pura_server.calls import Call, Calls, Context
from pura_server.config import Limits
from pura_server.link import PeerLink


class OperatorService(pura_pb2_grpc.OperatorServicer):
    """On S1, beside the gateway."""

    def __init__(
        self, backend: GatewayBackend, link: PeerLink, calls: Calls, limits: Limits, audit: AuditLog | None = None
    ) -> None:
        self._backend = backend
        self._link = link
        self._calls = calls
        self._seconds = limits.change_s
        self._audit = audit

    async def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> pb.SnapshotReply:
        """Both servers copy their galleries; questions go on, changes wait."""

        async def work(call: Call) -> pb.SnapshotReply:
            await self._write(call, Kind.SNAPSHOT)
            taken = await self._link.change(self._backend.snapshot(), call.tally, self._seconds)
            return pb.SnapshotReply(moment=taken.moment, entries=taken.entries, path=str(taken.path))

        return await self._calls.answer("Snapshot", context, work)

    async def Unlock(self, request: pb.UnlockRequest, context: Context) -> pb.UnlockReply:
        """Forget what was counted about some entries."""

        async def work(call: Call) -> pb.UnlockReply:
            handles = [Handle(handle) for handle in request.handles]
            await self._write(call, Kind.UNLOCK, batch=len(handles))
            await self._link.change(self._backend.unlock(handles), call.tally, self._seconds)
            return pb.UnlockReply()

        return await self._calls.answer("Unlock", context, work)

    async def _write(self, call: Call, kind: Kind, **more: int) -> None:
        await self._link.ready()
        if self._audit is not None:
            await asyncio.to_thread(self._audit.write, kind, call.number, **more)
