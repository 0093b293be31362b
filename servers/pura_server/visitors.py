"""Who is at a server's door, by the certificate that they show: at S1's a client of the list, at S2's S1, at both the
server itself."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from cryptography import x509

from pura.errors import NotAuthorised
from pura.ids import ClientId, Fingerprint
from pura_server.credentials import ClientList
from pura_server.refusals import Why

MYSELF = ClientId("(this server)")
"""Who shows the server's own certificate: its operator, or a probe on its machine. May ask how it is and, at S1, for a
snapshot."""

PEER = ClientId("(the other server)")
"""Who shows S2 a certificate that it has pinned."""


@dataclasses.dataclass(frozen=True)
class Visitor:
    """A certificate that may come in, `client` whose it is, and when it is good: seconds since 1970."""

    fingerprint: Fingerprint
    client: ClientId
    begins: float
    ends: float


class Judge(Protocol):
    """Who may come in, and stay."""

    def judge(self, der: bytes) -> Visitor:
        """The visitor who shows this certificate.

        Raises `NotAuthorised`, of which `why` tells more, and `Overloaded` when that cannot be known just now.
        """
        ...

    def again(self, visitor: Visitor) -> None:
        """Raises what `judge` would raise now for a visitor who came in."""
        ...


class Visitors:
    """S1's. Judges certificates, at the handshake and again at every call: the list may have changed."""

    def __init__(
        self, clients: ClientList, own: Callable[[], Fingerprint], clock: Callable[[], float] = time.time
    ) -> None:
        """`own`: of the certificate that this server has by then."""
        self._clients = clients
        self._own = own
        self._clock = clock

    def judge(self, der: bytes) -> Visitor:
        """As `Judge` has it."""
        visitor = _visitor(der, lambda shown: MYSELF if shown == self._own() else self._clients.find(shown, None).name)
        self._in_time(visitor)
        return visitor

    def again(self, visitor: Visitor) -> None:
        """As `Judge` has it."""
        if visitor.client != MYSELF:
            self._clients.find(visitor.fingerprint, None)
        self._in_time(visitor)

    def _in_time(self, visitor: Visitor) -> None:
        now = self._clock()
        if now < visitor.begins:
            raise NotAuthorised(detail=Why.EARLY)
        if now > visitor.ends:
            raise NotAuthorised(detail=Why.EXPIRED)


class PinnedVisitors:
    """S2's: S1 and this server itself. Who came in may stay: S1 ends in peace what it began with a certificate that has
    been replaced meanwhile."""

    def __init__(
        self,
        pinned: Callable[[], frozenset[Fingerprint]],
        own: Callable[[], Fingerprint],
    ) -> None:
        """`pinned`, `own`: as the files have them by then."""
        self._pinned = pinned
        self._own = own

    def judge(self, der: bytes) -> Visitor:
        """As `Judge` has it; dates are the handshake's."""
        return _visitor(der, self._who)

    def again(self, visitor: Visitor) -> None:
        """Nothing."""

    def _who(self, shown: Fingerprint) -> ClientId:
        if shown in self._pinned():
            return PEER
        if shown == self._own():
            return MYSELF
        raise NotAuthorised(detail=Why.UNKNOWN)


def _visitor(der: bytes, who: Callable[[Fingerprint], ClientId]) -> Visitor:
    shown = fingerprint_of(der)
    cert = x509.load_der_x509_certificate(der)
    return Visitor(shown, who(shown), cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp())


def fingerprint_of(der: bytes) -> Fingerprint:
    """SHA-256 of a certificate."""
    return Fingerprint(hashlib.sha256(der).hexdigest())


def why(error: NotAuthorised) -> Why:
    """The reason that an error of `Visitors` stands for."""
    return next((one for one in (Why.UNKNOWN, Why.REVOKED, Why.EARLY, Why.EXPIRED) if one == error.detail), Why.LIST)
