"""Faces followed between frames, and a film in which each person is asked about once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from orl_pictures import need_faces, picture
from PIL import Image

from pura.errors import BudgetSpent, FaceTooBlurred, UnreadableImage
from pura.face.found import Found, Picture
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE_MIRRORED
from pura_client.answers import Decision
from pura_client.templates import Ready
from pura_client.tracks import LOST_S, SETTLE_S, Box, Tracker, overlap, worth
from pura_client.watching import Event, Watch, frames, watch

CROP = np.zeros((2, 2, 3), np.uint8)


def face(x: float, who: int = 0, side: float = 50.0, *, usable: bool = True) -> Found:
    """A face at x; `who` is in its crop, for embeddings that are told."""
    box: Box = (x, 0.0, side, side)
    if not usable:
        return Found(box, np.zeros((5, 2)), 0.9, 0.0, 1.0, FaceTooBlurred())
    return Found(box, np.zeros((5, 2)), 0.9, 0.0, 10.0, None, CROP + who)


def told(one: Found) -> np.ndarray:
    assert one.crop is not None
    return np.eye(8)[int(one.crop[0, 0, 0])]


def test_one_who_stays_is_due_once_with_the_best_face() -> None:
    tracker = Tracker(told)
    (track,) = tracker.follow([face(0, side=50)], 0.0).began
    assert tracker.follow([face(2, side=80)], SETTLE_S / 2).due == ()
    (due,) = tracker.follow([face(4, side=60)], SETTLE_S).due
    assert due is track
    assert due.best is not None
    assert due.best.side == 80
    due.asked = True
    for i in range(50):
        step = tracker.follow([face(4, side=90)], SETTLE_S + i)
        assert (step.began, step.due, step.ended) == ((), (), ())


def test_two_who_stand_together_are_two() -> None:
    tracker = Tracker(told)
    step = tracker.follow([face(0, 1), face(200, 2)], 0.0)
    assert [track.number for track in step.began] == [1, 2]
    for i in range(1, 20):  # they walk past each other, not through
        step = tracker.follow([face(200 - 5 * i, 2), face(5 * i - 400, 1)][:1], i / 10)
    assert step.began == ()


def test_one_who_was_lost_for_a_moment_is_the_same_if_alike() -> None:
    for who, again in ((1, True), (2, False)):
        tracker = Tracker(told)
        tracker.follow([face(0, 1)], 0.0)
        tracker.follow([], 0.5)
        step = tracker.follow([face(400, who)], 1.0)
        assert bool(step.began) is not again


def test_one_who_is_gone_too_long_has_left() -> None:
    tracker = Tracker(told)
    (track,) = tracker.follow([face(0, 1)], 0.0).began
    assert tracker.follow([], LOST_S).ended == ()
    assert tracker.follow([], LOST_S + 0.01).ended == (track,)
    assert tracker.follow([face(0, 1)], LOST_S + 0.02).began


def test_a_face_that_cannot_be_used_is_followed_and_not_asked_about() -> None:
    tracker = Tracker(told)
    tracker.follow([face(0, usable=False)], 0.0)
    assert tracker.follow([face(0, usable=False)], 5.0).due == ()
    (track,) = tracker.finish().ended
    assert track.best is None


def test_overlap_and_worth() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 2, 2)) == 0
    assert worth(face(0, side=80)) > worth(face(0, side=50))


class Told:
    """A client whose answers are told, and counted."""

    def __init__(self, faces: Any = None) -> None:
        self.pipeline = faces
        self.asked: list[np.ndarray] = []
        self.error: BudgetSpent | None = None

    def faces(self, photo: Any) -> Picture:
        return photo if isinstance(photo, Picture) else self.pipeline.faces(photo)

    def ready(self, photo: Any) -> Ready:
        return Ready(told(photo) if self.pipeline is None else self.pipeline.embed_aligned(photo.crop[None])[0])

    def identify(self, photo: Any) -> Decision:
        if self.error is not None:
            raise self.error
        self.asked.append(np.asarray(self.ready(photo).numbers))
        return Decision(True, f"number {len(self.asked)}")


def played(client: Told, pictures: list[list[Found]]) -> list[Event]:
    events: list[Event] = []
    with ThreadPoolExecutor(1) as pool:
        watching = Watch(client, pool)
        for i, faces in enumerate(pictures):
            events += watching.frame(i / 5, Picture(640, 480, tuple(faces)))  # type: ignore[arg-type]
        events += watching.finish()
    return events


def test_events_of_one_who_comes_and_goes() -> None:
    events = played(Told(), [[face(0, 1)]] * 10 + [[]] * 20)
    assert [event["event"] for event in events if event["event"] != "identified"] == ["appeared", "left"]
    (answer,) = [event for event in events if event["event"] == "identified"]
    assert (answer["match"], answer["label"], answer["track"]) == (True, "number 1", 1)


def test_one_who_passes_quickly_is_asked_about_at_the_end() -> None:
    client = Told()
    played(client, [[face(0, 1)], [], [], [], [], [], [], [], [], []])
    assert len(client.asked) == 1


def test_what_went_wrong_with_a_question_is_an_event() -> None:
    client = Told()
    client.error = BudgetSpent()
    events = played(client, [[face(0, 1)]] * 10)
    assert [event["error"] for event in events if event["event"] == "identified"] == ["budget_spent"]


def test_what_is_no_film_is_named() -> None:
    with pytest.raises(UnreadableImage):
        list(frames("/nonexistent.mp4", 5.0))


@pytest.mark.network
def test_a_film_of_thirty_seconds_is_a_question_for_each_who_came(tmp_path: Path) -> None:
    """Two people, one of them twice, moving, sometimes both at once."""
    need_faces()
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (960, 480))
    for second in np.arange(0, 30, 0.2):
        frame = Image.new("RGB", (960, 480), (128, 128, 128))
        if second < 12 or 20 <= second < 27:
            frame.paste(picture(0, int(second) % 5, 2), (int(20 + 8 * second), 40))
        if 8 <= second < 18:
            frame.paste(picture(1, int(second) % 5, 2), (int(900 - 30 * second), 60))
        writer.write(np.asarray(frame)[..., ::-1])
    writer.release()
    client, events = Told(FacePipeline(SFACE_MIRRORED)), []
    totals = watch(client, str(path), 2.0, events.append, lambda: False)
    assert (totals.tracks, totals.questions, len(client.asked)) == (3, 3, 3)
    cosines = np.corrcoef(client.asked)
    assert cosines[0, 2] > 0.5 > cosines[0, 1]
    assert events[-1]["event"] == "summary"
    assert 55 <= totals.frames <= 61
