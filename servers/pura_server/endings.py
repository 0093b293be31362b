"""Certificates that end soon: told in the log once a day, from 30 days before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from pura_server.logs import logger

SOON_DAYS = 30
_DAY_S = 86_400.0
_LOOK_S = 3600.0


def days_left(ends: float, now: float) -> float:
    """Until a certificate ends, below 0 when it has: from seconds since 1970."""
    return (ends - now) / _DAY_S


class Endings:
    """Tells of each certificate once a day at most. On one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def look(self, certificate: str, ends: float, client: str | None = None) -> bool:
        """Tell, if it ends soon and that was not told today; whether it was told. `certificate`: own, peer, or the head
        of a client's fingerprint; `ends`: seconds since 1970."""
        now = self._clock()
        left = days_left(ends, now)
        if left > SOON_DAYS or now - self._told.get(certificate, -_DAY_S) < _DAY_S:
            return False
        self._told[certificate] = now
        said = f"it ends in {left:.0f} days" if left > 0 else "it has ended"
        who = {} if client is None else {"client": client}
        logger().warning("certificate ends", certificate=certificate, message=f"{said}: renew it", **who)
        return True

    async def watch(self, certificates: Mapping[str, Callable[[], float]]) -> None:
        """Look at this server's own and the pinned one every hour, until cancelled."""
        while True:
            for name, ends in certificates.items():
                self.look(name, ends())
            await asyncio.sleep(_LOOK_S)
