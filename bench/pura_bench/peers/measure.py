"""One peer on one workload."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pura_bench.peers.environment import Unavailable, prepare, run_script
from pura_bench.peers.registry import Peer
from pura_bench.peers.registry import row as blank
from pura_bench.workload import SCALE, Workload

_LINK = re.compile(r"Link details: total send bytes (\d+)")


def measure(peer: Peer, work: Workload, cache: Path, *, install: bool, limit_s: float) -> dict[str, Any]:
    """A row of the result. One that is not available says why and has no figures."""
    entries, dimension = work.gallery.shape
    row = blank(peer.name, peer.title, (entries, dimension), (*peer.packages, *peer.loose), peer.facts)
    try:
        expected = peer.slow * entries * dimension / 128 * len(work.questions)
        if expected > limit_s:
            raise Unavailable(f"left out: about {expected:.0f} s at this size, and the limit is {limit_s:.0f} s")
        row |= _run(peer, work, prepare(peer, cache, install=install), limit_s)
    except Unavailable as error:
        row["skipped"] = str(error)
    return row


def _run(peer: Peer, work: Workload, python: Path, limit_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "workload.npz", Path(folder) / "result.json"
        np.savez(
            given,
            gallery=work.gallery.astype(np.int16),
            probes=work.questions.astype(np.int16),
            tau=work.tau,
            scale=SCALE,
        )
        said = run_script(python, peer.script, given, result, limit_s)
        out: dict[str, Any] = json.loads(result.read_text())
    links = [int(found) for found in _LINK.findall(said)]
    if links:  # what both parties sent in the last run, and in the first one, which makes the base OTs and stocks up
        out["bytes_peer"], out["bytes_peer_first"] = sum(links[-2:]), sum(links[:2])
    answers = out.pop("answers")
    rights = [work.right(i, None if answer < 0 else answer) for i, answer in enumerate(answers)]
    out["exact"] = len(rights) == len(work.questions) and all(rights)
    return out
