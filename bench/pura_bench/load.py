"""Many clients at once: is every answer right, is memory bounded, and is what is too much refused before any work?

Each client has a credential and a connection of its own, asks one question after the other, and after a refusal waits
a moment. Questions are encrypted by the clients as they go, on the same machine, so the rate is not the servers' limit.
"""

from __future__ import annotations

import collections
import dataclasses
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console
from rich.table import Table

from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.errors import Overloaded
from pura.ids import Engine, Epoch, Handle
from pura.statements import signs
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_bench import loopback, results, workload
from pura_bench.machine import resident_bytes
from pura_bench.workload import Workload
from pura_client import engines
from pura_client.config import load as load_client
from pura_client.gateway import typed
from pura_client.processes import Server, two_servers
from pura_client.session import Client, connect
from pura_server.authority import Credential, issue
from pura_server.config import load as load_config
from pura_server.credentials import May, add_client
from pura_server.tls import fingerprint

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
        first, second = self.memory[:half], self.memory[half:]
        if not first:
            return 0, 0
        return (
            max(m[0] for m in second) - max(m[0] for m in first),
            max(m[1] for m in second) - max(m[1] for m in first),
        )


class Crowd:
    """`count` clients of a running deployment (the folder that `pura-server init` wrote)."""

    def __init__(self, folder: Path, count: int, work: Workload, handles: Sequence[Handle], seed: int) -> None:
        """`handles[place]` is the entry of the workload's place."""
        settings = load_config(folder / "s1" / "s1.toml")
        self._pk = load_public(folder / "ca" / "public.key")
        self._group = load_client(folder / "desk" / "client.toml").group_keys()
        self._params = settings.collection.params(self._pk)
        self._verifier = settings.verifier(self._pk) if signs(self._params.engine) else None
        self._address = settings.listen
        self._ca = (folder / "ca" / "ca.crt").read_bytes()
        signer = Credential(self._ca, (folder / "ca" / "ca.key").read_bytes())
        self._credentials = [issue(signer, f"load-{seed}-{i}") for i in range(count)]
        for i, credential in enumerate(self._credentials):
            name, shown = f"load-{seed}-{i}", fingerprint(credential.cert)
            add_client(settings.clients_file, name, shown, frozenset({May.ASK}))
        self._work, self._handles = work, handles
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready = threading.Barrier(count + 1)
        self.tallied = Tallied()

    def run(
        self, seconds: float, servers: Sequence[Server], *, enough: Callable[[Tallied], bool] = lambda _: True
    ) -> Tallied:
        """Ask for so long, and longer until there is `enough`; what was begun then is waited for."""
        threads = [threading.Thread(target=self._client, args=(i,)) for i in range(len(self._credentials))]
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

    def _client(self, number: int) -> None:
        mine = self._credentials[number]
        credentials = grpc.ssl_channel_credentials(self._ca, mine.key, mine.cert)
        options = [("grpc.use_local_subchannel_pool", 1)]
        rng = SystemRng()
        with grpc.secure_channel(self._address, credentials, options) as channel:
            grpc.channel_ready_future(channel).result(DEADLINE_S)
            stub = GatewayStub(channel)
            shown = bytes.fromhex(fingerprint(mine.cert))
            author = engines.Author(self._pk, self._params, shown, self._group, self._verifier)
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


def enrol(client: Client, work: Workload) -> list[Handle]:
    """The whole gallery; the handle of each place. Raises what was refused."""
    outcomes = client.enroll_many([(e, work.label(i)) for i, e in enumerate(work.embeddings)])
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.handle for outcome in outcomes if outcome.handle is not None]


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
@click.option(
    "--engine", type=click.Choice([e.value for e in Engine]), default=Engine.PREPARED.value, show_default=True
)
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
    engine: str,
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
    console = Console()
    work = workload.make(entries, dimension, 200, seed)
    folder = Path(tempfile.mkdtemp(prefix="pura-load-"))
    try:
        with results.watch_load() as busy, console.status(f"{clients} clients for {seconds:.0f} s"):
            keys = loopback.new_keys(folder, Engine(engine), int(bits))
            collection = loopback.vectors_only(Engine(engine), dimension)
            limits = f"[limits]\nat_once = {at_once}\nwaiting = {waiting}\n"
            s1, s2, toml = loopback.lay(folder, keys, collection, more=limits)
            with two_servers(s1, s2, toml) as servers:
                with connect(toml) as client:
                    handles = enrol(client, work)
                tallied = Crowd(folder, clients, work, handles, seed).run(seconds, servers)
    finally:
        shutil.rmtree(folder)
    row = row_of(
        tallied,
        engine=engine,
        bits=int(bits),
        dimension=dimension,
        entries=entries,
        clients=clients,
        at_once=at_once,
        waiting=waiting,
    )
    table = Table("what", "", title=f"{clients} clients, {engine}, {entries} entries, D = {dimension}, |N| = {bits}")
    for name in ("right", "wrong", "failed", "refused", "answers_a_second", "answer", "refusal", "memory_mib"):
        table.add_row(name.replace("_", " "), str(row[name]))
    console.print(table)
    if out is not None:
        results.write(out, results.body("load", seed, [row], busy))
    if tallied.wrong:
        click.get_current_context().exit(1)


if __name__ == "__main__":
    main()
