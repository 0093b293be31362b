"""Faces in a picture, with five landmarks: YuNet."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights
from pura.face.images import Pixels

MIN_SCORE = 0.7
OVERLAP = 0.3
SIDES = (640, 1600)
"""YuNet finds faces of 10 to about 300 pixels: large pictures are searched shrunk to the first size and, when nothing
is found, once more at the second, where small faces show."""


@dataclasses.dataclass(frozen=True)
class Face:
    """A face found. box: x, y, width, height; landmarks: (5, 2), x and y of eyes, nose, mouth corners; in pixels."""

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float

    @property
    def side(self) -> float:
        """The shorter side of the box."""
        return min(self.box[2:])


class Detector:
    """YuNet from an ONNX file."""

    def __init__(self, path: Path) -> None:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a target it chose itself
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), MIN_SCORE, OVERLAP, 500)
        except cv2.error as error:
            raise BadWeights(f"{path} is not a YuNet model that OpenCV can read", detail=str(error)) from error
        finally:
            cv2.utils.logging.setLogLevel(level)
        self._lock = threading.Lock()  # the network keeps its input size between two calls

    def find(self, image: Pixels) -> list[Face]:
        """All faces, largest first."""
        for side in SIDES:
            faces = self._find(image, min(1.0, side / max(image.shape[:2])))
            if faces or max(image.shape[:2]) <= side:
                break
        return sorted(faces, key=lambda face: face.side, reverse=True)

    def _find(self, image: Pixels, scale: float) -> list[Face]:
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        height, width = shrunk.shape[:2]
        with self._lock:
            self._net.setInputSize((width, height))
            _, rows = self._net.detect(cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR))
        ratio = np.array([image.shape[1] / width, image.shape[0] / height])
        faces = []
        for row in [] if rows is None else np.asarray(rows, np.float64):
            x, y, w, h = row[:4] * np.tile(ratio, 2)
            faces.append(Face((x, y, w, h), row[4:14].reshape(5, 2) * ratio, float(row[14])))
        return faces
