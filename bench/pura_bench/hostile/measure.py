"""One honest client beside each attack, by three kinds of attacker: how long it waits, and what S1's memory does.

The attackers run on the same machine, niced, so that they take what the servers leave.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from pura.ids import Engine
from pura_bench import load, loopback, results, workload
from pura_bench.hostile.attacks import ATTACKS
from pura_bench.hostile.run import Files, attacking, elsewhere
from pura_bench.machine import resident_bytes
from pura_bench.workload import Workload
from pura_client.processes import Server, free_ports, two_servers
from pura_client.session import Client, connect
from pura_server.authority import Credential, issue
from pura_server.config import load as load_config
from pura_server.credentials import May, add_client, revoke_client
from pura_server.tls import fingerprint

KINDS = ("unknown", "revoked", "listed")
_SETTLE_S = 3.0
_BEGINS_S = 300.0
"""In which an attack has some effect, on a machine however busy."""
_AT_ONCE = 20
"""Questions of the honest client between two looks at the time."""
_REFUSED = re.compile(r'^pura_refused_total\{reason="([^"]*)"\} ([0-9.e+]+)$', re.MULTILINE)


def attacker(folder: Path, kind: str) -> Files:
    """A certificate that the clients' authority signed: not in S1's list, revoked in it, or listed."""
    signer = Credential(*((folder / "ca" / f"ca.{part}").read_bytes() for part in ("crt", "key")))
    made = issue(signer, f"hostile-{kind}")
    files = Files(folder / f"{kind}.crt", folder / f"{kind}.key", folder / "ca" / "ca.crt")
    files.cert.write_bytes(made.cert)
    files.key.write_bytes(made.key)
    listed = load_config(folder / "s1" / "s1.toml").clients_file
    if kind != "unknown":
        add_client(listed, f"hostile-{kind}", fingerprint(made.cert), frozenset(May))
    if kind == "revoked":
        revoke_client(listed, f"hostile-{kind}")
    return files


def refusals(metrics: str) -> dict[str, float]:
    """How many callers S1 has turned away, by reason. `metrics`: host:port."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=60) as page:
        return {reason: float(count) for reason, count in _REFUSED.findall(page.read().decode())}


class Honest:
    """The client that wants an answer, and a look at S1 meanwhile."""

    def __init__(self, client: Client, work: Workload, s1: Server) -> None:
        self._client = client
        self._work = work
        self._s1 = s1
        self._asked = 0
        self.wrong = 0

    @property
    def resident(self) -> int:
        """S1's memory now, in bytes, without its workers."""
        return resident_bytes(self._s1.pid, alone=True)

    def ask(self, questions: int) -> tuple[list[float], int]:
        """Seconds of each question, and the most memory that S1 had."""
        seconds, most = [], self.resident
        for _ in range(questions):
            probe = self._asked % len(self._work.probes)
            self._asked += 1
            began = time.monotonic()
            decision = self._client.identify(self._work.probes[probe])
            seconds.append(time.monotonic() - began)
            most = max(most, self.resident)
            place = None if decision.label is None else int(decision.label.split()[-1])
            self.wrong += not self._work.right(probe, place)
        return seconds, most


@contextlib.contextmanager
def deployment(engine: str, bits: int, dimension: int, entries: int, seed: int) -> Iterator[tuple[Path, Honest, str]]:
    """A folder with two running servers, an honest client with a gallery, and the address of S1's metrics."""
    work = workload.make(entries, dimension, 40, seed)
    folder = Path(tempfile.mkdtemp(prefix="pura-hostile-"))
    try:
        keys = loopback.new_keys(folder, Engine(engine), bits)
        metrics = f"127.0.0.1:{free_ports(1)[0]}"
        more = f'[metrics]\nlisten = "{metrics}"\n'
        s1, s2, toml = loopback.lay(folder, keys, loopback.vectors_only(Engine(engine), dimension), more=more)
        with two_servers(s1, s2, toml) as (one, _), connect(toml) as client:
            load.enrol(client, work)
            yield folder, Honest(client, work, one), metrics
    finally:
        shutil.rmtree(folder)


def measure(
    folder: Path,
    honest: Honest,
    metrics: str,
    questions: int,
    tell: Console,
    *,
    kinds: Sequence[str] = KINDS,
    names: Sequence[str] = tuple(ATTACKS),
) -> list[dict[str, Any]]:
    """A row for each attack by each kind of attacker: beside it, and just before it, when nobody attacked."""
    address = load_config(folder / "s1" / "s1.toml").listen
    honest.ask(questions)
    _, quiet_bytes = honest.ask(questions)
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        files = attacker(folder, kind)
        for name in names:
            quiet_s, _ = honest.ask(questions)
            before = refusals(metrics)
            with attacking(name, address, elsewhere(), files, niceness=19) as running:  # as from a machine of its own
                running.until(lambda tally: tally.refused + tally.closed + tally.ended + tally.held > 0, _BEGINS_S)
                time.sleep(_SETTLE_S)
                seconds, most = honest.ask(questions)
                tally = running.tally
            row = {
                "who": kind, "attack_name": name, "what": ATTACKS[name].what,
                **_figures(quiet_s, seconds, quiet_bytes, most),
                "attack": dataclasses.asdict(tally), "refused": _told(before, metrics),
            }  # fmt: skip
            tell.print(row)
            rows.append(row)
    return rows


def together(
    folder: Path,
    honest: Honest,
    metrics: str,
    lasts_s: float,
    *,
    kinds: Sequence[str] = KINDS,
    names: Sequence[str] = tuple(ATTACKS),
) -> dict[str, Any]:
    """One row: all attacks by every kind of attacker at once, for so long, beside a client that goes on asking."""
    address = load_config(folder / "s1" / "s1.toml").listen
    honest.ask(_AT_ONCE)
    quiet_s, quiet_bytes = honest.ask(_AT_ONCE)
    seconds: list[float] = []
    most, before = 0, refusals(metrics)
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(attacking(name, address, elsewhere(), files, niceness=19))
            for files in [attacker(folder, kind) for kind in kinds]
            for name in names
        ]
        ends = time.monotonic() + lasts_s
        while time.monotonic() < ends:
            some, now = honest.ask(_AT_ONCE)
            seconds, most = seconds + some, max(most, now)
        tallies = [dataclasses.asdict(one.tally) for one in running]
    return {
        "who": ", ".join(kinds), "attack_name": f"{len(names)} at once", "what": "everything at once",
        "lasts_s": lasts_s, "questions": len(seconds), "wrong": honest.wrong,
        **_figures(quiet_s, seconds, quiet_bytes, most),
        "attack": {name: sum(tally[name] for tally in tallies) for name in tallies[0]},
        "refused": _told(before, metrics),
    }  # fmt: skip


def _figures(quiet_s: Sequence[float], seconds: Sequence[float], quiet_bytes: int, most: int) -> dict[str, float]:
    return {
        "quiet_s": round(statistics.median(quiet_s), 4),
        "median_s": round(statistics.median(seconds), 4),
        "longest_s": round(max(seconds), 4),
        "slower": round(statistics.median(seconds) / statistics.median(quiet_s), 2),
        "memory_mib": round(most / (1 << 20), 1),
        "memory_ratio": round(most / quiet_bytes, 3),
    }


def _told(before: dict[str, float], metrics: str) -> dict[str, int]:
    """Callers turned away since, by reason."""
    told = {why: int(count - before.get(why, 0)) for why, count in refusals(metrics).items()}
    return {why: count for why, count in told.items() if count}


@click.command()
@click.option(
    "--engine", type=click.Choice([e.value for e in Engine]), default=Engine.PREPARED.value, show_default=True
)
@click.option("--bits", type=click.Choice(["2048", "3072"]), default="2048", show_default=True)
@click.option("--dimension", type=int, default=128, show_default=True)
@click.option("--entries", type=int, default=64, show_default=True)
@click.option("--questions", type=int, default=15, show_default=True, help="Beside each attack.")
@click.option("--who", multiple=True, type=click.Choice(KINDS), help="Only attackers of this kind; may be repeated.")
@click.option("--attack", multiple=True, type=click.Choice(list(ATTACKS)), help="Only this one; may be repeated.")
@click.option("--together", "lasts_s", type=float, help="All of them at once, for so many seconds.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result file here.")
def main(
    engine: str,
    bits: str,
    dimension: int,
    entries: int,
    questions: int,
    who: tuple[str, ...],
    attack: tuple[str, ...],
    lasts_s: float | None,
    seed: int,
    out: Path | None,
) -> None:
    """An honest client beside hostile ones: its time, and S1's memory. Exit status 1 if an answer was wrong."""
    console = Console()
    with results.watch_load() as busy, deployment(engine, int(bits), dimension, entries, seed) as (folder, honest, at):
        chosen: dict[str, Any] = {"kinds": who or KINDS, "names": attack or tuple(ATTACKS)}
        if lasts_s is None:
            rows = measure(folder, honest, at, questions, console, **chosen)
        else:
            rows = [together(folder, honest, at, lasts_s, **chosen)]
    columns = ("who", "attack_name", "quiet_s", "median_s", "slower", "longest_s", "memory_ratio")
    table = Table(*(column.replace("_", " ") for column in columns), title=f"{engine}, {entries} entries")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)
    if out is not None:
        more = {"engine": engine, "bits": int(bits), "dimension": dimension, "entries": entries}
        results.write(out, results.body("hostile", seed, rows, busy, **more))
    if honest.wrong:
        click.get_current_context().exit(1)
