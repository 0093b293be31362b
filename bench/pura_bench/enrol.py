"""Measures enrolling, and what it does to questions: `pura bench enrol --entries 2900 [--json FILE]`.

Two real servers of engine prepared over a gallery that `speed.loader` has written. Phases of one run, printed and
written in this order:

    enrol      so many new entries by one client: entries a second, CPU of both servers for each
    alone      questions while nothing else goes on: elapsed, median and the slowest
    together   the same while another client enrols as fast as it can: the same of both
    erase      single erasures afterwards: the slowest may wait for one change of the background

Elapsed times mean something on a quiet machine only; CPU and the ratio of two phases of one run do on a busy one.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pura.ids import Engine, Handle
from pura_bench import results
from pura_bench.large import Phases
from pura_bench.loopback import handles_of
from pura_bench.speed.deployment import Running, prepared, running
from pura_bench.workload import Workload, make
from pura_client.config import load as load_client
from pura_client.session import Client, connect

Faces = NDArray[np.float32]


@click.command()
@click.option("--entries", default=2900, show_default=True, type=click.IntRange(1, 1 << 20))
@click.option("--new", default=320, show_default=True, type=click.IntRange(1, 100_000), help="Enrolled in a phase.")
@click.option("--questions", default=40, show_default=True, type=click.IntRange(1, 10_000), help="In a phase.")
@click.option("--erasures", default=16, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--dimension", default=128, show_default=True, type=click.IntRange(16, 1024))
@click.option("--bits", default="2048", show_default=True, type=click.Choice(["2048", "3072"]))
@click.option("--seed", default=1, show_default=True)
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Keep the loaded gallery here.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(
    entries: int, new: int, questions: int, erasures: int, dimension: int, bits: str, seed: int, work: Path | None,
    file: Path | None,
) -> None:  # fmt: skip
    """Measure enrolling, and questions and erasures beside it, in two real server processes."""
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pura-enrol-")))
        load = stack.enter_context(results.watch_load())
        workload = make(entries, dimension, questions, seed)
        deployment, _ = prepared(folder, Engine.PREPARED, int(bits), workload, seed, lambda _: None)
        faces = people(max(new, 1000), dimension, seed)
        out = Phases(entries=entries, dimension=dimension, bits=int(bits))
        with running(deployment, 1) as now:
            now.settle()
            cost, handles = now.enrol([(face, f"new {i}") for i, face in enumerate(faces[:new])])
            each = {f"cpu_ms_{server}": 1000 * cost[f"cpu_s_{server}"] / new for server in ("s1", "s2")}
            out.told("enrol", {"entries": new, "per_s": cost["per_s"], **each})
            now.settle()
            out.told("alone", _ask(now.session, workload))
            now.settle()
            out.told("together", _together(now, workload, faces, handles))
            out.told("erase", _erase(now.session, handles, erasures))
            now.session.forget_entries(handles)
    out.write("enrol", seed, load, file)


def people(count: int, dimension: int, seed: int) -> Faces:
    """Unit vectors of people who are in no workload, (count, D)."""
    draw = np.random.default_rng([seed, 77]).standard_normal((count, dimension))
    out: Faces = (draw / np.linalg.norm(draw, axis=1, keepdims=True)).astype(np.float32)
    return out


def _each(work: Iterable[Callable[[], object]]) -> dict[str, Any]:
    """Elapsed seconds of one piece of work after the other: how many, median and the slowest."""
    walls = []
    for one in work:
        began = time.perf_counter()
        one()
        walls.append(time.perf_counter() - began)
    return {"median_s": statistics.median(walls), "slowest_s": max(walls)}


def _ask(session: Client, workload: Workload) -> dict[str, Any]:
    asked = _each(partial(session.identify, probe) for probe in workload.probes)
    return {"questions": len(workload.probes), **asked}


def _together(now: Running, workload: Workload, faces: Faces, handles: list[Handle]) -> dict[str, Any]:
    """Questions while another client enrols, again and again from the first face on, until the last was answered."""
    stop, failed, done = threading.Event(), [], 0
    began = time.monotonic()

    def enrol() -> None:
        nonlocal done
        try:
            with connect(load_client(now.deployment.client)) as desk:
                while not stop.is_set():
                    at = done % (len(faces) - 32)
                    batch = [(face, f"beside {done + i}") for i, face in enumerate(faces[at : at + 32])]
                    handles.extend(handles_of(desk.enroll_many(batch)))
                    done += 32
        except Exception as error:  # noqa: BLE001 - told by who waits for it
            failed.append(error)

    thread = threading.Thread(target=enrol)
    thread.start()
    try:
        asked = _ask(now.session, workload)
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    return {**asked, "enrolled": done, "per_s": done / (time.monotonic() - began)}


def _erase(session: Client, handles: list[Handle], count: int) -> dict[str, Any]:
    gone = [handles.pop() for _ in range(min(count, len(handles)))]
    return {"erasures": len(gone), **_each(partial(session.forget_entries, [handle]) for handle in gone)}


if __name__ == "__main__":
    main()
