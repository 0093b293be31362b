"""`pura bench report`."""

from __future__ import annotations

from pathlib import Path

import click

from pura_bench import results
from pura_bench.report import figures


@click.command()
@click.option(
    "--results",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Result files.  [default: docs/results of the checkout, or of this folder]",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The HTML file.  [default: beside them]")
@click.option("--readme", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Put its figures in too.")
def report(folder: Path | None, out: Path | None, readme: Path | None) -> None:
    """One HTML file of all results, with plots, and the figures of README.

    Reads all result files of the folder: speed, peers, accuracy, security, and whatever else names its kind.
    """
    folder = folder or next((one for one in (results.FOLDER, Path("docs/results")) if one.is_dir()), None)
    if folder is None:  # an installation has no results of its own
        raise click.UsageError("name the folder of result files with --results")
    found = results.load_all(folder)
    if not found:
        raise click.ClickException(f"there is no result in {folder}")
    from pura_bench.report.render import render

    file = out or folder / "report.html"
    file.write_text(render(found.values()), "utf-8")
    click.echo(f"{file}: {', '.join(found)}")
    if readme is not None:
        try:
            changed = figures.update(readme, found.values())
        except ValueError as error:
            raise click.ClickException(f"{readme}: {error}") from error
        click.echo(f"{readme}: {'new figures' if changed else 'its figures are current'}")
