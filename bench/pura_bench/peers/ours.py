"""Our engines on the peers' workload, in the same run: real processes with mTLS on loopback, as deployed."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from pura.errors import PuraError
from pura_bench import results
from pura_bench.peers.registry import SHARED
from pura_bench.peers.registry import row as blank
from pura_bench.speed.measure import Cell, measure
from pura_bench.speed.plan import PROBES
from pura_bench.workload import Workload

OURS = ("prepared", "published")
PUBLISHED_LIMIT = 100
"""The published protocols take about 0.1 s of CPU an entry: above this size, they are measured here and scaled up."""

_KNOWN = {"prepared": "nobody", "published": "nobody; S2 learns the magnitude of differences"}


def measure_ours(engine: str, work: Workload, seed: int) -> dict[str, Any]:
    """A row like a peer's."""
    entries, dimension = work.gallery.shape
    facts = dataclasses.replace(SHARED, query="yes", gallery="yes", score_known_to=_KNOWN[engine])
    row = blank(engine, f"Pura, engine {engine}", (entries, dimension), (), facts)
    size = min(entries, PUBLISHED_LIMIT) if engine == "published" else entries
    with tempfile.TemporaryDirectory(prefix="pura-peers-") as folder:
        probes = 1 if size < entries else len(work.questions)
        probes = max(PROBES, probes) if engine == "prepared" else probes
        cell = Cell(engine, size, dimension, 2048, 0, probes=probes)
        try:
            got = measure(cell, Path(folder), seed)
        except (PuraError, OSError, ImportError) as error:
            return row | {"skipped": results.reason(error)}
    scale = entries / size
    if scale > 1:
        row["scaled_from"] = size
    enrolment = got["enrolment"]
    return row | {
        "wall_s": got["wall_s"] * scale,
        # offline work included: what a question costs all parties in the long run, as with the peers
        "cpu_s": (got["cpu_s_s1"] + got["cpu_s_s2"] + got["cpu_s_offline"]) * scale + got["cpu_s_client"],
        "offline_cpu_s": got["cpu_s_offline"] * scale,
        "bytes_client": got["bytes_client"],
        "bytes_peer": round(got["bytes_peer"] * scale),
        "rounds": got["rounds"],
        "memory_bytes": got["memory_bytes_s1"] + got["memory_bytes_s2"],
        "setup_s": enrolment.get("wall_s", 0.0),
        "setup_cpu_s": enrolment.get("cpu_s_s1", 0.0) + enrolment.get("cpu_s_s2", 0.0),
        "exact": got["exact"],
    }
