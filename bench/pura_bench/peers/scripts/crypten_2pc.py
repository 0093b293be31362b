"""CrypTen, two processes on this machine, both inputs shared; triples come from a trusted first party.

Integers (precision 0), so that its answer is exact. One-hot argmin, then the threshold; only the place of the match
opens.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import types
from typing import Any

import numpy as np


def run(gallery: Any, probes: Any, tau: int, scale: int) -> dict[str, Any]:
    """Starts both parties."""
    context = multiprocessing.get_context("spawn")
    out: Any = context.Queue()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        parties = [context.Process(target=_party, args=(rank, folder, gallery, probes, tau, out)) for rank in range(2)]
        for party in parties:
            party.start()
        got = [out.get(timeout=1800) for _ in parties]
        for party in parties:
            party.join()
    first = next(g for g in got if g["rank"] == 0)
    return {
        "setup_s": first["setup_at"] - began,
        "setup_cpu_s": sum(g["setup_cpu_s"] for g in got),
        "answers": first["answers"],
        "wall_s": first["wall_s"],
        "cpu_s": sum(g["cpu_s"] for g in got),
        "cpu_by_party": [g["cpu_s"] for g in sorted(got, key=lambda g: int(g["rank"]))],
        "bytes_client": 2 * 8 * (gallery.shape[1] + 2),
        "bytes_peer": sum(g["bytes"] for g in got) // 2,  # each party counts both directions
        "rounds": first["rounds"],
    }


def _party(rank: int, folder: str, gallery: Any, probes: Any, tau: int, out: Any) -> None:
    os.environ.update(
        WORLD_SIZE="2",
        RANK=str(rank),
        RENDEZVOUS=f"file://{folder}/meet",
        BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo",
        OMP_NUM_THREADS="1",
    )
    # its ONNX converter needs a module that newer versions of torch do not have; nothing here uses it
    sys.modules["torch.onnx.symbolic_registry"] = types.ModuleType("symbolic_registry")
    import crypten
    import torch

    torch.set_num_threads(1)
    crypten.init()
    crypten.cfg.communicator.verbose = True  # it counts bytes only then
    wire = crypten.communicator.get()

    def share(values: Any) -> Any:
        return crypten.cryptensor(torch.tensor(values), src=0, precision=0)

    ys, yy = share(gallery), share((gallery * gallery).sum(axis=1))
    places = torch.arange(len(gallery), dtype=torch.int64)
    result: dict[str, Any] = {"rank": rank, "setup_at": time.perf_counter(), "setup_cpu_s": time.process_time()}
    answers, walls, cpus, sent, rounds = [], [], [], [], []
    for probe in probes:
        x, xx = share(probe), share(np.array([int(probe @ probe)]))
        wire.reset_communication_stats()
        wall, cpu = time.perf_counter(), time.process_time()
        d = yy + xx - ys.matmul(x) * 2
        nearest = d.argmin(dim=0, one_hot=True)
        match = (d * nearest).sum() <= tau
        opened = ((nearest * (places + 1)).sum() * match).get_plain_text()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        answers.append(int(opened.item()) - 1)
        sent.append(int(wire.comm_bytes))
        rounds.append(int(wire.comm_rounds))
    result["answers"] = answers
    result["wall_s"], result["cpu_s"] = statistics.median(walls), statistics.median(cpus)
    result["bytes"], result["rounds"] = int(statistics.median(sent)), int(statistics.median(rounds))
    out.put(result)
    out.close()
    out.join_thread()
    os._exit(0)
