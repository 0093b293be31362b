"""A folder of photos: what is in it, under which label, and what is left out, and why.

A sub-folder is a label with its photos; a photo directly in the folder has its file name as its label. Files are taken
by their suffix, those without one are looked at. Nothing is skipped without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pura.errors import UnreadableImage


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not taken: `reason` is for people."""

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class Folder:
    """The photos of each person with their label, sorted, and all the rest."""

    people: Sequence[tuple[Sequence[Path], str]]
    left_out: Sequence[LeftOut]

    @property
    def photos(self) -> Sequence[tuple[Path, str]]:
        """Each photo by itself."""
        return [(photo, label) for photos, label in self.people for photo in photos]


HIDDEN = "hidden"
NOT_A_PHOTO = "its suffix is none of a kind of picture that is read"
NESTED = "a folder inside a label's folder"
EMPTY = "a folder without photos"
LINK = "a link to a folder"


def look(folder: Path) -> Folder:
    """Everything in a folder. Raises `UnreadableImage` when there is no such folder, or it is empty."""
    if not folder.is_dir():
        raise UnreadableImage(f"{folder} is not a folder")
    people: list[tuple[list[Path], str]] = []
    left_out: list[LeftOut] = []
    for path in _inside(folder, left_out):
        if not path.is_dir():
            people.append(([path], path.stem))
            continue
        found = []
        for photo in _inside(path, left_out):
            if photo.is_dir():
                left_out.append(LeftOut(photo, NESTED))
            else:
                found.append(photo)
        if not found and not any(one.path == path for one in left_out):
            left_out.append(LeftOut(path, EMPTY))
        if found:
            people.append((found, path.name))
    if not people and not left_out:
        raise UnreadableImage(f"there are no photos in {folder}")
    return Folder(sorted(people), sorted(left_out, key=lambda one: one.path))


def every(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """All photos in a folder and the folders in it, whatever they are called, and what is none."""
    found: list[Path] = []
    left_out: list[LeftOut] = []
    for path in _inside(folder, left_out):
        if path.is_dir() and not path.is_symlink():
            inside, others = every(path)
            found += inside
            left_out += others
        elif path.is_dir():
            left_out.append(LeftOut(path, LINK))
        else:
            found.append(path)
    return found, left_out


def _inside(folder: Path, left_out: list[LeftOut]) -> list[Path]:
    """What is in a folder and worth a look: other folders, and what may be photos."""
    from pura.face.images import SUFFIXES  # which needs OpenCV; other commands start without it

    kept = []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        left_out.append(LeftOut(folder, f"cannot be read: {str(error.strerror).lower()}"))
        return []
    for path in paths:
        if path.name.startswith("."):
            left_out.append(LeftOut(path, HIDDEN))
        elif path.suffix and path.suffix.lower() not in SUFFIXES and not path.is_dir():
            left_out.append(LeftOut(path, NOT_A_PHOTO))
        else:
            kept.append(path)
    return kept
