"""Admission: how much one server takes on at a time. Everything above is refused at once, before it costs anything."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Hashable

from pura.errors import Overloaded


class Admission:
    """`at_once` operations run, `waiting` more may wait, `per_client` of both may be one client's."""

    def __init__(self, at_once: int, waiting: int, per_client: int | None = None) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._capacity = at_once + waiting
        self._per_client = per_client
        self._inside = 0
        self._of_client: collections.Counter[Hashable] = collections.Counter()

    @property
    def inside(self) -> int:
        """How many run or wait now."""
        return self._inside

    @contextlib.asynccontextmanager
    async def place(self, client: Hashable = None) -> AsyncIterator[None]:
        """A place in the queue, held to the end of the operation; `turn` waits inside it. Raises `Overloaded`."""
        if self._inside >= self._capacity:
            raise Overloaded()
        if self._per_client is not None and self._of_client[client] >= self._per_client:
            raise Overloaded("this client has too many calls open; wait for their answers")
        self._inside += 1
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until this operation may run, in order of arrival."""
        async with self._turn:
            yield
