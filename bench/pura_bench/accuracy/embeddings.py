"""The embeddings of a data set, once for each model: later runs take them from the user's cache."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import unit
from pura.errors import NoFace
from pura.face import align, images
from pura.face.detect import Face
from pura.face.download import cache_folder, sha256_of, write_atomically
from pura.face.images import Pixels
from pura.face.pipeline import FacePipeline
from pura_bench.accuracy.datasets import BadDataSet, DataSet

VERSION = 3
"""Raise it when detection or alignment change."""
BATCH = 16

Vectors = NDArray[np.float64]
"""(n, D), of unit length. A row of NaN: no face was found."""


@dataclasses.dataclass(frozen=True)
class Embedded:
    """A data set with its embeddings."""

    data: DataSet
    vectors: Vectors
    lengths: NDArray[np.float64] | None = None
    """(n,): of what the network gave, which it makes shorter for faces that it sees badly."""

    @property
    def who(self) -> NDArray[np.int64]:
        """(n,): who is on each photo, numbered from 0 without gaps. Raises `BadDataSet` where only pairs are known."""
        if self.data.people is None:
            raise BadDataSet("the data set must say who is on its photos")
        return np.asarray(np.unique(self.data.people, return_inverse=True)[1])

    @property
    def people_or_pairs(self) -> NDArray[np.int64]:
        """(n,): who is on each photo; where only pairs are known, every pair counts as people of its own."""
        return np.arange(len(self.data.photos)) // 2 if self.data.people is None else self.data.people

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n,): on which photos a face was found."""
        return ~np.isnan(self.vectors[:, 0])

    def photos_of_people(self) -> list[NDArray[np.int64]]:
        """Of each person in the order of `who`, the places of the photos with a face. Raises as `who` does."""
        who = self.who
        return [np.flatnonzero((who == person) & self.found) for person in range(who.max() + 1)]


def embed(data: DataSet, faces: FacePipeline, progress: Callable[[int], None] = lambda _: None) -> Embedded:
    """The embeddings of all photos, from the cache where they are known. `progress` hears of each."""
    path = cache_folder() / "bench" / f"embeddings-{_key(data, faces)}.npz"
    vectors = _cached(path, len(data.photos), faces.spec.dimension)
    if vectors is None:
        vectors = _embed(data, faces, progress)
        body = io.BytesIO()
        np.savez_compressed(body, vectors=vectors)
        write_atomically(path, body.getvalue())
    return Embedded(data, np.asarray(unit(vectors), np.float64), np.linalg.norm(vectors, axis=1))


def _key(data: DataSet, faces: FacePipeline) -> str:
    spec = faces.spec
    # a file by what is in it; and without a centre as it was before there were any
    model = spec.model_dump_json(exclude={"path", "centre", "centre_sha256", "agreement"})
    if spec.centre is not None:
        model += sha256_of(spec.centre)
    return hashlib.sha256(f"{VERSION} {data.digest} {data.aligned} {model}".encode()).hexdigest()[:32]


def _cached(path: Path, photos: int, dimension: int) -> Vectors | None:
    try:
        with np.load(path, allow_pickle=False) as content:
            vectors: Vectors = content["vectors"].astype(np.float64)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return vectors if vectors.shape == (photos, dimension) else None


def _embed(data: DataSet, faces: FacePipeline, progress: Callable[[int], None]) -> Vectors:
    out = np.full((len(data.photos), faces.spec.dimension), np.nan)
    places: list[int] = []
    crops: list[Pixels] = []
    for i, photo in enumerate(data.photos):
        pixels = images.read(photo)
        crop = pixels if data.aligned else central_crop(pixels, faces)
        if crop is not None:
            places.append(i)
            crops.append(crop)
        if len(crops) == BATCH or (crops and i == len(data.photos) - 1):
            out[places] = faces.embed_aligned(np.stack(crops))
            places, crops = [], []
        progress(1)
    return out


def central_face(image: Pixels, faces: FacePipeline) -> Face:
    """The face nearest to the middle: in LFW, whoever the photo is labelled with. Raises `NoFace`."""
    found = faces.detector.find(image)
    if not found:
        raise NoFace()
    middle = Face((0.0, 0.0, *image.shape[1::-1]), align.TEMPLATE, 0.0)
    return min(found, key=middle.distance)


def central_crop(image: Pixels, faces: FacePipeline) -> Pixels | None:
    """The aligned crop of the face nearest to the middle; None without a face. Small and blurred ones count too: what
    the client would refuse belongs into the figures."""
    try:
        face = faces.detector.refine(image, central_face(image, faces))
        return align.crop(image, face.landmarks, faces.spec.input_size)
    except NoFace:
        return None
