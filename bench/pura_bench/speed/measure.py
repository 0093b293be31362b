"""One cell of the table: engine, M, D, key length, workers and network, measured in real processes."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pura.crypto.context import NO_CERTIFICATE
from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.ids import Engine, Epoch
from pura.statements import signs
from pura.wire._pb import pura_pb2 as pb
from pura_bench.speed.deployment import Deployment, Running, prepared, running
from pura_bench.speed.network import NETWORKS
from pura_bench.speed.stages import Meter, in_process
from pura_bench.workload import Workload, make
from pura_client import engines as client_engines
from pura_client.config import load as load_client
from pura_server import config as server_config
from pura_server.requests import question_of

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is measured. workers 0: one for each core; stages: also take it apart in one thread; lockout: near questions
    are counted."""

    engine: str
    entries: int
    dimension: int = 128
    key_bits: int = 2048
    workers: int = 1
    network: str = "loopback"
    probes: int = 4
    stages: bool = False
    lockout: bool = False

    def __str__(self) -> str:
        workers = "all" if self.workers == 0 else self.workers
        text = f"{self.engine}, M = {self.entries:,}, D = {self.dimension}"
        if self.engine != PLAINTEXT:
            text += f", {self.key_bits} bits, {workers} workers, {self.network}{', lockout' * self.lockout}"
        return text


PLAINTEXT = "plaintext"
WARM = {Engine.PREPARED: 3, Engine.PUBLISHED: 0}
"""Questions before the measured ones, the first one reported as cold."""


def measure(cell: Cell, work: Path, seed: int, say: Say = lambda _: None) -> dict[str, Any]:
    """The row of a cell."""
    load = make(cell.entries, cell.dimension, cell.probes, seed)
    row: dict[str, Any] = {
        "engine": cell.engine,
        "M": cell.entries,
        "D": cell.dimension,
        "key_bits": cell.key_bits,
        "workers": cell.workers,
        "network": cell.network,
        "probes": cell.probes,
        "extrapolated": False,
        "lockout": cell.lockout,
    }
    if cell.engine == PLAINTEXT:
        return row | _plaintext(load)
    engine = Engine(cell.engine)

    def enrolling(done: int) -> None:
        say(f"{cell}: enrolling, {done:,} of {cell.entries:,}")

    deployment, enrolment = prepared(work, engine, cell.key_bits, load, seed, enrolling, lockout=cell.lockout)
    say(f"{cell}: asking")
    with running(deployment, cell.workers, NETWORKS[cell.network]) as now:
        row |= _asked(now, load, warm=WARM[engine])
    total, matching = deployment.storage()
    row["storage_bytes_entry"] = total / cell.entries
    row["matching_bytes_entry"] = matching / cell.entries
    row["enrolment"] = enrolment
    row["stages"] = []
    if cell.stages:
        say(f"{cell}: taking it apart")
        row |= staged(deployment, load)
    return row


def _asked(now: Running, load: Workload, *, warm: int) -> dict[str, Any]:
    """All questions, each after the pools are full again."""
    now.settle()
    idle, cold = now.memory(), {}
    if warm:
        first, *_ = [now.ask(load.probes[i % len(load.probes)]) for i in range(warm)]
        cold = {"wall_s_cold": first.wall_s, "cpu_s_cold": sum(first.cpu_s)}
        now.settle()
    asked, offline, questions = [], [], []
    between, right = now.between(), True
    for i, probe in enumerate(load.probes):
        now.tap.clear()
        asked.append(one := now.ask(probe))
        questions.append(one.wall_s - now.tap.seconds.get("Roster", 0.0))
        right = right and load.right(i, one.place)
        now.settle()
        offline.append(sum(now.spent(one.cpu_then)))
    count, walls = len(asked), [one.wall_s for one in asked]
    used = _difference(now.between(), between)
    peak = now.memory()
    identify = used.get("identify", {})
    return cold | {
        "cpu_s_s1": sum(one.cpu_s[0] for one in asked) / count,
        "cpu_s_s2": sum(one.cpu_s[1] for one in asked) / count,
        "cpu_s_offline": sum(offline) / count,
        "cpu_s_client": sum(one.cpu_s_client for one in asked) / count,
        "wall_s": statistics.median(walls),
        "wall_s_worst": max(walls),
        "question_s": statistics.median(questions),
        "bytes_client": now.tap.bytes.get("Identify", 0),
        "bytes_roster": now.tap.bytes.get("Roster", 0),
        "bytes_peer": round(identify.get("bytes", 0.0) / count),
        "bytes_offline": round(used.get("refill", {}).get("bytes", 0.0) / count),
        "rounds": round(identify.get("rounds", 0.0) / count),
        "exact": right,
        "memory_bytes_s1": peak[0],
        "memory_bytes_s2": peak[1],
        "memory_idle_bytes": sum(idle),
    }


def _difference(after: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        method: {name: value - before.get(method, {}).get(name, 0.0) for name, value in counts.items()}
        for method, counts in after.items()
    }


def staged(deployment: Deployment, load: Workload) -> dict[str, Any]:
    """The stages of one question, the mean of all probes, in one thread; and what its offline material costs."""
    settings = server_config.load(deployment.s1)
    params = settings.collection
    meter, refills, offline, right = Meter(), Meter(), 0.0, True
    with in_process(deployment) as both:
        client = load_client(deployment.client)
        pk = load_public(client.public_key)
        agreed, rng = params.params(pk), SystemRng()
        verifier = settings.verifier(pk) if signs(agreed.engine) else None
        author = client_engines.Author(pk, agreed, keys=client.group_keys(), verifier=verifier)
        both.refill(Meter())
        handles = {entry.handle: place for place, entry in enumerate(both.store.entries())}
        warm = max(1, WARM[agreed.engine])
        for i in range(-warm, len(load.questions)):  # the first ones are not counted
            asked = client_engines.ask(author, load.questions[max(i, 0)], Epoch(both.peer.epoch()), rng)
            query = question_of(asked.query, NO_CERTIFICATE)
            answer, later = both.question(query, *((Meter(), Meter()) if i < 0 else (meter, refills)))
            if i < 0:
                continue
            offline += later
            found = asked.open(pb.AnswerReply(share=answer.share, sealed=answer.sealed, opened=answer.opened)).handles
            right = right and load.right(i, handles[found[0]] if found else None)
    count = len(load.questions)
    return {
        "stages": _each(meter, count),
        "offline_stages": _each(refills, count),
        "staged": {
            "cpu_s_s1": sum(s.cpu_s_s1 for s in meter.stages.values()) / count,
            "cpu_s_s2": sum(s.cpu_s_s2 for s in meter.stages.values()) / count,
            "cpu_s_offline": offline / count,
            "exact": right,
        },
    }


def _each(meter: Meter, count: int) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage.stage,
            "cpu_s_s1": stage.cpu_s_s1 / count,
            "cpu_s_s2": stage.cpu_s_s2 / count,
            "bytes": round(stage.bytes / count),
            "rounds": round(stage.rounds / count),
        }
        for stage in meter.stages.values()
    ]


def _plaintext(load: Workload) -> dict[str, Any]:
    """numpy int32: a matrix-vector product, the norms, argmin, the threshold."""
    gallery = load.gallery.astype(np.int32)
    norms = (gallery * gallery).sum(axis=1, dtype=np.int32)
    walls, cpus, right = [], [], True
    for i, question in enumerate(load.questions):
        x = question.astype(np.int32)
        for _ in range(5):
            wall, cpu = time.perf_counter(), time.process_time()
            d = norms - 2 * (gallery @ x)
            best = int(d.argmin())
            match = int(d[best]) + int(x @ x) <= load.tau
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        right = right and load.right(i, best if match else None)
    return {
        "key_bits": 0,
        "cpu_s_s1": statistics.median(cpus),
        "cpu_s_s2": 0.0,
        "cpu_s_offline": 0.0,
        "wall_s": statistics.median(walls),
        "bytes_client": 4 * load.gallery.shape[1],
        "bytes_peer": 0,
        "rounds": 0,
        "exact": right,
        "storage_bytes_entry": 4.0 * (load.gallery.shape[1] + 1),
        "stages": [],
    }
