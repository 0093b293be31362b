"""A desk from its start to its end: SIGTERM and Ctrl-C end it well, and whatever it started with it."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import types
from collections.abc import Callable, Iterator

import uvicorn

from pura.errors import BadConfig
from pura_desk.config import Listening
from pura_desk.guard import App

MOST_CALLS = 256
"""At the same time; more are told to come again."""
STOP_S = 10
"""How long calls under way may take to end."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped:
    """Whether somebody wants the desk to end, and who must hear of it."""

    def __init__(self) -> None:
        self.hears: Callable[[int, types.FrameType | None], None] | None = None

    def told(self, number: int, frame: types.FrameType | None) -> None:
        """The handler: a desk that does not serve yet ends at once, through everything that it has begun."""
        if self.hears is None:
            sys.exit(0)
        self.hears(number, frame)


@contextlib.contextmanager
def until_stopped() -> Iterator[Stopped]:
    """Signals are this desk's, until it has ended."""
    stopped = Stopped()
    before = {number: signal.signal(number, stopped.told) for number in _SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals to us: its own handler would end the process before the demo's servers
    are stopped."""

    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._told()


def serve(app: App, listening: Listening, stopped: Stopped, told: Callable[[], None]) -> None:
    """Until it is stopped. `told` is called once it listens. Raises `BadConfig` when it cannot listen there, or when
    the certificate and key cannot be used."""
    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        ssl_certfile=listening.cert,
        ssl_keyfile=None if listening.key is None else str(listening.key),
        log_level="warning",
        access_log=False,  # addresses have labels in them
        server_header=False,
        date_header=False,
        limit_concurrency=MOST_CALLS,
        timeout_graceful_shutdown=STOP_S,
        ws="none",
    )
    try:
        config.load()
        listener = _listener(listening)
    except OSError as error:  # ssl.SSLError is one
        said = error.strerror or "the certificate or key cannot be used"
        raise BadConfig(f"the desk cannot listen at {listening.url()}: {said}", detail=str(error)) from error
    with listener:
        server = _Server(config, told)
        stopped.hears = server.handle_exit
        server.run([listener])


def _listener(listening: Listening) -> socket.socket:
    family, kind, number, _, address = socket.getaddrinfo(
        listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, number)
    try:
        if sys.platform != "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(MOST_CALLS)
    except OSError:
        made.close()
        raise
    return made
