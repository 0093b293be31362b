"""A photo to an embedding: read, detect, align, embed. Everything happens on this machine.

One person is expected on a photo. A face less than half as wide as the largest one is background: a passer-by, a
poster. With `largest`, all others are.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights, FaceTooBlurred, FaceTooSmall, FaceTurned, NoFace, PuraError, SeveralFaces
from pura.face import align, images, weights
from pura.face.detect import Detector, Face
from pura.face.embed import Embedder, Embeddings
from pura.face.found import Found, Picture, back, box_back, turn_of
from pura.face.images import Pixels
from pura.face.spec import SFACE, DetectorSpec, EmbedderSpec

BACKGROUND = 1 / 2

Photo = images.Source


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
        """The embedding, float32 of shape (D,), of the face on a photo: a path, a file's bytes, Pillow's image, or an
        array of pixels (uint8, (H, W) grey or (H, W, 3) RGB).

        Raises `UnreadableImage`, `NoFace`, `SeveralFaces` unless `largest`, `FaceTooSmall`, `FaceTooBlurred`,
        `FaceTurned`, `BadWeights`, `BadEmbedding`, `DownloadFailed`.
        """
        embeddings = self.embed_aligned(self.aligned(photo, largest=largest)[None])
        return embeddings.reshape(-1)

    def embed_aligned(self, batch: NDArray[np.uint8]) -> Embeddings:
        """Embeddings (n, D) of aligned crops (n, size, size, 3); `aligned` makes them."""
        return self.embedder.embed_aligned(batch)

    def aligned(self, photo: Photo, *, largest: bool = False) -> Pixels:
        """The aligned crop of the face on a photo, (size, size, 3); raises as `embed` does."""
        image, _, faces = self._upright(images.read(photo))
        found = self._look(image, choose(faces, largest=largest))
        if found.reason is not None:
            raise found.reason
        assert found.crop is not None
        return found.crop

    def faces(self, photo: Photo) -> Picture:
        """Every face on a photo, whether it can be used or not; none is no error. Crops of those that can be used are
        what `embed_aligned` takes.

        Raises `UnreadableImage`, `BadWeights`, `DownloadFailed`.
        """
        image = images.read(photo)
        height, width = image.shape[:2]
        try:
            turned, quarters, faces = self._upright(image)
        except NoFace:
            return Picture(width, height, ())
        faces = self.detector.find_all(turned) or faces
        return Picture(
            width, height, tuple(_turned(self._look(turned, face), quarters, width, height) for face in faces)
        )

    def _look(self, image: Pixels, face: Face) -> Found:
        """A face of an upright picture: what it is worth, and its crop if a template can be made of it."""
        least = self._finding.min_face
        reason: PuraError | None = None
        if face.side < least:
            reason = FaceTooSmall(f"the face is only {face.side:.0f} pixels wide; at least {least:.0f} are needed")
            return Found(face.box, face.landmarks, face.score, turn_of(face.landmarks), None, reason)
        face = self.detector.refine(image, face)
        crop, turn = align.crop(image, face.landmarks, self.spec.input_size), turn_of(face.landmarks)
        sharpness = align.sharpness(crop)
        if sharpness < self._finding.min_sharpness:
            reason = FaceTooBlurred()
        elif turn > self._finding.max_turn:
            reason = FaceTurned()
        return Found(face.box, face.landmarks, face.score, turn, sharpness, reason, crop if reason is None else None)

    def _upright(self, image: Pixels) -> tuple[Pixels, int, list[Face]]:
        """The picture, turned so that its largest face is upright, by how many quarter turns, and its faces, largest
        first. Cameras forget to say how they were held. Raises `NoFace`."""
        for quarter in range(4):
            turned = np.ascontiguousarray(np.rot90(image, quarter))
            faces = self.detector.find(turned)
            if faces:
                more = self.detector.quarter_turns(turned, faces[0])
                if not more:
                    return turned, quarter, faces
                again = np.ascontiguousarray(np.rot90(turned, more))
                found = self.detector.find(again)
                return (again, (quarter + more) % 4, found) if found else (turned, quarter, faces)
        raise NoFace()


def _turned(found: Found, quarters: int, width: int, height: int) -> Found:
    """A face of the turned picture, as one of the picture as it was read."""
    box = box_back(found.box, quarters, width, height)
    return dataclasses.replace(found, box=box, landmarks=back(found.landmarks, quarters, width, height))


def choose(faces: list[Face], *, largest: bool) -> Face:
    """The face that a photo is of; `faces` are sorted, largest first. Raises `NoFace`, `SeveralFaces`."""
    if not faces:
        raise NoFace()
    rivals = [face for face in faces if face.side >= BACKGROUND * faces[0].side]
    if len(rivals) > 1 and not largest:
        raise SeveralFaces(f"{len(rivals)} faces were found; crop the picture or take the largest (--largest)")
    return faces[0]
