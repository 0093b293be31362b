"""`pura import`: enrol embeddings from a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from pura.commands import ERROR
from pura.errors import PuraError
from pura_client import embeddings
from pura_client.cli_common import connected, show
from pura_client.embeddings import Columns, Rows
from pura_client.enrolling import Enrolled, Enrolment
from pura_client.session import Client, connect
from pura_client.templates import Raw, Ready

LEFT_OUT = 1
TOGETHER = 2048
"""Rows of one run of enrolments: what a run remembers of its rows is forgotten after so many."""
NAMED = 100
"""Rows that are named one by one, of those that were left out."""


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--raw", "kind", flag_value="raw", help="The numbers are as the network gave them.")
@click.option("--ready", "kind", flag_value="ready", help="All is done to them that the collection's embedder does.")
@click.option("--labels", type=click.Path(path_type=Path, dir_okay=False), help="For .npy: a text, a label a line.")
@click.option("--label-column", default=Columns.label, show_default=True, help="Where the labels are.")
@click.option(
    "--embedding-column", default=Columns.embedding, show_default=True, help="Where .npz and .parquet have them."
)
@click.option("--name-column", help="A name of your own for each row; the same name is enrolled once.")
@connected
def import_embeddings(
    file: Path,
    kind: str | None,
    labels: Path | None,
    label_column: str,
    embedding_column: str,
    name_column: str | None,
    config: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Enrol the embeddings in FILE, .npy, .npz, .csv or .parquet, an entry for each row.

    Say what the numbers are, by --raw or --ready. What is enrolled already is not enrolled again: do the same once
    more, and a run that was stopped goes on. Rows that are left out are named, and the exit status is then 1.
    """
    if kind is None:
        raise click.UsageError("say what the numbers are: --raw or --ready")
    columns = Columns(label_column, embedding_column, name_column)
    rows = embeddings.rows(file, Raw if kind == "raw" else Ready, columns, labels)
    told = _Telling(rows.total, None if as_json else Console(stderr=True))
    with connect(config, insecure=insecure) as client, told.progress:
        try:
            _enrol(client, rows, told)
        except KeyboardInterrupt:
            told.stopped = "stopped by the keyboard"
    show(as_json, told.body(), *told.lines())
    click.get_current_context().exit(ERROR if told.ended_early else LEFT_OUT if told.left_out else 0)


def _enrol(client: Client, rows: Rows, told: _Telling) -> None:
    ended = False
    while not ended and not told.ended_early:
        part: list[Enrolment] = []
        damaged: PuraError | None = None
        try:
            for row in itertools.islice(rows.enrolments, TOGETHER):
                part.append(row)
        except PuraError as error:  # the rest of the file cannot be read: what came before it is enrolled all the same
            damaged = error
        ended = len(part) < TOGETHER
        client.enroll_many(iter(part), told.outcome)
        told.error = told.error or damaged


class _Telling:
    """Counts what becomes of the rows, and names those that are left out."""

    def __init__(self, total: int | None, console: Console | None) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.progress = Progress(*columns, console=console or Console(quiet=True))
        self._task = self.progress.add_task("enrolling", total=total)
        self._console = self.progress.console
        self._row = 0
        self._new = self._already = 0
        self.left_out: list[dict[str, Any]] = []
        self.error: PuraError | None = None
        self.stopped: str | None = None

    def outcome(self, one: Enrolled) -> None:
        """What became of the next row."""
        if one.stopped:
            self.error = one.error
            return
        self._row += 1
        self.progress.advance(self._task)
        if one.error is not None:
            self.left_out.append(
                {"row": self._row, "label": one.label, "error": one.error.code, "message": str(one.error)}
            )
            if len(self.left_out) <= NAMED:
                line = f"left out row {self._row} ({one.label}): {one.error} [{one.error.code}]"
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        elif one.already:
            self._already += 1
        else:
            self._new += 1

    @property
    def ended_early(self) -> bool:
        """Whether there are rows that the run did not come to."""
        return self.error is not None or self.stopped is not None

    def body(self) -> dict[str, Any]:
        """For programs."""
        ended: dict[str, Any] = {}
        if self.error is not None:
            ended = {"error": self.error.code, "message": str(self.error)}
        elif self.stopped is not None:
            ended = {"error": "stopped", "message": self.stopped}
        return {"enrolled": self._new, "already": self._already, "left_out": self.left_out, **ended}

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"enrolled {self._new} rows; {self._already} were enrolled already; {len(self.left_out)} left out"
        if self.ended_early:
            why = f"error: {self.error} [{self.error.code}]" if self.error is not None else self.stopped
            yield f"{why}; do the same again, and it goes on from there"
