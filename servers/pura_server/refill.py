"""What S1 does in the background: offline parts of questions to come, and changes that nobody asked for.

Questions go first: nothing is begun while one is open, unless nothing was for PATIENCE_S - then one piece, so that
packs are made in batches, and what has expired goes, also where somebody is always asking. Changes that clients ask for
go before those of the background, each of which holds them up for one piece at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from pura.errors import DeviatingServer, PuraError
from pura.rounds import Tally
from pura_server.audit import AuditLog
from pura_server.backend import GatewayBackend
from pura_server.calls import new_number
from pura_server.link import PeerLink
from pura_server.logs import frames_of, logger
from pura_server.metrics import Metrics

PATIENCE_S = 5.0
"""For so long the background waits for a moment in which nobody asks."""
_PIECE_S = 300.0
_LOOK_S = 0.05
_FULL_S = 0.5
_PAUSE_S = 2.0
_WORTH_TELLING_S = 0.5
"""A change of the background that took longer is told in the log: a client's may have waited for it."""


async def keep_full(
    backend: GatewayBackend,
    link: PeerLink,
    asking: Callable[[], bool],
    changing: Callable[[], bool],
    metrics: Metrics,
    audit: AuditLog | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do one piece of work after another until cancelled. `asking`, `changing`: whether a client waits for an answer,
    or for a change; `audit`: what is told of entries that are erased."""
    last = clock()
    while True:
        patient = clock() - last < PATIENCE_S
        if asking() and patient:
            await asyncio.sleep(_LOOK_S)
            continue
        try:
            await link.ready()
            done = (not changing() or not patient) and await _tidy(backend, link, metrics, audit)
            done = done or await _refill(backend, link, metrics)
            last = clock()
            if not done:
                await asyncio.sleep(_FULL_S)
        except DeviatingServer as error:
            logger().error("alarm", method="refill", code=error.code, detail=error.detail)
            await asyncio.sleep(_PAUSE_S)
        except PuraError as error:
            logger().debug("refill", code=error.code, detail=error.detail)
            await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - offline work must not end the server
            logger().error("unexpected", method="refill", error=type(error).__name__, frames=frames_of(error))
            await asyncio.sleep(_PAUSE_S)


async def _refill(backend: GatewayBackend, link: PeerLink, metrics: Metrics) -> bool:
    party = await asyncio.to_thread(backend.refill)
    if party is None:
        return False
    tally = Tally()
    await link.ask(party, tally, _PIECE_S)
    if tally.bytes_sent:
        metrics.count("refill", tally)
    return True


async def _tidy(backend: GatewayBackend, link: PeerLink, metrics: Metrics, audit: AuditLog | None) -> bool:
    number = new_number()
    party = await asyncio.to_thread(backend.tidy, lambda kind: audit.write(kind, number) if audit else None)
    if party is None:
        return False
    tally, began = Tally(), time.monotonic()
    with structlog.contextvars.bound_contextvars(request=number):  # so that S2's logs have it, too
        await link.change(party, tally, _PIECE_S)
    seconds = time.monotonic() - began
    if tally.bytes_sent:
        metrics.count("tidy", tally)
    if seconds > _WORTH_TELLING_S:
        logger().info("tidied", ms=round(seconds * 1000, 1), rounds=tally.rounds, sent=tally.bytes_sent)
    return True
