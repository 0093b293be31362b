"""A server that follows the protocol and writes down what it sees: the semi-honest adversary of the threat model.

    python -m pura_bench.security.curious --config s2.toml --notes FILE

It is `pura-server` with one more pair of eyes: every message that this server receives, and every plaintext that it can
open, goes to FILE, a JSON object a line. Nothing that it sends is changed. It exists to be measured; S1's and S2's own
code has no such thing.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import click

from pura.crypto.rng import SystemRng
from pura.ids import Engine
from pura.messages import Message, encode
from pura.protocols.prepared import template
from pura.rounds import Receive, Rounds, Step
from pura_server import app, engines
from pura_server import config as server_config
from pura_server.published import PublishedPeer


class Notes:
    """The file; several threads write to it. `session`: the party that this thread is at work for."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._lock = file, threading.Lock()
        self._count = itertools.count(1)
        self.here = threading.local()

    def new_session(self) -> int:
        """The next number."""
        with self._lock:
            return next(self._count)

    def add(self, what: str, **fields: object) -> None:
        """One line."""
        session = getattr(self.here, "session", 0)
        with self._lock:
            self._file.write(json.dumps({"session": session, "what": what, **fields}) + "\n")
            self._file.flush()


def watched(party: Rounds[Any], notes: Notes) -> Rounds[Any]:
    """The same party; every message that it receives is noted."""
    value: Message | None = None
    session = notes.new_session()
    while True:
        notes.here.session = session  # a party may be resumed in another thread
        try:
            step: Step = party.send(value)
        except StopIteration as end:
            return end.value
        value = yield step
        if isinstance(step, Receive) and value is not None:
            notes.add("message", kind=type(value).__name__, body=encode(value).hex())


def spy(notes: Notes) -> None:
    """Put the eyes into this process."""
    original_peer, original_gateway = engines.peer, engines.gateway

    def peer(parts: engines.Parts) -> Any:
        if parts.params.engine is Engine.PUBLISHED:

            def observer(protocol: str, plaintexts: Sequence[int]) -> None:
                notes.add("opened", protocol=protocol, values=[str(v) for v in plaintexts])

            backend: Any = PublishedPeer(
                parts.pk, parts.share, parts.params, SystemRng(), parts.workers, observer=observer
            )
        else:
            backend = original_peer(parts)
        session = backend.session
        backend.session = lambda *begins: watched(session(*begins), notes)
        return backend

    def gateway(parts: engines.Parts) -> Any:
        backend: Any = original_gateway(parts)
        verify, identify = backend.verify, backend.identify
        backend.verify = lambda query, handles: watched(verify(query, handles), notes)
        backend.identify = lambda query: watched(identify(query), notes)
        return backend

    engines.peer, engines.gateway = peer, gateway
    _watch_openings(notes)


def _watch_openings(notes: Notes) -> None:
    """What engine prepared opens: S1 the digits of the masked template."""
    whole = template.open_masked

    def masked_template(*args: Any, **more: Any) -> Any:
        got = whole(*args, **more)
        notes.add("opened", protocol="convert", values=[str(int(v)) for v in got.reshape(-1)])
        return got

    setattr(template, "open_masked", masked_template)  # noqa: B010


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True)
@click.option("--notes", type=click.Path(path_type=Path), required=True)
def main(config: Path, notes: Path) -> None:
    """Run a server of the configuration CONFIG that notes what it sees in NOTES."""
    with notes.open("a", encoding="utf-8") as file:
        spy(Notes(file))
        run: Callable[..., None] = app.run
        run(server_config.load(config))


if __name__ == "__main__":
    main()
