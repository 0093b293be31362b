"""Callers who are turned away: every one is counted, and the operator is told, but nobody can fill a log that way."""

from __future__ import annotations

import collections
import enum
import threading
import time
from collections.abc import Callable

from pura.ids import ClientId, Fingerprint
from pura_server.logs import logger
from pura_server.metrics import Metrics
from pura_server.tls import SHOWN_DIGITS


class Why(enum.StrEnum):
    """Why a caller was turned away; also the metric's label."""

    UNKNOWN = "unknown certificate"
    REVOKED = "revoked certificate"
    EXPIRED = "expired certificate"
    EARLY = "certificate not yet good"
    LIST = "unreadable list"
    HANDSHAKE = "handshake"
    CROWD = "too many connections from one address"
    DESCRIPTORS = "out of file descriptors"
    CONNECTIONS = "too many connections of one client"
    CALLS = "too many calls of one client"
    METHOD = "method that is off or not for this certificate"
    SLOW = "message too slow"
    LONG = "message too long"
    BROKEN = "message broken off"
    UNREADABLE = "unreadable message"


class Refusals:
    """Counts and tells. The first of a kind and a caller is written at once, the same again as one line a minute."""

    AGAIN_S = 60.0
    BURST = 20
    """Lines at once, of all kinds and callers; afterwards one a second."""
    REMEMBERED = 1024

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._refused = metrics.refused
        self._lock = threading.Lock()
        self._clock = clock
        self._told: collections.OrderedDict[tuple[Why, str], tuple[float, int]] = collections.OrderedDict()
        self._lines = float(self.BURST)
        self._at = clock()

    def tell(
        self,
        why: Why,
        *,
        fingerprint: Fingerprint | None = None,
        client: ClientId | None = None,
        address: str | None = None,
        method: str | None = None,
        detail: str | None = None,
    ) -> None:
        """One caller was turned away. Thread-safe."""
        self._refused.labels(why.value).inc()
        shown = None if fingerprint is None else fingerprint[:SHOWN_DIGITS]
        with self._lock:
            times = self._due((why, fingerprint or address or ""))
        if not times:
            return
        fields = {"certificate": shown, "client": client, "address": address, "method": method, "detail": detail}
        told = {name: value for name, value in fields.items() if value is not None}
        logger().warning("refused", reason=why.value, times=times, **told)

    def _due(self, key: tuple[Why, str]) -> int:
        """How many refusals a line tells of now; 0 for none."""
        at, untold = self._told.pop(key, (-self.AGAIN_S, 0))
        now = self._clock()
        self._lines = min(float(self.BURST), self._lines + now - self._at)
        self._at = now
        if now - at < self.AGAIN_S or self._lines < 1:
            self._remember(key, at, untold + 1)
            return 0
        self._lines -= 1
        self._remember(key, now, 0)
        return untold + 1

    def _remember(self, key: tuple[Why, str], at: float, untold: int) -> None:
        self._told[key] = at, untold
        if len(self._told) > self.REMEMBERED:
            self._told.popitem(last=False)
