"""The command line `pura`: answers for people, `--json` for programs.

Exit status: 0 match or done, 1 no match (enroll-dir: some photos were left out; demo: something was wrong), 2 error.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pura import commands
from pura.commands import ERROR
from pura.crypto import vault
from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, load_public, write_keys
from pura.crypto.paillier import DEFAULT_BITS, STRENGTHS
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.errors import (
    FaceTooBlurred,
    FaceTooSmall,
    FaceTurned,
    NoFace,
    SeveralFaces,
    UnknownEntry,
    UnreadableImage,
    WouldOverwrite,
)
from pura.files import PRIVATE, write_new
from pura.ids import Engine, Handle, Party
from pura.params import MOST_DAYS
from pura.vaults import HOW, TYPED, sealing
from pura_client import ceremony, folders
from pura_client import config as client_config
from pura_client import listing as rosters
from pura_client.answers import Decision
from pura_client.cli_common import answers, connected, crash, show
from pura_client.cli_common import largest as largest_option
from pura_client.cli_identify import identify
from pura_client.cli_import import import_embeddings
from pura_client.cli_join import client_join, client_request, label_key
from pura_client.cli_watch import watch
from pura_client.enrolling import Enrolment
from pura_client.labels import normalise
from pura_client.session import Client, Forgotten, connect
from pura_client.telling import Telling

NO_MATCH = 1
OUTGROWN = (
    "warning: the gallery has outgrown identify's threshold: too many strangers are named; raise identify_threshold on "
    "both servers (docs/accuracy.md)"
)
SOON_DAYS = 30
CERTIFICATES = {"S1": "own", "S2": "peer", "this client": "client"}
"""Whose certificates `status` tells of, and what the servers call them."""
_LOOK_S = 0.2
OTHER_KEYS = "(by a client with another label key)"

_P = ParamSpec("_P")
_err = Console(stderr=True)


def main() -> NoReturn:
    """The entry point. Whatever goes wrong ends with 2, never with 1, which would read as "no match"."""
    commands.run(cli, crash)


_days = click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), help="Both servers erase it after so many days; else by their policy."
)
_photo = click.argument("photo", type=click.Path(path_type=Path))


class _Handle(click.ParamType[Handle]):
    """An entry, as it is shown: 16 hexadecimal digits."""

    name = "handle"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Handle:
        if isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{16}", value):
            return Handle(int(value, 16))
        self.fail("an entry is named by 16 hexadecimal digits", param, ctx)


HANDLE = _Handle()


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
@click.version_option(package_name="pura-match", prog_name="pura")
def cli() -> None:
    """Recognise faces that no server ever sees.

    Photos are embedded and encrypted on this machine; two servers that do not trust each other match what they cannot
    read. Exit status: 0 match or done, 1 no match, 2 error.
    """


cli.add_command(client_request)
cli.add_command(client_join)
cli.add_command(label_key)
cli.add_command(identify)
cli.add_command(import_embeddings)
cli.add_command(watch)


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="An empty or new folder.")
@click.option(
    "--bits",
    type=click.Choice([str(bits) for bits in STRENGTHS]),
    default=str(DEFAULT_BITS),
    show_default=True,
    help="Length of the modulus.",
)
@click.option(
    "--engine",
    type=click.Choice([one.value for one in Engine]),
    default=Engine.PREPARED.value,
    show_default=True,
    help="What the keys are for. The protocols of engine published leak: for measurements only.",
)
@click.option("--seal-s1", metavar="HOW", help=f"Seal the share of S1: {HOW}.")
@click.option("--seal-s2", metavar="HOW", help="The same for S2: each operator has a secret of its own.")
@click.option(
    "--like",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The public key of a collection that is to have other keys: `pura-server rotate`.",
)
@answers
def keygen(
    out: Path, bits: str, engine: str, seal_s1: str | None, seal_s2: str | None, like: Path | None, as_json: bool
) -> None:
    """Make the keys of a collection: once, offline, on a machine you trust.

    Writes one public file and one share for each server, and never the factors; and ceremony.txt, a page to print and
    sign, with the fingerprint of each file. Existing files are left alone.
    """
    for name in (PUBLIC_NAME, *SHARE_NAMES.values(), ceremony.NAME):
        if (out / name).exists():
            raise WouldOverwrite(f"{name} exists already in {out}; nothing was changed")
    collection = None
    if like is not None:
        old = load_public(like)
        engine, collection = old.engine.value, old.collection
    how = {Party.S1: seal_s1, Party.S2: seal_s2}
    sealed = {party: sealing(how[party], f"{SHARE_NAMES[party]}, of its operator alone") for party in Party}
    telling = _err.status(f"making a key of {bits} bits (some seconds)")
    with contextlib.nullcontext() if TYPED in how.values() else telling:  # which would write over the question
        keys = generate(int(bits), SystemRng(), Engine(engine), collection)
        public, s1, s2 = write_keys(keys, out, sealed)
        page = ceremony.write(out, keys.public, (public, s1, s2))
    key_id = keys.public.key_id.hex()
    files = {"public": str(public), "s1": str(s1), "s2": str(s2), "page": str(page)}
    show(
        as_json,
        {
            "key_id": key_id,
            "bits": int(bits),
            "engine": engine,
            "collection": keys.public.collection.hex(),
            "files": files,
        },
        f"key {key_id}, {bits} bits, engine {engine}",
        f"  {public}  copy it to both servers and to every client; it is no secret",
        f"  {s1}   bring it to the operator of {Party.S1.name}, and to nobody else; then delete it here",
        f"  {s2}   bring it to the operator of {Party.S2.name}, and to nobody else; then delete it here",
        f"  {page}  print it; both operators and a witness sign it",
        "Whoever holds both shares can read everything. If a share is lost, a new ceremony (--like) makes others.",
    )


@cli.command("fingerprint")
@click.argument("files", type=click.Path(path_type=Path, dir_okay=False), nargs=-1, required=True, metavar="FILE...")
@answers
def fingerprint(files: tuple[Path, ...], as_json: bool) -> None:
    """The fingerprint of each FILE, as the page of the ceremony has it."""
    found = {str(path): vault.fingerprint(ceremony.contents(path)) for path in files}
    show(as_json, found, *(f"{name}\n  {digits}" for name, digits in found.items()))


@cli.command()
@click.option(
    "--photos",
    "populations",
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
@largest_option
@answers
def centre(populations: tuple[Path, ...], out: Path, embedder: Path | None, largest: bool, as_json: bool) -> None:
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
    for folder in populations:
        inside = folders.look(folder)
        left_out += len(inside.left_out)
        found = []
        for photo, _ in inside.photos:
            try:
                found.append(faces.embed(photo, largest=largest))
            except (UnreadableImage, NoFace, SeveralFaces, FaceTooSmall, FaceTooBlurred, FaceTurned):
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
    show(as_json, {"centre": str(out), "photos": photos, "left_out": left_out}, *lines)


@cli.command()
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PHOTO...")
@click.option("--label", required=True, help="Who this is.")
@_days
@largest_option
@connected
def enroll(
    photos: tuple[Path, ...], label: str, days: int | None, largest: bool, config: Path, insecure: bool, as_json: bool
) -> None:
    """Enrol one person under a label. Of several PHOTOS one template is made, their mean, which is better than any of
    them; photos that do not show one person are refused and named. The same photos again are the same entry.

    A label may have several entries, but each is one more that a stranger can look like.
    """
    with connect(config, insecure=insecure) as client:
        (outcome,) = client.enroll_many([Enrolment(photos, label, keep_days=days or 0)], largest=largest, strict=True)
    if outcome.error is not None:
        raise outcome.error
    entry = f"{outcome.handle:016x}"
    said = f"{label} is enrolled already" if outcome.already else f"enrolled {label}"
    mean = f", the mean of {len(photos)} photos" if len(photos) > 1 else ""
    body = {"enrolled": label, "entry": entry, "already": outcome.already, "photos": len(photos)}
    show(as_json, body, f"{said} (entry {entry}{mean})")


@cli.command("enroll-dir")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--separate", is_flag=True, help="An entry for each photo, not one for each person.")
@click.option("--add", is_flag=True, help="Another entry, too, for labels that have one of other photos.")
@_days
@largest_option
@connected
def enroll_dir(
    folder: Path,
    separate: bool,
    add: bool,
    days: int | None,
    largest: bool,
    config: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Enrol everybody in FOLDER.

    Each sub-folder is a label with its photos, of which one template is made, their mean; a photo directly in FOLDER
    has its file name as its label. Whatever is left out, such as a photo that does not look like the others of its
    person, is named with the reason, and the exit status is then 1. What is enrolled already is not enrolled again: do
    the same once more, and a run that was stopped goes on. To make a new template of photos that have changed, forget
    the label first.
    """
    found = folders.look(folder)
    told = Telling(None if as_json else _err)
    for one in found.left_out:
        told.left_out(one.path, one.reason)
    with connect(config, insecure=insecure) as client, told.bar(len(found.photos)):
        try:
            people: Sequence[tuple[Path | Sequence[Path], str]] = found.photos if separate else found.people
            items = [Enrolment(photos, label, keep_days=days or 0) for photos, label in people]
            client.enroll_many(items, told.outcome, largest=largest, once=not (separate or add))
        except KeyboardInterrupt:
            told.interrupted = True
    show(as_json, told.body(), *told.lines())
    click.get_current_context().exit(ERROR if told.ended_early else NO_MATCH if told.bad else 0)


@cli.command()
@_photo
@click.option("--label", required=True, help="Who it should be.")
@largest_option
@connected
def verify(photo: Path, label: str, largest: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Is the person on PHOTO the one enrolled as LABEL? Exit status 0 for yes, 1 for no."""
    with connect(config, insecure=insecure) as client:
        decision = client.verify(photo, label, largest=largest)
    _decide(as_json, decision, f"yes, this is {label}" if decision.match else f"no, this is not {label}")


def _decide(as_json: bool, decision: Decision, *lines: str) -> None:
    body = {"match": decision.match, "label": decision.label, "candidates": list(decision.candidates)}
    show(as_json, body, *lines)
    click.get_current_context().exit(0 if decision.match else NO_MATCH)


@cli.command()
@click.argument("labels", metavar="[LABEL]...", nargs=-1)
@click.option("--photo", type=click.Path(path_type=Path), help="Erase only the entry of this very photo under LABEL.")
@click.option("--entry", "entries", multiple=True, type=HANDLE, help="Erase this entry, as enroll and list name it.")
@connected
def forget(
    labels: tuple[str, ...],
    photo: Path | None,
    entries: tuple[Handle, ...],
    config: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Erase all entries of each LABEL on both servers, or single ones."""
    if not labels and not entries:
        raise click.UsageError("say whom to forget: a LABEL, or an --entry")
    if photo is not None and len(labels) != 1:
        raise click.UsageError("--photo needs the one LABEL that the photo is enrolled under")
    with connect(config, insecure=insecure) as client:
        done: Sequence[Forgotten] = ()
        if photo is not None:
            client.forget_photo(photo, labels[0])
            done = [Forgotten(labels[0], 1)]
        elif labels:
            done = client.forget_many(labels)
        single = client.forget_entries(entries) if entries else 0
    failed = {one.label: one.error for one in done if one.error is not None}
    if failed and len(done) == 1 and not entries:
        raise failed[done[0].label]
    lines = [f"forgot {one.label}: {one.entries} entries erased" for one in done if one.label not in failed]
    lines += [f"{single} of {len(entries)} entries erased"] if entries else []
    body = {
        "forgot": [
            {"label": one.label, "entries": one.entries, "error": one.error.code if one.error else None} for one in done
        ],
        "entries": single + sum(one.entries for one in done),
    }
    show(as_json, body, *lines)
    for label, error in failed.items():
        click.echo(f"error: {label}: {error} [{error.code}]", err=True)
    click.get_current_context().exit(ERROR if failed else 0)


@cli.command()
@click.argument("old", metavar="LABEL")
@click.argument("new", metavar="NEW")
@click.option("--entry", "entries", multiple=True, type=HANDLE, help="Only this entry of LABEL, as list names it.")
@connected
def relabel(old: str, new: str, entries: tuple[Handle, ...], config: Path, insecure: bool, as_json: bool) -> None:
    """Give the entries of LABEL the label NEW, on both servers. Nobody is enrolled again.

    If there are entries of NEW already, the two become one.
    """
    with connect(config, insecure=insecure) as client:
        if entries:
            there = {handle for handle, label in client.roster().items() if label == normalise(old)}
            if not set(entries) <= there:
                raise UnknownEntry(f"one of these is no entry of {old}")
        done = client.relabel_entries(dict.fromkeys(entries, new)) if entries else client.relabel(old, new)
    show(as_json, {"label": old, "new": new, "entries": done}, f"{old} is {new} now: {done} entries")


@cli.command("renew-labels")
@connected
def renew_labels(config: Path, insecure: bool, as_json: bool) -> None:
    """Encrypt every label under the newest label key that an older one of this client's made.

    After `pura label-key --renew`, when every client has the new file. It counts as giving the entries other labels.
    """
    with connect(config, insecure=insecure) as client:
        done = client.renew_labels()
    show(as_json, {"labels": done}, f"{done} labels are under the newest key now")


@cli.command("list")
@click.option("--entries", is_flag=True, help="Every entry, by its handle.")
@connected
def list_people(entries: bool, config: Path, insecure: bool, as_json: bool) -> None:
    """Everybody who is enrolled. The labels are decrypted here."""
    with connect(config, insecure=insecure) as client:
        found = client.entries() if entries else ()
        people = {} if entries else client.list()
    if as_json:
        click.echo(json.dumps({"entries": rosters.rows(found)} if entries else {"people": people}))
        return
    table = Table("entry", "label", "expires") if entries else Table("label", "photos")
    for one in sorted(found, key=lambda one: (one.label or "", one.handle)):
        named = Text(one.label if one.label is not None else OTHER_KEYS)
        table.add_row(f"{one.handle:016x}", named, rosters.day_of(one) or "")
    for label, photos in people.items():
        table.add_row(Text(label), str(photos))  # nothing from outside is markup
    Console().print(table)
    click.echo(f"{len(found)} entries" if entries else f"{len(people)} people")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@connected
def export(file: Path, config: Path, insecure: bool, as_json: bool) -> None:
    """Write the roster to FILE, .json or .csv: every entry's handle, label and enrolment id.

    It holds the labels in the clear, so only you may read it. A file that is there already is left alone.
    """
    write = rosters.writer_for(file)
    with connect(config, insecure=insecure) as client:
        found = client.entries()
    write_new(file.parent, {file.name: (write(found), PRIVATE)})
    show(as_json, {"export": str(file), "entries": len(found)}, f"{file}: {len(found)} entries")


@cli.command()
@click.option("--wait", is_flag=True, help="Until the servers are ready, at most `deadline_s` of the configuration.")
@connected
def status(config: Path, insecure: bool, as_json: bool, wait: bool) -> None:
    """How the servers are. Exit status 0 when they are ready, 2 when not."""
    settings = client_config.load(config)
    with connect(settings, insecure=insecure) as client:
        ends = time.monotonic() + (settings.deadline_s if wait else 0)
        while not (body := _status_of(client))["peer_ready"] and time.monotonic() < ends:
            time.sleep(_LOOK_S)
    if settings.cert is not None and not insecure:
        left = settings.certificate_ends() - datetime.datetime.now(datetime.UTC)
        body["level_client_certificate_days"] = left.days
    show(as_json, body, *(f"{name.replace('_', ' ')}: {value}" for name, value in body.items()))
    if body.get("level_outgrown") and not as_json:
        click.echo(OUTGROWN, err=True)
    for whose, name in CERTIFICATES.items():
        days = body.get(f"level_{name}_certificate_days")
        if days is not None and days < SOON_DAYS and not as_json:
            click.echo(f"warning: the certificate of {whose} ends in {days:.0f} days: renew it", err=True)
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
    default=Engine.PREPARED.value,
    show_default=True,
    help="Which protocols; the published ones get a smaller gallery.",
)
@click.option("--bits", type=click.Choice([str(bits) for bits in STRENGTHS]), help="Length of the modulus.")
@answers
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
