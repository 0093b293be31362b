"""A topic of `pura bench accuracy`: one question about one data set, answered by tables.

A topic is a function from photos to tables; what all of them share is here: the options, the embedding of photos, the
recorded command, the result file.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
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
from pura_bench.accuracy.report import Table
from pura_bench.screen import wide

Option = Callable[[Callable[..., Any]], Callable[..., Any]]
SHARED: tuple[Option, ...] = (
    click.option("--data", default="orl", show_default=True, help=f"One of {', '.join(datasets.FORMS)}."),
    click.option(
        "--embedder",
        default=MIRRORED,
        show_default=True,
        help=f"{', '.join(BUILT_IN)}, or a TOML file with the tables [embedder], [detector].",
    ),
    click.option("--seed", default=1, show_default=True, help="Of samples, noise and intervals."),
    click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too."),
)
"""Options of all commands."""


def models(named: str) -> tuple[EmbedderSpec, DetectorSpec]:
    """The built-in embedder of a name, or the models of a TOML file; SFace where it has none. Raises `BadConfig`."""
    if named in BUILT_IN:
        return BUILT_IN[named], DetectorSpec()
    spec, detector = specs.read(Path(named))
    return spec or SFACE, detector


class Photos:
    """The photos of a data set and the models that embed them; embeddings come from the user's cache if they can.

    Raises what is wrong with the data set or the models.
    """

    def __init__(self, data: str, embedder: str, console: Console) -> None:
        self.console, self.shown = console, datasets.shown(data)
        self.training, self.reported = datasets.load(data)
        self.faces = FacePipeline(*models(embedder))

    @property
    def fitted_on(self) -> DataSet:
        """What thresholds are fitted on: the half for it, or what is reported where there is none."""
        return self.training or self.reported

    def embed(self, data: DataSet, faces: FacePipeline | None = None) -> Embedded:
        """The embeddings of all photos of a set, by the models of the command line or others."""
        with self.bar(f"embedding {data.name}", len(data.photos)) as advance:
            return embed(data, faces or self.faces, advance)

    def halves(self, faces: FacePipeline | None = None) -> tuple[Embedded, Embedded]:
        """Of the set to fit on and of the one to report. Raises `BadConfig` for a data set without a half to fit on."""
        if self.training is None:
            raise BadConfig("this needs a data set with a half to fit on: lfw1:FOLDER")
        return self.embed(self.training, faces), self.embed(self.reported, faces)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on the terminal; what it gives is called with how much more is done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)


def with_options(*options: Option) -> Option:
    """Gives a command these options, in this order."""
    return lambda run: functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), run)


@contextmanager
def watched() -> Iterator[results.Load]:
    """What a command measures: how busy the machine is meanwhile, and what goes wrong in one line."""
    try:
        with results.watch_load() as load:
            yield load
    except PuraError as error:
        raise click.ClickException(f"{error} [{error.code}]") from error


def topic(name: str, *options: Option) -> Callable[[Callable[..., list[Table]]], click.Command]:
    """Makes a command of `measure(photos, seed, **options)`."""

    def wrap(measure: Callable[..., list[Table]]) -> click.Command:
        @functools.wraps(measure)
        def run(data: str, embedder: str, seed: int, file: Path | None, **more: Any) -> None:
            console = wide()
            with watched() as load:
                photos = Photos(data, embedder, console)
                tables = measure(photos, seed, **more)
            for table in tables:
                table.show(console)
            if file is not None:
                rows = [dataclasses.asdict(table) for table in tables]
                about = {"topic": name, "data_set": photos.reported.name, "embedder": photos.faces.spec.name}
                body = results.body("topic", seed, [], load, **about, tables=rows)
                body["machine"]["command"] = command(name)
                results.write(file, body)

        return click.command(name)(with_options(*SHARED, *options)(run))

    return wrap


def command(*names: str) -> str:
    """The command that runs, without places on this machine, and without what changes no figure."""
    parts = ["pura bench accuracy", *names]
    context = click.get_current_context()
    for option in context.command.params:
        value = context.params[str(option.name)]
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and option.name not in ("file", "keep"):
                parts.append(f"{option.opts[0]} {datasets.shown(str(one)) if option.name == 'data' else _shown(one)}")
    return " ".join(parts)


def _shown(value: Any) -> str:
    return Path(value).name if isinstance(value, Path) or "/" in str(value) else str(value)
