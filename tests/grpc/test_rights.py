"""What a client may do: its rights, its budgets, erasing its own, and what outlives a restored backup."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from server_pair import Deployment, deploy, server_cli
from waiting import until

from pura.errors import BudgetSpent, NotAuthorised, OutOfRange, PuraError
from pura.ids import Engine
from pura_client.session import Client, connect
from pura_server.expiry import DAY_S


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of the default engine, not started."""
    made = deploy(tmp_path, Engine.PREPARED, dimension=16)
    yield made
    made.stop()


def add(made: Deployment, name: str, *rights: str) -> Path:
    """A new client, by the command line; its client.toml. It has all keys of its group, so that S1 has to say no."""
    out = made.folder / name
    made_with = ("--ca", made.folder / "ca", "--out", out, "--may", "ask", "--may", "enrol", "--may", "erase")
    listed_with = ("--config", made.s1.config, "--cert", out / "client.crt", *_may(rights))
    for options in (made_with, listed_with):
        done = server_cli("client", "add", name, *options)
        assert (done.returncode, done.stderr) == (0, "")
    return out / "client.toml"


def _may(rights: Sequence[str]) -> list[str]:
    return [word for right in rights for word in ("--may", right)]


def refused(kind: type[PuraError], client: Client, method: str, *args: object) -> str:
    with pytest.raises(kind) as caught:
        getattr(client, method)(*args)
    return str(caught.value)


def test_each_right_by_itself(pair: Deployment) -> None:
    pair.start()
    ada, grace, alan = pair.people(3, 1)
    camera, eyes = pair.folder / "camera" / "client.toml", add(pair, "eye", "ask")
    with pair.connect() as desk, connect(eyes) as eye, connect(add(pair, "office", "enrol", "erase")) as office:
        desk.enroll(ada, "Ada Lovelace")
        office.enroll(grace, "Grace Hopper")
        assert eye.identify(ada).label == "Ada Lovelace"
        assert eye.verify(grace, "Grace Hopper").match
        assert refused(NotAuthorised, eye, "enroll", alan, "Alan Turing") == "this client may not enrol"
        assert refused(NotAuthorised, eye, "forget", "Ada Lovelace") == "this client may not erase"
        assert refused(NotAuthorised, office, "identify", ada) == "this client may not ask"
        assert refused(NotAuthorised, office, "verify", ada, "Ada Lovelace") == "this client may not ask"
        with connect(camera) as bare:  # which has no key of its group for more, either
            assert bare.identify(grace).label == "Grace Hopper"
            assert "client.toml names no key" in refused(NotAuthorised, bare, "enroll", alan, "Alan Turing")
            assert "client.toml names no key" in refused(NotAuthorised, bare, "forget", "Ada Lovelace")
        for client in (desk, eye, office):
            assert client.list() == {"Ada Lovelace": 1, "Grace Hopper": 1}


def test_a_client_erases_what_it_enrolled_itself(pair: Deployment) -> None:
    pair.start()
    ada, grace = pair.people(2, 1)
    with connect(add(pair, "office", "enrol", "erase")) as office, connect(add(pair, "wiper", "erase")) as wiper:
        with pair.connect() as desk:
            desk.enroll(ada, "Ada Lovelace")
            desk.enroll(grace, "Grace Hopper")
        office.enroll(grace + np.float32(0.001), "Grace Hopper")  # the very same photo would be the desk's entry
        # all or nothing: one of these two is the desk's
        assert "another client enrolled" in refused(NotAuthorised, office, "forget", "Grace Hopper")
        assert "another client enrolled" in refused(NotAuthorised, wiper, "forget", "Ada Lovelace")
        assert office.list() == {"Ada Lovelace": 1, "Grace Hopper": 2}
        office.enroll(ada, "mine alone")
        assert office.forget("mine alone") == 1
        with pair.connect() as desk:
            assert desk.forget("Grace Hopper") == 2
        assert office.list() == {"Ada Lovelace": 1}


def test_a_client_renames_what_it_enrolled_itself(pair: Deployment) -> None:
    pair.start()
    ada, grace = pair.people(2, 1)
    with pair.connect() as desk, connect(add(pair, "office", "enrol")) as office:
        desk.enroll(ada, "Ada")
        began = int(time.time())
        office.enroll(grace, "Grace", keep_days=3)
        assert "rename only its own" in refused(NotAuthorised, office, "relabel", "Ada", "Eve")
        assert office.relabel("Grace", "Grace Hopper") == 1
        assert desk.identify(grace).label == "Grace Hopper"
        times = {entry.label: entry.expires for entry in desk.entries()}
        assert times["Ada"] is None
        assert times["Grace Hopper"] is not None
        assert began + 3 * DAY_S <= times["Grace Hopper"] <= time.time() + 3 * DAY_S
        with pytest.raises(OutOfRange):
            office.enroll(ada, "Eve", keep_days=40_000)
        assert desk.relabel("Grace Hopper", "Ada") == 1  # which may erase everybody
        assert desk.verify(grace, "Ada").match
        assert office.list() == desk.list() == {"Ada": 2}
        assert desk.relabel("Ada", "Ada Lovelace") == 2
    with connect(pair.folder / "camera" / "client.toml") as camera:
        assert "client.toml names no key" in refused(NotAuthorised, camera, "relabel", "Ada Lovelace", "Eve")
        assert camera.identify(ada).label == "Ada Lovelace"
    pair.restart(pair.s2)
    with pair.connect() as desk:
        assert desk.list() == {"Ada Lovelace": 2}
        assert desk.identify(ada).label == "Ada Lovelace"


def test_a_budget_of_enrolments(pair: Deployment) -> None:
    pair.edit("s1", lambda text: text + "[budget]\nenrolments = 5\nenrolments_per_hour = 1\n")
    pair.start()
    people = pair.people(8, 1)
    with pair.connect() as desk:
        outcomes = desk.enroll_many([(person, f"person {i}") for i, person in enumerate(people)])
        assert [outcome.error is None for outcome in outcomes] == [True] * 5 + [False] * 3
        for outcome in outcomes[5:]:
            assert isinstance(outcome.error, BudgetSpent)
            assert "ask again in 60 min" in str(outcome.error)
        assert desk.forget("person 0") == 1  # which gives nothing back
        assert "used up its enrolments" in refused(BudgetSpent, desk, "enroll", people[0], "person 0")
        assert desk.identify(people[1]).match  # the other budget
    with connect(add(pair, "office", "enrol")) as office:
        office.enroll(people[7], "person 7")
    pair.restart(pair.s1)
    with pair.connect() as desk:
        assert "used up its enrolments" in refused(BudgetSpent, desk, "enroll", people[0], "person 0")


def test_revocations_survive_a_restored_backup(pair: Deployment) -> None:
    pair.start()
    (person,) = pair.people(1, 1)
    camera = pair.folder / "camera" / "client.toml"
    with connect(camera) as eye, pair.connect() as desk:
        desk.enroll(person, "Ada Lovelace")
        assert eye.identify(person).match
    pair.stop()
    for name in ("s1", "s2"):
        shutil.copytree(pair.folder / name / "data", pair.folder / f"{name}-backup")
    assert server_cli("client", "revoke", "camera", "--config", pair.s1.config).returncode == 0
    for name in ("s1", "s2"):
        shutil.rmtree(pair.folder / name / "data")
        shutil.copytree(pair.folder / f"{name}-backup", pair.folder / name / "data")
    pair.start()
    with pair.connect() as desk:
        assert desk.list() == {"Ada Lovelace": 1}
    with pytest.raises(NotAuthorised):
        connect(camera)


def test_whoever_is_turned_away_is_logged_and_counted(pair: Deployment) -> None:
    value = pair.measured("s1")
    pair.start()
    camera, office = add(pair, "eye", "ask"), add(pair, "office", "ask")
    with connect(camera) as eye:
        refused(NotAuthorised, eye, "enroll", pair.people(1, 1)[0], "Ada Lovelace")
    assert server_cli("client", "revoke", "office", "--config", pair.s1.config).returncode == 0
    with pytest.raises(NotAuthorised):
        connect(office)
    until(lambda: len([row for row in pair.log(pair.s1) if "certificate" in row]) >= 2)  # no call waits for its line
    told = [row for row in pair.log(pair.s1) if "certificate" in row]
    assert {row.get("reason", row.get("detail")) for row in told} == {"may not enrol", "revoked certificate"}
    listed = server_cli("client", "list", "--config", pair.s1.config).stdout
    assert all(str(row["certificate"]) in listed for row in told)
    assert value('pura_refused_total{reason="may not enrol"}') == 1
    assert value('pura_refused_total{reason="revoked certificate"}') >= 1
