"""`pura bench soak`."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from pura.errors import PuraError
from pura_bench import loopback, results
from pura_bench.load import percentiles
from pura_bench.machine import resident_bytes
from pura_bench.soak.chaos import Link
from pura_bench.soak.crowd import Crowd
from pura_bench.soak.faults import READY_S, Faults
from pura_client import config as client_config
from pura_client.processes import Server, free_ports, two_servers
from pura_client.session import connect
from pura_server import config as server_config
from pura_server.config import Collection

ELSEWHERE = "127.0.0.2"
"""Where S1 finds S2: the link listens there on S2's own ports."""
DEADLINE_S = 60.0
BITS = 2048
_LOOK_S = 2.0
LEFT_OUT = [
    "disk full and clocks that jump: tests/grpc and the simulations have them; here they would need another machine",
]


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True)
@click.option("--clients", type=int, default=8, show_default=True)
@click.option("--rate", type=float, default=4.0, show_default=True, help="Calls a second, of all clients together.")
@click.option("--calm", type=float, default=8.0, show_default=True, help="Seconds between faults, on average.")
@click.option("--dimension", type=int, default=128, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result file here.")
def soak(minutes: float, clients: int, rate: float, calm: float, dimension: int, seed: int, out: Path | None) -> None:
    """Clients ask, enrol and erase while faults happen. Exit status 1 if an answer was wrong or anything was lost."""
    with results.watch_load() as load, tempfile.TemporaryDirectory(prefix="pura-soak-") as folder:
        row = _run(Path(folder), minutes, clients, rate, calm, dimension, seed)
    for name, value in row.items():
        if name != "faults":
            click.echo(f"{name.replace('_', ' '):24} {value}")
    if out is not None:
        results.write(out, results.body("robustness", seed, [row], load, left_out=LEFT_OUT))
    if row["wrong"] or row["lost"] or row["stuck"]:
        click.get_current_context().exit(1)


def _run(
    folder: Path, minutes: float, clients: int, rate: float, calm: float, dimension: int, seed: int
) -> dict[str, Any]:
    s1, s2, toml, ports = _lay(folder, dimension)
    configs = []
    for i in range(clients):  # each remembers for itself what it has seen
        shutil.copytree(toml.parent, folder / f"client-{i}")
        config = client_config.load(folder / f"client-{i}" / toml.name)
        configs.append(config.model_copy(update={"deadline_s": DEADLINE_S}))
    with contextlib.ExitStack() as stack:
        links = [Link((ELSEWHERE, port), ("127.0.0.1", port)) for port in ports]
        for link in links:
            stack.callback(link.close)
        servers = stack.enter_context(two_servers(s1, s2, toml, timeout_s=READY_S))
        crowd, stop = Crowd(dimension, seed), threading.Event()
        rng = np.random.default_rng(seed)
        pause = lambda: float(rng.exponential(clients / rate))  # noqa: E731
        looks: list[dict[str, int]] = []
        threads = [threading.Thread(target=crowd.run, args=(one, i, pause, stop)) for i, one in enumerate(configs)]
        threads.append(threading.Thread(target=_look, args=(servers, looks, stop)))
        for thread in threads:
            thread.start()
        faults = Faults(servers, links, toml, crowd.quiet, seed)
        ends = time.monotonic() + 60 * minutes
        try:
            while time.monotonic() < ends:
                time.sleep(float(rng.exponential(calm)))
                faults.one()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        with connect(toml) as client:
            there = crowd.audit(client)
    counts = crowd.counts
    return {
        "minutes": minutes,
        "clients": clients,
        "rate": rate,
        "asked": counts.asked,
        "enrolled": counts.enrolled,
        "erased": counts.erased,
        "there_at_the_end": there,
        "wrong": counts.wrong,
        "lost": counts.lost,
        "stuck": counts.stuck,
        "either_right": counts.loose,
        "errors": dict(counts.errors),
        "answer": percentiles(counts.answer_s),
        **_growth(looks),
        "number_of_faults": len(faults.done),
        "slowest_to_be_ready_s": max((float(str(one["ready_after_s"])) for one in faults.done), default=0.0),
        "faults": faults.done,
    }


def _lay(folder: Path, dimension: int) -> tuple[Path, Path, Path, tuple[int, int]]:
    """Configuration files, and both ports of S2, which S1 looks for at `ELSEWHERE`."""
    collection = Collection(dimension=dimension, threshold=0.6, embedder="none")
    s1, s2, toml = loopback.lay(folder, loopback.new_keys(folder, collection.engine, BITS), collection)
    port, sessions = int(server_config.load(s2).listen.rpartition(":")[2]), free_ports(1)[0]
    s1.write_text(s1.read_text().replace(f'"127.0.0.1:{port}"', f'"{ELSEWHERE}:{port}"'))
    s2.write_text(s2.read_text().replace("\ndata = ", f'\nsessions = "127.0.0.1:{sessions}"\ndata = ', 1))
    return s1, s2, toml, (port, sessions)


def _look(servers: tuple[Server, Server], looks: list[dict[str, int]], stop: threading.Event) -> None:
    """Memory and open files of both servers, now and then."""
    while not stop.wait(_LOOK_S):
        one: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError, PuraError):  # one of them may just be away
            for name, server in zip(("s1", "s2"), servers, strict=True):
                one[f"{name}_mib"] = resident_bytes(server.pid) >> 20
                one[f"{name}_files"] = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
            looks.append(one)


def _growth(looks: list[dict[str, int]]) -> dict[str, Any]:
    """The most of each in the second and in the last quarter."""
    quarter = len(looks) // 4
    if not quarter:
        return {}
    return {
        name: [max(one[name] for one in part) for part in (looks[quarter : 2 * quarter], looks[-quarter:])]
        for name in looks[0]
    }
