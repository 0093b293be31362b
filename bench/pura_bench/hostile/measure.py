"""One honest client beside each attack, by three kinds of attacker: how long it waits, and what S1's memory does.

The attackers run on the same machine, niced, so that they take what the servers leave.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import statistics
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from pura.ids import Engine
from pura_bench import loopback, results, workload
from pura_bench.hostile.attacks import ATTACKS
from pura_bench.hostile.run import attacking
from pura_bench.loopback import Files, new_client
from pura_bench.machine import resident_bytes
from pura_bench.workload import Workload
from pura_client.processes import Server, free_ports
from pura_client.session import Client
from pura_server.config import load as load_config
from pura_server.credentials import May, revoke_client

KINDS = ("unknown", "revoked", "listed")
BITS = 2048
_SETTLE_S = 3.0
_BEGINS_S = 300.0
"""In which an attack has some effect, on a machine however busy."""
_REFUSED = re.compile(r'^pura_refused_total\{reason="([^"]*)"\} ([0-9.e+]+)$', re.MULTILINE)


def attacker(folder: Path, kind: str) -> Files:
    """A certificate that the clients' authority signed: not in S1's list, revoked in it, or listed."""
    name = f"hostile-{kind}"
    files = new_client(folder, name, frozenset() if kind == "unknown" else frozenset(May))
    if kind == "revoked":
        revoke_client(load_config(folder / "s1" / "s1.toml").clients_file, name)
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

    def ask(self, questions: int, lasts_s: float = 0.0) -> tuple[list[float], int]:
        """Seconds of each question, and the most memory that S1 had, in bytes, without its workers. So many questions,
        and more until so much time has passed."""
        ends = time.monotonic() + lasts_s
        seconds: list[float] = []
        most = resident_bytes(self._s1.pid, alone=True)
        while len(seconds) < questions or time.monotonic() < ends:
            probe = self._asked % len(self._work.probes)
            self._asked += 1
            began = time.monotonic()
            decision = self._client.identify(self._work.probes[probe])
            seconds.append(time.monotonic() - began)
            most = max(most, resident_bytes(self._s1.pid, alone=True))
            place = None if decision.label is None else int(decision.label.split()[-1])
            self.wrong += not self._work.right(probe, place)
        return seconds, most


class Scene:
    """A running deployment, its honest client, and those who attack it, by kind."""

    def __init__(self, folder: Path, honest: Honest, metrics: str, questions: int) -> None:
        """`metrics`: the address of S1's; `questions`: how many are asked beside an attack, at least."""
        self._address = load_config(folder / "s1" / "s1.toml").listen
        self._attackers = {kind: attacker(folder, kind) for kind in KINDS}
        self._honest, self._metrics, self._questions = honest, metrics, questions
        honest.ask(questions)
        _, self._quiet_bytes = honest.ask(questions)

    def beside(self, kinds: Sequence[str], names: Sequence[str], lasts_s: float | None = None) -> dict[str, Any]:
        """A row: these attacks by these kinds of attacker, all at once, and how it was just before, when nobody
        attacked. `lasts_s`: from the first moment on for so long; None: from when the attack has some effect, for as
        long as the questions take."""
        quiet_s, _ = self._honest.ask(self._questions)
        before = refusals(self._metrics)
        with contextlib.ExitStack() as stack:
            running = [  # niced, as from a machine of their own
                stack.enter_context(attacking(name, self._address, self._attackers[kind], niceness=19))
                for kind in kinds
                for name in names
            ]
            if lasts_s is None:
                for one in running:
                    one.until(lambda tally: tally.refused + tally.closed + tally.ended + tally.held > 0, _BEGINS_S)
                time.sleep(_SETTLE_S)
            seconds, most = self._honest.ask(self._questions, lasts_s or 0.0)
            tallies = [dataclasses.asdict(one.tally) for one in running]
        several = len(names) > 1
        lasted = {"lasts_s": lasts_s, "questions": len(seconds), "wrong": self._honest.wrong}
        return {
            "who": ", ".join(kinds),
            "attack_name": f"{len(names)} at once" if several else names[0],
            "what": "everything at once" if several else ATTACKS[names[0]].what,
            **({} if lasts_s is None else lasted),
            "quiet_s": round(statistics.median(quiet_s), 4),
            "median_s": round(statistics.median(seconds), 4),
            "longest_s": round(max(seconds), 4),
            "slower": round(statistics.median(seconds) / statistics.median(quiet_s), 2),
            "memory_mib": round(most / (1 << 20), 1),
            "memory_ratio": round(most / self._quiet_bytes, 3),
            "attack": {name: sum(tally[name] for tally in tallies) for name in tallies[0]},
            "refused": self._turned_away(before),
        }

    def _turned_away(self, before: dict[str, float]) -> dict[str, int]:
        """Callers since, by reason."""
        now = {why: int(count - before.get(why, 0)) for why, count in refusals(self._metrics).items()}
        return {why: count for why, count in now.items() if count}


@click.command()
@click.option("--dimension", type=int, default=128, show_default=True)
@click.option("--entries", type=int, default=64, show_default=True)
@click.option("--questions", type=int, default=15, show_default=True, help="Beside each attack.")
@click.option("--who", multiple=True, type=click.Choice(KINDS), help="Only attackers of this kind; may be repeated.")
@click.option("--attack", multiple=True, type=click.Choice(list(ATTACKS)), help="Only this one; may be repeated.")
@click.option("--together", "lasts_s", type=float, help="All of them at once, for so many seconds.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the result file here.")
def main(
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
    console, rows = Console(), []
    kinds, names = who or KINDS, attack or tuple(ATTACKS)
    metrics = f"127.0.0.1:{free_ports(1)[0]}"
    more = f'[metrics]\nlisten = "{metrics}"\n'
    work = workload.make(entries, dimension, 40, seed)
    with (
        results.watch_load() as busy,
        loopback.running(BITS, dimension, work, more) as (folder, (s1, _), client, _),
    ):
        honest = Honest(client, work, s1)
        scene = Scene(folder, honest, metrics, questions)
        if lasts_s is not None:
            rows.append(scene.beside(kinds, names, lasts_s))
        else:
            for kind, name in itertools.product(kinds, names):
                rows.append(scene.beside([kind], [name]))
                console.print(rows[-1])
    columns = ("who", "attack_name", "quiet_s", "median_s", "slower", "longest_s", "memory_ratio")
    settings = {"engine": Engine.PREPARED.value, "bits": BITS, "dimension": dimension, "entries": entries}
    table = Table(*(column.replace("_", " ") for column in columns), title=f"{settings['engine']}, {entries} entries")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    console.print(table)
    if out is not None:
        results.write(out, results.body("hostile", seed, rows, busy, **settings))
    if honest.wrong:
        click.get_current_context().exit(1)
