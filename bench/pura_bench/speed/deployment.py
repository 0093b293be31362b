"""Two real server processes with a gallery of synthetic entries: made, grown, started on any network, and looked at."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from pura.crypto.keys import write_keys
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.ids import Engine, Handle
from pura.store.schema import DATABASE
from pura_bench.loopback import handles_of
from pura_bench.machine import cpu_seconds, memory_bytes
from pura_bench.speed import loader
from pura_bench.speed.network import LOOPBACK, Network, Relay
from pura_bench.workload import SCALE, Workload
from pura_client.config import load as load_client
from pura_client.processes import Server, free_ports, two_servers
from pura_client.session import Client, connect
from pura_client.templates import Photo
from pura_server.config import Collection
from pura_server.deploy import Hosts, make

FIXTURES = Path(__file__).parents[3] / "tests" / "fixtures"
"""In a checkout: key sets test-keys-2048 and test-keys-3072."""
READY_S = 300.0
REALLY_ENROLLED = 100
"""Engine prepared: entries beyond are written into the stores by `loader`, which is faster than enrolling them."""
_LIMITS = """
[limits]
question_s = 7200.0
change_s = 7200.0

[budget]
questions = 1000000
per_hour = 1000000.0
enrolments = 1000000
"""
_BETWEEN = re.compile(r'^pura_peer_(rounds|bytes)_total\{[^}]*method="([^"]+)"[^}]*\} (\S+)$', re.MULTILINE)
_NEAR, _NEAR_QUESTIONS = 0.2, 60_000
_RELAYED = "127.0.0.2"
_WINDOW_S = 0.4
_IDLE_CPU_S = 0.03
_SETTLE_S = 900.0


class Tap(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Bytes of messages and seconds of a client's calls, by method."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def clear(self) -> None:
        self.bytes.clear()
        self.seconds.clear()

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        began = time.monotonic()
        call = continuation(details, request)
        back = call.result().ByteSize() if call.exception() is None else 0
        self._count(details, request.ByteSize() + back, time.monotonic() - began)
        return call

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        began, size = time.monotonic(), request.ByteSize()
        for page in continuation(details, request):
            size += page.ByteSize()
            yield page
        self._count(details, size, time.monotonic() - began)

    def _count(self, details: Any, size: int, seconds: float) -> None:
        name = details.method.rpartition("/")[2]
        self.bytes[name] = self.bytes.get(name, 0) + size
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class Deployment:
    """The files of one collection with the first M entries of a workload enrolled."""

    def __init__(self, folder: Path, entries: int) -> None:
        self.folder, self.entries = folder, entries

    @property
    def s1(self) -> Path:
        return self.folder / "s1" / "s1.toml"

    @property
    def s2(self) -> Path:
        return self.folder / "s2" / "s2.toml"

    @property
    def client(self) -> Path:
        return self.folder / "desk" / "client.toml"

    def storage(self) -> tuple[int, int]:
        """Bytes of both data folders, and of what S1 matches with alone."""
        files = [f for side in ("s1", "s2") for f in (self.folder / side / "data").rglob("*") if f.is_file()]
        index = self.folder / "s1" / "data" / DATABASE
        with contextlib.closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as db:
            (matching,) = db.execute("SELECT ifnull(sum(length(body)), 0) FROM entry").fetchone()
        return sum(f.stat().st_size for f in files), int(matching)

    def configure(
        self, workers: int, network: Network, ports: tuple[int, int, int, int], more: str = ""
    ) -> list[Relay]:
        """Write ports, workers and relays into the configuration files, `more` into S1's; the relays run already."""
        s1, s2, sessions, metrics = ports
        relays, host, seen1, seen2 = [], "127.0.0.1", s1, s2
        if network.rtt_s or network.rate:
            # S1 learns the port of sessions from S2: they go through a relay at the same port of another address
            host = _RELAYED
            relays = [Relay(s1, network), Relay(s2, network, host), Relay(sessions, network, host, sessions)]
            seen1, seen2 = relays[0].port, relays[1].port
        common = f"{_LIMITS}\n[workers]\ncount = {workers}\n"
        for path, listen, extra in (
            (self.s1, s1, f'{common}\n[metrics]\nlisten = "127.0.0.1:{metrics}"\n{more}'),
            (self.s2, s2, common),
        ):
            base = path.with_suffix(".base")
            if not base.exists():
                shutil.copy2(path, base)
            text = _set(base.read_text(), "listen", f"127.0.0.1:{listen}")
            if path == self.s2:
                text = f'sessions = "127.0.0.1:{sessions}"\n{text}'
            path.write_text(_set(text, "address", f"{host}:{seen2}") + extra)
        text = _set(self.client.read_text(), "server", f"127.0.0.1:{seen1}")
        self.client.write_text(re.sub(r"(?m)^deadline_s = .*$", "deadline_s = 7200.0", text))
        return relays


def _set(text: str, key: str, value: str) -> str:
    return re.sub(rf'(?m)^{key} = ".*"$', f'{key} = "{value}"', text)


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question: elapsed seconds; CPU seconds of S1 and S2, and of the client; the place of who was named; and what
    `Running.cpu` said then."""

    wall_s: float
    cpu_s: tuple[float, float]
    cpu_s_client: float
    place: int | None
    cpu_then: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Running:
    """A started deployment and a client's session with it. metrics: the port of S1's."""

    deployment: Deployment
    servers: tuple[Server, Server]
    session: Client
    tap: Tap
    metrics: int

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of S1 and S2 with their workers, since they started."""
        one, two = self.servers
        return cpu_seconds(one.pid), cpu_seconds(two.pid)

    def spent(self, before: tuple[float, float]) -> tuple[float, float]:
        """CPU seconds of S1 and S2 since `cpu` said `before`."""
        after = self.cpu()
        return after[0] - before[0], after[1] - before[1]

    def memory(self) -> tuple[int, int]:
        """Peak resident bytes of S1 and S2 with their workers."""
        one, two = self.servers
        return memory_bytes(one.pid), memory_bytes(two.pid)

    def ask(self, probe: Photo) -> Asked:
        """Who a probe is, and what that takes."""
        before, mine, began = self.cpu(), time.process_time(), time.perf_counter()
        decision = self.session.identify(probe)
        wall, client, after = time.perf_counter() - began, time.process_time() - mine, self.cpu()
        place = int(decision.label.rpartition(" ")[2]) if decision.match and decision.label else None
        return Asked(wall, (after[0] - before[0], after[1] - before[1]), client, place, after)

    def enrol(
        self, people: Sequence[tuple[Photo, str]], progress: Callable[[int], None] = lambda _: None
    ) -> tuple[dict[str, Any], list[Handle]]:
        """Enrol faces under labels; what it cost, and their handles. `progress` hears how many there are. Raises what
        the first refused one was refused for."""
        cpu, began, done = self.cpu(), time.monotonic(), itertools.count(1)
        outcomes = self.session.enroll_many(people, lambda _: progress(next(done)))
        wall, (one, two) = time.monotonic() - began, self.spent(cpu)
        handles, count = handles_of(outcomes), len(people)
        cost = {"entries": count, "wall_s": wall, "per_s": count / wall, "cpu_s_s1": one, "cpu_s_s2": two}
        return cost, handles

    def settle(self) -> None:
        """Wait until both servers are idle: their pools of offline material are full."""
        quiet, ends = 0, time.monotonic() + _SETTLE_S
        before = self.cpu()
        while quiet < 2 and time.monotonic() < ends:
            time.sleep(_WINDOW_S)
            now = self.cpu()
            quiet = quiet + 1 if max(now[0] - before[0], now[1] - before[1]) <= _IDLE_CPU_S else 0
            before = now

    def page(self) -> str:
        """S1's metrics now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def between(self) -> dict[str, dict[str, float]]:
        """Rounds and bytes between the servers by method, since they started."""
        out: dict[str, dict[str, float]] = {}
        for name, method, value in _BETWEEN.findall(self.page()):
            kind = out.setdefault(method.lower(), {"rounds": 0.0, "bytes": 0.0})
            kind[name] += float(value)
        return out


@contextlib.contextmanager
def running(deployment: Deployment, workers: int, network: Network = LOOPBACK, more: str = "") -> Iterator[Running]:
    """Both servers as processes and one client; stopped at the end. more: sections of S1's configuration."""
    s1, s2, sessions, metrics = free_ports(4)
    tap = Tap()
    with contextlib.ExitStack() as stack:
        for relay in deployment.configure(workers, network, (s1, s2, sessions, metrics), more):
            stack.callback(relay.close)
        files = deployment.s1, deployment.s2, deployment.client
        servers = stack.enter_context(two_servers(*files, timeout_s=READY_S))
        session = stack.enter_context(connect(load_client(deployment.client), interceptors=[tap]))
        yield Running(deployment, servers, session, tap, metrics)


def key_folder(engine: Engine, bits: int, work: Path, fixtures: Path = FIXTURES) -> Path:
    """The folder of a key set: the checkout's test keys, or new ones."""
    name = f"{bits}" if engine is Engine.PREPARED else f"{bits}-{engine.value}"
    known = fixtures / f"test-keys-{name}"
    if known.is_dir():
        return known
    made = work / f"keys-{name}"
    if not made.is_dir():
        write_keys(generate(bits, SystemRng(), engine), made)
    return made


def prepared(
    work: Path,
    engine: Engine,
    bits: int,
    load: Workload,
    seed: int,
    progress: Callable[[int], None],
    *,
    lockout: bool = False,
) -> tuple[Deployment, dict[str, Any]]:
    """The deployment with all entries of `load`, and what enrolling those that a smaller one lacks cost.

    Grown from the largest smaller one in `work`, so that a series of sizes enrols each entry once. `progress` hears
    how many entries there are. `lockout`: near questions are counted, and more of them answered than anybody asks here.
    """
    entries, dimension = load.gallery.shape
    family = f"{engine.value}-{bits}-{dimension}-{SCALE}-{seed}{'-lockout' * lockout}"
    folder = work / f"{family}-{entries}"
    done = folder / "enrolled"
    if done.exists():
        return Deployment(folder, entries), json.loads(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    enrolled = {int(found.parent.name.rpartition("-")[2]) for found in work.glob(f"{family}-*/enrolled")}
    have = max((size for size in enrolled if size < entries), default=0)
    if have:
        shutil.copytree(work / f"{family}-{have}", folder, ignore=shutil.ignore_patterns("enrolled"))
    else:
        collection = Collection(
            engine=engine,
            allow_leaky=engine is Engine.PUBLISHED,
            dimension=dimension,
            scale=SCALE,
            tau=load.tau,
            embedder="synthetic",
            lockout_limit=_NEAR_QUESTIONS if lockout else 0,
            lockout_threshold=_NEAR if lockout else None,
        )
        make(folder, key_folder(engine, bits, work), collection, Hosts("127.0.0.1", "127.0.0.1", 1, 2))
    deployment = Deployment(folder, entries)
    real = entries if engine is Engine.PUBLISHED else max(have, min(entries, REALLY_ENROLLED))
    cost: dict[str, Any] = {}
    if real > have:
        with running(deployment, workers=0) as now:
            now.settle()
            people = [(load.embeddings[i], load.label(i)) for i in range(have, real)]
            cost, _ = now.enrol(people, lambda new: progress(have + new))
    if entries > real:
        loader.load(deployment, load, real, progress)
        cost["loaded"] = entries - real
    done.write_text(json.dumps(cost))
    return deployment, cost
