"""Cues against pictures and recordings, each a function of the frames so far; each says how strong it found its sign.

still      hardly anything moves between frames: a picture that is held, or a camera that is frozen
repeat     whole stretches of frames come again: a recording in a loop
flat       between frames that turn the head, the face moves as a plane does: print or screen
changed    the face is not the same person throughout
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.face.liveness.seen import Seen

Points = NDArray[np.float64]

STILL = 0.15
"""Mean change between neighbouring frames, of 255, below which nothing moves: sensors alone make more noise."""
REPEAT = 0.05
"""Mean difference of two frames, of 255, below which they are the same recording."""
STRETCH = 5
"""So many frames in a row that come again are a loop."""
FLAT = 0.02
"""Distance from a plane's motion, of the face's width."""
TURN = 15.0
"""Degrees between two frames that a flat face is looked for in."""
SAME = 0.36
"""Cosine with the first frame's embedding below which it is another person."""


def still(frames: Sequence[Seen]) -> float:
    """The median change between neighbours; small is suspicious. Infinite for fewer than two frames."""
    changes = [float(np.abs(a.thumb - b.thumb).mean()) for a, b in itertools.pairwise(frames)]
    return float(np.median(changes)) if changes else np.inf


def repeat(frames: Sequence[Seen]) -> int:
    """The longest stretch of frames that came before, at the same distance; of frames that differ from their
    neighbours, so that a calm moment is no loop."""
    if len(frames) < 2 * STRETCH:
        return 0
    thumbs = np.array([frame.thumb.ravel() for frame in frames])
    same = np.array([np.abs(thumbs - thumb).mean(1) < REPEAT for thumb in thumbs])
    longest = 0
    for lag in range(2, len(frames)):
        run = 0
        for i in range(len(frames) - lag):
            moved = i == 0 or not same[i, i - 1]
            run = run + 1 if same[i, i + lag] and moved else 0
            longest = max(longest, run)
    return longest


def flat(frames: Sequence[Seen], rigid: NDArray[np.intp]) -> float:
    """How far the face's motion is from that of a plane: the largest residual over pairs of frames that turn the head
    by `TURN`, of the face's width; small is suspicious. `rigid`: the landmarks that expressions do not move. Infinite
    where no two frames turn it so far."""
    usable = [frame for frame in frames if frame.faces == 1]
    if len(usable) < 2:
        return np.inf
    straight = min(usable, key=lambda frame: abs(frame.yaw))
    turned = [frame for frame in usable if abs(frame.yaw - straight.yaw) >= TURN]
    return max((_from_a_plane(straight, frame, rigid) for frame in turned), default=np.inf)


def _from_a_plane(one: Seen, other: Seen, rigid: NDArray[np.intp]) -> float:
    before, after = one.points[rigid], other.points[rigid]
    plane, _ = cv2.findHomography(before, after, 0)
    if plane is None:
        return np.inf
    moved = cv2.perspectiveTransform(before[None], plane)[0]
    return float(np.sqrt(((moved - after) ** 2).sum(1).mean()) / max(one.width, 1.0))


def changed(frames: Sequence[Seen]) -> float:
    """The least cosine of a later embedding with the first one. 1 where fewer than two frames were embedded."""
    embedded = [frame.embedding for frame in frames if frame.embedding is not None]
    return min((float(embedded[0] @ other) for other in embedded[1:]), default=1.0)
