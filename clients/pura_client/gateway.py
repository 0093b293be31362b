"""The calls on S1 with deadlines, retries and typed errors; nothing here knows what is in them."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from pura.errors import (
    BadConfig,
    NotAuthorised,
    NotReady,
    Overloaded,
    PeerUnavailable,
    ProtocolError,
    PuraError,
    Replayed,
    from_code,
)
from pura.ids import EnrolmentId, Epoch, Handle
from pura.roster import Changes, Listed
from pura.transport.options import ALIVE, through
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import trace
from pura_client.config import ClientConfig

CODE_KEY = "pura-code"
"""The trailing metadata in which a server names its error."""

SHORT_DEADLINE_S = 15.0
"""For calls that do no arithmetic."""

_ATTEMPTS = 5
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
_AWAY = (NotReady, PeerUnavailable)
_PASSING = (Overloaded, *_AWAY)
_WITHOUT_CODE: dict[grpc.StatusCode, tuple[type[PuraError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (PeerUnavailable, "the server cannot be reached"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (PeerUnavailable, "the server did not answer in time"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "the server refused the message: too busy, or it is too large"),
    grpc.StatusCode.UNAUTHENTICATED: (NotAuthorised, NotAuthorised.hint),
    grpc.StatusCode.PERMISSION_DENIED: (NotAuthorised, NotAuthorised.hint),
}

Interceptor = grpc.UnaryUnaryClientInterceptor | grpc.UnaryStreamClientInterceptor
_CALLS = (grpc.Call, grpc.aio.AioRpcError)
"""Errors that a server, or the connection, gave: both kinds of channel."""
_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)


def typed(error: grpc.RpcError) -> PuraError:
    """The error that the server named in its trailing metadata; by the status code when it named none."""
    if not isinstance(error, _CALLS):
        return PeerUnavailable("the call failed", detail=type(error).__name__)
    code = _code(error)
    if code is not None:
        return from_code(code, error.details() or "")
    kind, message = _WITHOUT_CODE.get(error.code(), (ProtocolError, "the server failed to answer"))
    return kind(message, detail=f"{error.code().name}: {error.details()}")


def _code(error: grpc.Call | grpc.aio.AioRpcError) -> str | None:
    for key, value in error.trailing_metadata() or ():
        if key == CODE_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return None


def changes_of(pages: Sequence[pb.RosterPage]) -> Changes:
    """A roster, or changes of one, as they came."""
    first = pages[0] if pages else pb.RosterPage()
    entries = [
        Listed(Handle(one.handle), EnrolmentId(one.enrolment_id), one.label, one.expires)
        for page in pages
        for one in page.entries
    ]
    removed = [Handle(handle) for page in pages for handle in page.removed]
    return Changes(first.generation, first.full, entries, removed, first.digest, first.signature)


def open_channel(config: ClientConfig, *, insecure: bool) -> grpc.Channel:
    """mTLS with the files that the configuration names; plaintext only on loopback and only when asked for.

    Raises `BadConfig`.
    """
    credentials = credentials_of(config, insecure=insecure)
    if credentials is None:
        return grpc.insecure_channel(config.server, options=options_of(config))
    return grpc.secure_channel(config.server, credentials, options=options_of(config))


def options_of(config: ClientConfig) -> Sequence[tuple[str, str | int]]:
    """Of a channel, of either kind."""
    return [("grpc.max_receive_message_length", 16 << 20), *ALIVE, *through(config.proxy_used)]


def credentials_of(config: ClientConfig, *, insecure: bool) -> grpc.ChannelCredentials | None:
    """The files that the configuration names; None for plaintext. Raises `BadConfig`."""
    if insecure:
        if not config.is_loopback:
            raise BadConfig("a connection without TLS is allowed on this machine only")
        return None
    if config.ca is None or config.cert is None or config.key is None:
        raise BadConfig("the client needs ca, cert and key")
    return grpc.ssl_channel_credentials(_read(config.ca), _read(config.key), _read(config.cert))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error


def _counted(request: Message, call: Callable[[], _M], *, head: bytes = b"", questions: int = 0) -> _M:
    trace.add(sent=request.ByteSize(), head=head, questions=questions)
    with trace.stage("servers"):
        reply = call()
    trace.add(received=reply.ByteSize())
    return reply


@dataclasses.dataclass(frozen=True)
class Line:
    """How calls travel: a stub whose methods block, and what ends it."""

    stub: GatewayStub
    close: Callable[[], None]

    @classmethod
    def of(cls, channel: grpc.Channel, interceptors: Sequence[Interceptor] = ()) -> Line:
        """Over a channel of its own."""
        return cls(GatewayStub(grpc.intercept_channel(channel, *interceptors)), channel.close)


class Gateway:
    """One connection to S1. Whoever is away is waited for until the deadline; a question is answered once at most."""

    def __init__(
        self,
        line: Line,
        deadline_s: float,
        why: Callable[[], PuraError | None] = lambda: None,
    ) -> None:
        """`why` blocks for some seconds and says what keeps S1 from answering at all, if it finds something."""
        self._line = line
        self._deadline_s = deadline_s
        self._stub = line.stub
        self._why = why

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def info(self) -> pb.InfoReply:
        """The collection's parameters."""
        return self._repeat(lambda left: self._stub.Info(pb.InfoRequest(), timeout=min(left, SHORT_DEADLINE_S)))

    def epoch(self) -> Epoch:
        """S2's epoch now; waits for S2, without which there is none."""

        def asked(left: float) -> Epoch:
            epoch = self._stub.Info(pb.InfoRequest(), timeout=min(left, SHORT_DEADLINE_S)).epoch
            if not epoch:
                raise NotReady()
            return Epoch(epoch)

        return self._repeat(asked)

    def enroll(self, request: Callable[[], pb.EnrollRequest]) -> pb.EnrollReply:
        """Repeated under the same enrolment ids, which makes it safe; `request` is called for every copy, since no
        proof is taken twice. A server that is busy is waited for, too."""

        def call(left: float) -> pb.EnrollReply:
            made = request()
            head = made.enrolments[0].ciphertexts if made.enrolments else b""
            return _counted(made, lambda: self._stub.Enroll(made, timeout=left), head=head)

        return self._repeat(call, patient=True)

    def identify(self, request: pb.IdentifyRequest) -> pb.AnswerReply:
        """Not sent again once S1 has admitted it: a second copy would be a replay."""
        head = request.query.ciphertexts
        return self._ask(
            lambda left: _counted(request, lambda: self._stub.Identify(request, timeout=left), head=head, questions=1)
        )

    def verify(self, request: pb.VerifyRequest) -> pb.AnswerReply:
        """Not sent again once S1 has admitted it: a second copy would be a replay."""
        head = request.query.ciphertexts
        return self._ask(
            lambda left: _counted(request, lambda: self._stub.Verify(request, timeout=left), head=head, questions=1)
        )

    def forget(self, request: pb.ForgetRequest) -> pb.ForgetReply:
        """Erase entries; erasing twice is erasing."""
        return self._repeat(
            lambda left: _counted(request, lambda: self._stub.Forget(request, timeout=left)), patient=True
        )

    def relabel(self, request: pb.RelabelRequest) -> pb.RelabelReply:
        """Give entries other labels; what has its new label already has it."""
        return self._repeat(
            lambda left: _counted(request, lambda: self._stub.Relabel(request, timeout=left)), patient=True
        )

    def roster(self, since: int) -> Changes:
        """What has happened to the roster since a generation, 0 for none, or all of it; nothing of it is checked."""

        def whole(left: float) -> Changes:
            request = pb.RosterRequest(since=since)
            with trace.stage("roster"):
                pages = list(self._stub.Roster(request, timeout=left))
            trace.add(sent=request.ByteSize(), received=sum(page.ByteSize() for page in pages))
            return changes_of(pages)

        return self._repeat(whole)

    def status(self) -> pb.StatusReply:
        """How the servers are."""
        return self._repeat(lambda left: self._stub.Status(pb.StatusRequest(), timeout=min(left, SHORT_DEADLINE_S)))

    # --- once more --------------------------------------------------------------------------------

    def _repeat(
        self, call: Callable[[float], _T], passing: tuple[type[PuraError], ...] = _PASSING, *, patient: bool = False
    ) -> _T:
        """Attempts within the deadline, while what fails is something that passes; full jitter between them.

        `patient`: also a server that is busy is waited for to the end."""
        ends = time.monotonic() + self._deadline_s
        for attempt in itertools.count(1):
            try:
                return self._once(call, ends - time.monotonic())
            except passing as error:
                longest = min(_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                pause = secrets.SystemRandom().uniform(0, longest)
                tired = isinstance(error, Overloaded) and attempt == _ATTEMPTS and not patient
                if tired or time.monotonic() + pause >= ends:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _ask(self, call: Callable[[float], _T]) -> _T:
        """The same bytes again while nobody is there. If it is then a replay, an earlier copy had been admitted: it is
        spent, and what became of it is what is told."""
        lost: PuraError | None = None

        def attempt(left: float) -> _T | PuraError:
            nonlocal lost
            try:
                return self._once(call, left)
            except _AWAY as error:
                lost = error
                raise
            except Replayed:
                if lost is None:
                    raise
                return lost

        answer = self._repeat(attempt, _AWAY)
        if isinstance(answer, PuraError):
            raise answer
        return answer

    def _once(self, call: Callable[[float], _T], left: float) -> _T:
        try:
            return call(left)
        except grpc.RpcError as error:
            known = typed(error)
            if isinstance(error, _CALLS) and error.code() is grpc.StatusCode.UNAVAILABLE and _code(error) is None:
                known = self._why() or known
            raise known from error
