"""What a client is asked about, or enrols, to a template: photos, and embeddings that somebody else computed.

Numbers say what they are: `Raw`, as the network gave them, or `Ready`, with all that the collection's embedder does to
them done. An embedding that was not centred looks like any other, and in a centred collection everybody is a little
like it: strangers would be named. A vector that says nothing is taken only where the two are the same, as far as this
client knows: in a collection whose embedder takes nothing out of embeddings.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import Template, quantise
from pura.errors import (
    BadEmbedding,
    FaceTooBlurred,
    FaceTooSmall,
    FaceTurned,
    NoFace,
    PhotosDisagree,
    PuraError,
    SeveralFaces,
    UnreadableImage,
)
from pura.face import centre, several
from pura.face.found import Found
from pura.face.spec import BUILT_IN, DetectorSpec, EmbedderSpec, for_collection
from pura.params import Params
from pura_client import trace

if TYPE_CHECKING:
    from PIL import Image

    from pura.face.found import Picture
    from pura.face.pipeline import FacePipeline

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Raw:
    """An embedding as the network gave it; what the collection's embedder takes out of embeddings is taken out here."""

    numbers: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Ready:
    """An embedding with which all is done that the collection's embedder does; its length does not matter."""

    numbers: Any = dataclasses.field(repr=False)


UNUSABLE = (BadEmbedding, FaceTooBlurred, FaceTooSmall, FaceTurned, NoFace, SeveralFaces, UnreadableImage)
"""What is wrong with one photo, and says nothing of the next."""
Embedding = Raw | Ready
Photo: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image | Found | Raw | Ready"
"""A path, a file's bytes, pixels in RGB order, Pillow's image; a face that `faces` found; or an embedding, `Raw` or
`Ready`."""
_SAY = "say what the numbers are: Raw(...), as the network gave them, or Ready(...)"
LeftOut = tuple[Any, PuraError]
"""A photo that could not be used, and why."""


def vector_of(embedding: Embedding) -> Vector:
    """The numbers of an embedding, one row. Taken are lists and tuples of numbers and arrays of floats, of shape (D,)
    or (1, D). Raises `BadEmbedding` for anything else: pixels, complex numbers and arrays of whole numbers are
    something different."""
    given = embedding.numbers
    if isinstance(given, list | tuple):
        if len(given) == 1 and isinstance(given[0], list | tuple | np.ndarray):
            given = given[0]
        if isinstance(given, list | tuple) and not all(_is_number(value) for value in given):
            raise BadEmbedding("an embedding is a list of numbers")
    try:
        array = np.asarray(given, np.float64) if isinstance(given, list | tuple) else np.asarray(given)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise BadEmbedding("the embedding is not a vector of numbers") from error
    if array.dtype.kind != "f":
        raise BadEmbedding(f"an embedding has floating-point numbers, not {array.dtype}")
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1:
        raise BadEmbedding(f"an embedding is one row of numbers, not an array of shape {array.shape}")
    out = array.astype(np.float64)
    if not np.isfinite(out).all():
        raise BadEmbedding("the embedding has values that are not finite")
    return out


def one_of(photo: Any, embedding: Any) -> Any:
    """What a caller gave: either a photo, or an embedding by its keyword. Raises `BadEmbedding` for a vector that does
    not say what it is."""
    if (photo is None) == (embedding is None):
        raise UnreadableImage("give either a photo or an embedding")
    if embedding is None:
        return photo
    rows = embedding if isinstance(embedding, list | tuple) else [embedding]
    if not all(isinstance(row, Raw | Ready) for row in rows):
        raise BadEmbedding(_SAY)
    return embedding


def several_of(photos: Any) -> Sequence[Any]:
    """The photos of one item; a list or tuple that is not one of numbers holds several."""
    if isinstance(photos, list | tuple) and not (photos and all(_is_number(value) for value in photos)):
        return photos
    return [photos]


def is_embedding(photo: Photo) -> bool:
    """Whether no network is needed for it."""
    return isinstance(photo, Raw | Ready) or (isinstance(photo, np.ndarray) and photo.ndim < 2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


class Templates:
    """Photos and embeddings to templates of one collection. Models are loaded when the first photo comes: who brings
    embeddings needs neither OpenCV nor the weights."""

    def __init__(
        self,
        params: Params,
        faces: FacePipeline | None = None,
        embedder: EmbedderSpec | None = None,
        detector: DetectorSpec | None = None,
    ) -> None:
        self._params = params
        self._faces, self._embedder, self._detector = faces, embedder, detector
        self._common: centre.Basis | None = None

    def of(self, photo: Any, *, largest: bool) -> Template:
        """The template of one photo or embedding. Raises what is wrong with it."""
        return quantise(self._embedding(photo, largest), self._params)

    def faces(self, photo: Any) -> Picture:
        """Every face on a photo. Raises what is wrong with the photo."""
        with trace.stage("embed"):
            return self._pipeline().faces(photo)

    def of_all(self, photo: Any) -> tuple[Picture, list[Template | PuraError]]:
        """Every face on a photo, and for each its template or the reason why there is none; all are embedded together.
        Raises what is wrong with the photo."""
        picture = self.faces(photo)
        crops = [face.crop for face in picture.faces if face.crop is not None]
        with trace.stage("embed"):
            rows = iter(self._pipeline().embed_aligned(np.stack(crops)) if crops else ())
        out: list[Template | PuraError] = []
        for face in picture.faces:
            if face.reason is not None:
                out.append(face.reason)
                continue
            out.append(quantise(next(rows).astype(np.float64), self._params))
        return picture, out

    def of_person(
        self, photos: Sequence[Photo], *, largest: bool, strict: bool
    ) -> tuple[Template | None, list[LeftOut]]:
        """One template for several photos of a person, and the photos that are no part of it: unusable ones, and those
        that do not look like the others. No template when none is left.

        With `strict` the first such photo is raised instead, by name: what is wrong with it, or `PhotosDisagree`.
        """
        rows: dict[int, Vector] = {}
        wrong: dict[int, PuraError] = {}
        for i, photo in enumerate(photos):
            try:
                rows[i] = self._embedding(photo, largest)
            except UNUSABLE as error:
                if strict:
                    message = f"{_name(photo, i)}: {error}" if len(photos) > 1 else str(error)
                    raise type(error)(message, detail=error.detail) from error
                wrong[i] = error
        used = list(rows)
        odd = [used[k] for k in several.strangers(np.stack(list(rows.values())), self._agreement)] if rows else []
        if odd and strict:
            named = ", ".join(_name(photos[i], i) for i in odd)
            whole = len(odd) == len(rows)
            raise PhotosDisagree(
                f"these photos do not show one person: {named}" if whole else f"not like the other photos: {named}"
            )
        wrong |= {i: PhotosDisagree("it does not look like the other photos of this person") for i in odd}
        left_out = [(photos[i], wrong[i]) for i in sorted(wrong)]
        kept = [row for i, row in rows.items() if i not in odd]
        return (quantise(several.mean(np.stack(kept)), self._params) if kept else None), left_out

    @property
    def _agreement(self) -> float:
        return (self._spec() or _ANY).agreement

    def _embedding(self, photo: Any, largest: bool) -> Vector:
        match photo:
            case Found():
                return self._of_face(photo)
            case Ready():
                return self._numbers(photo)
            case Raw():
                return self._finished(self._numbers(photo))
            case np.ndarray() if photo.ndim < 2:
                if (spec := self._spec()) is not None and spec.centre is not None:
                    raise BadEmbedding(
                        f"the embedder {spec.name} centres embeddings: say Raw(...) for one as the network gave it, to "
                        "be centred here, or Ready(...)"
                    )
                return self._numbers(Ready(photo))
            case list() | tuple():
                raise BadEmbedding(_SAY)
        with trace.stage("embed"):
            out: Vector = self._pipeline().embed(photo, largest=largest).astype(np.float64)
        return out

    def ready(self, photo: Any, *, largest: bool) -> Ready:
        """The embedding of a photo, or of a face that `faces` found. Raises what is wrong with it."""
        return Ready(self._embedding(photo, largest))

    def _of_face(self, face: Found) -> Vector:
        if face.reason is not None:
            raise face.reason
        assert face.crop is not None
        with trace.stage("embed"):
            out: Vector = self._pipeline().embed_aligned(face.crop[None])[0].astype(np.float64)
        return out

    def _pipeline(self) -> FacePipeline:
        if self._faces is None:
            spec = for_collection(self._embedder, self._params)
            from pura.face.pipeline import FacePipeline

            self._faces = FacePipeline(spec, self._detector)
        return self._faces

    def _numbers(self, embedding: Embedding) -> Vector:
        out, dimension = vector_of(embedding), self._params.dimension
        if len(out) != dimension:
            raise BadEmbedding(f"the collection takes embeddings of {dimension} numbers, not of {len(out)}")
        return out

    def _finished(self, raw: Vector) -> Vector:
        """What the embedder does to what its network gives."""
        if self._common is None:
            spec = self._spec()
            if spec is None:
                raise BadEmbedding(
                    f"this client does not know the embedder {self._params.embedder!r}, nor what it takes out: give "
                    "its table [embedder], or do all of it and say Ready"
                )
            spec.check(self._params)
            self._common = centre.of(spec)
        return centre.centred(raw[None], self._common)[0] if len(self._common) else raw

    def _spec(self) -> EmbedderSpec | None:
        """The collection's embedder, as far as this client knows it."""
        if self._faces is not None:
            return self._faces.spec
        return self._embedder or BUILT_IN.get(self._params.embedder)


_ANY = EmbedderSpec(name="any", dimension=1)


def _name(photo: Any, place: int) -> str:
    return str(photo) if isinstance(photo, str | os.PathLike) else f"photo {place + 1}"
