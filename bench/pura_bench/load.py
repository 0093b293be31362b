"""Many clients at once: is every answer right, is memory bounded, and is what is too much refused before any work?

Each client has a credential and a connection of its own, asks one question after the other, and after a refusal waits
a moment. Questions are encrypted by the clients as they go, on the same machine, so the rate is not the servers' limit.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import grpc

from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.errors import Overloaded
from pura.ids import Engine, Epoch, Handle
from pura.statements import signs
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_bench import loopback, results, workload
from pura_bench.loopback import new_client
from pura_bench.machine import resident_bytes
from pura_bench.workload import Workload
from pura_client import engines
from pura_client.config import ClientConfig
from pura_client.config import load as load_client
from pura_client.gateway import open_channel, typed
from pura_client.processes import Server
from pura_server.config import load as load_server
from pura_server.credentials import May

DEADLINE_S = 120.0
_AFTER_REFUSAL_S = (0.05, 0.25)
_LOOK_S = 0.5


@dataclasses.dataclass
class Tallied:
    """What happened. Times in seconds; memory in bytes, of a server with its workers, S1 and S2."""

    seconds: float = 0.0
    right: int = 0
    wrong: int = 0
    refused: int = 0
    failed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    answer_s: list[float] = dataclasses.field(default_factory=list)
    refusal_s: list[float] = dataclasses.field(default_factory=list)
    memory: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    @property
    def growth(self) -> tuple[int, int]:
        """How much the memory of S1 and S2 grew from the first to the second half of the run: most against most."""
        half = len(self.memory) // 2
        if not half:
            return 0, 0
        first, second = (list(zip(*part, strict=True)) for part in (self.memory[:half], self.memory[half:]))
        return max(second[0]) - max(first[0]), max(second[1]) - max(first[1])


class Crowd:
    """`count` clients of a running deployment (the folder that `pura-server init` wrote)."""

    def __init__(self, folder: Path, count: int, work: Workload, handles: Sequence[Handle], seed: int) -> None:
        """`handles[place]` is the entry of the workload's place."""
        self._pk = load_public(folder / "ca" / "public.key")
        self._params = load_server(folder / "s1" / "s1.toml").collection.params(self._pk)
        desk = load_client(folder / "desk" / "client.toml")
        files = [new_client(folder, f"load-{seed}-{i}", frozenset({May.ASK})) for i in range(count)]
        self._clients = [desk.model_copy(update=dataclasses.asdict(each)) for each in files]
        self._work, self._handles = work, handles
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready = threading.Barrier(count + 1)
        self.tallied = Tallied()

    def run(
        self, seconds: float, servers: Sequence[Server], *, enough: Callable[[Tallied], bool] = lambda _: True
    ) -> Tallied:
        """Ask for so long, and longer until there is `enough`; what was begun then is waited for."""
        threads = [threading.Thread(target=self._client, args=each) for each in enumerate(self._clients)]
        for thread in threads:
            thread.start()
        self._ready.wait()
        began = time.monotonic()
        one, two = (server.pid for server in servers)
        while time.monotonic() - began < seconds or not enough(self.tallied):
            self.tallied.memory.append((resident_bytes(one), resident_bytes(two)))
            time.sleep(_LOOK_S)
        self._stop.set()
        for thread in threads:
            thread.join()
        self.tallied.seconds = time.monotonic() - began
        return self.tallied

    def _client(self, number: int, config: ClientConfig) -> None:
        rng = SystemRng()
        verifier = config.verifier(self._pk) if signs(self._params.engine) else None
        author = engines.Author(self._pk, self._params, config.fingerprint(), config.group_keys(), verifier)
        with open_channel(config, insecure=False) as channel:
            grpc.channel_ready_future(channel).result(DEADLINE_S)
            stub = GatewayStub(channel)
            self._epoch = Epoch(stub.Info(pb.InfoRequest(), timeout=DEADLINE_S).epoch)
            self._ready.wait()
            asked = number
            while not self._stop.is_set():
                probe = asked % len(self._work.questions)
                asked += 1
                low, high = _AFTER_REFUSAL_S
                if not self._ask(stub, author, probe, rng):
                    time.sleep(low + (high - low) * rng.bits(16) / (1 << 16))

    def _ask(self, stub: GatewayStub, author: engines.Author, probe: int, rng: SystemRng) -> bool:
        """One question; False when it was refused because there are too many."""
        question = engines.ask(author, self._work.questions[probe], self._epoch, rng)
        began = time.monotonic()
        try:
            reply = stub.Identify(pb.IdentifyRequest(query=question.query), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            took, known = time.monotonic() - began, typed(error)
            with self._lock:
                if isinstance(known, Overloaded):
                    self.tallied.refused += 1
                    self.tallied.refusal_s.append(took)
                    return False
                self.tallied.failed[known.code] += 1
            return True
        took = time.monotonic() - began
        found = question.open(reply).handles
        place = self._handles.index(found[0]) if found else None
        with self._lock:
            if self._work.right(probe, place):
                self.tallied.right += 1
            else:
                self.tallied.wrong += 1
            self.tallied.answer_s.append(took)
        return True


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """50, 95 and 99 of 100, in milliseconds."""
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100)
    return {f"p{at}_ms": round(cuts[at - 1] * 1000, 1) for at in (50, 95, 99)}


def row_of(tallied: Tallied, **settings: Any) -> dict[str, Any]:
    """One row of the result file."""
    mib = [(one >> 20, two >> 20) for one, two in tallied.memory]
    return {
        **settings,
        "seconds": round(tallied.seconds, 1),
        "right": tallied.right,
        "wrong": tallied.wrong,
        "failed": dict(tallied.failed),
        "refused": tallied.refused,
        "answers_a_second": round((tallied.right + tallied.wrong) / tallied.seconds, 2),
        "answer": percentiles(tallied.answer_s),
        "refusal": percentiles(tallied.refusal_s),
        "memory_mib": {"start": mib[0], "most": [max(m[i] for m in mib) for i in (0, 1)], "end": mib[-1]},
        "growth_mib": [growth >> 20 for growth in tallied.growth],
    }


@click.command()
@click.option("--bits", type=click.Choice(["2048", "3072"]), default="2048", show_default=True)
@click.option("--dimension", type=int, default=128, show_default=True)
@click.option("--entries", type=int, default=256, show_default=True)
@click.option("--clients", type=int, default=64, show_default=True)
@click.option("--seconds", type=float, default=60.0, show_default=True)
@click.option("--at-once", type=int, default=4, show_default=True, help="Questions that S1 answers at the same time.")
@click.option("--waiting", type=int, default=16, show_default=True, help="Questions that may wait.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result file here.")
def main(
    bits: str,
    dimension: int,
    entries: int,
    clients: int,
    seconds: float,
    at_once: int,
    waiting: int,
    seed: int,
    out: Path | None,
) -> None:
    """Many clients at once: answers, refusals, latency, memory. Exit status 1 if an answer was wrong."""
    work = workload.make(entries, dimension, 200, seed)
    limits = f"[limits]\nat_once = {at_once}\nwaiting = {waiting}\n"
    with (
        results.watch_load() as busy,
        loopback.running(int(bits), dimension, work, limits) as (folder, servers, _, handles),
    ):
        tallied = Crowd(folder, clients, work, handles, seed).run(seconds, servers)
    settings = {"engine": Engine.PREPARED.value, "bits": int(bits), "dimension": dimension, "entries": entries}
    row = row_of(tallied, **settings, clients=clients, at_once=at_once, waiting=waiting)
    for name in ("right", "wrong", "failed", "refused", "answers_a_second", "answer", "refusal", "memory_mib"):
        click.echo(f"{name.replace('_', ' '):24} {row[name]}")
    if out is not None:
        results.write(out, results.body("load", seed, [row], busy))
    if tallied.wrong:
        click.get_current_context().exit(1)


if __name__ == "__main__":
    main()
