"""A face pipeline for tests: a photo is a text that names the faces on it, from left to right.

A number is person i of the fake gateway; `small`, `blurred` and `turned` are faces that cannot be used; `broken` is no
photo. A file is read for its text.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.errors import FaceTooBlurred, FaceTooSmall, FaceTurned, NoFace, PuraError, SeveralFaces, UnreadableImage
from pura.face.found import Found, Picture
from pura.face.spec import EmbedderSpec

REASONS: dict[str, type[PuraError]] = {"small": FaceTooSmall, "blurred": FaceTooBlurred, "turned": FaceTurned}
SIDE = 100


class StubFaces:
    """Stands for a `FacePipeline`. `embedded`: how many crops each call of the network had."""

    def __init__(self, person: Callable[[int], NDArray[np.float32]], dimension: int) -> None:
        self.spec = EmbedderSpec(name="none", dimension=dimension)
        self._person = person
        self.embedded: list[int] = []

    def faces(self, photo: Any) -> Picture:
        words = self._words(photo)
        return Picture(SIDE * max(1, len(words)), SIDE, tuple(self._found(i, word) for i, word in enumerate(words)))

    def embed(self, photo: Any, *, largest: bool = False) -> NDArray[np.float32]:
        faces = self.faces(photo).faces
        if not faces:
            raise NoFace()
        if len(faces) > 1 and not largest:
            raise SeveralFaces()
        if faces[0].reason is not None:
            raise faces[0].reason
        assert faces[0].crop is not None
        return self._person(int(faces[0].crop[0, 0, 0]))

    def embed_aligned(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.embedded.append(len(batch))
        return np.stack([self._person(int(crop[0, 0, 0])) for crop in batch])

    def _words(self, photo: Any) -> list[str]:
        text = Path(photo).read_text() if isinstance(photo, str | os.PathLike) else photo.decode()
        if text == "broken":
            raise UnreadableImage()
        return str(text).split()

    def _found(self, place: int, word: str) -> Found:
        box = (float(SIDE * place), 0.0, float(SIDE), float(SIDE))
        landmarks = np.zeros((5, 2))
        if word in REASONS:
            return Found(box, landmarks, 0.9, 0.0, None, REASONS[word]())
        return Found(box, landmarks, 0.9, 0.0, 1.0, None, np.full((1, 1, 3), int(word), np.uint8))
