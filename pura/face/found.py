"""Every face of a picture, with what can be said about it: where it is, how good it is, and why it cannot be used."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.errors import PuraError

if TYPE_CHECKING:
    from pura.face.images import Pixels  # which needs OpenCV


@dataclasses.dataclass(frozen=True)
class Found:
    """A face of a picture. Places are in pixels of the picture as it was read, before any turn.

    box: x, y, width, height; landmarks: (5, 2), x and y of the right eye, left eye, nose, right and left mouth corner
    of a person who looks into the camera. score: how sure the detector is, 0 to 1. turn: see `turn_of`. sharpness: see
    `pura.face.align.sharpness`; None for a face that is too small to be looked at. reason: why no template can be made
    of it, None for a face that can be used. crop: the aligned face of one that can.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64] = dataclasses.field(repr=False)
    score: float
    turn: float
    sharpness: float | None
    reason: PuraError | None
    crop: Pixels | None = dataclasses.field(default=None, repr=False)

    @property
    def side(self) -> float:
        """The shorter side of the box."""
        return min(self.box[2:])


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as it was read, upright by its own metadata, and its faces, largest first. width, height: pixels; very
    large pictures are read shrunk (`pura.face.images.WORKING`)."""

    width: int
    height: int
    faces: tuple[Found, ...]


def turn_of(landmarks: NDArray[np.float64]) -> float:
    """How far a face is turned to a side: where the nose lies along the line through the eyes. 0 in the middle between
    them, 1 at one of them, more beyond."""
    eyes = landmarks[1] - landmarks[0]
    length = float(eyes @ eyes)
    return abs(2 * float((landmarks[2] - landmarks[0]) @ eyes) / length - 1) if length else float("inf")


def back(points: NDArray[np.float64], quarters: int, width: int, height: int) -> NDArray[np.float64]:
    """Points (n, 2) of a picture that was turned counterclockwise by quarters, as points of the picture, of width and
    height, before that."""
    x, y = points[:, 0], points[:, 1]
    turned = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters % 4]
    return np.stack(turned, axis=1)


def box_back(
    box: tuple[float, float, float, float], quarters: int, width: int, height: int
) -> tuple[float, float, float, float]:
    """The same for a box."""
    x, y, w, h = box
    corners = back(np.array([[x, y], [x + w, y + h]]), quarters, width, height)
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    return left, top, right - left, bottom - top
