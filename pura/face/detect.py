"""Faces in a picture, with five landmarks: YuNet."""

from __future__ import annotations

import dataclasses
import math
import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights
from pura.face.images import Pixels

MIN_SCORE = 0.7
OVERLAP = 0.3
REFINED = 224.0
"""Pixels: how wide a face is made to place its landmarks."""
WIDE = 1.5
"""Its surroundings, in lengths of its box. 19 ms a face; twice the length takes 42 and gains nothing."""
LEVEL = 3.0
"""Degrees; a head that is tilted by more is turned upright and looked at again."""
CLEARLY = 0.02
"""By how much the score of a face must rise for its picture to be turned. On 76 photos, each in four positions, the
score of the upright one was the highest by 0.034 at least."""
SURE = 0.92
"""A face found with this score is upright: those that lay or stood on their heads had 0.88 at most."""
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

    @property
    def roll(self) -> float:
        """By how many degrees the line through the eyes is turned, clockwise in the picture."""
        x, y = self.landmarks[1] - self.landmarks[0]
        return math.degrees(math.atan2(y, x))

    def distance(self, other: Face) -> float:
        """Pixels between the middles of two boxes."""
        (x, y, w, h), (a, b, c, d) = self.box, other.box
        return math.hypot(x + w / 2 - a - c / 2, y + h / 2 - b - d / 2)


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

    def find_all(self, image: Pixels) -> list[Face]:
        """All faces, largest first, small ones beside large ones: what either size of search finds."""
        faces = self.find(image)
        longest = max(image.shape[:2])
        if longest > SIDES[0]:
            more = self._find(image, min(1.0, SIDES[1] / longest))
            faces += [one for one in more if all(one.distance(known) > known.side / 2 for known in faces)]
        return sorted(faces, key=lambda face: face.side, reverse=True)

    def quarter_turns(self, image: Pixels, face: Face) -> int:
        """By how many quarter turns, counterclockwise, the picture must be turned for this face to be upright.

        YuNet finds many faces that lie on the side or are upside down, with landmarks that are those of no face; but it
        is surer of upright ones.
        """
        if face.score >= SURE:
            return 0
        scores = []
        for quarter in range(4):
            around, _ = _surroundings(image, face, 90.0 * quarter)
            middle = Face((0.0, 0.0, *around.shape[1::-1]), face.landmarks, 0.0)
            near = [one for one in self._find(around, 1.0) if one.distance(middle) < REFINED / 2]
            scores.append(max((one.score for one in near), default=0.0))
        best = int(np.argmax(scores))
        return best if scores[best] > scores[0] + CLEARLY else 0

    def refine(self, image: Pixels, face: Face) -> Face:
        """The same face with exact landmarks: found again in its surroundings, enlarged so that it is 224 pixels wide,
        and once or twice more turned upright while it is found tilted.

        YuNet places landmarks coarsely on small faces, and takes a tilt for less than it is. docs/face.md says what
        this gains. A face that is not found again stays as it is.
        """
        angle, landmarks = 0.0, face.landmarks
        for _ in range(3):
            around, back = _surroundings(image, face, angle)
            middle = Face((0.0, 0.0, *around.shape[1::-1]), face.landmarks, 0.0)
            near = [one for one in self._find(around, 1.0) if one.distance(middle) < REFINED / 2]
            if not near:
                break
            landmarks = min(near, key=middle.distance).landmarks @ back[:, :2].T + back[:, 2]
            found = dataclasses.replace(face, landmarks=landmarks)
            if abs(found.roll - angle) <= LEVEL:
                break
            angle = found.roll
        return dataclasses.replace(face, landmarks=landmarks)

    def _find(self, image: Pixels, scale: float) -> list[Face]:
        if min(image.shape[:2]) * scale < 1:
            return []  # a line, in which no face can be
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


def _surroundings(image: Pixels, face: Face, angle: float) -> tuple[Pixels, NDArray[np.float64]]:
    """The square around a face, turned by `angle`, scaled so that the face is `REFINED` wide; and the transformation,
    (2, 3), of its points back to the picture."""
    x, y, w, h = face.box
    scale = REFINED / face.side
    size = round(WIDE * max(w, h) * scale)
    matrix = np.asarray(cv2.getRotationMatrix2D((x + w / 2, y + h / 2), angle, scale), np.float64)
    matrix[:, 2] += [size / 2 - x - w / 2, size / 2 - y - h / 2]
    turn = matrix.copy()
    if scale < 0.5:
        # shrunk first, so that it does not alias
        image = np.asarray(cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA), np.uint8)
        turn[:, :2] /= 2 * scale
    around = cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(around, np.uint8), np.asarray(cv2.invertAffineTransform(matrix), np.float64)
