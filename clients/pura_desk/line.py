"""The desk's one session with the servers: made when it is first needed, so that the desk also starts without them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pura.errors import NotReady
from pura_client.session import Client


class Line:
    """Threads share it."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        """`connect` raises what keeps the servers away; it is tried again at the next request."""
        self._connect = connect
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closed = False
        self.changing = threading.Lock()
        """Held by whoever enrols, erases or renames: the servers carry out one change at a time."""

    def client(self) -> Client:
        """The session. Raises what keeps the servers away."""
        with self._lock:
            if self._closed:
                raise NotReady("the desk is stopping")
            if self._client is None:
                self._client = self._connect()
            return self._client

    def close(self) -> None:
        """For good."""
        with self._lock:
            self._closed = True
            if self._client is not None:
                self._client.close()
                self._client = None
