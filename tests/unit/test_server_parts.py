"""The small parts of a server: budget, replay, admission, the list of clients, logs, metrics, errors on the wire."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import grpc
import numpy as np
import pytest
import structlog
from prometheus_client import generate_latest
from pydantic import BaseModel

from pura import errors
from pura.errors import BadDataFolder, BudgetSpent, MalformedMessage, NotAuthorised, Overloaded, PuraError, Replayed
from pura.ids import ClientId, RequestId
from pura.rounds import Tally
from pura_server.config import Budget, ServerConfig, Tls
from pura_server.credentials import ClientList, May, add_client, revoke_client
from pura_server.limits import Admission
from pura_server.logs import configure, frames_of, logger
from pura_server.metrics import Metrics
from pura_server.questions import Questions
from pura_server.status import status_of
from pura_server.tls import Fingerprint

DOOR, DESK = ClientId("door"), ClientId("desk")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def request(number: int) -> RequestId:
    return RequestId(number.to_bytes(16, "big"))


# --- questions --------------------------------------------------------------------------------------


def test_a_question_counts_once_and_survives_a_restart(tmp_path: Path) -> None:
    questions = Questions(tmp_path, Budget())
    questions.admit(DOOR, request(1))
    for who in (DOOR, DESK):
        with pytest.raises(Replayed):
            questions.admit(who, request(1))
    again = Questions(tmp_path, Budget())  # the first one was killed
    with pytest.raises(Replayed):
        again.admit(DOOR, request(1))
    again.admit(DOOR, request(2))
    with pytest.raises(MalformedMessage):
        again.admit(DOOR, RequestId(b"short"))


def test_the_budget_is_a_bucket(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(questions=2, per_hour=60)
    questions = Questions(tmp_path, budget, clock)
    questions.admit(DOOR, request(1))
    questions.admit(DOOR, request(2))
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(3))
    questions.admit(DESK, request(4))
    clock.now += 59
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(3))
    clock.now += 2
    questions.admit(DOOR, request(3))
    clock.now -= 500_000  # set back: gives nothing, takes nothing
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(5))
    clock.now += 900_000
    questions.close()
    questions = Questions(tmp_path, budget, clock)
    questions.admit(DOOR, request(5))
    questions.admit(DOOR, request(6))
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(7))


def test_a_refused_question_may_be_asked_later(tmp_path: Path) -> None:
    clock = Clock()
    questions = Questions(tmp_path, Budget(interval_s=2), clock)
    questions.admit(DOOR, request(1))
    with pytest.raises(BudgetSpent, match="once in 2 seconds"):
        questions.admit(DOOR, request(2))
    clock.now += 2
    questions.admit(DOOR, request(2))


def test_old_questions_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    questions = Questions(tmp_path, Budget(replay_days=1), clock)
    questions.admit(DOOR, request(1))
    clock.now += 90_000
    questions = Questions(tmp_path, Budget(replay_days=1), clock)
    questions.admit(DOOR, request(2))
    questions.admit(DOOR, request(1))


def test_an_unknown_schema_of_questions(tmp_path: Path) -> None:
    questions = Questions(tmp_path, Budget())
    questions._db.execute("PRAGMA user_version = 9")
    questions.close()
    with pytest.raises(BadDataFolder):
        Questions(tmp_path, Budget())


# --- admission --------------------------------------------------------------------------------------


async def test_admission() -> None:
    admission = Admission(at_once=2, waiting=2, per_client=3)
    running = 0
    most = 0
    release = asyncio.Event()

    async def work(client: str) -> None:
        nonlocal running, most
        async with admission.place(client), admission.turn():
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1

    tasks = [asyncio.ensure_future(work("a")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="this client"):
        await work("a")
    tasks.append(asyncio.ensure_future(work("b")))
    await asyncio.sleep(0)
    assert admission.inside == 4
    with pytest.raises(Overloaded):
        await work("c")
    tasks[2].cancel()  # one that waits gives its place back
    await asyncio.gather(tasks[2], return_exceptions=True)
    assert admission.inside == 3
    release.set()
    await asyncio.gather(*tasks[:2], tasks[3], work("c"))
    assert (admission.inside, most) == (0, 2)


# --- clients ----------------------------------------------------------------------------------------


def shown(letter: str) -> Fingerprint:
    return Fingerprint(letter * 64)


def test_the_list_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "data" / "clients.json"
    clients = ClientList(path)
    with pytest.raises(NotAuthorised):
        clients.find(shown("a"), None)
    add_client(path, "door", shown("a"), frozenset({May.ASK}))
    add_client(path, "door", shown("b"), frozenset({May.ASK}))
    add_client(path, "desk", shown("c"), frozenset(May))
    assert clients.find(shown("a"), May.ASK) == clients.find(shown("b"), None) == "door"
    assert clients.find(shown("c"), May.ENROL) == "desk"
    with pytest.raises(NotAuthorised):
        clients.find(shown("a"), May.ENROL)
    assert revoke_client(path, "door") == 2
    for letter in "ab":
        with pytest.raises(NotAuthorised):
            clients.find(shown(letter), None)
    assert clients.find(shown("c"), May.ASK) == "desk"


# --- logs -------------------------------------------------------------------------------------------


def test_a_log_takes_only_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    configure("info", "s1")
    try:
        label, vector = "Ada Lovelace", np.array([0.25, 0.5])
        logger().info(
            "call", method="Identify", ms=1.5, label=label, share=123456789, score=31, detail=b"raw", code=vector
        )
        logger().info("call", message="x" * 1000)
        logger().debug("hidden")
        line, long = capsys.readouterr().err.splitlines()
        row = json.loads(line)
        assert (row["event"], row["method"], row["ms"], row["role"], row["level"]) == (
            "call",
            "Identify",
            1.5,
            "s1",
            "info",
        )
        assert row["label"] == row["share"] == row["score"] == "(left out)"
        assert (row["detail"], row["code"]) == ("(bytes)", "(ndarray)")
        assert len(json.loads(long)["message"]) == 301
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


def test_an_unexpected_error_is_logged_without_its_message() -> None:
    try:
        int("secret value")
    except ValueError as error:
        frames = frames_of(error)
    assert "secret value" not in str(frames)
    assert frames[0].startswith("test_server_parts.py:")


# --- metrics, errors --------------------------------------------------------------------------------


def test_metrics_name_methods_and_codes_only() -> None:
    metrics = Metrics()
    metrics.calls.labels("Identify", "ok").inc()
    metrics.count("Identify", Tally(10, 20, 3))
    metrics.watch_levels(lambda: {"entries": 5.0, "zeros": 7.0})
    text = generate_latest(metrics.registry).decode()
    for line in (
        'pura_calls_total{code="ok",method="Identify"} 1.0',
        'pura_peer_rounds_total{method="Identify"} 3.0',
        'pura_peer_bytes_total{direction="received",method="Identify"} 20.0',
        'pura_level{kind="entries"} 5.0',
    ):
        assert line in text
    labels = {
        label for line in text.splitlines() if "{" in line for label in line.split("{")[1].split("}")[0].split(",")
    }
    assert {label.split("=")[0] for label in labels} <= {"method", "code", "direction", "kind", "le"}


def test_every_error_has_a_status() -> None:
    # those about faces and labels are the client's own and never cross the wire
    internal = {"internal", "protocol"}
    of_servers = [kind for kind in PuraError.__subclasses__() if kind.__module__ == errors.__name__]
    seen = {kind.code for kind in of_servers if status_of(kind()) is grpc.StatusCode.INTERNAL}
    own = {"bad_key_file", "would_overwrite", "bad_config", "data_folder_in_use", "unreadable_image", "no_face",
           "several_faces", "face_too_small", "face_too_blurred", "bad_embedding", "bad_weights", "download_failed",
           "unknown_label"}  # fmt: skip
    assert seen - internal - own == set()
    assert status_of(Overloaded()) is status_of(BudgetSpent()) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_every_setting_is_in_the_manual() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name, field in ServerConfig.model_fields.items():
        kind = field.annotation
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        assert name == "tls" or fields or f"`{name}`" in text
        for inner in Tls.model_fields if name == "tls" else fields:
            assert f"`{name}.{inner}`" in text or f"`{inner}`" in text, f"{name}.{inner}"
