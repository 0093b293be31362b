"""S1's service for clients. Who asks, whether they may, and how much: all of it before any arithmetic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from pura.crypto.encoding import RowLayout
from pura.crypto.paillier import PublicKey
from pura.errors import (
    MalformedCiphertext,
    MalformedMessage,
    MaterialUsed,
    NotReady,
    OutOfRange,
    PeerUnavailable,
    PuraError,
    StorageFull,
    UnknownEntry,
    WrongKey,
)
from pura.ids import NOBODY, ClientId, Engine, EnrolmentId, Handle, RequestId
from pura.params import PROTOCOL_VERSION, Params
from pura.rounds import Rounds
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.backend import Answer, GatewayBackend, NewEntry, Query
from pura_server.calls import Call, Calls, Context
from pura_server.config import Limits
from pura_server.credentials import INSECURE_CLIENT, ClientList, May
from pura_server.limits import Admission
from pura_server.link import PeerLink, State
from pura_server.questions import REQUEST_ID_BYTES, Questions
from pura_server.tls import caller

T = TypeVar("T")

ENROLMENT_ID_BYTES = 16
SEAL_KEY_BYTES = 32
MAX_HANDLES = 4096
ROSTER_PAGE = 1000
_AGAIN_S = (0.05, 0.3)


class GatewayService(pura_pb2_grpc.GatewayServicer):
    """`clients` is None on a loopback connection without TLS: then anybody there may do everything."""

    def __init__(
        self,
        backend: GatewayBackend,
        pk: PublicKey,
        params: Params,
        link: PeerLink,
        calls: Calls,
        clients: ClientList | None,
        questions: Questions,
        limits: Limits,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._backend = backend
        self._pk = pk
        self._params = params
        self._link = link
        self._calls = calls
        self._clients = clients
        self._questions = questions
        self._limits = limits
        self._has_room = has_room
        self._started = time.monotonic()
        self._template_bytes = template_bytes(pk, params)
        self._running: set[asyncio.Future[Any]] = set()
        self.asking = Admission(limits.at_once, limits.waiting, limits.per_client)
        self.changing = Admission(1, limits.changes_waiting)

    # --- what anybody in the list may know ------------------------------------------------------

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoReply:
        """The parameters of the collection; the threshold only as a part of their hash."""

        async def work(call: Call) -> pb.InfoReply:
            self._authenticate(call, None)
            p = self._params
            return pb.InfoReply(
                protocol=PROTOCOL_VERSION,
                key_id=p.key_id,
                engine=p.engine,
                dimension=p.dimension,
                scale=p.scale,
                metric=p.metric,
                radius=p.radius,
                sigma=p.sigma,
                n_bits=p.n_bits,
                embedder=p.embedder,
                top_k=p.top_k,
                agreement=p.agreement,
            )

        return await self._calls.answer("Info", context, work)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusReply:
        """How the servers are."""

        async def work(call: Call) -> pb.StatusReply:
            self._authenticate(call, None)
            levels = dict(self._backend.levels())
            return pb.StatusReply(
                version=own_version(),
                peer_ready=self._link.state is State.READY,
                entries=int(levels.get("entries", 0)),
                engine=self._params.engine,
                uptime_s=int(time.monotonic() - self._started),
                levels=levels,
            )

        return await self._calls.answer("Status", context, work)

    async def Roster(self, request: pb.RosterRequest, context: Context) -> AsyncIterator[pb.RosterPage]:
        """Every entry, in pages; or that nothing has changed since the client asked last."""

        def read() -> tuple[bytes, list[tuple[Handle, bytes]]]:
            # the version first: a change in between makes the client ask again, and never keep an old roster
            version = self._backend.roster_version()
            return version, [] if version == request.known else self._backend.roster()

        async def work(call: Call) -> tuple[bytes, list[tuple[Handle, bytes]]]:
            self._authenticate(call, None)
            return await asyncio.to_thread(read)

        version, rows = await self._calls.answer("Roster", context, work)
        if not rows:
            yield pb.RosterPage(version=version, unchanged=version == request.known)
        for i in range(0, len(rows), ROSTER_PAGE):
            entries = [pb.RosterEntry(handle=handle, label=label) for handle, label in rows[i : i + ROSTER_PAGE]]
            yield pb.RosterPage(entries=entries, version=version)

    # --- questions ------------------------------------------------------------------------------

    async def Identify(self, request: pb.IdentifyRequest, context: Context) -> pb.AnswerReply:
        """1:N over the whole gallery."""

        async def work(call: Call) -> pb.AnswerReply:
            return await self._question(call, request.query, self._backend.identify)

        return await self._calls.answer("Identify", context, work)

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> pb.AnswerReply:
        """1:1, or 1:few."""

        async def work(call: Call) -> pb.AnswerReply:
            handles = _handles(request.handles)
            if not handles or NOBODY in handles:
                raise UnknownEntry()
            return await self._question(call, request.query, lambda query: self._backend.verify(query, handles))

        return await self._calls.answer("Verify", context, work)

    async def _question(self, call: Call, query: pb.Query, begin: Callable[[Query], Rounds[Answer]]) -> pb.AnswerReply:
        client = self._authenticate(call, May.ASK)
        self._check_query(query)
        async with self.asking.place(client):
            await self._link.ready()
            request = RequestId(query.request_id)
            await asyncio.to_thread(self._questions.admit, client, request)
            asked = Query(request, query.ciphertexts, query.seal_key, query.mask)
            waits = time.monotonic()
            async with self.asking.turn():
                call.waited_s = time.monotonic() - waits
                seconds = min(self._limits.question_s, call.context.time_remaining() or self._limits.question_s)
                answer = await _within(seconds, self._answer(call, lambda: begin(asked), seconds))
        return pb.AnswerReply(share=answer.share, sealed=answer.sealed, opened=answer.opened)

    async def _answer(self, call: Call, begin: Callable[[], Rounds[Answer]], seconds: float) -> Answer:
        """Begin again when the two servers were just settling something: the client cannot ask twice."""
        for pause in _AGAIN_S:
            try:
                return await self._link.ask(begin(), call.tally, seconds)
            except (NotReady, MaterialUsed):
                await asyncio.sleep(pause)
        return await self._link.ask(begin(), call.tally, seconds)

    def _check_query(self, query: pb.Query) -> None:
        """Everything that can be told from a query's lengths."""
        self._check_key(query.key_id)
        if len(query.request_id) != REQUEST_ID_BYTES:
            raise MalformedMessage(f"a request id has {REQUEST_ID_BYTES} bytes")
        if len(query.ciphertexts) != self._template_bytes:
            raise MalformedCiphertext("the template does not have the length that this collection takes")
        packed = self._params.engine is Engine.PACKED
        if len(query.seal_key) != (SEAL_KEY_BYTES if packed else 0):
            raise MalformedMessage("the one-time key does not have the length that this collection takes")
        if len(query.mask) != (0 if packed else self._pk.ciphertext_bytes):
            raise MalformedCiphertext("the mask does not have the length that this collection takes")

    # --- changes --------------------------------------------------------------------------------

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollReply:
        """Enrol a batch. Goes on to its end even if the client goes away: it will ask again under the same ids."""

        async def work(call: Call) -> pb.EnrollReply:
            client = self._authenticate(call, May.ENROL)
            self._check_key(request.key_id)
            self._check_batch(request.enrolments)
            items = [
                NewEntry(EnrolmentId(one.enrolment_id), client, one.label, one.ciphertexts)
                for one in request.enrolments
            ]
            call.notes["batch"] = len(items)
            if not items:
                return pb.EnrollReply()
            if not await asyncio.to_thread(self._has_room):
                raise StorageFull()
            outcomes = await self._change(call, self._backend.enroll(items))
            call.notes["refused"] = sum(isinstance(outcome, PuraError) for outcome in outcomes)
            return pb.EnrollReply(
                outcomes=[_outcome(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]
            )

        return await self._calls.answer("Enroll", context, work)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetReply:
        """Erase entries; those that are not there count as erased."""

        async def work(call: Call) -> pb.ForgetReply:
            self._authenticate(call, May.ENROL)
            handles = [handle for handle in _handles(request.handles) if handle != NOBODY]
            if not handles:
                return pb.ForgetReply()
            call.notes["removed"] = removed = await self._change(call, self._backend.forget(handles))
            return pb.ForgetReply(removed=removed)

        return await self._calls.answer("Forget", context, work)

    async def _change(self, call: Call, party: Rounds[T]) -> T:
        """A change that was begun is carried to its end: a half one would have to be settled."""
        waits = time.monotonic()

        async def carry_out() -> T:
            async with self.changing.place(), self.changing.turn():
                call.waited_s = time.monotonic() - waits
                seconds = self._limits.change_s
                return await _within(seconds, self._link.change(party, call.tally, seconds))

        await self._link.ready()
        running = asyncio.ensure_future(carry_out())
        self._running.add(running)
        running.add_done_callback(self._forget_running)
        return await asyncio.shield(running)

    def _forget_running(self, running: asyncio.Future[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # the client may be gone: somebody has to look at it

    async def changed(self, seconds: float) -> None:
        """Wait until changes whose clients went away are through."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def _check_batch(self, enrolments: Sequence[pb.Enrolment]) -> None:
        if len(enrolments) > self._limits.batch:
            raise OutOfRange(f"one request may enrol {self._limits.batch} at most")
        if any(len(one.enrolment_id) != ENROLMENT_ID_BYTES for one in enrolments):
            raise MalformedMessage(f"an enrolment id has {ENROLMENT_ID_BYTES} bytes")

    # --- common ---------------------------------------------------------------------------------

    def _authenticate(self, call: Call, may: May | None) -> ClientId:
        client = INSECURE_CLIENT if self._clients is None else self._clients.find(caller(call.context), may)
        call.notes["client"] = client
        return client

    def _check_key(self, key_id: bytes) -> None:
        if key_id != self._params.key_id:
            raise WrongKey()


def template_bytes(pk: PublicKey, params: Params) -> int:
    """The length of an encrypted template: row-packed, or one ciphertext a coordinate."""
    count = RowLayout.of(params).ciphertexts if params.engine is Engine.PACKED else params.dimension
    return count * pk.ciphertext_bytes


def own_version() -> str:
    """The version of this installation."""
    try:
        return version("pura")
    except PackageNotFoundError:
        return "unknown"


async def _within(seconds: float, work: Coroutine[object, object, T]) -> T:
    """The result of `work`, which is stopped when its time is over. Raises `PeerUnavailable` then."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise PeerUnavailable("this took longer than allowed; try again", detail="deadline") from None


def _handles(handles: Sequence[int]) -> list[Handle]:
    if len(handles) > MAX_HANDLES:
        raise OutOfRange(f"one request may name {MAX_HANDLES} entries at most")
    return [Handle(handle) for handle in handles]


def _outcome(item: NewEntry, outcome: Handle | PuraError) -> pb.EnrollOutcome:
    if isinstance(outcome, PuraError):
        return pb.EnrollOutcome(enrolment_id=item.enrolment_id, error_code=outcome.code, error_message=str(outcome))
    return pb.EnrollOutcome(enrolment_id=item.enrolment_id, handle=outcome)
