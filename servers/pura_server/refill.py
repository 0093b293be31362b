"""Offline work in the background of S1, whenever nobody is asking anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pura.errors import PuraError
from pura.rounds import Tally
from pura_server.backend import GatewayBackend
from pura_server.link import PeerLink
from pura_server.logs import frames_of, logger
from pura_server.metrics import Metrics

_PIECE_S = 300.0
_LOOK_S = 0.05
_FULL_S = 0.5
_PAUSE_S = 2.0


async def keep_full(backend: GatewayBackend, link: PeerLink, busy: Callable[[], bool], metrics: Metrics) -> None:
    """Do one piece of offline work after another until cancelled. `busy` says whether somebody waits for an answer."""
    while True:
        if busy():
            await asyncio.sleep(_LOOK_S)
            continue
        try:
            await link.ready()
            party = await asyncio.to_thread(backend.refill)
            if party is None:
                await asyncio.sleep(_FULL_S)
                continue
            tally = Tally()
            await link.ask(party, tally, _PIECE_S)
            if tally.bytes_sent:
                metrics.count("refill", tally)
        except PuraError as error:
            logger().debug("refill", code=error.code, detail=error.detail)
            await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - offline work must not end the server
            logger().error("unexpected", method="refill", error=type(error).__name__, frames=frames_of(error))
            await asyncio.sleep(_PAUSE_S)
