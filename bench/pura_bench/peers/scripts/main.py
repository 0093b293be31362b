"""Runs inside a peer's own environment: `python main.py MODULE WORKLOAD.npz RESULT.json`. Needs numpy alone.

MODULE is a file beside this one. It has either `start(gallery, tau, scale)`, which gives a function from a probe to
(answer, bytes to the servers, bytes back, bytes between servers or None where the log tells them), or
`run(gallery, probes, tau, scale)`, which measures by itself and gives the same fields as `measure` below. An answer is
the nearest entry's place, or -1.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def measure(module: Any, gallery: Any, probes: Any, tau: int, scale: int) -> dict[str, Any]:
    """CPU and wall of the preparation and, as medians, of one question; all parties together."""
    began, began_cpu = time.perf_counter(), time.process_time()
    ask = module.start(gallery, tau, scale)
    out: dict[str, Any] = {
        "setup_s": time.perf_counter() - began,
        "setup_cpu_s": time.process_time() - began_cpu,
        "answers": [],
    }
    walls, cpus = [], []
    for probe in probes:
        wall, cpu = time.perf_counter(), time.process_time()
        answer, sent, back, between = ask(probe)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        out["answers"].append(int(answer))
        out["bytes_client"] = sent + back
        if between is not None:
            out["bytes_peer"] = between
    out["wall_s"], out["cpu_s"] = statistics.median(walls), statistics.median(cpus)
    return out


def main() -> None:
    name, workload, result = sys.argv[1:]
    module = importlib.import_module(name)
    data = np.load(workload)
    gallery, probes = data["gallery"].astype(np.int64), data["probes"].astype(np.int64)
    tau, scale = int(data["tau"]), int(data["scale"])
    if hasattr(module, "run"):
        out = module.run(gallery, probes, tau, scale)
    else:
        out = measure(module, gallery, probes, tau, scale)
    out["memory_bytes"] = _peak()
    Path(result).write_text(json.dumps(out))
    sys.stdout.flush()
    os._exit(0)  # some of these libraries crash in their own shutdown


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
