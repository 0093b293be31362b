"""`pura bench peers`: other encrypted matchers beside ours, for the same D, M, gallery and threshold in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pura_bench import results
from pura_bench.peers.environment import default_cache
from pura_bench.peers.measure import measure
from pura_bench.peers.ours import OURS, measure_ours
from pura_bench.peers.registry import PEERS, QUOTED
from pura_bench.report.speed import peer_tables
from pura_bench.screen import wide
from pura_bench.workload import SCALE, make

NAMES = tuple(peer.name for peer in PEERS)


@click.command()
@click.option("--only", type=click.Choice([*OURS, *NAMES]), multiple=True, help="Some of them; all if left out.")
@click.option("--entries", default=(1000,), show_default=True, multiple=True, type=click.IntRange(1, 100_000))
@click.option("--dimension", default=128, show_default=True, type=click.IntRange(16, 4096))
@click.option("--probes", default=4, show_default=True, type=click.IntRange(1, 100), help="Questions of each.")
@click.option("--seed", default=1, show_default=True)
@click.option("--limit", default=600.0, show_default=True, help="Seconds for one peer; slower ones are left out.")
@click.option("--cache", default=None, type=click.Path(path_type=Path), help="Where environments are kept.")
@click.option("--no-install", is_flag=True, help="Only peers whose environments are there already.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def peers(
    only: tuple[str, ...],
    entries: tuple[int, ...],
    dimension: int,
    probes: int,
    seed: int,
    limit: float,
    cache: Path | None,
    no_install: bool,
    file: Path | None,
) -> None:
    """Other encrypted matchers on the same gallery and threshold, side by side.

    Each peer gets an environment of its own in the user's cache, with pinned versions, made when it is first asked for
    (some 1.5 GB for all). One that cannot be installed or that fails is named with the reason. Every answer is checked
    against plain integers.
    """
    console = wide()
    rows: list[dict[str, Any]] = []
    with results.watch_load() as load:
        for size in sorted(entries):
            work = make(size, dimension, probes, seed)
            for name in only or [*OURS, *NAMES]:
                with console.status(f"{name}, M = {size}, D = {dimension}"):
                    if name in OURS:
                        row = measure_ours(name, work, seed)
                    else:
                        peer = PEERS[NAMES.index(name)]
                        row = measure(peer, work, cache or default_cache(), install=not no_install, limit_s=limit)
                rows.append(row)
                console.print(line(row), markup=False, highlight=False)
    content = results.body("peers", seed, rows, load, scale=SCALE, probes=probes, quoted=QUOTED)
    for table in peer_tables(content):
        console.print(table.on_terminal())
    for text in [*verdicts(rows), *beside_quoted(rows)]:
        console.print(text, markup=False)
    console.print(f"seed {seed}; other programs used {load.others:.2f} cores during the run", highlight=False)
    if file is not None:
        results.write(file, content)


def line(row: dict[str, Any]) -> str:
    """What one row says, as it is measured."""
    start = f"{row['title']}, M = {row['entries']}: "
    if "skipped" in row:
        return start + f"skipped, {row['skipped']}"
    return start + f"{row['wall_s'] * 1e3:.0f} ms wall, {row['cpu_s'] * 1e3:.0f} ms CPU"


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Prepared against each other row of the same size: the ratios, and what a faster one gives up."""
    out = []
    measured = [row for row in rows if "skipped" not in row]
    ours = {row["entries"]: row for row in measured if row["name"] == "prepared"}
    for row in measured:
        base = ours.get(row["entries"], row)
        if row is base:
            continue
        wall, cpu = row["wall_s"] / base["wall_s"], row["cpu_s"] / base["cpu_s"]
        who = f"M = {row['entries']:,}: {row['title']}"
        if wall >= 1:
            out.append(f"{who} takes {wall:.3g} times the wall time and {cpu:.3g} times the CPU of prepared")
        else:
            out.append(
                f"{who} is {1 / wall:.3g} times faster than prepared by the clock. Gallery protected: "
                f"{row['gallery']}; minimum: {row['minimum']}; scores known to {row['score_known_to']}; {row['trust']}"
            )
    return out


def beside_quoted(rows: list[dict[str, Any]]) -> list[str]:
    """Prepared against the figures that are quoted, at their sizes."""
    return [
        f"M = {row['entries']:,}: {quoted['title']} took {quoted['wall_s'] / row['wall_s']:.3g} times the wall time of "
        f"prepared and moved {quoted['bytes_peer'] / row['bytes_peer']:.3g} times the bytes between the servers"
        for quoted in QUOTED
        for row in rows
        if row["name"] == "prepared" and "skipped" not in row
        if (row["entries"], row["dimension"]) == (quoted["entries"], quoted["dimension"])
    ]
