"""Measures a large gallery of engine prepared: `pura bench large --entries 100000 --work FOLDER [--json FILE]`.

Two real servers over a gallery that `speed.loader` has written; one client. Printed and written, in this order:

    load       seconds of the loader, and bytes of both data folders
    start      from the start of the processes until a client is answered; CPU and memory of each server then
    fill       CPU of both servers until the shelves are full, for each pack: first connection's keys of blocks apart
    roster     the client's first roster, whole, and the next one, after one entry was enrolled: elapsed and
               client's CPU seconds, bytes
    question   elapsed, and CPU of S1, S2 and the client; every answer is compared with plain integers
    offline    CPU of both servers for a pack, while the shelves fill again: what a question costs besides

Elapsed times mean something on a quiet machine only: `busy cores` says how many other programs used.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from pura.ids import Engine
from pura_bench import results
from pura_bench.machine import resident_bytes
from pura_bench.speed.deployment import Asked, Running, prepared, running
from pura_bench.workload import Workload, make

_LOOK_S, _QUIET, _IDLE_S = 2.0, 4, 0.1
_PACKS = re.compile(r'^pura_level\{kind="packs"\} (\S+)$', re.MULTILINE)
LATE = "late"
"""The label of an entry that is enrolled beside the others, and erased again."""
T = TypeVar("T")


class Phases:
    """The figures of a run by phase, each printed as soon as it is over."""

    def __init__(self, **about: Any) -> None:
        self.figures: dict[str, Any] = about

    def told(self, name: str, figures: dict[str, Any]) -> None:
        self.figures[name] = figures
        click.echo(f"{name}: {json.dumps(_rounded(figures))}")

    def write(self, name: str, seed: int, load: results.Load, file: Path | None) -> None:
        """The last line, and the result file, which has no section in the report."""
        click.echo(f"other programs used {load.others:.2f} cores")
        content = results.body(name, seed, [self.figures], load)
        content.pop("kind")
        if file is not None:
            results.write(file, content)


@click.command()
@click.option("--entries", default=100_000, show_default=True, type=click.IntRange(1, 1 << 20))
@click.option("--dimension", default=128, show_default=True, type=click.IntRange(16, 1024))
@click.option("--bits", default="2048", show_default=True, type=click.Choice(["2048", "3072"]))
@click.option("--questions", default=8, show_default=True, type=click.IntRange(1, 1000))
@click.option("--packs", default=16, show_default=True, type=click.IntRange(1, 1024), help="Kept ready for identify.")
@click.option("--memory", default=2048, show_default=True, help="MiB that packs may take.")
@click.option("--seed", default=1, show_default=True)
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Keep the loaded galleries here.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(
    entries: int, dimension: int, bits: str, questions: int, packs: int, memory: int, seed: int, work: Path | None,
    file: Path | None,
) -> None:  # fmt: skip
    """Measure questions, memory, start and roster of a large gallery, in two real server processes."""
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pura-large-")))
        load = stack.enter_context(results.watch_load())
        began = time.monotonic()
        workload = make(entries, dimension, questions, seed)
        deployment, cost = prepared(folder, Engine.PREPARED, int(bits), workload, seed, lambda _: None)
        out = Phases(entries=entries)
        out.told("load", {**cost, "s": time.monotonic() - began, "bytes": deployment.storage()[0]})
        offline = f"\n[offline]\npacks = {packs}\nlight_packs = 1\nmemory_mib = {memory}\n"
        began = time.monotonic()
        with running(deployment, 1, more=offline) as now:
            out.told("start", {"s": time.monotonic() - began, **_of(now)})
            _fill(now)
            out.told("fill", {"s": time.monotonic() - began, "packs": _packs(now), **_of(now)})
            out.told("roster_first", _roster(now))
            new, figures = _timed(now, lambda: now.session.enroll(-workload.embeddings[0], LATE))
            out.told("enrol", figures)
            out.told("roster_next", _roster(now))
            out.told("erase", _timed(now, lambda: now.session.forget_entries([new]))[1])
            _fill(now)
            _ask(now, workload, out)
            out.told("end", _of(now))
    out.write("large", seed, load, file)
    if not out.figures["question"]["exact"]:
        raise SystemExit(1)


def _timed(now: Running, work: Callable[[], T]) -> tuple[T, dict[str, Any]]:
    """What some work gives; elapsed seconds, and CPU seconds of S1 and S2."""
    cpu, began = now.cpu(), time.monotonic()
    done = work()
    return done, {"s": time.monotonic() - began, "cpu_s": now.spent(cpu)}


def _ask(now: Running, workload: Workload, out: Phases) -> None:
    """Questions, so few at a time that refilling does not begin; then what refilling costs, and again."""
    wanted, right, made, spent = _packs(now), True, 0, 0.0
    asked: list[Asked] = []
    while len(asked) < len(workload.probes):
        for _ in range(max(1, (wanted - 1) // 4)):
            i = len(asked) % len(workload.probes)
            asked.append(now.ask(workload.probes[i]))
            right = right and workload.right(i, asked[-1].place)
        while 4 * (wanted - _packs(now)) < wanted:
            now.session.identify(workload.probes[0])
        cpu, before = now.cpu(), _packs(now)
        _fill(now)
        made += _packs(now) - before
        spent += sum(now.spent(cpu))
    question = {
        "asked": len(asked),
        "wall_s": statistics.median(one.wall_s for one in asked),
        "cpu_s_s1": statistics.mean(one.cpu_s[0] for one in asked),
        "cpu_s_s2": statistics.mean(one.cpu_s[1] for one in asked),
        "cpu_s_client": statistics.median(one.cpu_s_client for one in asked),
        "exact": right,
    }
    out.told("question", question)
    out.told("offline", {"packs": made, "cpu_s_pack": spent / made if made else None})


def _roster(now: Running) -> dict[str, Any]:
    """Bring the client's roster up to date."""
    now.tap.clear()
    cpu, mine, began = now.cpu(), time.process_time(), time.perf_counter()
    now.session._roster.update()  # what every question does at its end
    return {
        "s": time.perf_counter() - began,
        "cpu_s_client": time.process_time() - mine,
        "cpu_s": now.spent(cpu)[0],
        "bytes": now.tap.bytes.get("Roster", 0),
    }


def _fill(now: Running) -> None:
    """Wait until the shelves are full: no pack more and hardly any CPU for some time, also on a busy machine."""
    quiet, before = 0, (_packs(now), sum(now.cpu()))
    while quiet < _QUIET or not before[0]:
        time.sleep(_LOOK_S)
        after = _packs(now), sum(now.cpu())
        quiet = quiet + 1 if after[0] == before[0] and after[1] - before[1] < _IDLE_S else 0
        before = after


def _packs(now: Running) -> int:
    """How many packs S1 has that a question could use."""
    found = _PACKS.search(now.page())
    return int(float(found[1])) if found else 0


def _of(now: Running) -> dict[str, Any]:
    """CPU and memory of both servers so far."""
    return {
        "cpu_s": list(now.cpu()),
        "resident_mib": [resident_bytes(server.pid) >> 20 for server in now.servers],
        "peak_mib": [one >> 20 for one in now.memory()],
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
