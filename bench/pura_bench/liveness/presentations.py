"""Presentations made from one photo: a head that is turned in space, and the instruments of attacks.

There is no recording of a living person here. A *head* is the photo drawn onto its own landmarks, whose depth the
network estimates, and turned; eyes are shut by painting lids, a smile is drawn by moving the mouth's corners. So a bona
fide presentation below is a simulation too: its figures say how the gate treats the geometry of a head, not people.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from pura.face.liveness.challenge import Step

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

FPS = 5.0
_GRID = 32
_EDGE = 6
_EYES = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_LASHES = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
_LIDS = ((223, 222, 221, 224), (443, 442, 441, 444))
_CORNERS, _LIPS = (61, 291, 76, 306, 62, 292), (185, 409, 146, 375, 40, 270, 91, 321)
_TURN, _PAPER_TURN = 30.0, 50.0
_GREY = (96, 96, 96)


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """A photo and its landmarks (478, 3), all in pixels."""

    photo: Pixels
    points: Points


@dataclasses.dataclass(frozen=True)
class Pose:
    """What a head does in one frame: degrees to its own left, 0 to 1 of shut eyes and smile."""

    yaw: float = 0.0
    shut: float = 0.0
    smile: float = 0.0


def script(steps: Sequence[Step]) -> list[Pose]:
    """The poses, at `FPS`, of somebody who does what is asked."""
    still = [Pose()] * 4
    ramp = (0.3, 0.7, 1.0, 1.0, 0.7, 0.3)
    moves: dict[Step, Callable[[float], Pose]] = {
        Step.BLINK: lambda x: Pose(shut=float(x > 0.9)),
        Step.SMILE: lambda x: Pose(smile=x),
        Step.LEFT: lambda x: Pose(yaw=_TURN * x),
        Step.RIGHT: lambda x: Pose(yaw=-_TURN * x),
    }
    poses = list(still)
    for step in steps:
        poses += [moves[step](x) for x in ramp] + still
    return poses


def head(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """The photo's head, turned in space."""
    for pose in poses:
        yield _camera(_turned(face, pose), rng)


def held(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """A print that is held still before the camera."""
    for _ in poses:
        yield _camera(face.photo, rng)


def frozen(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """One frame, again and again: a camera that is replaced by a picture."""
    frame = _camera(face.photo, rng)
    for _ in poses:
        yield frame


def turned_print(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """A print that is turned as a head would be, by more."""
    for pose in poses:
        yield _camera(_paper(face.photo, pose.yaw / _TURN * _PAPER_TURN), rng)


def bent_print(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """A print bent about the vertical, and turned."""
    for pose in poses:
        yield _camera(_cylinder(face.photo, pose.yaw / _TURN * _PAPER_TURN), rng)


def screen(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """A screen that shows the photo, with its pattern, turned."""
    height, width = face.photo.shape[:2]
    y, x = np.mgrid[:height, :width]
    for i, pose in enumerate(poses):
        pattern = 10 * np.sin(2 * np.pi * (x / 3.3 + y / 47 + i / 5))[..., None]
        shown = np.clip(face.photo * 0.9 + 20 + pattern, 0, 255).astype(np.uint8)
        yield _camera(_paper(shown, pose.yaw / _TURN * _PAPER_TURN), rng)


def cutout(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """The face cut out of a print, moved before a room, with holes for living eyes: it can blink."""
    mask = np.zeros(face.photo.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(face.points[:, :2].round().astype(np.int32)), 255)
    room = np.full_like(face.photo, _GREY[0])
    for pose in poses:
        paper = _paper(_shut(face.photo, face.points) if pose.shut else face.photo, pose.yaw / _TURN * _PAPER_TURN)
        inside = _paper(np.repeat(mask[..., None], 3, 2), pose.yaw / _TURN * _PAPER_TURN, border=(0, 0, 0)) > 128
        yield _camera(np.where(inside, paper, room), rng)


def swapped(face: Face, other: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """Somebody does what is asked, and another face is shown for the end."""
    half = len(poses) // 2
    yield from head(face, poses[:half], rng)
    yield from head(other, [*poses[half:], *[Pose()] * 4], rng)


def looped(face: Face, poses: Sequence[Pose], rng: np.random.Generator) -> Iterator[Pixels]:
    """A recording of every move, again and again."""
    recorded = list(head(face, script(list(Step)), rng))
    for _ in range(1 + 2 * len(poses) // len(recorded)):
        yield from recorded


def _camera(frame: Pixels, rng: np.random.Generator) -> Pixels:
    """A hand that shakes, and a sensor."""
    dx, dy = rng.normal(0, 0.7, 2)
    moved = cv2.warpAffine(
        frame, np.array([[1, 0, dx], [0, 1, dy]]), frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
    )
    light = 1 + rng.normal(0, 0.01)
    return np.clip(moved * light + rng.normal(0, 2.0, frame.shape), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=64)  # a script comes back to the same poses
def _turned(face: Face, pose: Pose) -> Pixels:
    photo = _shut(face.photo, face.points) if pose.shut else face.photo
    points = face.points.copy()
    if pose.smile:
        wide, mouth = np.ptp(points[:, 0]), points[[61, 291], 0].mean()
        for at, much in ((_CORNERS, 1.0), (_LIPS, 0.6)):
            for i in at:
                points[i, :2] += much * pose.smile * wide * np.array([0.05 * np.sign(points[i, 0] - mouth), -0.06])
    angle = -np.radians(pose.yaw)
    centre = points.mean(0)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return _warped(photo, face.points[:, :2], ((points - centre) @ about.T + centre)[:, :2])


def _warped(photo: Pixels, before: Points, after: Points) -> Pixels:
    """Move points, and what lies between them, piece by piece; the photo's edge stays."""
    height, width = photo.shape[:2]
    along = np.linspace(0, 1, _EDGE)
    edge = [(x * (width - 1), y * (height - 1)) for x in along for y in along if {x, y} & {0.0, 1.0}]
    where = np.vstack([after, edge])
    where = where + 1e-3 * np.random.default_rng(0).normal(size=where.shape)  # no two in one place
    source = LinearNDInterpolator(Delaunay(where), np.vstack([before, edge]))
    y, x = np.mgrid[0 : height - 1 : _GRID * 2j, 0 : width - 1 : _GRID * 2j]
    grid = np.stack([x, y], -1)
    found = source(grid)
    coarse = np.where(np.isnan(found), grid, found).astype(np.float32)
    full = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.remap(photo, full[..., 0], full[..., 1], cv2.INTER_LINEAR), np.uint8)


def _shut(photo: Pixels, points: Points) -> Pixels:
    """Eyes painted over with the skin of their lids, and lashes below."""
    out = photo.astype(np.float32)
    for eye, lashes, lid in zip(_EYES, _LASHES, _LIDS, strict=True):
        outline = points[list(eye), :2]
        centre = outline.mean(0)
        mask = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillPoly(mask, [(centre + 1.25 * (outline - centre)).round().astype(np.int32)], 255)
        soft = cv2.GaussianBlur(mask, (0, 0), 2)[..., None] / 255
        places = points[list(lid), :2].round().astype(int)
        skin = photo[places[:, 1].clip(0, len(photo) - 1), places[:, 0].clip(0, photo.shape[1] - 1)].mean(0)
        out = out * (1 - soft) + skin * soft
        line = points[list(lashes), :2].round().astype(np.int32)
        out = np.ascontiguousarray(out, np.float32)
        cv2.polylines(out, [line], False, tuple(float(v) for v in 0.45 * skin), 2, cv2.LINE_AA)
    return np.clip(out, 0, 255).astype(np.uint8)


def _paper(photo: Pixels, degrees: float, border: tuple[int, int, int] = _GREY) -> Pixels:
    """A plane turned about the vertical, seen from three times its width."""
    height, width = photo.shape[:2]
    angle = -np.radians(degrees)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    depth = -corners[:, 0] * np.sin(angle)
    seen = corners * [np.cos(angle), 1] * (3 * width / (3 * width + depth))[:, None]
    middle = np.array([width / 2, height / 2])
    plane = cv2.getPerspectiveTransform((corners + middle).astype(np.float32), (seen + middle).astype(np.float32))
    return np.asarray(cv2.warpPerspective(photo, plane, (width, height), borderValue=border), np.uint8)


def _cylinder(photo: Pixels, degrees: float) -> Pixels:
    """Paper bent into a quarter of a cylinder towards the camera, and turned."""
    height, width = photo.shape[:2]
    radius = 2 * width / np.pi
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height))
    angle = np.radians(degrees)
    # where a ray through x meets the cylinder, whose axis is turned with the paper
    bent = np.arcsin(np.clip(x / radius, -1, 1)) + angle
    source = (radius * bent + width / 2).astype(np.float32)
    bent_photo = cv2.remap(photo, source, y.astype(np.float32), cv2.INTER_LINEAR, borderValue=_GREY)
    return np.asarray(bent_photo, np.uint8)
