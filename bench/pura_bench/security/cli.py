"""`pura bench security`: attack, judge, report."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pura_bench import machine

if TYPE_CHECKING:
    from pura_bench.security.arms import Plan, Stage

DEFAULT_WORK = Path("security-work")
DEMO = {"victims": 8, "components": 128, "long_victims": 0, "server_questions": 120, "inversion_steps": 20}
NOT_IN_THE_DEMO = ("spots", "rounded-0.01", "transcripts")
"""A transcript of fewer than hundreds of questions shows nothing, not even where there is something to see."""
OTHER_TABLES = {"servers": "servers", "transcripts": "transcript", "unlinkability": "unlinkability", "opens": "opens"}
"""Tables without pictures: their names in the JSON file, and the key that only their rows have."""


@click.command()
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with a folder for each person. Default: the ORL faces, fetched.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("security.html"),
    show_default=True,
    help="The report; its numbers go to a JSON file beside it.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_WORK,
    show_default=True,
    help="Results so far are kept here: run again to go on.",
)
@click.option("--victims", type=click.IntRange(2), default=40, show_default=True)
@click.option("--budgets", default="500,1500", show_default=True, help="Questions about each victim.")
@click.option("--components", type=click.IntRange(8), default=512, show_default=True, help="Eigenfaces.")
@click.option(
    "--long",
    "long_victims",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Victims of the paper's whole recipe, 40,000 questions each.",
)
@click.option(
    "--server-questions",
    type=click.IntRange(20),
    default=300,
    show_default=True,
    help="Questions about each victim that is attacked wholly through the two servers.",
)
@click.option("--transcript-questions", type=click.IntRange(20), default=100, show_default=True)
@click.option(
    "--transcript-victims",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Victims about whom a curious server's transcript is collected, all questions through the servers.",
)
@click.option("--bits", "key_bits", type=int, default=2048, show_default=True, help="The servers' key.")
@click.option("--minutes", type=float, help="Stop long arms after this time, and report what there is.")
@click.option("--inversion-steps", type=click.IntRange(1), default=50, show_default=True)
@click.option("--only", multiple=True, metavar="ARM", help="Run these arms only; the report shows all that are there.")
@click.option("--threads", type=click.IntRange(1), help="Of the network. Default: one for each core.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--faces/--no-faces", default=True, show_default=True, help="Show faces in the report.")
@click.option("--demo", is_flag=True, help="A small run on ORL, under ten minutes on two cores.")
def security(
    photos: Path | None,
    out: Path,
    work: Path,
    budgets: str,
    minutes: float | None,
    only: tuple[str, ...],
    threads: int | None,
    faces: bool,
    demo: bool,
    **how_much: Any,
) -> None:
    """Replays attacks against plaintext and encrypted deployments, and reports what each one leaks.

    Plaintext servers, the product's own two servers and curious ones are started as processes on this machine. The
    faces in a report are those of the photos given: keep it as you keep the photos.
    """
    try:
        import torch
    except ImportError as error:
        raise click.ClickException("the attacks need torch: pip install 'pura-match[attack]'") from error
    from rich.console import Console

    from pura_bench.security import arms, centred, servers, theft

    if threads is not None:
        torch.set_num_threads(threads)
    todo = arms.ARMS | theft.ARMS | servers.ARMS | centred.ARMS
    if demo:
        budgets, how_much = "100,300", how_much | DEMO
    plan = arms.Plan(
        budgets=tuple(sorted(int(b) for b in budgets.split(","))), image_victims=how_much["victims"], **how_much
    )
    if plan.long_victims:
        todo["long"] = arms.LONG
    if unknown := set(only) - set(todo) - {"none"}:
        raise click.UsageError(f"there is no arm {', '.join(sorted(unknown))}; there are {', '.join(todo)}")
    console = Console()
    work.mkdir(parents=True, exist_ok=True)
    stage = prepare(plan, photos, work, threads, console)
    if minutes is not None:
        ends = time.monotonic() + 60 * minutes
        stage.late = lambda: time.monotonic() > ends
    skipped = NOT_IN_THE_DEMO if demo else ()
    for name, arm in todo.items():
        if stage.has(name) or name in skipped or (only and name not in only):
            continue
        began = time.monotonic()
        stage.keep(name, measured(stage, arm))
        console.print(f"[green]done[/] {name}  [dim]{time.monotonic() - began:.0f} s[/]")
    write(collect(stage, list(todo)), out, work, stage, faces)
    console.print(f"report: {out}; numbers: {out.with_suffix('.json')}")


def measured(stage: Stage, arm: Callable[[Stage], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """An arm's rows; where it is the network that takes time, with how fast it was."""
    began, passes, seconds = time.monotonic(), stage.embed.images, stage.embed.seconds
    rows = arm(stage)
    took, done = time.monotonic() - began, stage.embed.images - passes
    if done > 1000:
        rows[0]["throughput"] = {
            "network_passes": done,
            "passes_a_second": round(done / took, 1),
            "share_in_network": round((stage.embed.seconds - seconds) / took, 3),
        }
    return rows


def prepare(plan: Plan, photos: Path | None, work: Path, threads: int | None, console: Any) -> Stage:
    """Photos, victims, eigenfaces, networks, thresholds."""
    import numpy as np

    from pura.attack.basis import Basis, fit
    from pura.attack.embedders import OpenCvEmbed, TorchEmbed
    from pura.face import weights
    from pura.face.pipeline import FacePipeline
    from pura_bench.security import judge
    from pura_bench.security import photos as pictures
    from pura_bench.security.arms import Stage

    faces = FacePipeline()
    with console.status("photos: detect, align, embed"):
        everyone = pictures.load(photos, faces, work, lambda done, of: None)
    cast = pictures.deal(everyone, photos, plan.victims, plan.seed)
    file = work / f"basis-{plan.components}.npz"
    if not file.exists():
        with console.status("eigenfaces"):
            fit(cast.known.crops, plan.components).save(file)
    path = weights.locate(weights.SFACE_FILE)
    with console.status("thresholds"):
        target = judge.Judge(judge.Kept(judge.Target(faces), work), cast, cast.known, cast.known.embeddings)
        judges = [target]
        if (other := judge.critic()) is not None:
            rows = np.random.default_rng(0).permutation(len(cast.known.names))[: judge.CRITIC_PHOTOS]
            judges.append(judge.Judge(judge.Kept(other, work), cast, cast.known.of(rows)))
    return Stage(
        plan, cast, Basis.load(file), OpenCvEmbed(path, threads=threads), TorchEmbed(path), judges,
        target.thresholds[1e-3], work, lambda name: teller(console, name),
    )  # fmt: skip


def teller(console: Any, name: str) -> Callable[[int, int], None]:
    """Progress with the time left, a line every half minute at most: runs are long, and their output often a file."""
    began = last = time.monotonic()
    first: int | None = None

    def tell(done: int, planned: int) -> None:
        nonlocal last, first
        if first is None:
            first = done
        now = time.monotonic()
        if now - last >= 30 and done > first:
            last = now
            left = (planned - done) * (now - began) / (done - first)
            console.print(f"[dim]{name}: {done} of {planned}, about {left / 60:.0f} min left[/]")

    return tell


def collect(stage: Stage, names: list[str]) -> dict[str, Any]:
    """All results that are there, and what they were made with."""
    from pura_bench.security import report

    rows = [row for name in names for row in stage.kept(name)]
    return {
        "when": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command(),
        "machine": {k: v for k, v in machine.describe(stage.plan.seed).items() if k not in ("command", "time")},
        "plan": dataclasses.asdict(stage.plan),
        "source": stage.cast.source,
        "victims": len(stage.enrolled),
        "known": len(stage.cast.known.names),
        "eigenfaces": stage.basis.size,
        "network": stage.judges[0].network.name,
        "critic": stage.judges[1].network.name if len(stage.judges) > 1 else "not installed",
        "threshold": stage.threshold,
        "thresholds": {
            j.network.name: {"impostor_pairs": j.pairs, **{f"{k:g}": round(v, 4) for k, v in j.thresholds.items()}}
            for j in stage.judges
        },
        "unfinished": [name for name in names if not stage.has(name)],
        "arms": sorted((r for r in rows if "verdicts" in r), key=report.place),
        "templates": sorted((r for r in rows if "template_cosine" in r and "deployment" in r), key=report.place),
        **{name: [r for r in rows if mark in r] for name, mark in OTHER_TABLES.items()},
    }


def command() -> str:
    """This run's command line, with the names of folders and files but not where they are."""
    words = sys.argv[sys.argv.index("security") + 1 :] if "security" in sys.argv else sys.argv[1:]
    return " ".join(["pura bench security", *(shlex.quote(Path(w).name if "/" in w else w) for w in words)])


def write(data: dict[str, Any], out: Path, work: Path, stage: Stage, faces: bool) -> None:
    """The report and its JSON."""
    from pura_bench.security import report

    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    out.write_text(report.page(data, work, stage.cast, faces=faces), "utf-8")


if __name__ == "__main__":
    security()
