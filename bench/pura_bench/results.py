"""Result files: the command, the machine, how busy it was, and the rows."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pura_bench.machine import cpu_seconds, describe

FOLDER = Path(__file__).parents[2] / "docs" / "results"
"""In a checkout: where the last full runs are kept."""
KINDS = ("speed", "peers", "accuracy", "security", "asking")
"""In this order in the report; other kinds follow."""


@dataclasses.dataclass
class Load:
    """How busy the machine was while something ran: cores that others used, on average, and the elapsed seconds."""

    others: float = 0.0
    elapsed_s: float = 0.0


@contextlib.contextmanager
def watch_load() -> Iterator[Load]:
    """Fills in a `Load` at the end: all busy time of the machine less that of this process and its children."""
    load = Load()
    began, busy, ours = time.monotonic(), _busy(), cpu_seconds(os.getpid())
    try:
        yield load
    finally:
        load.elapsed_s = time.monotonic() - began
        foreign = (_busy() - busy) - (cpu_seconds(os.getpid()) - ours)
        load.others = max(0.0, foreign / load.elapsed_s) if load.elapsed_s else 0.0


def _busy() -> float:
    """Seconds of all cores since the start in which they were not idle."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name == "cpu":
            user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, values)
            return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return 0.0


def body(kind: str, seed: int, rows: list[dict[str, Any]], load: Load, **more: Any) -> dict[str, Any]:
    """What a result file holds."""
    machine = describe(seed)
    machine["other_load_cores"] = round(load.others, 2)
    machine["elapsed_s"] = round(load.elapsed_s, 1)
    return {"kind": kind, "machine": machine, **more, "rows": rows}


def reason(error: Exception) -> str:
    """Why something was not measured, in a line."""
    return str(error).splitlines()[0] if str(error) else repr(error)


def write(file: Path, content: dict[str, Any]) -> None:
    """Write a result file, whole or not at all."""
    part = file.with_name(file.name + ".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(file)


def load_all(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """All result files by name, in the order of `KINDS`, then by name. Files that say no kind are left out."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        if isinstance(content, dict) and (content.get("kind") or file.stem in KINDS):
            found[file.stem] = {"kind": file.stem, **content}
    order = {kind: i for i, kind in enumerate(KINDS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[1]["kind"], len(KINDS)), item[0])))
