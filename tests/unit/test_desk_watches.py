"""The desk's live view behind a gate: no question without it, none by a photo, and no camera for ever."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from test_gatekeeper import RIGID, SEED, STEPS
from test_liveness import act, frame
from test_tracks import Told, face

from pura.crypto.rng import SeededRng
from pura.errors import Overloaded
from pura.face.found import Picture
from pura.face.liveness import Reason, Seen
from pura.face.liveness.gate import PassiveGate
from pura.ids import GateKind
from pura_client.gatekeeper import Gatekeeper
from pura_desk.app import create_app
from pura_desk.config import Listening
from pura_desk.line import Line
from pura_desk.problems import GateFirst, NoWatch
from pura_desk.tokens import Tokens
from pura_desk.watches import IDLE_S, MOST, Watches


class Before(Told):
    """Somebody is before the camera in every frame."""

    def faces(self, photo: Any) -> Picture:
        return Picture(640, 480, (face(0, 1),))

    def close(self) -> None:
        """Nothing is held."""


def picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def desk(client: Before, seen: list[Seen]) -> TestClient:
    rest = iter(seen)

    @contextlib.contextmanager
    def keeper(kind: GateKind, _client: Any) -> Iterator[Gatekeeper]:
        yield Gatekeeper(kind, lambda _picture, _at: next(rest), SeededRng(SEED), PassiveGate(RIGID))

    app = create_app(Line(lambda: client), Tokens(), Listening(), GateKind.CHALLENGE, keeper)  # type: ignore[arg-type, return-value]
    return TestClient(app, base_url="http://127.0.0.1:8735")


def looked(http: TestClient, seen: list[Seen]) -> list[dict[str, Any]]:
    begun = http.post("/v1/watches")
    assert (begun.status_code, begun.json()["gate"]) == (201, "challenge")
    where, events = f"/v1/watches/{begun.json()['id']}", []
    for one in seen:
        reply = http.post(f"{where}/frames", data={"at_ms": 1000 * one.at_s}, files={"photo": picture()})
        assert reply.status_code == 200, reply.text
        events += reply.json()["events"]
    return [*events, *http.delete(where).json()["events"]]


def test_who_passes_is_asked_about_and_who_does_not_is_not() -> None:
    good, calm = act(*STEPS), [frame(i) for i in range(6)]
    client = Before()
    with desk(client, [*good, *calm]) as http:
        events = looked(http, good)
        assert [one["step"] for one in events if one["event"] == "do"] == [step.value for step in STEPS]
        assert [one["match"] for one in events if one["event"] == "identified"] == [True]
        assert len(client.asked) == 1
        (refused,) = [one for one in looked(http, calm) if one["event"] == "refused"]
        assert Reason.UNFINISHED.value in refused["reasons"]
        assert len(client.asked) == 1


@pytest.mark.parametrize(("address", "fields"), [("/v1/identify", {}), ("/v1/verify", {"label": "Ada"})])
def test_a_photo_passes_no_gate(address: str, fields: dict[str, str]) -> None:
    client = Before()
    with desk(client, []) as http:
        reply = http.post(address, data=fields, files={"photo": picture()})
    assert (reply.status_code, reply.json()["code"]) == (403, "gate_first")
    assert client.asked == []


def test_no_gate_is_made_for_a_camera_too_many() -> None:
    made: list[GateKind] = []

    def keeper(gate: GateKind, client: object) -> contextlib.AbstractContextManager[None]:
        made.append(gate)
        if len(made) == 2:
            raise GateFirst  # as one that cannot be had: it takes no place
        return contextlib.nullcontext()

    watches = Watches(Line(lambda: Before()), GateKind.CHALLENGE, keeper)  # type: ignore[arg-type, return-value]
    watches.begin(None)
    with pytest.raises(GateFirst):
        watches.begin(None)
    for _ in range(MOST - 1):
        watches.begin(None)
    with pytest.raises(Overloaded):
        watches.begin(None)
    assert len(made) == MOST + 1
    watches.close()


def test_a_frame_that_waited_while_its_camera_ended() -> None:
    watches = Watches(Line(lambda: Before()), GateKind.NONE)  # type: ignore[arg-type, return-value]
    name = watches.begin(None)
    live = watches._all[name]
    watches.end(name)
    watches._all[name] = live  # as a frame has it that looked just before
    with pytest.raises(NoWatch):
        watches.frame(name, picture(), 0.0)
    watches._all.clear()


def test_a_camera_without_frames_is_over_and_so_many_are_watched() -> None:
    now = [0.0]
    watches = Watches(Line(lambda: Before()), GateKind.NONE, clock=lambda: now[0])  # type: ignore[arg-type, return-value]
    first = watches.begin(None)
    for _ in range(MOST - 1):
        watches.begin(None)
    with pytest.raises(Overloaded):
        watches.begin(None)
    now[0] += IDLE_S + 1
    watches.begin(None)
    with pytest.raises(NoWatch):
        watches.frame(first, picture(), 0.0)
    watches.close()
