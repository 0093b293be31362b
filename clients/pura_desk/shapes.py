"""What the API answers, as its OpenAPI description has it. There is no score anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pura.face.found import Found, Picture
from pura_client.answers import Decision, Recognised
from pura_client.trace import STAGES, Trace
from pura_desk import problems


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reason(_Shape):
    """Why something could not be done: one of the stable codes, and a sentence for people."""

    code: str
    detail: str


class Box(_Shape):
    """Pixels of the picture, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class Point(_Shape):
    """Pixels of the picture."""

    x: float
    y: float


class Quality(_Shape):
    """score: how sure the detector is that this is a face (not who it is), 0 to 1; side: the shorter side of the box,
    in pixels; sharpness: fine detail, for a face that is large enough; turn: 0 from the front, 1 with the nose at one
    eye."""

    score: float
    side: float
    sharpness: float | None
    turn: float


class Face(_Shape):
    """A face of a picture. reason: why it cannot be used; null for one that can. landmarks: the person's right eye,
    left eye, nose, right and left corner of the mouth."""

    box: Box
    landmarks: list[Point]
    quality: Quality
    reason: Reason | None

    @classmethod
    def of(cls, found: Found) -> Face:
        """The same for the wire."""
        x, y, width, height = (round(value, 1) for value in found.box)
        return cls(
            box=Box(x=x, y=y, width=width, height=height),
            landmarks=[Point(x=round(a, 1), y=round(b, 1)) for a, b in found.landmarks.tolist()],
            quality=Quality(
                score=round(found.score, 3),
                side=round(found.side, 1),
                sharpness=None if found.sharpness is None else round(found.sharpness, 4),
                turn=round(min(found.turn, 99.0), 3),
            ),
            reason=None if found.reason is None else Reason(**problems.dumped(found.reason)),
        )


class Faces(_Shape):
    """Every face of a picture of so many pixels, largest first."""

    width: int
    height: int
    faces: list[Face]

    @classmethod
    def of(cls, picture: Picture) -> Faces:
        """The same for the wire."""
        return cls(width=picture.width, height=picture.height, faces=[Face.of(one) for one in picture.faces])


class Cost(_Shape):
    """What a request cost: bytes that left this machine and came back, questions to the servers, the first bytes of the
    first ciphertext (hexadecimal; empty if none was sent), and milliseconds of each stage."""

    sent: int
    received: int
    questions: int
    ciphertext: str
    milliseconds: dict[str, float]

    @classmethod
    def of(cls, trace: Trace) -> Cost:
        """The same for the wire."""
        spent: dict[str, float] = {stage: round(1000 * trace.seconds(stage), 1) for stage in STAGES}
        return cls(
            sent=trace.sent,
            received=trace.received,
            questions=trace.questions,
            ciphertext=trace.head.hex(),
            milliseconds=spent,
        )


class Who(_Shape):
    """A face and the decision about it: match, the label of the nearest entry (null for nobody, and for one that
    another label key made), and the labels of all entries returned. Without a decision `error` says why."""

    face: Face | None
    match: bool | None
    label: str | None
    candidates: list[str]
    error: Reason | None

    @classmethod
    def of(cls, one: Recognised) -> Who:
        """The same for the wire."""
        said = one.decision
        return cls(
            face=None if one.face is None else Face.of(one.face),
            match=None if said is None else said.match,
            label=None if said is None else said.label,
            candidates=[] if said is None else list(said.candidates),
            error=None if one.error is None else Reason(**problems.dumped(one.error)),
        )


class Identified(_Shape):
    """Everybody on a picture, largest face first."""

    width: int
    height: int
    faces: list[Who]
    cost: Cost


class Verified(_Shape):
    """Whether this is the person enrolled under that label."""

    match: bool
    label: str
    cost: Cost

    @classmethod
    def of(cls, decision: Decision, label: str, trace: Trace) -> Verified:
        """The same for the wire."""
        return cls(match=decision.match, label=label, cost=Cost.of(trace))


class Enrolled(_Shape):
    """The new entry, or the one that was there already; photos: of how many it is the mean."""

    entry: str
    label: str
    already: bool
    photos: int
    cost: Cost


class Entry(_Shape):
    """One entry; label: null where another label key made it."""

    entry: str
    label: str | None
    enrolment_id: str


class Entries(_Shape):
    """A page of the roster, by label; next: what to send as `after` for the next page, null at the end."""

    total: int
    entries: list[Entry]
    next: str | None


class Subject(_Shape):
    """Somebody who is enrolled, and with how many entries."""

    label: str
    entries: int


class Subjects(_Shape):
    """Everybody who is enrolled, by label; unreadable: entries whose label another label key made."""

    total: int
    subjects: list[Subject]
    unreadable: int
    next: str | None


class Forgotten(_Shape):
    """How many entries were erased."""

    erased: int


class Renamed(_Shape):
    """How many entries have the other label now."""

    entries: int
    label: str


class Status(_Shape):
    """How the servers are, and what the caller may do here."""

    version: str
    engine: str
    peer_ready: bool
    entries: int
    uptime_s: int
    key_id: str
    key_bits: int
    embedder: str
    dimension: int
    top_k: int
    rights: list[str]
    outgrown: bool
    gate: str


class ImportProblem(_Shape):
    """Something in an import that was left out, or that a person should look at."""

    label: str
    photo: str | None
    code: str
    detail: str


class Import(_Shape):
    """A folder import. state: open (more people may come), running, done, stopped; people: how many there are, received
    and done so far; received: labels that need not be sent again; enrolled, already: entries; problems: what was left
    out, the last ones."""

    id: str
    name: str
    state: str
    people: int
    received: int
    done: int
    enrolled: int
    already: int
    left_out: int
    problems: list[ImportProblem]


class Imports(_Shape):
    """The imports of this desk since it was started."""

    imports: Sequence[Import]


class Received(_Shape):
    """The labels of an import that are here already."""

    labels: list[str]


class Watch(_Shape):
    """A camera that is looked through. gate: what whoever stands before it has to pass: none, passive, challenge."""

    id: str
    gate: str


class Event(_Shape):
    """Something that happened before a camera. event: appeared, do, refused, identified, unusable, left; track: whom it
    is about; step: what they are asked to do; reasons: why nothing is asked about them; error, message: why a question
    had no answer."""

    event: str
    at_s: float
    track: int | None = None
    box: list[int] | None = None
    step: str | None = None
    reasons: list[str] | None = None
    match: bool | None = None
    label: str | None = None
    error: str | None = None
    message: str | None = None
    for_s: float | None = None
    frames: int | None = None


class Events(_Shape):
    """In the order in which they happened."""

    events: list[Event]

    @classmethod
    def of(cls, events: Sequence[dict[str, Any]]) -> Events:
        """As watching tells them."""
        return cls(events=[Event(**one) for one in events])
