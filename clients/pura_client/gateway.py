"""The calls on S1 with deadlines, retries and typed errors; nothing here knows what is in them."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc

from pura.errors import (
    BadConfig,
    NotAuthorised,
    NotReady,
    Overloaded,
    PeerUnavailable,
    ProtocolError,
    PuraError,
    from_code,
)
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client.config import ClientConfig

CODE_KEY = "pura-code"
"""The trailing metadata in which a server names its error."""

SHORT_DEADLINE_S = 15.0
"""For calls that do no arithmetic."""

_ATTEMPTS = 5
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
_PASSING = (Overloaded, NotReady, PeerUnavailable)
_WITHOUT_CODE: dict[grpc.StatusCode, tuple[type[PuraError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (PeerUnavailable, "the server cannot be reached, or refused this client's credential"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (PeerUnavailable, "the server did not answer in time"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "the server refused the message: too busy, or it is too large"),
    grpc.StatusCode.UNAUTHENTICATED: (NotAuthorised, NotAuthorised.hint),
    grpc.StatusCode.PERMISSION_DENIED: (NotAuthorised, NotAuthorised.hint),
}

Interceptor = grpc.UnaryUnaryClientInterceptor | grpc.UnaryStreamClientInterceptor
_T = TypeVar("_T")


def typed(error: grpc.RpcError) -> PuraError:
    """The error that the server named in its trailing metadata; by the status code when it named none."""
    if not isinstance(error, grpc.Call):
        return PeerUnavailable("the call failed", detail=type(error).__name__)
    for key, value in error.trailing_metadata() or ():
        if key == CODE_KEY:
            return from_code(
                value if isinstance(value, str) else value.decode("ascii", "replace"), error.details() or ""
            )
    kind, message = _WITHOUT_CODE.get(error.code(), (ProtocolError, "the server failed to answer"))
    return kind(message, detail=f"{error.code().name}: {error.details()}")


def open_channel(config: ClientConfig, *, insecure: bool) -> grpc.Channel:
    """mTLS with the files that the configuration names; plaintext only on loopback and only when asked for.

    Raises `BadConfig`.
    """
    options = [("grpc.max_receive_message_length", 16 << 20)]
    if insecure:
        if not config.is_loopback:
            raise BadConfig("a connection without TLS is allowed on this machine only")
        return grpc.insecure_channel(config.server, options=options)
    if config.ca is None or config.cert is None or config.key is None:
        raise BadConfig("the client needs ca, cert and key")
    credentials = grpc.ssl_channel_credentials(_read(config.ca), _read(config.key), _read(config.cert))
    return grpc.secure_channel(config.server, credentials, options=options)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error


class Gateway:
    """One connection to S1. Only calls that may be repeated are retried; a question is sent once."""

    def __init__(self, channel: grpc.Channel, deadline_s: float, interceptors: Sequence[Interceptor] = ()) -> None:
        self._channel = channel
        self._deadline_s = deadline_s
        self._stub = GatewayStub(grpc.intercept_channel(channel, *interceptors))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def info(self) -> pb.InfoReply:
        """The collection's parameters."""
        return _repeat(lambda left: self._stub.Info(pb.InfoRequest(), timeout=left), SHORT_DEADLINE_S)

    def enroll(self, request: pb.EnrollRequest) -> pb.EnrollReply:
        """Repeated under the same enrolment ids, which makes it safe."""
        return _repeat(lambda left: self._stub.Enroll(request, timeout=left), self._deadline_s)

    def identify(self, request: pb.IdentifyRequest) -> pb.AnswerReply:
        """Sent once: a second copy would be a replay."""
        return _once(lambda left: self._stub.Identify(request, timeout=left), self._deadline_s)

    def verify(self, request: pb.VerifyRequest) -> pb.AnswerReply:
        """Sent once: a second copy would be a replay."""
        return _once(lambda left: self._stub.Verify(request, timeout=left), self._deadline_s)

    def forget(self, request: pb.ForgetRequest) -> pb.ForgetReply:
        """Erase entries; erasing twice is erasing."""
        return _repeat(lambda left: self._stub.Forget(request, timeout=left), self._deadline_s)

    def roster(self, known: bytes) -> tuple[bytes, list[pb.RosterEntry] | None]:
        """The roster's version and all entries; None for them when the version is the known one."""

        def whole(left: float) -> tuple[bytes, list[pb.RosterEntry] | None]:
            pages = list(self._stub.Roster(pb.RosterRequest(known=known), timeout=left))
            version = pages[0].version if pages else b""
            if known and version == known and pages[0].unchanged:
                return version, None
            return version, [entry for page in pages for entry in page.entries]

        return _repeat(whole, self._deadline_s)

    def status(self) -> pb.StatusReply:
        """How the servers are."""
        return _repeat(lambda left: self._stub.Status(pb.StatusRequest(), timeout=left), SHORT_DEADLINE_S)


def _once(call: Callable[[float], _T], deadline_s: float) -> _T:
    try:
        return call(deadline_s)
    except grpc.RpcError as error:
        raise typed(error) from error


def _repeat(call: Callable[[float], _T], deadline_s: float) -> _T:
    """Up to 5 attempts within one deadline, while what fails is something that passes; full jitter between them."""
    ends = time.monotonic() + deadline_s
    for attempt in itertools.count(1):
        try:
            return _once(call, ends - time.monotonic())
        except _PASSING:
            longest = min(_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
            pause = secrets.SystemRandom().uniform(0, longest)
            if attempt == _ATTEMPTS or time.monotonic() + pause >= ends:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")
