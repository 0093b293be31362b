"""Photos of people, aligned and embedded once, and who of them is attacker's and who is victim.

DIR has a folder for each person, or it is the development half of Labeled Faces in the Wild: `photos/` beside
`pairsDevTrain.txt` and `pairsDevTest.txt`. There the attacker has DevTrain's people and DevTest's are the victims;
elsewhere people are dealt out by a seed. Nobody is both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import Floats, unit
from pura.errors import BadConfig, NoFace
from pura.face import align, images
from pura.face.photos import orl_faces
from pura.face.pipeline import FacePipeline
from pura_bench.accuracy.datasets import read_pairs
from pura_bench.accuracy.embeddings import central_face

SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".webp")
TRAIN, TEST = "pairsDevTrain.txt", "pairsDevTest.txt"
BATCH = 64
ORL_PAD = 28
"""ORL's photos end at the chin; the detector wants some room around a face."""

Crops = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, eq=False)
class Photos:
    """crops (n, 112, 112, 3), embeddings (n, D) of unit length, and names "person/file"."""

    crops: Crops
    embeddings: Floats
    names: tuple[str, ...]

    @property
    def people(self) -> list[str]:
        """Whose photo each one is."""
        return [name.rpartition("/")[0] for name in self.names]

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> Photos:
        """Some of them."""
        rows = np.asarray(rows, np.int64)
        return Photos(self.crops[rows], self.embeddings[rows], tuple(self.names[i] for i in rows))


@dataclasses.dataclass(frozen=True, eq=False)
class Cast:
    """known: the attacker's photos. enrolled and mates: of each victim the photo that is enrolled and another one.
    strangers: pairs of photos of two people who are not the attacker's, as many as victims."""

    known: Photos
    enrolled: Photos
    mates: Photos
    strangers: tuple[Photos, Photos]
    source: str


Progress = Callable[[int, int], None]


def load(folder: Path | None, faces: FacePipeline, cache: Path, progress: Progress) -> Photos:
    """All photos of a folder, or ORL's for None; kept in `cache`. A photo without a face is left out."""
    listed: list[tuple[str, Path | NDArray[Any]]] = list(_orl() if folder is None else _files(folder))
    if not listed:
        raise BadConfig(f"{folder} has no folders with photos")
    digest = hashlib.sha256("\n".join([str(faces.spec), *(name for name, _ in listed)]).encode()).hexdigest()[:16]
    file = cache / f"photos-{digest}.npz"
    if file.exists():
        with np.load(file) as kept:
            return Photos(kept["crops"], kept["embeddings"], tuple(kept["names"].tolist()))
    crops, names = [], []
    for i, (name, photo) in enumerate(listed):
        image = images.read(photo)
        with contextlib.suppress(NoFace):
            crops.append(align.crop(image, central_face(image, faces).landmarks))
            names.append(name)
        progress(i + 1, len(listed))
    stack = np.stack(crops)
    out = Photos(stack, _embedded(faces, stack), tuple(names))
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(file, crops=out.crops, embeddings=out.embeddings, names=np.array(out.names))
    return out


def embedded_by(photos: Photos, faces: FacePipeline, cache: Path) -> Photos:
    """The same photos under another embedder; kept in `cache`."""
    names = "\n".join([faces.spec.name, str(faces.spec), *photos.names])
    file = cache / f"embeddings-{hashlib.sha256(names.encode()).hexdigest()[:16]}.npy"
    if not file.exists():
        np.save(file, _embedded(faces, photos.crops))
    return dataclasses.replace(photos, embeddings=np.load(file))


def _embedded(faces: FacePipeline, crops: Crops) -> Floats:
    return unit(np.concatenate([faces.embed_aligned(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]))


def _files(folder: Path) -> Iterator[tuple[str, Path | NDArray[Any]]]:
    root = folder / "photos" if (folder / "photos").is_dir() else folder
    for path in sorted(root.glob("*/*")):
        if path.suffix.lower() in SUFFIXES:
            yield f"{path.parent.name}/{path.name}", path


def _orl() -> Iterator[tuple[str, Path | NDArray[Any]]]:
    for person, photos in enumerate(orl_faces(), start=1):
        for number, photo in enumerate(photos, start=1):
            wide = cv2.resize(np.pad(photo, ORL_PAD, mode="edge"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            yield f"s{person:02d}/{number:02d}.pgm", wide


def deal(photos: Photos, folder: Path | None, victims: int, seed: int) -> Cast:
    """The attacker's photos and the victims. Raises `BadConfig` when there are too few people with two photos."""
    where = {name: i for i, name in enumerate(photos.names)}
    if folder is not None and (folder / TRAIN).is_file() and (folder / TEST).is_file():
        attackers = {person for one, other, _ in read_pairs(folder / TRAIN)[0] for person, _ in (one, other)}
        of_one: dict[str, list[int]] = {}
        strangers = []
        for one, other, same in read_pairs(folder / TEST)[0]:
            pair = [where[name] for person, i in (one, other) if (name := f"{person}/{person}_{i:04d}.jpg") in where]
            if len(pair) == 2 and same:
                of_one.setdefault(one[0], pair)
            elif len(pair) == 2:
                strangers.append(pair)
        genuine = list(of_one.values())
        source = "Labeled Faces in the Wild, development half: attacker has DevTrain's people, victims are DevTest's"
    else:
        order = np.random.default_rng(seed).permutation(sorted(set(photos.people))).tolist()
        attackers = set(order[: len(order) // 2])
        rest: dict[str, list[int]] = {person: [] for person in order[len(order) // 2 :]}
        for i, person in enumerate(photos.people):
            if person in rest:
                rest[person].append(i)
        genuine = [rows[:2] for rows in rest.values() if len(rows) > 1]
        single = [rows[-1] for rows in rest.values() if rows]
        strangers = [[single[i - 1], single[i]] for i in range(len(single))]
        source = "half of the people of the folder are the attacker's, the victims are of the other half"
        if folder is None:
            source = "ORL Database of Faces (AT&T Laboratories Cambridge); " + source
    genuine, strangers = genuine[:victims], strangers[:victims]
    if len(genuine) < 2 or not attackers:
        raise BadConfig("the attack needs other people's photos, and at least two victims with two photos each")
    known = photos.of([i for i, person in enumerate(photos.people) if person in attackers])
    enrolled, mates = photos.of([a for a, _ in genuine]), photos.of([b for _, b in genuine])
    if set(known.people) & set(enrolled.people):
        raise BadConfig("a victim is among the attacker's people")
    pairs_of = photos.of([a for a, _ in strangers]), photos.of([b for _, b in strangers])
    return Cast(known, enrolled, mates, pairs_of, source)
