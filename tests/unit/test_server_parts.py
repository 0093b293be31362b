"""The small parts of a server: budget, replay, admission, the list of clients, logs, metrics, errors on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
from pathlib import Path

import grpc
import numpy as np
import pytest
import structlog
from prometheus_client import generate_latest
from pydantic import BaseModel

from pura import errors
from pura.errors import BadDataFolder, BudgetSpent, MalformedMessage, NotAuthorised, Overloaded, PuraError, Replayed
from pura.ids import ClientId, Fingerprint, RequestId
from pura.rounds import Tally
from pura_server.calls import Calls
from pura_server.config import Budget, ServerConfig, Tls
from pura_server.credentials import ClientList, May, add_client, revoke_client
from pura_server.limits import Admission
from pura_server.lines import Lines
from pura_server.logs import configure, flush, frames_of, logger
from pura_server.metrics import Metrics
from pura_server.questions import Questions
from pura_server.status import status_of

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
    questions = Questions(tmp_path, budget, clock, clock)
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
    clock.now += 500_000
    questions.close()
    questions = Questions(tmp_path, budget, clock, clock)
    questions.admit(DOOR, request(5))
    questions.admit(DOOR, request(6))
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(7))


def test_a_question_that_was_too_late_for_its_epoch_costs_nothing(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(questions=2, per_hour=0, interval_s=5, enrolments=3, enrolments_per_hour=0)
    questions = Questions(tmp_path, budget, clock, clock)
    for i in range(10):  # at once, too: the time between two questions counts for those that were asked
        questions.admit(DOOR, request(i))
        questions.give_back(DOOR)
    with pytest.raises(Replayed):
        questions.admit(DOOR, request(3))
    questions.admit(DOOR, request(10))
    clock.now += 5
    questions.admit(DOOR, request(11))
    clock.now += 5
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(12))
    for _ in range(10):
        assert questions.admit_enrolments(DESK, 3) == (3, None)
        questions.give_back_enrolments(DESK, 3)
        questions.give_back_enrolments(DESK, 3)  # never more than there were
    assert questions.admit_enrolments(DESK, 4)[0] == 3


def test_who_is_always_too_late_gains_nothing(tmp_path: Path) -> None:
    """A client may name an epoch that is over as often as it likes."""
    clock = Clock()
    questions = Questions(tmp_path, Budget(questions=3, per_hour=6, interval_s=60), clock, clock)
    for i in range(3):
        questions.admit(DOOR, request(i))
        clock.now += 60
    clock.now += 600 - 3 * 60  # 1 is left
    for i in range(10, 110):
        questions.admit(DOOR, request(i))
        questions.give_back(DOOR)
    questions.admit(DOOR, request(200))
    clock.now += 60
    with pytest.raises(BudgetSpent):
        questions.admit(DOOR, request(201))


def test_a_refused_question_may_be_asked_later(tmp_path: Path) -> None:
    clock = Clock()
    questions = Questions(tmp_path, Budget(interval_s=2), clock, clock)
    questions.admit(DOOR, request(1))
    with pytest.raises(BudgetSpent, match="ask again in 2 s"):
        questions.admit(DOOR, request(2))
    clock.now += 2
    questions.admit(DOOR, request(2))


def test_old_questions_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(replay_days=1)
    questions = Questions(tmp_path, budget, clock, clock)
    questions.admit(DOOR, request(1))
    clock.now += 90_000
    questions.close()
    questions = Questions(tmp_path, budget, clock, clock)
    questions.admit(DOOR, request(2))
    with pytest.raises(Replayed):  # between two runs counts a day at most
        questions.admit(DOOR, request(1))
    clock.now += 90_000
    questions._admitted = 0  # it looks once in 1,024 questions
    questions.admit(DOOR, request(3))
    questions.admit(DOOR, request(1))


def test_a_budget_of_enrolments_is_one_of_its_own(tmp_path: Path) -> None:
    clock = Clock()
    questions = Questions(tmp_path, Budget(questions=1, enrolments=10, enrolments_per_hour=60), clock, clock)
    assert questions.admit_enrolments(DESK, 8) == (8, None)
    allowed, refused = questions.admit_enrolments(DESK, 8)
    assert (allowed, str(refused)) == (2, "this client has used up its enrolments for now; ask again in 60 s")
    assert questions.admit_enrolments(DOOR, 10) == (10, None)
    questions.admit(DESK, request(1))
    clock.now += 90
    assert questions.admit_enrolments(DESK, 1) == (1, None)
    assert questions.admit_enrolments(DESK, 1)[0] == 0


@pytest.mark.parametrize(
    ("per_hour", "words"),
    [(7200, "ask again in 1 s"), (60, "ask again in 60 s"), (1, "ask again in 60 min"),
     (1 / 3, "ask again in 3 h 0 min"), (100 / 24, "ask again in 15 min"), (0.01, "ask again in 5 days"),
     (0, "until its operator allows them")],
)  # fmt: skip
def test_a_spent_budget_says_when_to_ask_again(tmp_path: Path, per_hour: float, words: str) -> None:
    clock = Clock()
    questions = Questions(tmp_path, Budget(questions=1, per_hour=per_hour), clock, clock)
    questions.admit(DOOR, request(1))
    with pytest.raises(BudgetSpent, match=words):
        questions.admit(DOOR, request(2))
    if per_hour:
        clock.now += 3600 / per_hour
        questions.admit(DOOR, request(2))


YEARS = 10 * 365 * 86_400.0


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("budget", [Budget(interval_s=60), Budget(questions=1, per_hour=60)], ids=["interval", "empty"])
def test_a_clock_that_was_once_ahead_shuts_nobody_out(tmp_path: Path, budget: Budget, restart: bool) -> None:
    wall, steady = Clock(), Clock()
    wall.now += YEARS
    questions = Questions(tmp_path, budget, wall, steady)
    questions.admit(DOOR, request(1))
    wall.now -= YEARS
    if restart:
        questions.close()
        questions = Questions(tmp_path, budget, wall, steady)
    with pytest.raises(BudgetSpent, match="ask again in 60 s"):
        questions.admit(DOOR, request(2))
    wall.now += 61
    steady.now += 61
    questions.admit(DOOR, request(2))


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_jumps_ahead_lets_no_question_be_asked_twice(tmp_path: Path, restart: bool) -> None:
    wall, steady = Clock(), Clock()
    budget = Budget(questions=3, per_hour=0.001)
    questions = Questions(tmp_path, budget, wall, steady)
    questions.admit(DOOR, request(1))
    wall.now += YEARS
    if restart:
        questions.close()
        questions = Questions(tmp_path, budget, wall, steady)
    questions._admitted = 0  # it looks for old ids now
    questions.admit(DOOR, request(2))
    wall.now -= YEARS
    with pytest.raises(Replayed):
        questions.admit(DOOR, request(1))
    questions.admit(DOOR, request(3))
    with pytest.raises(BudgetSpent):  # nor does it fill a bucket
        questions.admit(DOOR, request(4))


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
    path = tmp_path / "clients.json"
    clients = ClientList(path)
    with pytest.raises(NotAuthorised):
        clients.find(shown("a"), None)
    add_client(path, "door", shown("a"), frozenset({May.ASK}))
    add_client(path, "door", shown("b"), frozenset({May.ASK}))
    add_client(path, "desk", shown("c"), frozenset(May))
    assert clients.find(shown("a"), May.ASK).name == clients.find(shown("b"), None).name == "door"
    assert clients.find(shown("c"), May.ENROL).name == "desk"
    with pytest.raises(NotAuthorised):
        clients.find(shown("a"), May.ENROL)
    assert revoke_client(path, "door") == 2
    for letter in "ab":
        with pytest.raises(NotAuthorised):
            clients.find(shown(letter), None)
    assert clients.find(shown("c"), May.ASK).name == "desk"


# --- logs -------------------------------------------------------------------------------------------


def test_a_log_takes_only_what_it_knows(capfd: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    configure("info", "s1")
    try:
        label, vector = "Ada Lovelace", np.array([0.25, 0.5])
        logger().info(
            "call", method="Identify", ms=1.5, label=label, share=123456789, score=31, detail=b"raw", code=vector
        )
        logger().info("call", message="x" * 1000)
        logger().debug("hidden")
        flush()
        line, long = capfd.readouterr().err.splitlines()
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
        logging.captureWarnings(False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, False)
    out = b""
    with contextlib.suppress(BlockingIOError):
        while body := os.read(fd, 1 << 16):
            out += body
    return out


def test_lines_are_whole_and_in_order() -> None:
    reader, writer = os.pipe()
    lines = Lines(writer)
    for number in range(100):
        lines.msg(f"{number} \udc80")
    assert lines.flush(10)
    assert read_all(reader).decode().splitlines() == [f"{number} \\udc80" for number in range(100)]
    assert lines.dropped == 0


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    """The reader of a pipe sleeps, then wakes up, then goes away."""
    reader, writer = os.pipe()
    lines = Lines(writer, most_waiting=10)
    sent = 0
    while lines.flush(1):  # until the pipe is full and the thread hangs
        lines.msg("x" * 1023)
        sent += 1
    for _ in range(50):
        lines.msg("x" * 1023)
    before = lines.dropped
    assert before == 40
    read = b""
    while not lines.flush(0.01):
        read += read_all(reader)
    read += read_all(reader)
    assert read == b"".join(b"x" * 1023 + b"\n" for _ in range(sent + 10))
    os.close(reader)
    lines.msg("to nobody")
    assert lines.flush(10)
    assert lines.dropped == before + 1


def test_lines_to_a_full_disk() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    lines = Lines(os.open("/dev/full", os.O_WRONLY))
    for _ in range(5):
        lines.msg("x")
    assert lines.flush(10)
    assert lines.dropped == 5


def test_a_line_that_was_cut_short_ends_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of a line."""
    written: list[bytes] = []
    room = [3, 0, 100]

    def write(_: int, body: memoryview) -> int:
        free = room.pop(0)
        if not free:
            raise OSError(errno.ENOSPC, "full")
        written.append(bytes(body[:free]))
        return len(written[-1])

    monkeypatch.setattr("pura_server.lines.os.write", write)
    lines = Lines(-1)
    lines.msg("abcdef")
    lines.msg("next")
    assert lines.flush(10)
    assert (b"".join(written), lines.dropped) == (b"abc\nnext\n", 1)


async def test_a_server_that_deviates_is_an_alarm() -> None:
    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def abort(self, code: grpc.StatusCode, text: str, trailing: object) -> None:
            self.code, self.trailing = code, trailing
            raise errors.PuraError

    async def work(call: object) -> None:
        raise errors.DeviatingServer(detail="choices of an OT extension")

    context, metrics = Context(), Metrics()
    with structlog.testing.capture_logs() as lines, pytest.raises(PuraError):
        await Calls(metrics).answer("Session", context, work)  # type: ignore[arg-type]
    (line,) = lines
    assert (line["event"], line["log_level"], line["code"]) == ("alarm", "error", "deviating_server")
    assert line["detail"] == "choices of an OT extension"
    assert context.code is grpc.StatusCode.FAILED_PRECONDITION
    assert context.trailing == (("pura-code", "deviating_server"),)
    assert b'pura_calls_total{code="deviating_server",method="Session"} 1.0' in generate_latest(metrics.registry)


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
    metrics.watch_dropped(lambda: 4)
    text = generate_latest(metrics.registry).decode()
    for line in (
        'pura_calls_total{code="ok",method="Identify"} 1.0',
        'pura_peer_rounds_total{method="Identify"} 3.0',
        'pura_peer_bytes_total{direction="received",method="Identify"} 20.0',
        'pura_level{kind="entries"} 5.0',
        "pura_log_lines_dropped_total 4.0",
    ):
        assert line in text
    labels = {
        label for line in text.splitlines() if "{" in line for label in line.split("{")[1].split("}")[0].split(",")
    }
    assert {label.split("=")[0] for label in labels} <= {"method", "code", "direction", "kind", "reason", "le"}


def test_every_error_has_a_status() -> None:
    # those about faces, labels and what a client checks are its own and never cross the wire
    internal = {"internal", "protocol"}
    of_servers = [kind for kind in PuraError.__subclasses__() if kind.__module__ == errors.__name__]
    seen = {kind.code for kind in of_servers if status_of(kind()) is grpc.StatusCode.INTERNAL}
    own = {"bad_key_file", "would_overwrite", "bad_config", "data_folder_in_use", "unreadable_image", "no_face",
           "several_faces", "face_too_small", "face_too_blurred", "bad_embedding", "bad_weights", "download_failed",
           "unknown_label", "deviating_server", "bad_arithmetic", "audit_broken",
           "face_turned", "secret_needed", "wrong_passphrase", "photos_disagree"}  # fmt: skip
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
