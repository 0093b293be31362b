"""Where the time goes: both servers of a stopped deployment in one thread, every piece of work timed by its stage.

A party computes between two of its steps. That piece is charged to the stage in which the next step is taken: the
outermost function on the party's stack of generators that `STAGES` knows. What a stage does with the last answer
it gets, before the next stage speaks, counts to the next one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from pura.errors import ProtocolError
from pura.ids import Party
from pura.messages import Message, decode, encode
from pura.rounds import Done, Rounds, Send, Step, advance
from pura.store import Store
from pura_bench.speed.deployment import Deployment
from pura_bench.speed.network import LOOPBACK
from pura_server import config as server_config
from pura_server import engines
from pura_server.backend import Answer, GatewayBackend, PeerBackend, Query

T = TypeVar("T")
STAGES = {
    "convert": "conversion",
    "correlate": "products by lattice",
    "tournament.decide": "threshold",
    "rounds.together": "minimum",  # with the norm bit and the counters, which run beside it
    "batch_square": "squares",
    "smin": "minimum",
    "scmp": "threshold",
    "smul": "answer",
    "identify.open_s1": "answer",
    "identify.open_s2": "answer",
    "material": "OTs and triples",
    "base_ot": "base OTs",
}
"""module or module.function -> stage, for both engines; a function goes before its module."""
OTHER = "session"
_STILL_S = 0.3


@dataclasses.dataclass
class Stage:
    """What one stage cost: CPU seconds by server, bytes both ways, rounds seen from S1."""

    stage: str
    cpu_s_s1: float = 0.0
    cpu_s_s2: float = 0.0
    bytes: int = 0
    rounds: int = 0

    @property
    def cpu_s(self) -> float:
        return self.cpu_s_s1 + self.cpu_s_s2


def stage_of(party: Rounds[Any]) -> str:
    """The stage in which a party that has just taken a step stands."""
    stack = []
    inner: Any = party
    while inspect.isgenerator(inner) and inner.gi_frame is not None:
        module = str(inner.gi_frame.f_globals.get("__name__", "")).rpartition(".")[2]
        stack.append((module, f"{module}.{inner.gi_code.co_name}"))
        inner = inner.gi_yieldfrom
    for module, _ in stack:
        inside = [STAGES[f] for m, f in stack if m == module and f in STAGES]
        if inside or module in STAGES:
            return inside[0] if inside else STAGES[module]
    return OTHER


class Meter:
    """Adds up stages over any number of operations."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}

    def at(self, name: str) -> Stage:
        return self.stages.setdefault(name, Stage(name))

    def play(self, one: Rounds[T], two: Callable[[], Rounds[None]]) -> T:
        """Play S1's party against a session of S2's, which is opened when S1 first speaks. S1's result."""
        inbox: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        s1, s2 = _Player(cast("Rounds[Any]", one), self, first=True), None
        spoke = False
        s1.go(None)
        while True:
            moved = False
            if s2 is None and inbox[1]:
                s2 = _Player(two(), self, first=False)
                s2.go(None)
                moved = True
            for i, player in enumerate((s1, s2)):
                while player is not None and not isinstance(step := player.step, Done):
                    value: Message | None = None
                    if isinstance(step, Send):
                        body = encode(step.message)
                        inbox[1 - i].append(body)
                        self.at(player.stage).bytes += len(body)
                        spoke = spoke or i == 0
                    elif inbox[i]:
                        value = decode(inbox[i].popleft())
                        if i == 0 and spoke:
                            self.at(player.stage).rounds += 1
                            spoke = False
                    else:
                        break
                    player.go(value)
                    moved = True
            if isinstance(s1.step, Done) and (s2 is None or isinstance(s2.step, Done)) and (s2 or not inbox[1]):
                return cast(T, s1.step.result)
            if not moved:
                raise ProtocolError(detail="both parties wait")


class _Player:
    """One party, its next step, and the stage it stands in."""

    def __init__(self, party: Rounds[Any], meter: Meter, *, first: bool) -> None:
        self._party, self._meter, self._first = party, meter, first
        self.step: Step | Done = Done(None)
        self.stage = OTHER

    def go(self, value: Message | None) -> None:
        """Take the next step; the work before it is charged to the stage it is taken in."""
        began = time.thread_time()
        self.step = advance(self._party, value)
        spent = time.thread_time() - began
        if not isinstance(self.step, Done):
            self.stage = stage_of(self._party)
        stage = self._meter.at(self.stage)
        if self._first:
            stage.cpu_s_s1 += spent
        else:
            stage.cpu_s_s2 += spent


class InProcess:
    """Both backends of a deployment in this process, one worker each, and S1's store."""

    def __init__(self, gateway: GatewayBackend, peer: PeerBackend, store: Store) -> None:
        self.gateway, self.peer, self.store = gateway, peer, store
        peer.connected()
        Meter().play(gateway.reconcile(), peer.session)

    def refill(self, meter: Meter) -> None:
        """Fill all pools, those that S2 fills in a thread of its own too."""
        while (party := self.gateway.refill()) is not None:
            meter.play(party, self.peer.session)
        before: dict[str, float] = {}
        while before != (now := dict(self.peer.levels())):
            before = now
            time.sleep(_STILL_S)

    def question(self, query: Query, meter: Meter, later: Meter) -> tuple[Answer, float]:
        """Identify with full pools; its stages go into `meter`, those of making what it used up into `later`. The
        answer, and the CPU seconds of both servers for the latter, which S2 may spend in a thread of its own."""
        began, before = time.process_time(), sum(s.cpu_s for s in meter.stages.values())
        out = meter.play(self.gateway.identify(query), self.peer.session)
        online = sum(s.cpu_s for s in meter.stages.values()) - before
        self.refill(later)
        return out, time.process_time() - began - online


@contextlib.contextmanager
def in_process(deployment: Deployment) -> Iterator[InProcess]:
    """Open a stopped deployment in this process."""
    deployment.configure(1, LOOPBACK, (1, 2, 3, 4))
    with contextlib.ExitStack() as stack:
        parts = {}
        for party, path in ((Party.S1, deployment.s1), (Party.S2, deployment.s2)):
            parts[party] = engines.prepare(server_config.load(path))
            stack.callback(parts[party].store.close)
        gateway = engines.gateway(parts[Party.S1])
        stack.callback(gateway.close)
        peer = engines.peer(parts[Party.S2])
        stack.callback(peer.close)
        yield InProcess(gateway, peer, parts[Party.S1].store)
