"""SIGKILL of S1 in the middle of `enroll_many`: the outcomes are complete, and nobody has two entries."""

from __future__ import annotations

import collections
import signal
import threading
from pathlib import Path

from server_pair import Deployment, Embedding
from waiting import PATIENCE_S

from pura.errors import PeerUnavailable
from pura.store.check import check_folder
from pura_client import config as client_config
from pura_client.enrolling import Enrolled
from pura_client.session import Client, connect

PEOPLE = 20
KILL_AFTER = 6
BATCH = 3


def small_batches(made: Deployment) -> None:
    made.edit("s1", lambda text: text + f"[limits]\nbatch = {BATCH}\n")


def items(made: Deployment) -> list[tuple[Embedding, str]]:
    return [(person, f"person {i}") for i, person in enumerate(made.people(PEOPLE, 26))]


def connected(made: Deployment, deadline_s: float) -> Client:
    config = client_config.load(made.client_toml)
    return connect(config.model_copy(update={"deadline_s": deadline_s}))


def nobody_twice(made: Deployment, outcomes: list[Enrolled]) -> None:
    with made.connect() as client:
        labels = collections.Counter(one.label for one in client.entries())
        assert labels == {f"person {i}": 1 for i in range(PEOPLE)}
        assert {one.handle for one in client.entries()} == {one.handle for one in outcomes}
        assert all(one.handle is not None for one in outcomes)
    assert made.stop() == [0, 0]
    for name in ("s1", "s2"):
        report = check_folder(Path(made.folder) / name / "data")
        assert (report.problems, report.prepared, report.entries) == (
            (),
            (),
            PEOPLE if name == "s1" else report.entries,
        )


def test_a_run_survives_a_restart_of_s1(deployment: Deployment) -> None:
    """The client waits, sends the batch again under the same ids, and goes on."""
    small_batches(deployment)
    deployment.start()
    some, outcomes = threading.Event(), []

    def progress(one: Enrolled) -> None:
        outcomes.append(one)
        if len(outcomes) == KILL_AFTER:
            some.set()

    def run() -> None:
        with connected(deployment, PATIENCE_S) as client:
            client.enroll_many(items(deployment), progress)

    thread = threading.Thread(target=run)
    thread.start()
    assert some.wait(PATIENCE_S)
    deployment.restart(deployment.s1)
    thread.join(2 * PATIENCE_S)
    assert [(one.label, one.error) for one in outcomes] == [(f"person {i}", None) for i in range(PEOPLE)]
    nobody_twice(deployment, outcomes)


def test_a_run_that_gave_up_is_done_again(deployment: Deployment) -> None:
    """S1 does not come back in time: what was confirmed is told, and the next run enrols the others only."""
    small_batches(deployment)
    deployment.start()
    done = []

    def progress(one: Enrolled) -> None:
        done.append(one)
        if len(done) == KILL_AFTER:
            deployment.s1.stop(signal.SIGKILL)
            client._gateway._deadline_s = 3.0  # for the batch that finds nobody there

    with connected(deployment, PATIENCE_S) as client:
        outcomes = client.enroll_many(items(deployment), progress)
    assert len(outcomes) == PEOPLE
    assert [one.error is None for one in outcomes] == [True] * KILL_AFTER + [False] * (PEOPLE - KILL_AFTER)
    assert all(isinstance(one.error, PeerUnavailable) and one.stopped for one in outcomes[KILL_AFTER:])
    deployment.s1.start()
    deployment.wait()
    with connected(deployment, PATIENCE_S) as client:
        again = client.enroll_many(items(deployment))
    assert [one.already for one in again[:KILL_AFTER]] == [True] * KILL_AFTER
    assert [one.handle for one in again[:KILL_AFTER]] == [one.handle for one in outcomes[:KILL_AFTER]]
    assert all(one.error is None for one in again)
    nobody_twice(deployment, list(again))
