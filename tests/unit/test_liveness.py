"""The gate's rules on frames that are made up; with the network, on one photo that is turned, held and bent."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from pura.crypto.rng import SeededRng
from pura.face.liveness import Challenge, ChallengeGate, Reason, Seen, Step, Verdict, cues, draw
from pura.face.liveness.challenge import WITHIN_S, follow
from pura.face.liveness.gate import PassiveGate
from pura.face.liveness.seen import THUMB

RNG = np.random.default_rng(5)
DEPTH = RNG.uniform(-0.3, 0.3, 60)
FRONT = RNG.uniform(-1, 1, (60, 2))
ANY = Challenge((Step.LEFT, Step.BLINK, Step.SMILE))


def frame(at: int, yaw: float = 0.0, blink: float = 0.0, smile: float = 0.0, *, solid: bool = True) -> Seen:
    """A head of 60 points seen at an angle; not solid: a plane."""
    angle = np.radians(yaw)
    depth = DEPTH if solid else np.zeros(60)
    x = FRONT[:, 0] * np.cos(angle) + depth * np.sin(angle)
    points = 100 * np.stack([x, FRONT[:, 1]], 1) + 200
    noise = np.random.default_rng(at).normal(128, 3, (THUMB, THUMB)).astype(np.float32)
    return Seen(at / 5, 1, points, yaw, blink, smile, noise)


def act(*steps: Step, solid: bool = True) -> list[Seen]:
    """Somebody who does these things, with a calm moment between them."""
    said = {
        Step.LEFT: {"yaw": 25.0},
        Step.RIGHT: {"yaw": -25.0},
        Step.BLINK: {"blink": 0.8},
        Step.SMILE: {"smile": 0.9},
    }
    moments: list[dict[str, float]] = [{}, {}]
    for step in steps:
        moments += [said[step], said[step], {}, {}]
    return [frame(i, solid=solid, **moment) for i, moment in enumerate(moments)]


def judge(frames: Sequence[Seen], challenge: Challenge = ANY) -> Verdict:
    return ChallengeGate(challenge, PassiveGate(np.arange(60))).judge(frames)


def test_who_does_what_is_asked_is_let_in() -> None:
    assert judge(act(*ANY.steps)) == Verdict(True)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], Reason.NOBODY),
        ([dataclasses.replace(frame(0), faces=0, points=np.empty((0, 2)))], Reason.NOBODY),
        ([*act(*ANY.steps), dataclasses.replace(frame(99), faces=2)], Reason.CROWD),
        (act(Step.LEFT, Step.BLINK), Reason.UNFINISHED),
        (act(Step.LEFT, Step.SMILE, Step.BLINK), Reason.UNFINISHED),
        (act(Step.RIGHT, Step.LEFT, Step.BLINK, Step.SMILE), Reason.OTHER_STEP),
        (act(*ANY.steps, solid=False), Reason.FLAT),
        ([dataclasses.replace(one, at_s=one.at_s * 20) for one in act(*ANY.steps)], Reason.LATE),
        ([dataclasses.replace(one, thumb=frame(0).thumb) for one in act(*ANY.steps)], Reason.STILL),
        (2 * act(*ANY.steps), Reason.REPEAT),
    ],
)
def test_what_keeps_the_gate_shut(frames: list[Seen], reason: Reason) -> None:
    verdict = judge(frames)
    assert not verdict.live
    assert reason in verdict.reasons


def test_another_person_for_the_end() -> None:
    one, other = np.eye(2, dtype=np.float32)
    frames = act(*ANY.steps)
    frames[0] = dataclasses.replace(frames[0], embedding=one)
    frames[-1] = dataclasses.replace(frames[-1], embedding=0.9 * one + 0.1 * other)
    assert judge(frames).live
    frames[-1] = dataclasses.replace(frames[-1], embedding=other)
    assert judge(frames).reasons == (Reason.CHANGED,)


def test_a_cue_of_ones_own_can_only_say_no() -> None:
    class No:
        def veto(self, frames: Sequence[Seen]) -> bool:
            return True

    gate = ChallengeGate(ANY, PassiveGate(np.arange(60), (No(),)))
    assert gate.judge(act(*ANY.steps)).reasons == (Reason.OTHER,)


def test_a_smile_that_was_there_before_does_not_count() -> None:
    state = Challenge((Step.SMILE,))
    for i in range(5):
        state = follow(state, frame(i, smile=0.9))
    assert not state.passed
    for i, smile in ((6, 0.1), (7, 0.9)):
        state = follow(state, frame(i, smile=smile))
    assert state.passed


def test_nothing_moves_a_challenge_that_is_over() -> None:
    state = Challenge((Step.BLINK,))
    state = follow(follow(state, frame(0)), frame(1, blink=0.9))
    assert state.passed
    assert follow(state, dataclasses.replace(frame(2), at_s=10 * WITHIN_S)) == state
    assert state.asked is None


def test_challenges_are_drawn_and_turn_the_head() -> None:
    drawn = {draw(SeededRng(i)).steps for i in range(2000)}
    assert len(drawn) == 34
    for steps in drawn:
        assert {Step.LEFT, Step.RIGHT} & set(steps)
        assert all(a is not b for a, b in itertools.pairwise(steps))


def test_a_calm_moment_is_no_loop_and_a_loop_is_one() -> None:
    calm = [dataclasses.replace(frame(i), thumb=frame(0).thumb) for i in range(30)]
    assert cues.repeat(calm) < cues.STRETCH
    assert cues.repeat([frame(i % 8) for i in range(30)]) >= cues.STRETCH


def test_the_head_is_solid_and_a_print_is_not() -> None:
    assert cues.flat(act(Step.LEFT), np.arange(60)) > cues.FLAT > cues.flat(act(Step.LEFT, solid=False), np.arange(60))
    assert cues.flat([frame(0)], np.arange(60)) == np.inf


def test_nothing_of_a_face_is_printed() -> None:
    assert "array" not in repr(frame(0))


@pytest.mark.network
def test_the_network_tells_a_head_from_prints() -> None:
    """On a photo of the ORL faces, turned in space as a simulation."""
    pytest.importorskip("mediapipe")
    presentations = pytest.importorskip("pura_bench.liveness.presentations")
    from pura.face.liveness.observe import Observer
    from pura.face.photos import orl_faces

    photo = np.kron(np.pad(orl_faces()[1, 0], 28, mode="edge"), np.ones((3, 3), np.uint8))
    photo = np.repeat(photo[..., None], 3, 2)
    with Observer() as observer:
        face = presentations.Face(photo, observer.depth(photo))
        assert face.points.shape == (478, 3)
        poses = [presentations.Pose(), presentations.Pose(yaw=30.0), presentations.Pose(yaw=-30.0)]
        rng = np.random.default_rng(1)
        head, paper = (
            [observer.see(one, i) for i, one in enumerate(kind(face, poses, rng))]
            for kind in (presentations.head, presentations.turned_print)
        )
        assert head[1].yaw - head[0].yaw > 12
        assert head[2].yaw - head[0].yaw < -12
        assert cues.flat(head, np.arange(468)) > cues.FLAT
        assert max(abs(one.yaw - paper[0].yaw) for one in paper) < 12
        assert observer.see(np.zeros((200, 200, 3), np.uint8), 9.0).faces == 0
