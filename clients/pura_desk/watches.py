"""Cameras that the page looks through: frames come in, events go out. Each person is asked about once, and not before
the collection's gate is passed, where it has one."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pura.errors import Overloaded
from pura.face import images
from pura.ids import GateKind
from pura_client.answers import Decision
from pura_client.session import Client
from pura_client.watching import Event, Watch
from pura_desk.line import Line
from pura_desk.problems import GateFirst, NoWatch

MOST = 4
"""Cameras at once."""
IDLE_S = 30.0
"""A camera without a frame for so long is over."""

Keeper = Callable[[GateKind, Client], contextlib.AbstractContextManager[Any]]


class Live:
    """One camera."""

    def __init__(self, client: Any, gate: GateKind, keeper: Keeper) -> None:
        with contextlib.ExitStack() as stack:
            kept = None if gate is GateKind.NONE else stack.enter_context(keeper(gate, client))
            pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="watch"))
            self.watch = Watch(client, pool, kept)
            self.lock, self.last_s, self.used_s = threading.Lock(), 0.0, time.monotonic()
            self._stack = stack.pop_all()
            self.over = False

    def close(self) -> None:
        """Release the gate's network; under `lock`."""
        self.over = True
        self._stack.close()


class Claimed:
    """A client whose question is whether somebody is who they say."""

    def __init__(self, client: Client, label: str) -> None:
        self._client, self._label = client, label
        self.faces, self.ready = client.faces, client.ready

    def identify(self, photo: Any) -> Decision:
        """Verify."""
        return self._client.verify(photo, self._label)


class Watches:
    """All cameras of this desk. Thread-safe."""

    def __init__(
        self, line: Line, gate: GateKind, keeper: Keeper | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`gate`: of the collection; `keeper`: makes one, with the network of the extra unless told."""
        self.gate, self._line, self._clock = gate, line, clock
        self._keeper = keeper or _keeper
        self._lock = threading.Lock()
        self._all: dict[str, Live] = {}
        self._begun = 0

    def begin(self, label: str | None) -> str:
        """A camera's name. `label`: who they say they are, for verify. Raises `Overloaded`, and what a gate raises."""
        self._drop(self._clock() - IDLE_S)
        client = self._line.client()
        with self._lock:  # a gate's network is large: it is made when there is a place for it
            if len(self._all) + self._begun >= MOST:
                raise Overloaded("this desk watches enough cameras already")
            self._begun += 1
        try:
            made = Live(client if label is None else Claimed(client, label), self.gate, self._keeper)
            made.used_s = self._clock()
            name = secrets.token_hex(8)
            with self._lock:
                self._all[name] = made
            return name
        finally:
            with self._lock:
                self._begun -= 1

    def frame(self, name: str, body: bytes, at_s: float) -> list[Event]:
        """One more frame, taken at `at_s` by the camera's clock: what is new. Raises `NoWatch`, `UnreadableImage`."""
        live = self._named(name)
        picture = images.read(body)
        with live.lock:
            if live.over:  # while this frame waited
                raise NoWatch()
            live.used_s, live.last_s = self._clock(), max(live.last_s, at_s)
            return list(live.watch.frame(live.last_s, picture))

    def end(self, name: str) -> list[Event]:
        """No more frames: what is still to be said. Raises `NoWatch`."""
        live = self._named(name)
        with self._lock:
            self._all.pop(name, None)
        with live.lock:
            last = list(live.watch.finish())
            live.close()
        return last

    def refuse_photos(self) -> None:
        """Raises `GateFirst` where only cameras may ask."""
        if self.gate is not GateKind.NONE:
            raise GateFirst()

    def close(self) -> None:
        """All of them."""
        self._drop(float("inf"))

    def _named(self, name: str) -> Live:
        with self._lock:
            if name not in self._all:
                raise NoWatch()
            return self._all[name]

    def _drop(self, before_s: float) -> None:
        with self._lock:
            gone = [name for name, live in self._all.items() if live.used_s < before_s]
            dropped = [self._all.pop(name) for name in gone]
        for live in dropped:
            with live.lock:
                live.close()


def _keeper(gate: GateKind, client: Client) -> contextlib.AbstractContextManager[Any]:
    from pura_client.gatekeeper import keeper_for  # which needs the extra

    return keeper_for(gate, client)
