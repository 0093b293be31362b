"""Frames of a camera, a file or a stream; who came and went, as events.

Frames go on while a question is under way: it is asked in a thread of its own, one at a time.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import PuraError, UnreadableImage
from pura.face.found import Picture
from pura_client.answers import Decision
from pura_client.gatekeeper import Gatekeeper
from pura_client.templates import Ready
from pura_client.tracks import Step, Track, Tracker

Pixels = NDArray[np.uint8]
Event = dict[str, Any]


class Asks(Protocol):
    """What watching needs of a client."""

    def faces(self, photo: Any) -> Picture:
        """See `Client.faces`."""
        ...

    def ready(self, photo: Any) -> Ready:
        """See `Client.ready`."""
        ...

    def identify(self, photo: Any) -> Decision:
        """See `Client.identify`."""
        ...


@dataclasses.dataclass
class Totals:
    """What was watched, for the last event."""

    frames: int = 0
    tracks: int = 0
    questions: int = 0
    seconds: float = 0.0


def frames(source: str, per_second: float) -> Iterator[tuple[float, Pixels]]:
    """Seconds and RGB frames, `per_second` of them at most: of a camera by its number, a file, or a stream by its
    address. A file is read as fast as its frames are taken. Raises `UnreadableImage`."""
    live = source.isdigit() or "://" in source
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    try:
        if not capture.isOpened():
            raise UnreadableImage("this is no camera, film or stream that can be read")
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        began, due, number = time.monotonic(), 0.0, 0
        while capture.grab():
            at = time.monotonic() - began if live else number / rate
            number += 1
            if at + 1e-9 < due:
                continue
            due = max(due + 1 / per_second, at)
            good, frame = capture.retrieve()
            if good:
                yield at, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()


class Watch:
    """Follows faces and asks about each track once."""

    def __init__(self, client: Asks, ask: ThreadPoolExecutor, gate: Gatekeeper | None = None) -> None:
        """`ask`: the thread in which questions are asked; `gate`: who does not pass it is not asked about."""
        self._client, self._pool, self._gate = client, ask, gate
        self._told: object = None
        self._tracker = Tracker(lambda face: np.asarray(client.ready(face).numbers, np.float64))
        self._asking: list[tuple[Track, Future[Decision]]] = []
        self.totals = Totals()

    def frame(self, at_s: float, picture: Pixels) -> Iterator[Event]:
        """One more frame: what is new."""
        self.totals.frames += 1
        self.totals.seconds = at_s
        if self._gate is not None:
            self._gate.frame(picture, at_s)
        yield from self._events(self._tracker.follow(self._client.faces(picture).faces, at_s), at_s)
        if self._gate is not None and self._gate.asked is not self._told:
            self._told = self._gate.asked
            if self._gate.asked is not None:
                yield {"event": "do", "at_s": round(at_s, 2), "step": self._gate.asked.value}
        yield from self._answers(at_s, wait=False)

    def finish(self) -> Iterator[Event]:
        """No more frames: what is still to be said."""
        at_s = self.totals.seconds
        yield from self._events(self._tracker.finish(), at_s)
        yield from self._answers(at_s, wait=True)

    def _events(self, step: Step, at_s: float) -> Iterator[Event]:
        for track in step.began:
            self.totals.tracks += 1
            yield {"event": "appeared", "track": track.number, "at_s": round(at_s, 2), "box": _rounded(track.box)}
            if self._gate is not None:
                self._gate.begin()
        for track in (*step.due, *(one for one in step.ended if not one.asked)):
            if track.best is None:
                yield {"event": "unusable", "track": track.number, "at_s": round(at_s, 2)}
                continue
            if self._gate is not None:
                verdict = self._gate.verdict(track.began_s, last=track in step.ended)
                if verdict is None:
                    continue
                if not verdict.live:
                    track.asked = True
                    reasons = [reason.value for reason in verdict.reasons]
                    yield {"event": "refused", "track": track.number, "at_s": round(at_s, 2), "reasons": reasons}
                    continue
            track.asked = True
            self.totals.questions += 1
            self._asking.append((track, self._pool.submit(self._client.identify, track.best)))
        for track in step.ended:
            yield {
                "event": "left",
                "track": track.number,
                "at_s": round(track.seen_s, 2),
                "for_s": round(track.seen_s - track.began_s, 2),
                "frames": track.frames,
            }

    def _answers(self, at_s: float, *, wait: bool) -> Iterator[Event]:
        waiting = []
        for track, answer in self._asking:
            if not wait and not answer.done():
                waiting.append((track, answer))
                continue
            event: Event = {"event": "identified", "track": track.number, "at_s": round(at_s, 2)}
            try:
                decision = answer.result()
                event |= {"match": decision.match, "label": decision.label}
            except PuraError as error:
                event |= {"error": error.code, "message": str(error)}
            yield event
        self._asking = waiting


def watch(
    client: Asks,
    source: str,
    per_second: float,
    show: Callable[[Event], None],
    stop: Callable[[], bool],
    gate: Gatekeeper | None = None,
) -> Totals:
    """Watch until the source ends or `stop` says so. Raises `UnreadableImage`."""
    began = time.monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="ask") as pool:
        watching = Watch(client, pool, gate)
        for at_s, picture in frames(source, per_second):
            for event in watching.frame(at_s, picture):
                show(event)
            if stop():
                break
        for event in watching.finish():
            show(event)
    took = time.monotonic() - began
    totals = watching.totals
    show(
        {
            "event": "summary",
            "frames": totals.frames,
            "frames_per_second": round(totals.frames / took, 1) if took else None,
            "tracks": totals.tracks,
            "questions": totals.questions,
            "questions_per_minute": round(60 * totals.questions / max(totals.seconds, took), 1) if took else None,
        }
    )
    return totals


def _rounded(box: tuple[float, float, float, float]) -> list[int]:
    return [round(value) for value in box]
