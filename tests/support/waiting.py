"""Waiting for events, for as long as any load might explain that they have not come yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 300.0
"""What has not come by then does not come."""


def until(what: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The first true value of `what`, which is asked again and again."""
    ends = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < ends, f"nothing came in {patience_s:.0f} s"
        time.sleep(0.02)
    return found


async def until_async(what: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """The same on an event loop, which goes on meanwhile."""
    async with asyncio.timeout(patience_s):
        while not what():
            await asyncio.sleep(0.005)
