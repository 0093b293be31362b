"""Sets of labelled face photos: LFW, folders with a pairs file, InsightFace's .bin files, ORL."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.errors import UnreadableImage
from pura.face.photos import orl_faces

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm")

Source = Path | bytes | NDArray[np.uint8]
"""A photo's file, its bytes, or its pixels."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Photos, who is on them, and the pairs that its protocol compares.

    people: (n,) an integer for each person, or None where only pairs are known. pairs: (P, 2), places of photos;
    same: (P,); fold: (P,), for cross-validation. aligned: the photos are crops already.
    """

    name: str
    photos: tuple[Source, ...]
    people: NDArray[np.int64] | None
    pairs: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    aligned: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over the photos' bytes, in order."""
        total = hashlib.sha256()
        for photo in self.photos:
            body = photo.read_bytes() if isinstance(photo, Path) else bytes(photo)
            total.update(hashlib.sha256(body).digest())
        return total.hexdigest()


class BadDataSet(UnreadableImage):
    """A data set is not laid out as its format says."""

    code = "bad_data_set"


# --- pairs files --------------------------------------------------------------------------------

Named = tuple[str, int]
"""A person's name and the number of the photo."""
_Pair = tuple[Named, Named, bool]


def read_pairs(file: Path) -> tuple[list[_Pair], int]:
    """The pairs of an LFW pairs file and the number of folds that its first line says (1 if it is one number).

    View 1: a line with N, then N lines `name i j` and N lines `name i name j`. View 2: `folds N` and for each fold the
    same. Raises `BadDataSet` naming the line.
    """
    pairs: list[_Pair] = []
    folds = 1
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataSet(f"{file.name} cannot be read") from error
    for number, line in enumerate(lines, start=1):
        match line.split():
            case []:
                continue
            case [first] if number == 1 and first.isdigit():
                continue
            case [first, second] if number == 1 and first.isdigit() and second.isdigit():
                folds = int(first)
            case [who, i, j] if i.isdigit() and j.isdigit():
                pairs.append(((who, int(i)), (who, int(j)), True))
            case [who, i, other, j] if i.isdigit() and j.isdigit():
                pairs.append(((who, int(i)), (other, int(j)), who == other))
            case _:
                raise BadDataSet(f"{file.name}, line {number}: neither `name i j` nor `name i name j`")
    if not pairs or folds < 1 or len(pairs) % folds:
        raise BadDataSet(f"{file.name}: {len(pairs)} pairs do not make {folds} equal folds")
    return pairs, folds


def folder_with_pairs(folder: Path, file: Path, name: str) -> DataSet:
    """Photos at FOLDER/<person>/<person>_<4 digits>.jpg (or FOLDER/<person>/<the i-th file>), compared as `file` says.

    With one fold in the file, ten are made, each with the same share of pairs of one person. Raises `BadDataSet`.
    """
    pairs, folds = read_pairs(file)
    names = sorted({who for one, two, _ in pairs for who in (one, two)})
    people = {person: i for i, person in enumerate(sorted({person for person, _ in names}))}
    place = {named: i for i, named in enumerate(names)}
    same = np.array([flag for _, _, flag in pairs], np.bool_)
    return DataSet(
        name,
        tuple(_photo(folder / person, number) for person, number in names),
        np.array([people[person] for person, _ in names]),
        np.array([(place[one], place[two]) for one, two, _ in pairs]),
        same,
        np.arange(len(pairs)) // (len(pairs) // folds) if folds > 1 else ten_folds(same),
    )


def ten_folds(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A fold for each pair, in order, each with the same share of pairs of one person."""
    fold = np.empty(len(same), np.int64)
    for flag in (True, False):
        places = np.flatnonzero(same == flag)
        fold[places] = np.arange(len(places)) * 10 // max(1, len(places))
    return fold


def _photo(home: Path, number: int) -> Path:
    """The photo with this number in a person's folder, in either layout. Raises `BadDataSet`."""
    for suffix in SUFFIXES:
        path = home / f"{home.name}_{number:04d}{suffix}"
        if path.is_file():
            return path
    files = sorted(path for path in home.glob("*") if path.suffix.lower() in SUFFIXES)
    if not 0 < number <= len(files):
        raise BadDataSet(f"there is no photo {number} of {home.name} in the data set")
    return files[number - 1]


# --- LFW ----------------------------------------------------------------------------------------


def _photos_of(folder: Path) -> Path:
    """Where LFW's photos are: in one of the folders that they come in, or in this one itself."""
    homes = (folder / name for name in ("photos", "lfw-deepfunneled", "lfw_funneled", "lfw"))
    return next((home for home in homes if home.is_dir()), folder)


def lfw_view1(folder: Path) -> tuple[DataSet, DataSet]:
    """The development view: DevTrain, to fit on, and DevTest, to report; they share no person."""
    one, two = (
        folder_with_pairs(_photos_of(folder), folder / f"pairs{part}.txt", f"LFW View 1 {part}")
        for part in ("DevTrain", "DevTest")
    )
    return one, two


def lfw_view2(folder: Path) -> DataSet:
    """The reporting view: pairs.txt, ten folds."""
    return folder_with_pairs(_photos_of(folder), folder / "pairs.txt", "LFW View 2")


# --- ORL ----------------------------------------------------------------------------------------


def orl() -> DataSet:
    """The ORL faces: all pairs of one person, and as many of different ones, drawn with a fixed seed."""
    faces = orl_faces()
    people = np.repeat(np.arange(len(faces)), faces.shape[1])
    one, two = np.triu_indices(len(people), 1)
    genuine = np.flatnonzero(people[one] == people[two])
    impostor = np.flatnonzero(people[one] != people[two])
    drawn = np.sort(np.random.default_rng(1).choice(impostor, len(genuine), replace=False))
    chosen = np.concatenate([genuine, drawn])
    same = np.arange(len(chosen)) < len(genuine)
    flat = faces.reshape(-1, *faces.shape[2:])
    return DataSet("ORL", tuple(flat), people, np.stack([one, two], 1)[chosen], same, ten_folds(same))


# --- InsightFace --------------------------------------------------------------------------------

_ALLOWED = {
    *itertools.product(("numpy.core.multiarray", "numpy._core.multiarray"), ("_reconstruct", "scalar")),
    *itertools.product(("numpy",), ("ndarray", "dtype")),
    ("_codecs", "encode"),
}


class _Restricted(pickle.Unpickler):
    """Builds lists, bytes, flags and arrays; a pickle that asks for anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not data")
        return super().find_class(module, name)


def insightface_bin(file: Path) -> DataSet:
    """A verification set as InsightFace keeps it (AgeDB-30, CFP-FP, LFW): a pickle of encoded crops, two for each pair,
    and of whether a pair is of one person; ten folds. Who is on a photo is not known. Raises `BadDataSet`."""
    try:
        content = _Restricted(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        encoded, flags = content
        photos = tuple(bytes(np.asarray(body).tobytes()) if not isinstance(body, bytes) else body for body in encoded)
        same = np.array([bool(flag) for flag in flags], np.bool_)
    except (OSError, pickle.UnpicklingError, ValueError, TypeError, EOFError, AttributeError, IndexError) as error:
        raise BadDataSet(f"{file.name} is not an InsightFace .bin file", detail=str(error)) from error
    if not len(same) or len(photos) != 2 * len(same):
        raise BadDataSet(f"{file.name}: {len(photos)} photos for {len(same)} pairs")
    # in the order of the file, as InsightFace's own evaluation cuts its folds
    fold = np.arange(len(same)) * 10 // len(same)
    pairs = np.arange(len(photos)).reshape(-1, 2)
    return DataSet(file.stem, photos, None, pairs, same, fold, aligned=True)


# --- by name ------------------------------------------------------------------------------------

FORMS = ("orl", "lfw1:FOLDER", "lfw2:FOLDER", "pairs:FOLDER:FILE", "bin:FILE")


def load(text: str) -> tuple[DataSet | None, DataSet]:
    """The set to fit on, if there is one of its own, and the set to report, by one of `FORMS`. Raises `BadDataSet`."""
    kind, _, rest = text.partition(":")
    match kind:
        case "orl" if not rest:
            return None, orl()
        case "lfw1" if rest:
            return lfw_view1(Path(rest))
        case "lfw2" if rest:
            return None, lfw_view2(Path(rest))
        case "pairs" if rest.count(":") == 1:
            folder, file = rest.split(":")
            return None, folder_with_pairs(Path(folder), Path(file), Path(folder).name)
        case "bin" if rest:
            return None, insightface_bin(Path(rest))
    raise BadDataSet(f"{text!r} is none of {', '.join(FORMS)}")


def shown(text: str) -> str:
    """The same without the place on this machine, for a result file."""
    kind, _, rest = text.partition(":")
    return ":".join([kind, *(Path(part).name for part in rest.split(":") if part)])
