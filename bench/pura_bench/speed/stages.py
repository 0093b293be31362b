"""Where the time goes: both servers of a stopped deployment in one thread, every piece of work timed by its message.

Between two steps a party computes. That piece is charged to the message it ends up sending, or, when it goes on to wait
or has finished, to the message it received last. A message belongs to the stage that its module or `STAGES` names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from pura.errors import ProtocolError
from pura.ids import Party
from pura.messages import Message, decode, encode
from pura.rounds import Done, Rounds, Send, advance
from pura_bench.speed.deployment import Deployment
from pura_bench.speed.network import LOOPBACK
from pura_server import config as server_config
from pura_server import engines
from pura_server.backend import Answer, GatewayBackend, PeerBackend, Query

T = TypeVar("T")
STAGES: dict[str, str] = {}
"""Message class -> stage, where the module's name does not say it."""
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


def stage_of(message: Message) -> str:
    """The stage of a message."""
    kind = type(message)
    return STAGES.get(kind.__name__) or kind.__module__.rpartition(".")[2].replace("_", " ")


class Meter:
    """Adds up stages over any number of operations."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}

    def at(self, message: Message | None) -> Stage:
        name = "validate" if message is None else stage_of(message)
        return self.stages.setdefault(name, Stage(name))

    def play(self, one: Rounds[T], two: Callable[[], Rounds[None]]) -> T:
        """Play S1's party against a session of S2's, which is opened when S1 first speaks. S1's result."""
        parties: list[Rounds[Any] | None] = [cast("Rounds[Any]", one), None]
        inbox: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        last: list[Message | None] = [None, None]
        state: list[Any] = [None, None]
        spoke = False
        state[0] = self._advance(0, parties[0], None, last)
        while True:
            moved = False
            for i in (0, 1):
                party = parties[i]
                if party is None:
                    if not inbox[1]:
                        continue
                    party = parties[1] = two()
                    state[1] = self._advance(1, party, None, last)
                while not isinstance(step := state[i], Done):
                    value: Message | None = None
                    if isinstance(step, Send):
                        body = encode(step.message)
                        inbox[1 - i].append(body)
                        self.at(step.message).bytes += len(body)
                        spoke = spoke or i == 0
                    elif inbox[i]:
                        value = last[i] = decode(inbox[i].popleft())
                        if i == 0 and spoke:
                            self.at(value).rounds += 1
                            spoke = False
                    else:
                        break
                    state[i] = self._advance(i, party, value, last)
                    moved = True
            if isinstance(state[0], Done) and (parties[1] is None or isinstance(state[1], Done)):
                return cast(T, state[0].result)
            if not moved and not (parties[1] is None and inbox[1]):
                raise ProtocolError(detail="both parties wait")

    def _advance(self, i: int, party: Rounds[Any] | None, value: Message | None, last: list[Message | None]) -> Any:
        assert party is not None
        began = time.thread_time()
        step = advance(party, value)
        spent = time.thread_time() - began
        stage = self.at(step.message if isinstance(step, Send) else last[i])
        if i == 0:
            stage.cpu_s_s1 += spent
        else:
            stage.cpu_s_s2 += spent
        return step


class InProcess:
    """Both backends of a deployment in this process, one worker each."""

    def __init__(self, gateway: GatewayBackend, peer: PeerBackend) -> None:
        self.gateway, self.peer = gateway, peer
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

    def question(self, query: Query, meter: Meter) -> tuple[Answer, float]:
        """Identify with full pools; its stages go into `meter`. The answer, and the CPU seconds of both servers for
        making afterwards what it used up."""
        began, before = time.process_time(), sum(s.cpu_s for s in meter.stages.values())
        out = meter.play(self.gateway.identify(query), self.peer.session)
        online = sum(s.cpu_s for s in meter.stages.values()) - before
        self.refill(Meter())
        return out, time.process_time() - began - online


@contextlib.contextmanager
def in_process(deployment: Deployment) -> Iterator[InProcess]:
    """Open a stopped deployment in this process."""
    deployment.configure(1, LOOPBACK, (1, 2, 3))
    with contextlib.ExitStack() as stack:
        parts = {}
        for party, path in ((Party.S1, deployment.s1), (Party.S2, deployment.s2)):
            parts[party] = engines.prepare(server_config.load(path))
            stack.callback(parts[party].store.close)
        gateway = engines.gateway(parts[Party.S1])
        stack.callback(gateway.close)
        peer = engines.peer(parts[Party.S2])
        stack.callback(peer.close)
        yield InProcess(gateway, peer)
