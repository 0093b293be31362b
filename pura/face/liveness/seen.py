"""What was seen in one frame."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

THUMB = 24
"""Side of the small grey picture that stands for a whole frame."""


@dataclasses.dataclass(frozen=True, repr=False)
class Seen:
    """One frame of a camera, measured.

    at_s: seconds on the camera's clock. faces: how many. points: the first face's landmarks (n, 2) in pixels. yaw: of
    the head, in degrees, positive to the left of the person. blink, smile: 0 to 1. thumb: the whole frame, grey,
    (THUMB, THUMB) of 0 to 255. embedding: unit, (D,), in the frames that were embedded.
    """

    at_s: float
    faces: int
    points: NDArray[np.float64]
    yaw: float
    blink: float
    smile: float
    thumb: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None

    @property
    def width(self) -> float:
        """Of the face, in pixels."""
        return float(np.ptp(self.points[:, 0])) if len(self.points) else 0.0
