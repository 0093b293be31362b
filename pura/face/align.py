"""Five landmarks to the upright, square crop that embedding networks are trained on."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.face.images import Pixels

TEMPLATE_SIZE = 112
TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's places of left eye, right eye, nose, left and right mouth corner (as seen) in a 112 x 112 crop, x and y."""


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, scale and shift, (2, 3), that takes points (n, 2) nearest to others in least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), formulas 40-42.
    """
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(sign) @ vt
    scale = float(d @ sign) / float((s**2).sum() / len(source))
    return np.hstack([scale * rotation, (mean_t - scale * rotation @ mean_s)[:, None]])


def crop(image: Pixels, landmarks: NDArray[np.float64], size: int = TEMPLATE_SIZE) -> Pixels:
    """The aligned face, (size, size, 3). A face much larger than that is shrunk first, so that it does not alias."""
    matrix = similarity(landmarks, TEMPLATE * (size / TEMPLATE_SIZE))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        small = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
        ratio = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
        # pixel centres lie at half-integers: x' = (x + 1/2) r - 1/2
        matrix = similarity((landmarks + 0.5) * ratio - 0.5, TEMPLATE * (size / TEMPLATE_SIZE))
        return _warp(small, matrix, size)
    return _warp(image, matrix, size)


def _warp(image: NDArray[Any], matrix: NDArray[np.float64], size: int) -> Pixels:
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def sharpness(aligned: Pixels) -> float:
    """How much fine detail the middle of an aligned crop has: the Laplacian's variance at 56 x 56 over the grey's.

    At half size the Laplacian sees the face rather than noise and rounding; the ratio does not mistake a dark or pale
    photo for a blurred one.
    """
    half = TEMPLATE_SIZE // 2
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY).astype(np.float64)
    small = cv2.resize(grey, (half, half), interpolation=cv2.INTER_AREA)
    middle = slice(half // 7, -half // 14), slice(half // 7, -half // 7)
    return float(cv2.Laplacian(small, cv2.CV_64F)[middle].var() / max(1.0, float(small[middle].var())))
