"""A topic of `pura bench accuracy`: one question about one data set, answered by tables.

A topic is a function from photos to tables; what all of them share is here: the options, the embedding of photos, the
table on the terminal, the result file. A cell is text, a number, or a rate or estimate with its interval, as a dict.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import rich.table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pura.errors import BadConfig, PuraError
from pura.face import spec as specs
from pura.face.pipeline import FacePipeline
from pura.face.spec import BUILT_IN, MIRRORED, SFACE, DetectorSpec, EmbedderSpec
from pura_bench import results
from pura_bench.accuracy import datasets
from pura_bench.accuracy.datasets import DataSet
from pura_bench.accuracy.embeddings import Embedded, embed
from pura_bench.screen import wide

Row = dict[str, Any]
SMALL = 1e-3
"""Below it a rate is written as a power of ten."""


@dataclasses.dataclass(frozen=True)
class Table:
    """rows: a dict each; their keys are the heads."""

    title: str
    rows: list[Row]

    def as_text(self) -> list[list[str]]:
        """The heads, then the rows."""
        heads = list(dict.fromkeys(head for row in self.rows for head in row))
        return [heads, *([cell(row.get(head)) for head in heads] for row in self.rows)]


def cell(value: Any) -> str:
    """A rate, which has a count `k`, in per cent with its interval; an estimate, which has none, as it is."""
    match value:
        case None:
            return "-"
        case {"n": 0}:
            return "none"
        case {"k": 0, "n": n, "high": 0.0}:
            return f"0 of {n:,}"  # nobody to draw: no interval
        case {"k": _, "value": rate, "low": low, "high": high, "n": n}:
            return f"{share(rate)} ({share(low)} to {share(high)}) of {n:,}"
        case {"value": middle, "low": low, "high": high, **more}:
            of = f", n = {more['n']:,}" if "n" in more else ""
            return f"{middle:.3f} ({low:.3f} to {high:.3f}{of})"
        case float():
            return f"{value:.4g}"
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case _:
            return str(value)


def share(value: float) -> str:
    """In per cent; a small one as a power of ten."""
    return f"{value:.1e}" if 0 < value < SMALL else f"{100 * value:.2f} %" if value else "0"


def models(named: str | None) -> tuple[EmbedderSpec, DetectorSpec]:
    """The built-in embedder of a name, or the models of a TOML file; SFace where none is named. Raises `BadConfig`."""
    if named is None or named in BUILT_IN:
        return BUILT_IN.get(named or "", SFACE), DetectorSpec()
    spec, detector = specs.read(Path(named))
    return spec or SFACE, detector


class Photos:
    """The photos of a data set and the models that embed them; embeddings come from the user's cache if they can.

    Raises what is wrong with the data set or the models.
    """

    def __init__(self, data: str, embedder: str | None, console: Console) -> None:
        self.console, self.shown = console, datasets.shown(data)
        self.training, self.reported = datasets.load(data)
        self.faces = FacePipeline(*models(embedder))

    def embed(self, data: DataSet, faces: FacePipeline | None = None) -> Embedded:
        """The embeddings of all photos of a set, by the models of the command line or others."""
        with self.bar(f"embedding {data.name}", len(data.photos)) as advance:
            done = 0

            def progress(now: int) -> None:
                nonlocal done
                advance(now - done)
                done = now

            return embed(data, faces or self.faces, progress)

    def halves(self) -> tuple[Embedded, Embedded]:
        """Of the set to fit on and of the one to report. Raises `BadConfig` for a data set without a half to fit on."""
        if self.training is None:
            raise BadConfig("this needs a data set with a half to fit on: lfw1:FOLDER")
        return self.embed(self.training), self.embed(self.reported)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on the terminal; what it gives is called with how much more is done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)


Measure = Callable[..., list[Table]]


def topic(name: str, *options: Any, data: str = "orl", embedder: str = MIRRORED) -> Callable[[Measure], click.Command]:
    """Makes a command of `measure(photos, seed, **options)`."""

    def wrap(measure: Measure) -> click.Command:
        @functools.wraps(measure)
        def run(data: str, embedder: str, seed: int, file: Path | None, **more: Any) -> None:
            console = wide()
            try:
                with results.watch_load() as load:
                    photos = Photos(data, embedder, console)
                    tables = measure(photos, seed, **more)
            except PuraError as error:
                raise click.ClickException(f"{error} [{error.code}]") from error
            for table in tables:
                show(console, table.title, table.as_text())
            if file is not None:
                rows = [dataclasses.asdict(table) for table in tables]
                about = {"topic": name, "data_set": photos.reported.name, "embedder": photos.faces.spec.name}
                body = results.body("topic", seed, [], load, **about, tables=rows)
                body["machine"]["command"] = command(name, {"data": data, "embedder": embedder, "seed": seed, **more})
                results.write(file, body)

        shared = [
            click.option("--data", default=data, show_default=True, help=f"One of {', '.join(datasets.FORMS)}."),
            click.option("--embedder", default=embedder, show_default=True, help=f"{', '.join(BUILT_IN)}, or a file."),
            click.option("--seed", default=1, show_default=True, help="Of samples, noise and intervals."),
            click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write tables here."),
        ]
        for option in (*reversed(shared), *reversed(options)):
            run = option(run)
        return click.command(name)(run)

    return wrap


def show(console: Console, title: str, text: list[list[str]]) -> None:
    """Print a table: the heads, then the rows."""
    heads, *rows = text
    out = rich.table.Table(*heads, title=title)
    for row in rows:
        out.add_row(*row)
    console.print(out)


def command(name: str, options: Row) -> str:
    """The command of a run, without places on this machine."""
    parts = ["pura bench accuracy", name, f"--data {datasets.shown(options.pop('data'))}"]
    flags = {each.name: each.opts[0] for each in click.get_current_context().command.params}
    for key, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one not in (None, ""):
                shown = Path(str(one)).name if isinstance(one, Path) or "/" in str(one) else one
                parts.append(f"{flags[key]} {shown}")
    return " ".join(parts)
