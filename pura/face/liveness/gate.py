"""Gates: frames in, a verdict and its reasons out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.face.liveness import cues
from pura.face.liveness.challenge import Challenge, follow
from pura.face.liveness.seen import Seen


class Reason(StrEnum):
    """Why a gate stays shut: fit for the person before the camera."""

    NOBODY = "no face was seen"
    CROWD = "more than one face was seen"
    LATE = "the time was over"
    OTHER_STEP = "something else was done than what was asked for"
    UNFINISHED = "not everything that was asked for was done"
    STILL = "nothing moves: this looks like a picture, or the camera stands still"
    REPEAT = "the same frames came again: this looks like a recording"
    FLAT = "the face moves like a flat picture"
    CHANGED = "the face changed to another person's"
    OTHER = "another check said no"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`live` when no check said no."""

    live: bool
    reasons: tuple[Reason, ...] = ()


class Gate(Protocol):
    """Judges a person by what a camera saw."""

    def judge(self, frames: Sequence[Seen]) -> Verdict:
        """Frames in the order of their time."""
        ...


class Cue(Protocol):
    """One more check, such as a user's own detector of presentation attacks."""

    def veto(self, frames: Sequence[Seen]) -> bool:
        """Whether this is no live person. A cue never lets anybody in."""
        ...


@dataclasses.dataclass(frozen=True)
class PassiveGate:
    """What can be told without asking anybody to do something."""

    rigid: NDArray[np.intp] = dataclasses.field(default_factory=lambda: np.arange(468))
    """The landmarks that a flat face is looked for in."""
    more: tuple[Cue, ...] = ()

    def judge(self, frames: Sequence[Seen]) -> Verdict:
        """See `Gate`."""
        counts = [frame.faces for frame in frames]
        found: list[Reason] = []
        if not any(counts):
            found.append(Reason.NOBODY)
        if max(counts, default=0) > 1:
            found.append(Reason.CROWD)
        if cues.still(frames) < cues.STILL:
            found.append(Reason.STILL)
        if cues.repeat(frames) >= cues.STRETCH:
            found.append(Reason.REPEAT)
        if cues.flat(frames, self.rigid) < cues.FLAT:
            found.append(Reason.FLAT)
        if cues.changed(frames) < cues.SAME:
            found.append(Reason.CHANGED)
        if any(cue.veto(frames) for cue in self.more):
            found.append(Reason.OTHER)
        return Verdict(not found, tuple(found))


@dataclasses.dataclass(frozen=True)
class ChallengeGate:
    """A challenge that was drawn, and all that the passive gate sees beside it."""

    challenge: Challenge
    passive: PassiveGate = PassiveGate()

    def judge(self, frames: Sequence[Seen]) -> Verdict:
        """See `Gate`."""
        state = self.challenge
        for frame in frames:
            state = follow(state, frame)
        found = list(self.passive.judge(frames).reasons)
        if state.late:
            found.append(Reason.LATE)
        elif state.wrong is not None:
            found.append(Reason.OTHER_STEP)
        elif not state.passed:
            found.append(Reason.UNFINISHED)
        return Verdict(not found, tuple(found))
