"""A challenge on live frames: do these things, in this order, within a time. Pure functions of what was seen.

A step counts from a neutral face to what was asked and not before: who smiles all the time has to stop first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import StrEnum

from pura.crypto.rng import Rng
from pura.face.liveness.seen import Seen

STEPS = 3
WITHIN_S = 20.0
BLINK, OPEN = 0.45, 0.25
SMILE, SERIOUS = 0.5, 0.3
TURNED, STRAIGHT = 18.0, 9.0
"""Degrees; blink and smile are the network's scores. docs/liveness.md has what they were chosen by."""


class Step(StrEnum):
    """What a person is asked to do; left and right are the person's own."""

    BLINK = "blink"
    SMILE = "smile"
    LEFT = "turn your head to the left"
    RIGHT = "turn your head to the right"


_NEUTRAL: dict[Step, Callable[[Seen], bool]] = {
    Step.BLINK: lambda seen: seen.blink < OPEN,
    Step.SMILE: lambda seen: seen.smile < SERIOUS,
    Step.LEFT: lambda seen: abs(seen.yaw) < STRAIGHT,
    Step.RIGHT: lambda seen: abs(seen.yaw) < STRAIGHT,
}
_DONE: dict[Step, Callable[[Seen], bool]] = {
    Step.BLINK: lambda seen: seen.blink > BLINK,
    Step.SMILE: lambda seen: seen.smile > SMILE,
    Step.LEFT: lambda seen: seen.yaw > TURNED,
    Step.RIGHT: lambda seen: seen.yaw < -TURNED,
}


@dataclasses.dataclass(frozen=True)
class Challenge:
    """How far somebody has come: `done` of `steps`, since `began_s`. `ready`: the next step's neutral face was seen."""

    steps: tuple[Step, ...]
    done: int = 0
    ready: bool = False
    began_s: float | None = None
    late: bool = False
    wrong: Step | None = None
    """What was done instead of the step that was asked for."""

    @property
    def passed(self) -> bool:
        """All steps were done, in order and in time."""
        return self.done == len(self.steps) and not self.late and self.wrong is None

    @property
    def over(self) -> bool:
        """Nothing that comes can change the outcome."""
        return self.late or self.wrong is not None or self.done == len(self.steps)

    @property
    def asked(self) -> Step | None:
        """What to do now."""
        return None if self.over else self.steps[self.done]


def draw(rng: Rng, steps: int = STEPS) -> Challenge:
    """A challenge of so many steps, no two alike in a row and at least one turn of the head."""
    while True:
        drawn: list[Step] = []
        while len(drawn) < steps:
            left = [step for step in Step if not drawn or step is not drawn[-1]]
            drawn.append(left[rng.below(len(left))])
        if Step.LEFT in drawn or Step.RIGHT in drawn:
            return Challenge(tuple(drawn))


def follow(state: Challenge, seen: Seen) -> Challenge:
    """The state after one more frame. A frame without exactly one face is no progress and costs time only."""
    if state.over:
        return state
    if state.began_s is None:
        state = dataclasses.replace(state, began_s=seen.at_s)
    assert state.began_s is not None
    if seen.at_s - state.began_s > WITHIN_S:
        return dataclasses.replace(state, late=True)
    step = state.asked
    if seen.faces != 1 or step is None:
        return state
    if not state.ready:
        return dataclasses.replace(state, ready=_NEUTRAL[step](seen))
    if _DONE[step](seen):
        return dataclasses.replace(state, done=state.done + 1, ready=False)
    opposite = {Step.LEFT: Step.RIGHT, Step.RIGHT: Step.LEFT}.get(step)
    if opposite is not None and _DONE[opposite](seen):
        return dataclasses.replace(state, wrong=opposite)
    return state
