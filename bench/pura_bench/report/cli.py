"""`pura bench report`."""

from __future__ import annotations

from pathlib import Path

import click

from pura_bench import results
from pura_bench.report import figures

KINDS = ("speed", "peers", "accuracy", "security")


def contents(folder: Path) -> dict[str, dict[str, object] | None]:
    """The last result of each kind."""
    return {kind: results.load(kind, folder) for kind in KINDS}


@click.command()
@click.option(
    "--results",
    "folder",
    default=results.FOLDER,
    type=click.Path(path_type=Path, file_okay=False),
    help="Result files.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The HTML file.  [default: beside them]")
@click.option("--readme", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Put its figures in too.")
def report(folder: Path, out: Path | None, readme: Path | None) -> None:
    """One HTML file of all results, with plots, and the figures of README.

    Reads speed.json, peers.json, accuracy.json and security.json; what is not there is left out.
    """
    found = contents(folder)
    have = [kind for kind, content in found.items() if content is not None]
    if not have:
        raise click.ClickException(f"there is no result in {folder}")
    from pura_bench.report.render import render

    file = out or folder / "report.html"
    file.write_text(render(found), "utf-8")
    click.echo(f"{file}: {', '.join(have)}")
    if readme is not None:
        try:
            changed = figures.update(readme, found)
        except ValueError as error:
            raise click.ClickException(f"{readme}: {error}") from error
        click.echo(f"{readme}: {'new figures' if changed else 'its figures are current'}")
