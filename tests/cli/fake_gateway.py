"""A gateway in one process that knows both shares: it answers as two servers would, by decrypting everything."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from pura.crypto.encoding import RowLayout, Template, distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.seal import seal
from pura.crypto.threshold import combine_many
from pura.errors import InvalidTemplate, PuraError
from pura.ids import Engine
from pura.params import PROTOCOL_VERSION, Params, tau_from_cosine
from pura.protocols.published.identify import answer_bytes
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_client import ClientConfig

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
DIMENSION = 8
LABEL_KEY = "07" * 32


@dataclasses.dataclass
class Fault:
    """Fail the next `times` calls of one method with a status and, perhaps, a code."""

    method: str
    status: grpc.StatusCode
    code: str | None = None
    times: int = 1


class FakeGateway(pura_pb2_grpc.GatewayServicer):
    """Remembers every request, so that a test can look at what a server gets to see."""

    def __init__(self, top_k: int = 1, engine: Engine = Engine.PACKED) -> None:
        self.pk = load_public(KEYS / "public.key")
        self.shares = [load_share(KEYS / name, self.pk) for name in ("s1.share", "s2.share")]
        self.params = Params(
            self.pk.key_id,
            self.pk.n_bits,
            engine,
            dimension=DIMENSION,
            tau=tau_from_cosine(0.5, 512),
            top_k=top_k,
            embedder="none",
        )
        self.rng = SeededRng("fake gateway")
        self.entries: dict[int, tuple[bytes, Template]] = {}
        self.done: dict[bytes, int] = {}
        self.calls: list[tuple[str, object]] = []
        self.faults: list[Fault] = []
        self.peer_ready = True

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

    def _open(self, ciphertexts: bytes, count: int) -> list[int]:
        cs = self.pk.load_many(ciphertexts, count)
        u1, u2 = (share.partial_decrypt_many(self.pk, cs) for share in self.shares)
        return combine_many(self.pk, cs, u1, u2)

    def _decrypt(self, ciphertexts: bytes) -> Template:
        if self.params.engine is Engine.PUBLISHED:
            return np.array(self._open(ciphertexts, DIMENSION))
        layout = RowLayout.of(self.params)
        return np.array(layout.unpack(self._open(ciphertexts, layout.ciphertexts))) - self.params.scale

    def Info(self, request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.InfoReply:
        self._called("Info", request, context)
        p = self.params
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

    def Enroll(self, request: pb.EnrollRequest, context: grpc.ServicerContext) -> pb.EnrollReply:
        outcomes = []
        for item in request.enrolments:
            try:
                if item.enrolment_id not in self.done:
                    template = self._decrypt(item.ciphertexts)
                    if template.sum() == self.params.scale:  # a way for tests to have one entry refused
                        raise InvalidTemplate()
                    handle = self.rng.bits(63) + 1
                    self.entries[handle] = item.label, template
                    self.done[item.enrolment_id] = handle
                outcomes.append(pb.EnrollOutcome(enrolment_id=item.enrolment_id, handle=self.done[item.enrolment_id]))
            except PuraError as error:
                outcomes.append(
                    pb.EnrollOutcome(enrolment_id=item.enrolment_id, error_code=error.code, error_message=str(error))
                )
        self._called("Enroll", request, context)  # after the work: a lost answer, not a lost request
        return pb.EnrollReply(outcomes=outcomes)

    def _answer(self, query: pb.Query, handles: list[int]) -> pb.AnswerReply:
        x = self._decrypt(query.ciphertexts)
        near = {handle: int(distance2(x, self.entries[handle][1][None])[0]) for handle in handles}
        found = sorted((h for h in near if near[h] <= self.params.tau), key=near.__getitem__)[: self.params.top_k]
        found += [0] * (self.params.top_k - len(found))
        if self.params.engine is Engine.PUBLISHED:
            (mask,) = self._open(query.mask, 1)
            return pb.AnswerReply(opened=(found[0] + mask).to_bytes(answer_bytes(self.params), "big"))
        plain = b"".join(handle.to_bytes(8, "big") for handle in found)
        share = self.rng.bytes(len(plain))
        other = bytes(a ^ b for a, b in zip(plain, share, strict=True))
        return pb.AnswerReply(share=share, sealed=seal(query.seal_key, other, query.request_id, self.rng))

    def Identify(self, request: pb.IdentifyRequest, context: grpc.ServicerContext) -> pb.AnswerReply:
        self._called("Identify", request, context)
        return self._answer(request.query, list(self.entries))

    def Verify(self, request: pb.VerifyRequest, context: grpc.ServicerContext) -> pb.AnswerReply:
        self._called("Verify", request, context)
        return self._answer(request.query, list(request.handles))

    def Forget(self, request: pb.ForgetRequest, context: grpc.ServicerContext) -> pb.ForgetReply:
        self._called("Forget", request, context)
        return pb.ForgetReply(removed=sum(self.entries.pop(handle, None) is not None for handle in request.handles))

    def Roster(self, request: pb.RosterRequest, context: grpc.ServicerContext) -> Iterator[pb.RosterPage]:
        self._called("Roster", request, context)
        version = hashlib.sha256(repr(sorted(self.entries)).encode()).digest()
        if request.known == version:
            yield pb.RosterPage(version=version, unchanged=True)
            return
        for handle, (label, _) in self.entries.items():
            yield pb.RosterPage(entries=[pb.RosterEntry(handle=handle, label=label)], version=version)

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusReply:
        self._called("Status", request, context)
        return pb.StatusReply(
            version="0", peer_ready=self.peer_ready, entries=len(self.entries), engine="packed", levels={"triples": 7.0}
        )


@contextmanager
def serve(gateway: FakeGateway) -> Iterator[ClientConfig]:
    """The gateway on a free port of this machine, without TLS."""
    server = grpc.server(ThreadPoolExecutor(4))
    pura_pb2_grpc.add_GatewayServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield ClientConfig(server=f"127.0.0.1:{port}", public_key=KEYS / "public.key", label_key=LABEL_KEY)
    finally:
        server.stop(None).wait()


def client_toml(config: ClientConfig) -> str:
    """The text of a client.toml for `config`."""
    return f'server = "{config.server}"\npublic_key = "{config.public_key}"\nlabel_key = "{LABEL_KEY}"\n'


def person(index: int) -> np.ndarray:
    """A unit embedding unlike all others; two of them sum to scale only where the fake refuses them on purpose."""
    e = np.zeros(DIMENSION, np.float32)
    e[index], e[(index + 1) % DIMENSION] = 0.8, -0.6
    return e
