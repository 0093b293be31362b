"""A gateway in one process that knows both shares: it answers as two servers would, by decrypting everything."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from pura.crypto.context import NO_CERTIFICATE, label_hash, question_hash
from pura.crypto.encoding import Template, distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.seal import seal
from pura.crypto.sign import SigningKey
from pura.crypto.threshold import combine_many
from pura.errors import BudgetSpent, EnrolmentConflict, InvalidTemplate, LabelConflict, PuraError
from pura.groups import Right
from pura.ids import ClientId, Engine, EnrolmentId, Handle
from pura.params import PROTOCOL_VERSION, Params, tau_from_cosine
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import digits_of
from pura.protocols.published.identify import answer_bytes
from pura.roster import Changes, Listed, Roster
from pura.statements import Signer
from pura.transport.options import PATIENT
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_client import ClientConfig
from pura_client.config import Pins
from pura_server.claims import Examiner, Gate
from pura_server.epochs import Epochs
from pura_server.groups import GroupBook
from pura_server.listing import one_page, pages
from pura_server.requests import entry_of, labels_of, order_of, question_of

KEYS = Path(__file__).parents[1] / "fixtures"
DIMENSION = 8
GROUP = KEYS / "test-group"
LABEL_KEY = "07" * 32
DAY_S = 86_400


@dataclasses.dataclass
class Fault:
    """Fail the next `times` calls of one method with a status and, perhaps, a code."""

    method: str
    status: grpc.StatusCode
    code: str | None = None
    times: int = 1


class FakeGateway(pura_pb2_grpc.GatewayServicer):
    """Remembers every request, so that a test can look at what a server gets to see."""

    def __init__(self, top_k: int = 1, engine: Engine = Engine.PREPARED) -> None:
        self.keys = KEYS / ("test-keys-2048" if engine is Engine.PREPARED else f"test-keys-2048-{engine.value}")
        self.pk = load_public(self.keys / "public.key")
        self.shares = [load_share(self.keys / name, self.pk) for name in ("s1.share", "s2.share")]
        self.levels = {"triples": 7.0}
        self.params = Params(
            self.pk.key_id,
            self.pk.n_bits,
            self.pk.engine,
            dimension=DIMENSION,
            tau_verify=tau_from_cosine(0.5, 512),
            tau_identify=tau_from_cosine(0.5, 512),
            top_k=top_k,
            embedder="none",
        )
        self.rng = SeededRng("fake gateway")
        self.entries: dict[int, tuple[Listed, Template]] = {}
        self.roster = Roster()
        self.log: list[tuple[list[Listed], list[Handle]]] = []
        """What each generation added and removed."""
        self.signer = Signer(SigningKey.new(SeededRng("s2")), self.pk.key_id)
        self.done: dict[bytes, tuple[Handle, bytes]] = {}
        """By enrolment id: the entry, and what it stands for."""
        self.calls: list[tuple[str, object]] = []
        self.faults: list[Fault] = []
        self.peer_ready = True
        self.enrolments: int | None = None
        """How many more it takes; None for any number."""
        self.now = 0.0
        self.epochs = Epochs(self.rng, lambda: self.now)
        self.answers_at: int | None = None
        """The generation that answers are about, if it is not the latest."""
        self.hashes: dict[bytes, bytes] = {}
        """H(question) by request id."""
        self.batch = 64
        self.encloses = True
        """Whether changes of the roster come with answers."""

    def config(self, address: str) -> ClientConfig:
        """A client's, which pins what this gateway is now."""
        p = self.params
        return ClientConfig(
            server=address,
            public_key=self.keys / "public.key",
            label_key=LABEL_KEY,
            group={right.value: GROUP / f"group-{right}.key" for right in Right},
            s2_key=self.signer.key.public.hex(),
            collection=Pins(key_id=p.key_id.hex(), dimension=p.dimension, scale=p.scale, embedder=p.embedder),
        )

    def names(self) -> list[str]:
        """The methods called, in order."""
        return [name for name, _ in self.calls]

    def _called(self, name: str, request: object, context: grpc.ServicerContext) -> None:
        self.calls.append((name, request))
        for fault in self.faults:
            if fault.method == name and fault.times:
                fault.times -= 1
                context.set_trailing_metadata([("pura-code", fault.code)] if fault.code else [])
                context.abort(fault.status, "told to fail")

    @property
    def proves(self) -> bool:
        return self.params.engine is not Engine.PUBLISHED

    def _gate(self) -> Gate:
        examiner = Examiner(self.pk, self.params, self._pieces())
        return Gate(examiner, self.epochs, GroupBook(GROUP / "groups.json"))

    def _pieces(self) -> int:
        return Sizes.of(self.params).pieces

    def _prove(self, context: grpc.ServicerContext, query: pb.Query, handles: list[Handle] | None) -> None:
        """As both servers do."""
        if not self.proves:
            return
        q = question_of(query, NO_CERTIFICATE)
        with refusing(context):
            proven = self._gate().question(q.ciphertexts, q.request_id, handles, q.seal_key, q.claim)
            self.hashes[q.request_id] = question_hash(proven.context, q.ciphertexts, q.claim.proof)

    def _open(self, ciphertexts: bytes, count: int) -> list[int]:
        cs = self.pk.load_many(ciphertexts, count)
        u1, u2 = (share.partial_decrypt_many(self.pk, cs) for share in self.shares)
        return combine_many(self.pk, cs, u1, u2)

    def _decrypt(self, ciphertexts: bytes) -> Template:
        if self.params.engine is Engine.PUBLISHED:
            return np.array(self._open(ciphertexts, DIMENSION))
        opened = [value % int(self.pk.n) for value in self._open(ciphertexts, self._pieces())]
        return digits_of(Sizes.of(self.params), opened).astype(np.int64) - self.params.scale

    def Info(self, request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.InfoReply:
        self._called("Info", request, context)
        p = self.params
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
            collection=self.pk.collection,
            epoch=self.epochs.current() if self.proves else b"",
            batch=self.batch,
        )

    def Enroll(self, request: pb.EnrollRequest, context: grpc.ServicerContext) -> pb.EnrollReply:
        outcomes = []
        for item in request.enrolments:
            try:
                if item.enrolment_id not in self.done:
                    if self.enrolments == 0:
                        raise BudgetSpent()
                    if self.proves:
                        e = entry_of(item, request.epoch, ClientId("fake"), NO_CERTIFICATE, request.group)
                        self._gate().enrolment(e.ciphertexts, e.enrolment_id, e.label, e.claim, e.keep_days)
                    template = self._decrypt(item.ciphertexts)
                    if template.sum() == self.params.scale:  # a way for tests to have one entry refused
                        raise InvalidTemplate()
                    handle = Handle(self.rng.bits(63) + 1)
                    listed = Listed(handle, EnrolmentId(item.enrolment_id), item.label, item.keep_days * DAY_S)
                    self.entries[handle] = listed, template
                    self.commit([listed], [])
                    self.enrolments = None if self.enrolments is None else self.enrolments - 1
                    self.done[item.enrolment_id] = handle, item.label + item.ciphertexts
                handle, meaning = self.done[item.enrolment_id]
                if meaning != item.label + item.ciphertexts:
                    raise EnrolmentConflict()
                outcomes.append(self._enrolled(EnrolmentId(item.enrolment_id), handle))
            except PuraError as error:
                outcomes.append(
                    pb.EnrollOutcome(enrolment_id=item.enrolment_id, error_code=error.code, error_message=str(error))
                )
        self._called("Enroll", request, context)  # after the work: a lost answer, not a lost request
        return pb.EnrollReply(outcomes=outcomes)

    def _enrolled(self, enrolment_id: EnrolmentId, handle: Handle) -> pb.EnrollOutcome:
        now = len(self.log)
        signature = self.signer.enrolled(now, enrolment_id, handle) if self.proves else b""
        return pb.EnrollOutcome(enrolment_id=enrolment_id, handle=handle, generation=now, signature=signature)

    def _answer(self, query: pb.Query, handles: list[int]) -> pb.AnswerReply:
        x = self._decrypt(query.ciphertexts)
        near = {handle: int(distance2(x, self.entries[handle][1][None])[0]) for handle in handles}
        found = sorted((h for h in near if near[h] <= self.params.tau_identify), key=near.__getitem__)[
            : self.params.top_k
        ]
        found += [0] * (self.params.top_k - len(found))
        if self.params.engine is Engine.PUBLISHED:
            (mask,) = self._open(query.mask, 1)
            return pb.AnswerReply(opened=(found[0] + mask).to_bytes(answer_bytes(self.params), "big"))
        plain = b"".join(handle.to_bytes(8, "big") for handle in found)
        share = self.rng.bytes(len(plain))
        other = bytes(a ^ b for a, b in zip(plain, share, strict=True))
        now = len(self.log) if self.answers_at is None else self.answers_at
        text = self.signer.answer_text(self.hashes.get(query.request_id, b""), other, now)
        return pb.AnswerReply(share=share, sealed=seal(query.seal_key, text, query.request_id, self.rng))

    def Identify(self, request: pb.IdentifyRequest, context: grpc.ServicerContext) -> pb.AnswerReply:
        self._called("Identify", request, context)
        self._prove(context, request.query, None)
        return self._enclose(self._answer(request.query, list(self.entries)), request.since)

    def Verify(self, request: pb.VerifyRequest, context: grpc.ServicerContext) -> pb.AnswerReply:
        self._called("Verify", request, context)
        self._prove(context, request.query, [Handle(handle) for handle in request.handles])
        return self._enclose(self._answer(request.query, list(request.handles)), request.since)

    def _enclose(self, reply: pb.AnswerReply, since: int) -> pb.AnswerReply:
        if since and self.encloses and (page := one_page(self.changes(since))) is not None:
            reply.roster.CopyFrom(page)
        return reply

    def Forget(self, request: pb.ForgetRequest, context: grpc.ServicerContext) -> pb.ForgetReply:
        self._called("Forget", request, context)
        handles = [Handle(handle) for handle in request.handles]
        if self.proves:
            with refusing(context):
                self._gate().erasure(handles, len(handles), order_of(request, NO_CERTIFICATE))
        return self._forgotten(handles)

    def _forgotten(self, handles: Sequence[Handle]) -> pb.ForgetReply:
        removed, now = self.erase(handles), len(self.log)
        signature = self.signer.erased(now, handles) if self.proves else b""
        return pb.ForgetReply(removed=removed, generation=now, signature=signature)

    def Relabel(self, request: pb.RelabelRequest, context: grpc.ServicerContext) -> pb.RelabelReply:
        wanted = labels_of(request)
        there = [one for one in wanted if one.handle in self.entries]
        with refusing(context):
            if self.proves:
                self._gate().relabelling(wanted, len(there), order_of(request, NO_CERTIFICATE))
            for one in there:
                label = self.entries[one.handle][0].label
                if label != one.label and label_hash(label) != one.before:
                    raise LabelConflict()
                if label != one.label:
                    self.rename(one.handle, one.label)
        self._called("Relabel", request, context)  # after the work: a lost answer, not a lost request
        return pb.RelabelReply(relabelled=len(there))

    def rename(self, handle: Handle, label: bytes) -> None:
        """As somebody else's relabel would."""
        listed, template = self.entries[handle]
        renamed = dataclasses.replace(listed, label=label)
        self.entries[handle] = renamed, template
        self.commit([renamed], [])

    def erase(self, handles: Sequence[Handle]) -> int:
        """As somebody else's forget would."""
        gone = [handle for handle in handles if self.entries.pop(handle, None) is not None]
        if gone:
            self.commit([], gone)
            self.done = {name: done for name, done in self.done.items() if done[0] not in gone}
        return len(gone)

    def commit(self, adds: Sequence[Listed], removes: Sequence[Handle]) -> None:
        """One more generation."""
        self.roster.remove(removes)
        self.roster.add(adds)
        self.log.append((list(adds), list(removes)))

    def restore(self, generation: int) -> None:
        """As from a backup of that time."""
        log, self.log, self.roster = self.log[:generation], [], Roster()
        for adds, removes in log:
            self.commit(adds, removes)
        self.entries = {one.handle: self.entries[one.handle] for one in self.roster}
        self.done = {name: known for name, known in self.done.items() if known[0] in self.entries}

    def changes(self, since: int) -> Changes:
        """What an honest S1 hands out."""
        now = len(self.log)
        full = not 0 < since <= now
        entries = list(self.roster) if full else [one for adds, _ in self.log[since:] for one in adds]
        removed = [handle for _, removes in self.log[0 if full else since :] for handle in removes]
        entries = [one for one in entries if one.handle not in removed]
        if self.params.engine is Engine.PUBLISHED:
            return Changes(now, full, entries, removed, b"", b"")
        digest = self.roster.digest()
        return Changes(now, full, entries, removed, digest, self.signer.roster(now, digest))

    def Roster(self, request: pb.RosterRequest, context: grpc.ServicerContext) -> Iterator[pb.RosterPage]:
        self._called("Roster", request, context)
        yield from pages(self.changes(request.since))

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusReply:
        self._called("Status", request, context)
        return pb.StatusReply(
            version="0",
            peer_ready=self.peer_ready,
            entries=len(self.entries),
            engine="prepared",
            levels=self.levels,
        )


@contextmanager
def refusing(context: grpc.ServicerContext) -> Iterator[None]:
    """As servers tell a client about an error."""
    try:
        yield
    except PuraError as error:
        context.set_trailing_metadata([("pura-code", error.code)])
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


@contextmanager
def serve(
    gateway: FakeGateway, credentials: grpc.ServerCredentials | None = None, at_once: int = 4
) -> Iterator[ClientConfig]:
    """The gateway on a free port of this machine, without TLS if there are no credentials; it answers so many calls
    `at_once`, and knows nothing of threads itself."""
    server = grpc.server(ThreadPoolExecutor(at_once), options=PATIENT)
    pura_pb2_grpc.add_GatewayServicer_to_server(gateway, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield gateway.config(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


def client_toml(config: ClientConfig) -> str:
    """The text of a client.toml for `config`."""
    pins = config.pins()
    return (
        f'server = "{config.server}"\npublic_key = "{config.public_key}"\nlabel_key = "{LABEL_KEY}"\n'
        f's2_key = "{config.s2_key}"\n[collection]\nkey_id = "{pins.key_id}"\ndimension = {pins.dimension}\n'
        f'scale = {pins.scale}\nembedder = "{pins.embedder}"\n[group]\n'
        + "".join(f'{right} = "{GROUP}/group-{right}.key"\n' for right in Right)
    )


def person(index: int) -> np.ndarray:
    """A unit embedding unlike all others; two of them sum to scale only where the fake refuses them on purpose."""
    e = np.zeros(DIMENSION, np.float32)
    e[index], e[(index + 1) % DIMENSION] = 0.8, -0.6
    return e
