"""A photo to an embedding: read, detect, align, embed. Everything happens on this machine.

One person is expected on a photo. A face less than half as wide as the largest one is background: a passer-by, a
poster. With `largest`, all others are.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights, FaceTooBlurred, FaceTooSmall, NoFace, SeveralFaces
from pura.face import align, images, weights
from pura.face.detect import Detector, Face
from pura.face.embed import Embedder, Embeddings
from pura.face.images import Pixels
from pura.face.spec import SFACE, DetectorSpec, EmbedderSpec

BACKGROUND = 1 / 2

Photo = str | os.PathLike[str] | NDArray[Any]


class FacePipeline:
    """The default pipeline, or one with another embedder or detector. Models are loaded on first use."""

    def __init__(self, embedder: EmbedderSpec = SFACE, detector: DetectorSpec | None = None) -> None:
        self.spec = embedder
        self._finding = detector or DetectorSpec()

    @functools.cached_property
    def detector(self) -> Detector:
        """YuNet. Raises `BadWeights`, `DownloadFailed`."""
        if self._finding.path is not None:
            return Detector(weights.checked(self._finding.path, self._finding.sha256))
        return Detector(weights.locate(weights.YUNET_FILE))

    @functools.cached_property
    def embedder(self) -> Embedder:
        """The embedding network. Raises `BadWeights`, `DownloadFailed`."""
        if self.spec.path is not None:
            return Embedder(self.spec, weights.checked(self.spec.path, self.spec.sha256))
        if self.spec.sha256 != weights.SFACE_FILE.sha256:
            raise BadWeights(f"the embedder {self.spec.name} needs the path of its ONNX file")
        return Embedder(self.spec, weights.locate(weights.SFACE_FILE))

    def load(self) -> None:
        """Load both models now, fetching what is missing."""
        _ = self.detector, self.embedder

    def embed(self, photo: Photo, *, largest: bool = False) -> Embeddings:
        """The embedding, float32 of shape (D,), of the face on a photo: a path, or an array of pixels (uint8, (H, W)
        grey or (H, W, 3) RGB).

        Raises `UnreadableImage`, `NoFace`, `SeveralFaces` unless `largest`, `FaceTooSmall`, `FaceTooBlurred`,
        `BadWeights`, `BadEmbedding`, `DownloadFailed`.
        """
        embeddings = self.embed_aligned(self.aligned(photo, largest=largest)[None])
        return embeddings.reshape(-1)

    def embed_aligned(self, batch: NDArray[np.uint8]) -> Embeddings:
        """Embeddings (n, D) of aligned crops (n, size, size, 3); `aligned` makes them."""
        return self.embedder.embed_aligned(batch)

    def aligned(self, photo: Photo, *, largest: bool = False) -> Pixels:
        """The aligned crop of the face on a photo, (size, size, 3); raises as `embed` does."""
        image = images.read(photo)
        face = choose(self.detector.find(image), largest=largest)
        least = self._finding.min_face
        if face.side < least:
            raise FaceTooSmall(f"the face is only {face.side:.0f} pixels wide; at least {least:.0f} are needed")
        face = self.detector.refine(image, face)
        crop = align.crop(image, face.landmarks, self.spec.input_size)
        if align.sharpness(crop) < self._finding.min_sharpness:
            raise FaceTooBlurred()
        return crop


def choose(faces: list[Face], *, largest: bool) -> Face:
    """The face that a photo is of; `faces` are sorted, largest first. Raises `NoFace`, `SeveralFaces`."""
    if not faces:
        raise NoFace()
    rivals = [face for face in faces if face.side >= BACKGROUND * faces[0].side]
    if len(rivals) > 1 and not largest:
        raise SeveralFaces(f"{len(rivals)} faces were found; crop the picture or choose the largest")
    return faces[0]
