"""`pura bench speed`."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pura.errors import PuraError
from pura_bench import results
from pura_bench.report.speed import speed_tables
from pura_bench.screen import wide
from pura_bench.speed import fit, plan
from pura_bench.speed.measure import PLAINTEXT, Cell, measure
from pura_bench.speed.network import NETWORKS
from pura_bench.workload import SCALE

ENGINES = (plan.PREPARED, plan.PUBLISHED, PLAINTEXT)
SIZES = (1000, 10_000)
"""Where engine published is extrapolated to."""


@click.command()
@click.option("--quick", is_flag=True, help="Small galleries: some 2 minutes on 2 cores.")
@click.option("--core", is_flag=True, help="What README quotes: some 15 minutes on 2 cores.")
@click.option("--engine", "engines", type=click.Choice(ENGINES), multiple=True, help="With --entries; default: all.")
@click.option(
    "--entries", type=click.IntRange(1, 1_000_000), multiple=True, help="Measure these sizes of gallery only."
)
@click.option(
    "--dimension", "dimensions", type=click.IntRange(2, 4096), multiple=True, default=(128,), show_default=True
)
@click.option("--bits", type=click.Choice(["2048", "3072"]), multiple=True, default=("2048",), show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    multiple=True,
    default=(1,),
    show_default=True,
    help="0: one for each core.",
)
@click.option(
    "--network", "networks", type=click.Choice(list(NETWORKS)), multiple=True, default=("loopback",), show_default=True
)
@click.option("--probes", type=click.IntRange(1, 1000), default=4, show_default=True, help="Questions, with --entries.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), help="Keep the enrolled galleries here for another run."
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the rows here too.")
def speed(
    quick: bool,
    core: bool,
    engines: tuple[str, ...],
    entries: tuple[int, ...],
    dimensions: tuple[int, ...],
    bits: tuple[str, ...],
    workers: tuple[int, ...],
    networks: tuple[str, ...],
    probes: int,
    seed: int,
    work: Path | None,
    file: Path | None,
) -> None:
    """All engines and the plaintext limit in one run, in two real server processes.

    Without options the full run, which takes more than an hour; --core for its main rows; --quick for a look; --entries
    for sizes of your own. cpu_s_s1 and cpu_s_s2 are the CPU seconds of each server and its workers from question to
    answer, cpu_s_offline what both spend afterwards until their offline material is full again, wall_s what the client
    waits, label included. Every answer is compared with plain integers. lan is 0.5 ms there and back, wan 20 ms and 100
    Mbit/s, by a relay that really waits, on the links from client to S1 and from S1 to S2.
    """
    if entries:
        lengths = [int(b) for b in bits]
        cells = plan.custom(engines or ENGINES, entries, dimensions, lengths, workers, networks, probes)
    else:
        cells = plan.quick() if quick else plan.core() if core else plan.full()
    console = wide()
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with contextlib.ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pura-speed-")))
        load = stack.enter_context(results.watch_load())
        bar = stack.enter_context(_bar(console))
        task = bar.add_task("", total=len(cells))
        for cell in cells:
            bar.update(task, description=str(cell))
            began = time.monotonic()
            try:
                with results.watch_load() as own:
                    row = measure(cell, folder, seed, lambda text: bar.update(task, description=text))
                row["other_load_cores"] = round(own.others, 2)
            except (PuraError, OSError, ImportError) as error:
                failed.append({"cell": str(cell), "reason": results.reason(error)})
                bar.console.print(f"{cell}: not measured, {failed[-1]['reason']}", markup=False, highlight=False)
            else:
                rows.append(row)
                bar.console.print(_line(cell, row, time.monotonic() - began), markup=False, highlight=False)
            bar.advance(task)
    rows += fit.extrapolate(rows, SIZES) if not entries else []
    follows = {"per_entry": fit.per_entry(rows), "ratios": fit.ratios(rows)}
    content = results.body("speed", seed, rows, load, scale=SCALE, failed=failed, **follows)
    for table in speed_tables(content):
        if table.rows:
            console.print(table.on_terminal())
    machine = content["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['bigint']}, seed {seed}; other programs used "
        f"{load.others:.2f} cores during the run",
        highlight=False,
    )
    if file is not None:
        results.write(file, content)
    if failed or not all(row["exact"] in (True, None) for row in rows):
        click.get_current_context().exit(1)


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True)


def _line(cell: Cell, row: dict[str, Any], seconds: float) -> str:
    return (
        f"{cell}: {row['wall_s'] * 1e3:,.1f} ms wall, {fit.online(row) * 1e3:,.1f} ms CPU, "
        f"{'exact' if row['exact'] else 'WRONG'} ({seconds:.0f} s)"
    )
