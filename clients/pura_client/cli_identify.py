"""`pura identify`: one photo, or many, or every face of them.

One photo is answered as it always was. Several photos, a folder or --all-faces give a line for each photo: for people,
or with --json an object for programs, as soon as it is known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pura.commands import ERROR
from pura.errors import PuraError
from pura.face.found import Found
from pura_client import folders
from pura_client.answers import Decision, Identified, Recognised
from pura_client.cli_common import connected, largest, show
from pura_client.session import Client, connect
from pura_client.templates import UNUSABLE

NO_MATCH = 1


@click.command()
@click.argument("photos", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="PHOTO...")
@click.option("--all-faces", is_flag=True, help="Every face of each photo; each is a question, and counts as one.")
@click.option("--top-k", type=click.IntRange(1), help="How many candidates at most, up to the collection's limit.")
@largest
@connected
def identify(
    photos: tuple[Path, ...],
    all_faces: bool,
    top_k: int | None,
    largest: bool,
    config: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Who is on PHOTO? Exit status 0 when somebody enrolled matches, 1 when nobody does.

    Of several photos, of all photos in a folder, and with --all-faces, each photo has a line; with --json that is an
    object, one a line.
    """
    if all_faces and largest:
        raise click.UsageError("--all-faces and --largest exclude each other")
    with connect(config, insecure=insecure) as client:
        if len(photos) == 1 and not all_faces and not photos[0].is_dir():
            status = _one(client.identify(photos[0], largest=largest, top_k=top_k), as_json)
        else:
            status = _many(client, _found(photos), all_faces, largest, top_k, as_json)
    click.get_current_context().exit(status)


def _one(decision: Decision, as_json: bool) -> int:
    others = [label for label in decision.candidates if label != decision.label]
    show(as_json, _body(decision), _line(decision), *(f"  or {label}" for label in others))
    return 0 if decision.match else NO_MATCH


def _found(photos: Sequence[Path]) -> list[Path]:
    """The photos, and those in folders; what is left out there is named."""
    found = []
    for path in photos:
        if path.is_dir():
            inside, left_out = folders.every(path)
            found += inside
            for one in left_out:
                click.echo(f"left out {one.path}: {one.reason}", err=True)
        else:
            found.append(path)
    return found


def _many(
    client: Client, photos: Sequence[Path], all_faces: bool, largest: bool, top_k: int | None, as_json: bool
) -> int:
    """The exit status: 2 when servers stayed away or a budget was spent, or when nothing but errors came of it."""
    match = wrong = ended = answered = False
    for one in client.identify_many(photos, all_faces=all_faces, largest=largest, top_k=top_k):
        for error in (one.error, *(face.error for face in one.faces)):
            wrong |= error is not None
            ended |= error is not None and not isinstance(error, UNUSABLE)
        answered |= any(face.decision is not None for face in one.faces) or (one.error is None and not one.faces)
        match |= one.match
        if as_json:
            click.echo(json.dumps(_photo_body(one, all_faces)))
        else:
            click.echo("\n".join(_photo_lines(one, all_faces)))
    if ended or (wrong and not answered):
        return ERROR
    return 0 if match else NO_MATCH


# --- for people -----------------------------------------------------------------------------------


def _line(decision: Decision) -> str:
    if not decision.match:
        return "nobody who is enrolled"
    return decision.label if decision.label is not None else "somebody enrolled by a client with another label key"


def _photo_lines(one: Identified, all_faces: bool) -> list[str]:
    if one.error is not None:
        return [f"{one.photo!s}: {_told(one.error)}"]
    if not one.faces:
        return [f"{one.photo!s}: no face"]
    lines = []
    for number, face in enumerate(one.faces, 1):
        said = _told(face.error) if face.error is not None else _line(face.decision or Decision(match=False))
        others = [label for label in face.decision.candidates if label != face.decision.label] if face.decision else []
        said += "".join(f", or {label}" for label in others)
        lines.append(f"{one.photo!s}: face {number}: {said}" if all_faces else f"{one.photo!s}: {said}")
    return lines


def _told(error: PuraError) -> str:
    return f"{error} [{error.code}]"


# --- for programs ---------------------------------------------------------------------------------


def _body(decision: Decision) -> dict[str, Any]:
    return {"match": decision.match, "label": decision.label, "candidates": list(decision.candidates)}


def _error_body(error: PuraError) -> dict[str, Any]:
    return {"error": error.code, "message": str(error)}


def _photo_body(one: Identified, all_faces: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"photo": str(one.photo)}
    if one.error is not None:
        return body | _error_body(one.error)
    faces = [_face_body(face) for face in one.faces]
    if not all_faces:
        return body | faces[0]
    return body | {"width": one.width, "height": one.height, "match": one.match, "faces": faces}


def _face_body(one: Recognised) -> dict[str, Any]:
    said = _error_body(one.error) if one.error is not None else _body(one.decision or Decision(match=False))
    return said | (_place(one.face) if one.face is not None else {})


def _place(face: Found) -> dict[str, Any]:
    box = dict(zip(("x", "y", "width", "height"), (round(value, 1) for value in face.box), strict=True))
    return {"box": box, "turn": round(face.turn, 3), "sharpness": face.sharpness and round(face.sharpness, 4)}
