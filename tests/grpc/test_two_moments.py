"""A backup is restored on one server only: clients, logs and `check` say that the galleries are of two moments."""

from __future__ import annotations

import shutil

import pytest
from server_pair import LABELS, Deployment, server_cli
from waiting import until

from pura.errors import BadDataFolder
from pura.ids import Engine

CAUSE = "galleries of two different moments"


@pytest.mark.parametrize("restored", ["s1", "s2"])
def test_one_server_restored(deployment: Deployment, restored: str) -> None:
    if deployment.engine is Engine.PUBLISHED:
        pytest.skip("engine published has its gallery on S1 alone")
    people = deployment.people(2, 60)
    data, backup = deployment.folder / restored / "data", deployment.folder / "backup"
    newer = deployment.folder / "newer"
    deployment.start()
    with deployment.connect() as client:
        client.enroll(people[0], LABELS[0])
    deployment.stop()
    shutil.copytree(data, backup)
    deployment.start()
    with deployment.connect() as client:
        client.enroll(people[1], LABELS[1])
    deployment.stop()
    shutil.move(data, newer)
    shutil.copytree(backup, data)
    moments = [moment(deployment, name) for name in ("s1", "s2")]
    assert moments[0] != moments[1]
    for name in ("s1", "s2"):  # each is fine by itself
        assert checked(deployment, name) == (0, False)

    for server in reversed(deployment.servers):
        server.start()
    with deployment.connect() as client, pytest.raises(BadDataFolder, match=CAUSE):
        client.identify(people[0])
    for server in deployment.servers:
        until(lambda server=server: [row for row in deployment.log(server) if CAUSE in str(row.get("message"))])
        until(lambda server=server: server_cli("health", "--config", server.config).stdout == "NOT_SERVING\n")
    events = [row["event"] for row in deployment.log(deployment.s2)]
    began = max(i for i, event in enumerate(events) if event == "started")
    told = events.index("peer differs", began)
    assert events[began:told].count("greeted") == 1  # S2 knows it from the first meeting on, not from one of many
    assert "peer ready" not in events[told:]
    assert deployment.stop() == [0, 0]
    for name in ("s1", "s2"):
        assert checked(deployment, name) == (1, True)

    # both restored to the newer moment: together again
    shutil.rmtree(data)
    shutil.copytree(newer, data)
    deployment.start()
    with deployment.connect() as client:
        for person, label in zip(people, LABELS, strict=False):
            assert client.identify(person).label == label
    assert deployment.stop() == [0, 0]
    for name in ("s1", "s2"):
        assert checked(deployment, name) == (0, False)


def moment(made: Deployment, name: str) -> str:
    done = server_cli("check", made.folder / name / "data")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("moment "))
    return line.split()[1].rstrip(";")


def checked(made: Deployment, name: str) -> tuple[int, bool]:
    done = server_cli("check", made.folder / name / "data")
    return done.returncode, CAUSE in done.stdout
