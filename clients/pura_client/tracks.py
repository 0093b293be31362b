"""Faces followed from frame to frame, so that a person who stands before a camera is one question and not thousands.

A face belongs to the track whose last box it overlaps most (IoU), or, if it overlaps none, to one that was lost a
moment ago and looks like it. A track is asked about once: when it has been seen for `SETTLE_S` with a face that can be
used, with the best one so far, or when it ends before that. Pure functions of what was seen and when; no clock, no
camera.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pura.face.found import Found

OVERLAP = 0.3
"""Least IoU of a track's last box with its next."""
ALIKE = 0.5
"""Least cosine of a face with a track that was lost, to be the same person again."""
SETTLE_S = 0.8
LOST_S = 1.5
"""How long a track that is not seen any more waits to be found again."""

Vector = NDArray[np.float64]
Box = tuple[float, float, float, float]


@dataclasses.dataclass(eq=False)
class Track:
    """One person, from appearing to leaving. best: the face to ask about; frames: in how many it was seen."""

    number: int
    began_s: float
    seen_s: float
    box: Box
    frames: int = 1
    best: Found | None = dataclasses.field(default=None, repr=False)
    asked: bool = False
    vector: Vector | None = dataclasses.field(default=None, repr=False)

    @property
    def due(self) -> bool:
        """Whether it should be asked about now."""
        return not self.asked and self.best is not None and self.seen_s - self.began_s >= SETTLE_S


@dataclasses.dataclass(frozen=True)
class Step:
    """What a frame changed: tracks that began, that should be asked about now, and that ended."""

    began: tuple[Track, ...] = ()
    due: tuple[Track, ...] = ()
    ended: tuple[Track, ...] = ()


class Tracker:
    """The tracks that there are."""

    def __init__(self, embed: Callable[[Found], Vector] | None = None) -> None:
        """`embed`: the embedding of a face that can be used; without it a track that was lost for a moment is a new
        one."""
        self._embed = embed
        self._tracks: list[Track] = []
        self._next = 1

    def follow(self, faces: Sequence[Found], at_s: float) -> Step:
        """One more frame, taken at `at_s` seconds, not before the last one."""
        free = list(self._tracks)
        began = []
        for face in faces:
            track = _overlapping(face, free) or self._again(face, free, at_s)
            if track is None:
                track = Track(self._next, at_s, at_s, face.box)
                self._next += 1
                self._tracks.append(track)
                began.append(track)
            else:
                free.remove(track)
                track.seen_s, track.box, track.frames = at_s, face.box, track.frames + 1
            self._keep_best(track, face)
        ended = [track for track in self._tracks if at_s - track.seen_s > LOST_S]
        self._tracks = [track for track in self._tracks if track not in ended]
        return Step(tuple(began), tuple(track for track in self._tracks if track.due), tuple(ended))

    def finish(self) -> Step:
        """No more frames: every track ends."""
        ended, self._tracks = tuple(self._tracks), []
        return Step(ended=ended)

    def _again(self, face: Found, free: Sequence[Track], at_s: float) -> Track | None:
        """A track that was lost and looks like this face."""
        lost = [track for track in free if track.seen_s < at_s and track.vector is not None]
        if self._embed is None or face.crop is None or not lost:
            return None
        vector = _unit(self._embed(face))
        cosines = [float(vector @ track.vector) for track in lost if track.vector is not None]
        nearest = int(np.argmax(cosines))
        return lost[nearest] if cosines[nearest] >= ALIKE else None

    def _keep_best(self, track: Track, face: Found) -> None:
        if face.crop is None or (track.best is not None and worth(face) <= worth(track.best)):
            return
        track.best = face
        if self._embed is not None and (track.vector is None or not track.asked):
            track.vector = _unit(self._embed(face))


def worth(face: Found) -> float:
    """How good a face is to be asked about: large, sharp and looking ahead."""
    return float(face.side * np.sqrt(face.sharpness or 0.0) * max(0.1, 1 - face.turn))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    x = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    y = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(x, 0.0) * max(y, 0.0)
    return both / (one[2] * one[3] + other[2] * other[3] - both) if both else 0.0


def _overlapping(face: Found, free: Sequence[Track]) -> Track | None:
    nearest = max(free, key=lambda track: overlap(track.box, face.box), default=None)
    return nearest if nearest is not None and overlap(nearest.box, face.box) >= OVERLAP else None


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
