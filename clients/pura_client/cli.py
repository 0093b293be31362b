"""The command line `pura`: answers for people, `--json` for programs.

Exit status: 0 match or done, 1 no match (enroll-dir: some photos were left out; demo: something was wrong), 2 error.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, ParamSpec

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from pura import commands
from pura.commands import ERROR
from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, write_keys
from pura.crypto.paillier import DEFAULT_BITS, STRENGTHS
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.errors import (
    FaceTooBlurred,
    FaceTooSmall,
    NoFace,
    PuraError,
    SeveralFaces,
    UnreadableImage,
    WouldOverwrite,
)
from pura.ids import Engine, Party
from pura_client import config as client_config
from pura_client.session import Client, Decision, Enrolled, connect

NO_MATCH = 1
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".webp", ".tif", ".tiff"})

_P = ParamSpec("_P")
_err = Console(stderr=True)


def main() -> NoReturn:
    """The entry point. Whatever goes wrong ends with 2, never with 1, which would read as "no match"."""
    commands.run(cli, _crash)


def _crash(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    traceback.print_exception(kind, error, tb)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ERROR)  # the interpreter itself would end with 1


def _answers(command: Callable[_P, None]) -> Callable[_P, None]:
    """Adds --json, and turns typed errors into one line with their code and exit status 2."""

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PuraError as error:
            if kwargs["as_json"]:
                click.echo(json.dumps({"error": error.code, "message": str(error)}))
            else:
                click.echo(f"error: {error} [{error.code}]", err=True)
            click.get_current_context().exit(ERROR)

    return wrapped


def _connected(command: Callable[_P, None]) -> Callable[_P, None]:
    """Adds --config and --insecure on top of `_answers`."""
    command = click.option("--insecure", is_flag=True, help="No TLS; for a server on this machine only.")(command)
    command = click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=client_config.ENV,
        default=client_config.DEFAULT_PATH,
        show_default=True,
        help=f"The client's configuration; also by ${client_config.ENV}.",
    )(command)
    return _answers(command)


_largest = click.option("--largest", is_flag=True, help="Take the largest face when there are several.")
_photo = click.argument("photo", type=click.Path(path_type=Path))


def _show(as_json: bool, body: dict[str, Any], *lines: str) -> None:
    click.echo(json.dumps(body) if as_json else "\n".join(lines))


class _Group(click.Group):
    """The commands of this file, and those of other packages (entry points `pura.commands`), loaded when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in _points())})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        own = super().get_command(ctx, name)
        points = [point for point in _points() if point.name == name]
        if own is not None or not points:
            return own
        loaded = points[0].load()
        return loaded if isinstance(loaded, click.Command) else None


def _points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group="pura.commands")


@click.group(cls=_Group, context_settings={"max_content_width": 100})
@click.version_option(package_name="pura", prog_name="pura")
def cli() -> None:
    """Recognise faces that no server ever sees.

    Photos are embedded and encrypted on this machine; two servers that do not trust each other match what they cannot
    read. Exit status: 0 match or done, 1 no match, 2 error.
    """


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="An empty or new folder.")
@click.option(
    "--bits",
    type=click.Choice([str(bits) for bits in STRENGTHS]),
    default=str(DEFAULT_BITS),
    show_default=True,
    help="Length of the modulus.",
)
@_answers
def keygen(out: Path, bits: str, as_json: bool) -> None:
    """Make the keys of a collection: once, offline, on a machine you trust.

    Writes one public file and one share for each server, and never the factors. Existing files are left alone.
    """
    for name in (PUBLIC_NAME, *SHARE_NAMES.values()):
        if (out / name).exists():
            raise WouldOverwrite(f"{name} exists already in {out}; nothing was changed")
    with _err.status(f"making a key of {bits} bits (some seconds)"):
        keys = generate(int(bits), SystemRng())
        public, s1, s2 = write_keys(keys, out)
    key_id = keys.public.key_id.hex()
    files = {"public": str(public), "s1": str(s1), "s2": str(s2)}
    _show(
        as_json,
        {"key_id": key_id, "bits": int(bits), "files": files},
        f"key {key_id}, {bits} bits",
        f"  {public}  copy it to both servers and to every client; it is no secret",
        f"  {s1}   bring it to the operator of {Party.S1.name}, and to nobody else; then delete it here",
        f"  {s2}   bring it to the operator of {Party.S2.name}, and to nobody else; then delete it here",
        "Whoever holds both shares can read everything. If a share is lost, everybody must be enrolled again.",
    )


@cli.command()
@click.option(
    "--photos",
    "folders",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    multiple=True,
    help="A folder of photos, laid out as for enroll-dir; once for each population.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option(
    "--embedder",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with the tables [embedder] and [detector]; SFace if there is none.",
)
@_largest
@_answers
def centre(folders: tuple[Path, ...], out: Path, embedder: Path | None, largest: bool, as_json: bool) -> None:
    """Measure what the embeddings of many people have in common, to be taken out of every embedding.

    The file is the `centre` of an embedder (docs/face.md). Take at least some hundred photos of many people like those
    who will be asked about, best nobody who will be enrolled. A photo that cannot be used is left out.
    """
    from pura.face import centre as centres
    from pura.face.pipeline import FacePipeline
    from pura.face.spec import SFACE, DetectorSpec, read

    if out.exists():
        raise WouldOverwrite(f"{out} exists already; nothing was changed")
    spec, detector = (None, DetectorSpec()) if embedder is None else read(embedder)
    faces = FacePipeline((spec or SFACE).model_copy(update={"centre": None, "centre_sha256": None}), detector)
    faces.load()
    means, left_out = [], 0
    for folder in folders:
        found = []
        for photo, _ in photos_in(folder):
            try:
                found.append(faces.embed(photo, largest=largest))
            except (UnreadableImage, NoFace, SeveralFaces, FaceTooSmall, FaceTooBlurred):
                left_out += 1
        if not found:
            raise NoFace(f"no photo in {folder} can be used")
        means.append(centres.mean_of(found, folder.name))
    centres.basis(means)
    centres.write(out, means)
    photos = sum(mean.photos for mean in means)
    lines = [f"{out}: the centre of {photos} photos; {left_out} left out"]
    if min(mean.photos for mean in means) < centres.FEW:
        lines.append(f"with fewer than {centres.FEW} photos of a population it is much of each of them: take more")
    _show(as_json, {"centre": str(out), "photos": photos, "left_out": left_out}, *lines)


@cli.command()
@_photo
@click.option("--label", required=True, help="Who this is.")
@_largest
@_connected
def enroll(photo: Path, label: str, largest: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Enrol one PHOTO under a label. A label may have several photos."""
    with connect(config, insecure=insecure) as client:
        handle = client.enroll(photo, label, largest=largest)
    _show(as_json, {"enrolled": label, "entry": f"{handle:016x}"}, f"enrolled {label} (entry {handle:016x})")


@cli.command("enroll-dir")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_largest
@_connected
def enroll_dir(folder: Path, largest: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Enrol all photos in FOLDER.

    Each sub-folder is a label with its photos; a photo directly in FOLDER has its file name as its label. A photo that
    cannot be used is reported and left out; the exit status is then 1.
    """
    items = photos_in(folder)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with connect(config, insecure=insecure) as client, Progress(*columns, console=_err, disable=as_json) as bar:
        task = bar.add_task("enrolling", total=len(items))

        def progress(outcome: Enrolled) -> None:
            bar.advance(task)
            if outcome.error is not None and not as_json:
                bar.console.print(
                    f"left out {outcome.photo}: {outcome.error} [{outcome.error.code}]", markup=False, soft_wrap=True
                )

        outcomes = client.enroll_many(items, progress, largest=largest)
    bad = [(str(outcome.photo), outcome.error) for outcome in outcomes if outcome.error is not None]
    people = len({outcome.label for outcome in outcomes if outcome.error is None})
    _show(
        as_json,
        {
            "enrolled": len(outcomes) - len(bad),
            "people": people,
            "left_out": [{"photo": photo, "error": error.code, "message": str(error)} for photo, error in bad],
        },
        f"enrolled {len(outcomes) - len(bad)} photos of {people} people; {len(bad)} left out",
    )
    click.get_current_context().exit(NO_MATCH if bad else 0)


def photos_in(folder: Path) -> list[tuple[Path, str]]:
    """(photo, label) of all photos in a folder, sorted. Raises `UnreadableImage` when there are none."""
    if not folder.is_dir():
        raise UnreadableImage(f"{folder} is not a folder")
    found = [(path, path.stem) for path in sorted(folder.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES]
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        found += [(path, person.name) for path in sorted(person.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES]
    if not found:
        raise UnreadableImage(f"there are no photos in {folder}")
    return found


@cli.command()
@_photo
@_largest
@_connected
def identify(photo: Path, largest: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Who is on PHOTO? Exit status 0 when somebody enrolled matches, 1 when nobody does."""
    with connect(config, insecure=insecure) as client:
        decision = client.identify(photo, largest=largest)
    if not decision.match:
        line = "nobody who is enrolled"
    elif decision.label is None:
        line = "somebody enrolled by a client with another label key"
    else:
        line = decision.label
    others = [label for label in decision.candidates if label != decision.label]
    _decide(as_json, decision, line, *(f"  or {label}" for label in others))


@cli.command()
@_photo
@click.option("--label", required=True, help="Who it should be.")
@_largest
@_connected
def verify(photo: Path, label: str, largest: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Is the person on PHOTO the one enrolled as LABEL? Exit status 0 for yes, 1 for no."""
    with connect(config, insecure=insecure) as client:
        decision = client.verify(photo, label, largest=largest)
    _decide(as_json, decision, f"yes, this is {label}" if decision.match else f"no, this is not {label}")


def _decide(as_json: bool, decision: Decision, *lines: str) -> None:
    body = {"match": decision.match, "label": decision.label, "candidates": list(decision.candidates)}
    _show(as_json, body, *lines)
    click.get_current_context().exit(0 if decision.match else NO_MATCH)


@cli.command()
@click.argument("label")
@_connected
def forget(label: str, config: Path, insecure: bool, as_json: bool) -> None:
    """Erase all entries of LABEL on both servers."""
    with connect(config, insecure=insecure) as client:
        removed = client.forget(label)
    _show(as_json, {"forgot": label, "entries": removed}, f"forgot {label}: {removed} entries erased")


@cli.command("list")
@_connected
def list_people(config: Path, insecure: bool, as_json: bool) -> None:
    """Everybody who is enrolled. The labels are decrypted here."""
    with connect(config, insecure=insecure) as client:
        people = client.list()
    if as_json:
        click.echo(json.dumps({"people": people}))
        return
    table = Table("label", "photos")
    for label, photos in people.items():
        table.add_row(label, str(photos))
    Console().print(table)
    click.echo(f"{len(people)} people")


@cli.command()
@_connected
def status(config: Path, insecure: bool, as_json: bool) -> None:
    """How the servers are."""
    with connect(config, insecure=insecure) as client:
        body = _status_of(client)
    _show(as_json, body, *(f"{name.replace('_', ' ')}: {value}" for name, value in body.items()))
    click.get_current_context().exit(0 if body["peer_ready"] else ERROR)


def _status_of(client: Client) -> dict[str, Any]:
    now, params = client.status(), client.params
    return {
        "version": now.version,
        "engine": now.engine,
        "peer_ready": now.peer_ready,
        "entries": now.entries,
        "uptime_s": now.uptime_s,
        "key_id": params.key_id.hex(),
        "key_bits": params.n_bits,
        "dimension": params.dimension,
        "embedder": params.embedder,
        **{f"level_{name}": value for name, value in sorted(now.levels.items())},
    }


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default="demo-out", show_default=True)
@click.option(
    "--engine",
    type=click.Choice([engine.value for engine in Engine]),
    default=Engine.PACKED.value,
    show_default=True,
    help="Which protocols; the published ones get a smaller gallery.",
)
@click.option("--bits", type=click.Choice([str(bits) for bits in STRENGTHS]), help="Length of the modulus.")
@_answers
def demo(out: Path, engine: str, bits: str | None, as_json: bool) -> None:
    """The whole job on real photos, on this machine, in some minutes.

    Makes keys, starts two servers with mTLS, enrols people of the ORL database, asks about other photos of them and
    about strangers, and writes a report. Exit status 0 only if every decision was right. OUT is replaced.
    """
    from pura_client.demo import Demo

    run = Demo(out, Engine(engine), int(bits) if bits else None, _err if as_json else Console())
    status = run.run()
    if as_json:
        wrong = sum(not row.right for row in run.rows)
        click.echo(json.dumps({"questions": len(run.rows), "wrong": wrong, "report": str(out / "report.html")}))
    click.get_current_context().exit(status)
