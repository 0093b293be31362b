"""The gate before a camera's questions: who passes is asked about once, who does not is not asked about at all."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_liveness import act, frame
from test_tracks import Told, face

from pura.crypto.rng import SeededRng
from pura.face.found import Picture
from pura.face.liveness import Cue, Reason, Seen, Step, draw
from pura.face.liveness.challenge import WITHIN_S
from pura.face.liveness.gate import PassiveGate
from pura.ids import GateKind
from pura_client.gatekeeper import WATCHED_S, Gatekeeper
from pura_client.watching import Event, Watch
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
SEED = 3
RIGID = np.arange(60)
STEPS = draw(SeededRng(SEED)).steps
EMPTY = np.empty((0, 2))


def played(kind: GateKind, seen: list[Seen], *cues: Cue) -> tuple[Told, list[Event]]:
    """One who is before the camera in all of these frames but those without a face, and then leaves."""
    client, events = Told(), []
    gone = [dataclasses.replace(frame(1000), at_s=seen[-1].at_s + 3, faces=0, points=EMPTY)]
    rest: Iterator[Seen] = iter([*seen, *gone])
    gate = Gatekeeper(kind, lambda _picture, _at: next(rest), SeededRng(SEED), PassiveGate(RIGID, cues))
    with ThreadPoolExecutor(1) as pool:
        watching = Watch(client, pool, gate)
        for one in (*seen, *gone):
            faces = (face(0, 1),) if one.faces else ()
            events += watching.frame(one.at_s, Picture(640, 480, faces))  # type: ignore[arg-type]
        events += watching.finish()
    return client, events


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event["event"] == name]


def test_who_does_what_is_asked_is_asked_about_once() -> None:
    client, events = played(GateKind.CHALLENGE, act(*STEPS))
    assert [event["step"] for event in named(events, "do")] == [step.value for step in STEPS]
    assert len(client.asked) == len(named(events, "identified")) == 1
    assert not named(events, "refused")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([frame(i) for i in range(5)], Reason.UNFINISHED),
        (act(*STEPS, solid=False), Reason.FLAT),
        ([frame(i) for i in range(int(5 * WITHIN_S) + 10)], Reason.LATE),
    ],
)
def test_who_does_not_is_not(seen: list[Seen], reason: Reason) -> None:
    client, events = played(GateKind.CHALLENGE, seen)
    assert client.asked == []
    (refused,) = named(events, "refused")
    assert reason.value in refused["reasons"]


def test_the_passive_gate_watches_for_a_while() -> None:
    client, events = played(GateKind.PASSIVE, [frame(i) for i in range(int(5 * WATCHED_S) + 2)])
    assert len(client.asked) == 1
    assert named(events, "do") == []
    (answer,) = named(events, "identified")
    assert answer["at_s"] >= WATCHED_S


def test_a_picture_that_is_held_is_refused_without_a_word_to_a_server() -> None:
    calm = frame(0)
    client, events = played(GateKind.PASSIVE, [dataclasses.replace(calm, at_s=i / 5) for i in range(30)])
    assert client.asked == []
    assert Reason.STILL.value in named(events, "refused")[0]["reasons"]


class Suspicious:
    """A detector of one's own."""

    def veto(self, frames: Any) -> bool:
        return len(frames) > 3


def test_a_cue_of_ones_own_says_no() -> None:
    client, events = played(GateKind.CHALLENGE, act(*STEPS), Suspicious())
    assert client.asked == []
    assert named(events, "refused")[0]["reasons"] == [Reason.OTHER.value]


def test_the_next_one_has_another_challenge() -> None:
    gate = Gatekeeper(GateKind.CHALLENGE, lambda _picture, _at: frame(0), SeededRng(SEED))
    assert len({gate.begin() for _ in range(20)}) > 5
    assert gate.asked in Step


@pytest.mark.parametrize("kind", list(GateKind))
def test_init_writes_the_gate_of_the_collection(tmp_path: Path, kind: GateKind) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["init", "--out", str(out), "--keys", str(KEYS), "--gate", kind.value])
    assert done.exit_code == 0, done.output
    for name in ("desk", "camera", "ca"):
        written = tomllib.loads((out / name / "client.toml").read_text())
        assert written.get("gate", "none") == kind.value
