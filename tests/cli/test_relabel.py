"""`relabel`: entries get another label, nobody learns which, and a server cannot only say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from fake_gateway import DAY_S, FakeGateway, Fault, client_toml, person, serve

from pura.errors import DeviatingServer, LabelConflict, OutOfRange, UnknownLabel
from pura.ids import Engine, Handle
from pura_client import Client, connect
from pura_client.cli import cli


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with serve(gateway) as config, connect(config, insecure=True) as made:
        yield made


@pytest.mark.parametrize("engine", [Engine.PREPARED, Engine.PUBLISHED])
def test_entries_get_another_label(engine: Engine) -> None:
    gateway = FakeGateway(engine=engine)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        first, second = client.enroll(person(0), "Ada"), client.enroll(person(0) + 0.01, "Ada")
        client.enroll(person(2), "Grace")
        assert client.identify(person(0)).label == "Ada"
        assert client.relabel("Ada", "Ada  Lovelace") == 2
        assert client.list() == {"Ada Lovelace": 2, "Grace": 1}
        assert client.identify(person(0)).label == "Ada Lovelace"
        assert client.verify(person(0), "Ada Lovelace").match
        assert client.relabel("Grace", "Ada Lovelace") == 1, "two become one"
        assert client.list() == {"Ada Lovelace": 3}
        assert client.relabel_entries({first: "Ada", Handle(second ^ 1): "nobody"}) == 1
        assert client.list() == {"Ada": 1, "Ada Lovelace": 2}
        sent = [request for name, request in gateway.calls if name == "Relabel"]
        assert not any(b"Ada" in request.SerializeToString() for request in sent)  # type: ignore[attr-defined]
        with pytest.raises(UnknownLabel):
            client.relabel("Grace", "Alan")
        with pytest.raises(OutOfRange):
            client.relabel("Ada", "\n")
        assert gateway.names().count("Relabel") == len(sent)


def test_an_entry_keeps_its_day_under_another_label(gateway: FakeGateway, client: Client) -> None:
    client.enroll(person(0), "Ada", keep_days=3)
    assert client.relabel("Ada", "Grace") == 1
    (entry,) = client.entries()
    assert (entry.label, entry.expires) == ("Grace", 3 * DAY_S)


def test_more_entries_than_a_request_holds(gateway: FakeGateway) -> None:
    gateway.batch = 2
    with serve(gateway) as config, connect(config, insecure=True) as client:
        for i in range(5):
            client.enroll(person(0) + 0.001 * i, "Ada")
        assert client.relabel("Ada", "Grace") == 5
        assert client.list() == {"Grace": 5}
    requests = [request for name, request in gateway.calls if name == "Relabel"]
    assert [len(request.labels) for request in requests] == [2, 2, 1]  # type: ignore[attr-defined]


def test_an_answer_that_was_lost_is_asked_for_again(gateway: FakeGateway, client: Client) -> None:
    client.enroll(person(0), "Ada")
    gateway.faults.append(Fault("Relabel", grpc.StatusCode.UNAVAILABLE, "not_ready"))
    assert client.relabel("Ada", "Grace") == 1
    assert gateway.names().count("Relabel") == 2


def test_another_client_was_faster(gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = client.enroll(person(0), "Ada")
    roster = client._roster.update

    def slow(at_least: int = 0, enclosed: object = None) -> frozenset[Handle]:
        erased = roster(at_least)
        if "Relabel" not in gateway.names():
            gateway.rename(handle, b"somebody's")
        return erased

    monkeypatch.setattr(client._roster, "update", slow)
    with pytest.raises(LabelConflict):
        client.relabel_entries({handle: "Grace"})
    assert gateway.entries[handle][0].label == b"somebody's"


def test_s1_says_that_it_is_done(gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.enroll(person(0), "Ada")
    monkeypatch.setattr(gateway, "rename", lambda *_: None)
    with pytest.raises(DeviatingServer, match="the roster that S2 signed has the old one"):
        client.relabel("Ada", "Grace")
    assert client.list() == {"Ada": 1}


def test_it_is_done_and_the_roster_shown_is_of_before(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.enroll(person(0), "Ada")
    client.list()
    old, rename = gateway.changes(0), gateway.rename

    def hidden(handle: Handle, label: bytes) -> None:
        rename(handle, label)
        monkeypatch.setattr(gateway, "changes", lambda since: old)

    monkeypatch.setattr(gateway, "rename", hidden)
    with pytest.raises(DeviatingServer):
        client.relabel("Ada", "Grace")


def test_the_command(gateway: FakeGateway, tmp_path: Path) -> None:
    with serve(gateway) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        with connect(config, insecure=True) as client:
            one, two = client.enroll(person(0), "Ada"), client.enroll(person(2), "Ada")

        def run(*args: str) -> tuple[int, str]:
            made = [*args, "--config", str(tmp_path / "client.toml"), "--insecure"]
            result = CliRunner().invoke(cli, made)
            return result.exit_code, result.output

        assert run("relabel", "Ada", "Grace", "--entry", f"{one:016x}") == (0, "Ada is Grace now: 1 entries\n")
        code, said = run("relabel", "Ada", "Grace", "--entry", f"{one:016x}")
        assert (code, "[unknown_entry]" in said) == (2, True)
        code, said = run("relabel", "Ada", "Grace", "--json")
        assert (code, json.loads(said)) == (0, {"label": "Ada", "new": "Grace", "entries": 1})
        code, said = run("relabel", "Ada", "Grace")
        assert (code, "[unknown_label]" in said) == (2, True)
    assert {one, two} == set(gateway.entries)
