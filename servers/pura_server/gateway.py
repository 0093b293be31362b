"""S1's service for clients. Who asks, whether they may, and how much: all of it before any arithmetic."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from pura.crypto import proof
from pura.crypto.context import LABEL_HASH_BYTES, NO_CERTIFICATE, SALT_BYTES, NewLabel
from pura.crypto.paillier import PublicKey
from pura.crypto.sign import SIGNATURE_BYTES
from pura.errors import (
    BadProof,
    MalformedCiphertext,
    MalformedMessage,
    MaterialUsed,
    NotAuthorised,
    NotReady,
    OutOfRange,
    PeerUnavailable,
    PuraError,
    StaleEpoch,
    StorageFull,
    UnknownEntry,
    WrongKey,
)
from pura.face import curves
from pura.groups import GROUP_BYTES
from pura.ids import NOBODY, Engine, Handle
from pura.params import MOST_DAYS, PROTOCOL_VERSION, Params
from pura.protocols.prepared.sizes import Sizes
from pura.roster import Changes
from pura.rounds import Rounds
from pura.store.base import Store
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.audit import AuditLog
from pura_server.backend import Answer, GatewayBackend, Kind, NewEntry, Query
from pura_server.calls import Call, Calls, Context
from pura_server.claims import Order
from pura_server.config import Limits
from pura_server.credentials import INSECURE_CLIENT, ClientList, ClientRecord, May
from pura_server.endings import days_left
from pura_server.limits import Admission
from pura_server.link import PeerLink, State
from pura_server.listing import one_page, pages
from pura_server.outcomes import Voucher
from pura_server.questions import REQUEST_ID_BYTES, Questions
from pura_server.requests import entry_of, labels_of, order_of, question_of
from pura_server.tls import SHOWN_DIGITS, caller

T = TypeVar("T")

ENROLMENT_ID_BYTES = 16
SEAL_KEY_BYTES = 32
MAX_HANDLES = 4096
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
        store: Store,
        has_room: Callable[[], bool] = lambda: True,
        audit: AuditLog | None = None,
        certificates: Mapping[str, Callable[[], float]] | None = None,
    ) -> None:
        """`certificates`: when this server's own and the pinned one end, in seconds since 1970."""
        self._backend = backend
        self._pk = pk
        self._params = params
        self._link = link
        self._calls = calls
        self._clients = clients
        self._questions = questions
        self._limits = limits
        self._store = store
        self._has_room = has_room
        self._audit = audit
        self._certificates = certificates or {}
        self._started = time.monotonic()
        self._template_bytes = template_bytes(pk, params)
        proven = params.engine is not Engine.PUBLISHED
        self._proof_bytes = proof.Sizes.of(pk).proof(self._template_bytes // pk.ciphertext_bytes) if proven else 0
        self._running: set[asyncio.Future[Any]] = set()
        self.asking = Admission(limits.at_once, limits.waiting, limits.per_client)
        self.changing = Admission(1, limits.changes_waiting, limits.changes_per_client)

    # --- what anybody in the list may know ------------------------------------------------------

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoReply:
        """The parameters of the collection, and nothing of its policy but how many candidates there may be."""

        async def work(call: Call) -> pb.InfoReply:
            self._authenticate(call, None)
            p = self._params
            return pb.InfoReply(
                protocol=PROTOCOL_VERSION,
                key_id=p.key_id,
                engine=p.engine,
                dimension=p.dimension,
                scale=p.scale,
                n_bits=p.n_bits,
                embedder=p.embedder,
                top_k=p.top_k,
                storage=p.storage,
                collection=self._pk.collection,
                epoch=self._link.proof_epochs[0] if self._link.state is State.READY and self._proof_bytes else b"",
                batch=self._limits.batch,
            )

        return await self._calls.answer("Info", context, work)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusReply:
        """How the servers are."""

        async def work(call: Call) -> pb.StatusReply:
            self._authenticate(call, None)
            levels = dict(self._backend.levels())
            outgrown = curves.outgrown(self._params, int(levels.get("entries", 0)), self._limits.fpir)
            if outgrown is not None:
                levels["outgrown"] = float(outgrown)
            for name, ends in self._certificates.items():
                levels[f"{name}_certificate_days"] = float(math.floor(days_left(ends(), time.time())))
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
        """What has changed since the client asked last, or every entry."""

        async def work(call: Call) -> Changes:
            self._authenticate(call, None)
            for pause in _AGAIN_S:
                try:
                    return await asyncio.to_thread(self._backend.roster, request.since)
                except NotReady:  # a change was committed, and S2's signature is on its way
                    await asyncio.sleep(pause)
            return await asyncio.to_thread(self._backend.roster, request.since)

        for page in pages(await self._calls.answer("Roster", context, work)):
            yield page

    # --- questions ------------------------------------------------------------------------------

    async def Identify(self, request: pb.IdentifyRequest, context: Context) -> pb.AnswerReply:
        """1:N over the whole gallery."""

        async def work(call: Call) -> pb.AnswerReply:
            return await self._question(call, request, Kind.IDENTIFY, self._backend.identify)

        return await self._calls.answer("Identify", context, work)

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> pb.AnswerReply:
        """1:1, or 1:few."""

        async def work(call: Call) -> pb.AnswerReply:
            handles = _handles(request.handles)
            if not handles or NOBODY in handles:
                raise UnknownEntry()
            begin = lambda query: self._backend.verify(query, handles)  # noqa: E731
            return await self._question(call, request, Kind.VERIFY, begin)

        return await self._calls.answer("Verify", context, work)

    async def _question(
        self,
        call: Call,
        request: pb.IdentifyRequest | pb.VerifyRequest,
        kind: Kind,
        begin: Callable[[Query], Rounds[Answer]],
    ) -> pb.AnswerReply:
        query, since = request.query, request.since
        client = self._authenticate(call, May.ASK)
        self._check_query(query)
        async with self.asking.place(client.name):
            await self._link.ready()
            self._check_epoch(query.epoch)
            asked = question_of(query, self._certificate(call))
            await asyncio.to_thread(self._admit, call, client, kind, asked)
            waits = time.monotonic()
            async with self.asking.turn():
                call.waited_s = time.monotonic() - waits
                seconds = min(self._limits.question_s, call.context.time_remaining() or self._limits.question_s)
                try:
                    played = self._patiently(call, lambda: self._with_changes(begin(asked), since), seconds)
                    answer, roster = await _within(seconds, played)
                except StaleEpoch:  # S2 began one that this server had not heard of
                    await asyncio.to_thread(self._questions.give_back, client.name)
                    raise
        return pb.AnswerReply(share=answer.share, sealed=answer.sealed, opened=answer.opened, roster=roster)

    def _with_changes(self, party: Rounds[Answer], since: int) -> Rounds[tuple[Answer, pb.RosterPage | None]]:
        """An answer, and what has changed in the roster since: whoever asks a question asks for that, too. None for a
        client that has no roster, for what does not fit a page, and while a change is on its way."""
        answer = yield from party
        if since:
            with contextlib.suppress(NotReady):
                return answer, one_page(self._backend.roster(since))
        return answer, None

    async def _patiently(self, call: Call, begin: Callable[[], Rounds[T]], seconds: float) -> T:
        """Begin again when the two servers were just settling something: the client cannot ask a question twice."""
        for pause in _AGAIN_S:
            try:
                return await self._link.ask(begin(), call.tally, seconds)
            except (NotReady, MaterialUsed):
                await asyncio.sleep(pause)
        return await self._link.ask(begin(), call.tally, seconds)

    def _admit(self, call: Call, client: ClientRecord, kind: Kind, asked: Query) -> None:
        self._questions.admit(client.name, asked.request_id)
        self._write(call, client, kind)

    def _write(self, call: Call, client: ClientRecord, kind: Kind, **more: int) -> None:
        if self._audit is not None:
            self._audit.write(kind, call.number, client=client.name, **more)

    def _check_query(self, query: pb.Query) -> None:
        """Everything that can be told from a query's lengths."""
        self._check_key(query.key_id)
        if len(query.request_id) != REQUEST_ID_BYTES:
            raise MalformedMessage(f"a request id has {REQUEST_ID_BYTES} bytes")
        if len(query.ciphertexts) != self._template_bytes:
            raise MalformedCiphertext("the template does not have the length that this collection takes")
        sealed = self._params.engine is not Engine.PUBLISHED
        if len(query.seal_key) != (SEAL_KEY_BYTES if sealed else 0):
            raise MalformedMessage("the one-time key does not have the length that this collection takes")
        if len(query.mask) != (0 if sealed else self._pk.ciphertext_bytes):
            raise MalformedCiphertext("the mask does not have the length that this collection takes")
        self._check_claim(query.proof, query.salt)
        self._check_signed(query.group, query.signature)

    def _check_claim(self, shown: bytes, salt: bytes) -> None:
        if len(shown) != self._proof_bytes:
            raise BadProof(detail="length")
        self._check_salt(salt)

    def _check_salt(self, salt: bytes) -> None:
        if len(salt) != (SALT_BYTES if self._proof_bytes else 0):
            raise MalformedMessage("the salt does not have the length that this collection takes")

    def _check_signed(self, group: bytes, signature: bytes) -> None:
        """What the signature is worth, S2 decides: this server knows the client itself."""
        wanted = (GROUP_BYTES, SIGNATURE_BYTES) if self._proof_bytes else (0, 0)
        if (len(group), len(signature)) != wanted:
            raise MalformedMessage("the signature does not have the length that this collection takes")

    def _check_epoch(self, epoch: bytes) -> None:
        """Raises `StaleEpoch` for one that S2 would refuse, as far as this server knows; that costs nothing."""
        if self._proof_bytes and epoch not in self._link.proof_epochs:
            raise StaleEpoch()

    # --- changes --------------------------------------------------------------------------------

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollReply:
        """Enrol a batch. Goes on to its end even if the client goes away: it will ask again under the same ids."""

        async def work(call: Call) -> pb.EnrollReply:
            client = self._authenticate(call, May.ENROL)
            self._check_key(request.key_id)
            self._check_batch(request.enrolments, request.group)
            call.notes["batch"] = len(request.enrolments)
            if not request.enrolments:
                return pb.EnrollReply()
            await self._link.ready()
            self._check_epoch(request.epoch)
            shown = self._certificate(call)
            items = [entry_of(one, request.epoch, client.name, shown, request.group) for one in request.enrolments]
            if not await asyncio.to_thread(self._has_room):
                raise StorageFull()
            await asyncio.to_thread(self._write, call, client, Kind.ENROL, batch=len(items))
            outcomes = await self._change(call, client, lambda: self._enrolling(client, items))
            call.notes["refused"] = sum(isinstance(outcome, PuraError) for outcome in outcomes)
            return pb.EnrollReply(outcomes=await self._vouched(call, items, outcomes))

        return await self._calls.answer("Enroll", context, work)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetReply:
        """Erase entries; those that are not there count as erased."""

        async def work(call: Call) -> pb.ForgetReply:
            client = self._authenticate(call, May.ERASE)
            handles = [handle for handle in _handles(request.handles) if handle != NOBODY]
            if not handles:
                return pb.ForgetReply()
            self._check_order(request)
            await self._link.ready()
            self._check_epoch(request.epoch)
            order = order_of(request, self._certificate(call))
            await asyncio.to_thread(self._write, call, client, Kind.ERASE, batch=len(handles))
            removed = await self._change(call, client, lambda: self._erasing(client, handles, order))
            if isinstance(removed, PuraError):
                raise removed
            call.notes["removed"] = removed
            said = await self._patiently(call, lambda: self._backend.vouch_erased(handles), self._limits.change_s)
            return pb.ForgetReply(removed=removed, generation=said.generation, signature=said.signature)

        return await self._calls.answer("Forget", context, work)

    async def Relabel(self, request: pb.RelabelRequest, context: Context) -> pb.RelabelReply:
        """Give entries other labels, all or none."""

        async def work(call: Call) -> pb.RelabelReply:
            client = self._authenticate(call, May.ENROL)
            labels = labels_of(request)
            if len(labels) > self._limits.batch:
                raise OutOfRange(f"one request may give {self._limits.batch} entries other labels at most")
            if NOBODY in (one.handle for one in labels) or any(len(one.before) != LABEL_HASH_BYTES for one in labels):
                raise MalformedMessage("a new label names an entry, and the hash of the label that it has")
            self._check_order(request)
            if not labels:
                return pb.RelabelReply()
            await self._link.ready()
            self._check_epoch(request.epoch)
            order = order_of(request, self._certificate(call))
            await asyncio.to_thread(self._write, call, client, Kind.RELABEL, batch=len(labels))
            done = await self._change(call, client, lambda: self._relabelling(client, labels, order))
            if isinstance(done, PuraError):
                raise done
            call.notes["relabelled"] = done
            return pb.RelabelReply(relabelled=done)

        return await self._calls.answer("Relabel", context, work)

    def _check_order(self, request: pb.ForgetRequest | pb.RelabelRequest) -> None:
        if self._proof_bytes and len(request.request_id) != REQUEST_ID_BYTES:
            raise MalformedMessage(f"a request id has {REQUEST_ID_BYTES} bytes")
        self._check_salt(request.salt)
        self._check_signed(request.group, request.signature)

    async def _vouched(
        self, call: Call, items: Sequence[NewEntry], outcomes: Sequence[Handle | PuraError]
    ) -> list[pb.EnrollOutcome]:
        """The outcomes, with S2's word on each that succeeded."""
        handles = [one for one in outcomes if not isinstance(one, PuraError)]
        words: dict[Handle, Voucher | None] = {}
        if handles:
            asked = self._patiently(call, lambda: self._backend.vouch_enrolled(handles), self._limits.change_s)
            words = dict(zip(handles, await asked, strict=True))
        return [
            _refused(item, one) if isinstance(one, PuraError) else _enrolled(item, one, words[one])
            for item, one in zip(items, outcomes, strict=True)
        ]

    def _enrolling(self, client: ClientRecord, items: Sequence[NewEntry]) -> Rounds[list[Handle | PuraError]]:
        """Enrol what the client's budget allows. What is there already was asked for again, and costs nothing."""
        new = [i for i, item in enumerate(items) if self._store.by_enrolment_id(item.enrolment_id) is None]
        allowed, refused = self._questions.admit_enrolments(client.name, len(new))
        left_out = set(new[allowed:])
        done = yield from self._backend.enroll([x for i, x in enumerate(items) if i not in left_out])
        late = sum(isinstance(outcome, StaleEpoch) for outcome in done)
        if late:  # S2 began an epoch meanwhile
            self._questions.give_back_enrolments(client.name, late)
        outcomes = iter(done)
        return [refused if refused and i in left_out else next(outcomes) for i in range(len(items))]

    def _erasing(self, client: ClientRecord, handles: Sequence[Handle], order: Order) -> Rounds[int | PuraError]:
        """Erase entries. Raises `NotAuthorised` if the client may not erase one of them."""
        if self._others_too(client, handles):
            raise NotAuthorised(
                "another client enrolled some of these; this one may erase only its own. Nothing was erased",
                detail="may not erase-all",
            )
        return (yield from self._backend.forget(handles, order))

    def _relabelling(self, client: ClientRecord, labels: Sequence[NewLabel], order: Order) -> Rounds[int | PuraError]:
        """Give entries other labels. Raises `NotAuthorised` if the client may not do so with one of them."""
        if self._others_too(client, [one.handle for one in labels]):
            raise NotAuthorised(
                "another client enrolled some of these; this one may rename only its own. Nothing was renamed",
                detail="may not erase-all",
            )
        return (yield from self._backend.relabel(labels, order))

    def _others_too(self, client: ClientRecord, handles: Sequence[Handle]) -> bool:
        """Whether some of these are another client's, and this one may not do with them as it likes."""
        if May.ERASE_ALL in client.may:
            return False
        found = (self._store.by_handle(handle) for handle in handles)
        return any(entry is not None and entry.client != client.name for entry in found)

    async def _change(self, call: Call, client: ClientRecord, begin: Callable[[], Rounds[T]]) -> T:
        """A change that was begun is carried to its end: a half one would have to be settled."""
        waits = time.monotonic()

        def begins() -> None:  # changes of the background have been waited for, too
            call.waited_s = time.monotonic() - waits

        async def carry_out() -> T:
            async with self.changing.place(client.name), self.changing.turn():
                seconds = self._limits.change_s
                return await _within(seconds, self._link.change(begin(), call.tally, seconds, begins))

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

    def _check_batch(self, enrolments: Sequence[pb.Enrolment], group: bytes) -> None:
        if len(enrolments) > self._limits.batch:
            raise OutOfRange(f"one request may enrol {self._limits.batch} at most")
        if any(len(one.enrolment_id) != ENROLMENT_ID_BYTES for one in enrolments):
            raise MalformedMessage(f"an enrolment id has {ENROLMENT_ID_BYTES} bytes")
        for one in enrolments:
            self._check_claim(one.proof, one.salt)
            self._check_signed(group, one.signature)
            if one.keep_days > (MOST_DAYS if self._proof_bytes else 0):
                raise OutOfRange(f"an entry is kept for {MOST_DAYS} days at most, or until it is erased")

    # --- common ---------------------------------------------------------------------------------

    def _authenticate(self, call: Call, may: May | None) -> ClientRecord:
        if self._clients is None:
            record = INSECURE_CLIENT
        else:
            shown = caller()
            try:
                record = self._clients.find(shown, may)
            except NotAuthorised:
                call.notes["certificate"] = shown[:SHOWN_DIGITS]
                raise
        call.notes["client"] = record.name
        return record

    def _certificate(self, call: Call) -> bytes:
        """SHA-256 of the certificate that the caller showed; zeros where there is none."""
        return NO_CERTIFICATE if self._clients is None else bytes.fromhex(caller())

    def _check_key(self, key_id: bytes) -> None:
        if key_id != self._params.key_id:
            raise WrongKey()


def template_bytes(pk: PublicKey, params: Params) -> int:
    """The length of an encrypted template: in pieces, or one ciphertext a coordinate."""
    if params.engine is Engine.PREPARED:
        return Sizes.of(params).template_bytes
    return params.dimension * pk.ciphertext_bytes


def own_version() -> str:
    """The version of this installation."""
    try:
        return version("pura-match")
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


def _refused(item: NewEntry, error: PuraError) -> pb.EnrollOutcome:
    return pb.EnrollOutcome(enrolment_id=item.enrolment_id, error_code=error.code, error_message=str(error))


def _enrolled(item: NewEntry, handle: Handle, word: Voucher | None) -> pb.EnrollOutcome:
    if word is None:
        return _refused(item, UnknownEntry("the entry was erased meanwhile"))
    return pb.EnrollOutcome(
        enrolment_id=item.enrolment_id, handle=handle, generation=word.generation, signature=word.signature
    )
