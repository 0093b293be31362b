"""S2 takes nothing that no group of clients signed, whatever S1 says of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from server_pair import Deployment, Embedding, deploy, server_cli
from waiting import PATIENCE_S, until

from pura.crypto.encoding import quantise
from pura.crypto.rng import SystemRng
from pura.crypto.sign import SigningKey
from pura.errors import BudgetSpent, NotAuthorised
from pura.groups import Right
from pura.ids import Engine, EnrolmentId, Handle
from pura.wire._pb import pura_pb2 as pb
from pura_client import config as client_config
from pura_client import engines
from pura_client.gateway import typed
from pura_client.session import connect

RNG = SystemRng()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of its own, not started."""
    made = deploy(tmp_path, Engine.PREPARED)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Running, with an S1 that lets everybody in its list do everything, and one entry."""
    made = deploy(tmp_path_factory.mktemp("open"), Engine.PREPARED)
    path = made.folder / "s1" / "clients.json"
    body = json.loads(path.read_text())
    for row in body["clients"]:
        row["may"] = ["ask", "enrol", "erase-all"]
    path.write_text(json.dumps(body))
    made.start()
    with made.connect() as desk:
        desk.enroll(made.people(1, 1)[0], "Ada Lovelace")
    yield made
    assert made.stop() == [0, 0]


def forger(made: Deployment, keys: Mapping[Right, SigningKey]) -> engines.Author:
    """Somebody with the camera's certificate and such keys."""
    config = client_config.load(made.folder / "camera" / "client.toml")
    return engines.Author(made.pk, made.params, config.fingerprint(), keys)


def codes(made: Deployment, author: engines.Author, person: Embedding, handle: Handle) -> dict[str, str]:
    """What becomes of one question, one enrolment and one erasure of an author with the camera's certificate."""
    camera = client_config.load(made.folder / "camera" / "client.toml")
    assert camera.cert is not None
    assert camera.key is not None
    template, epoch, out = quantise(person, made.params), made.epoch(), {}

    def enrolment() -> pb.EnrollRequest:
        draft = engines.Draft(author, template, EnrolmentId(RNG.bytes(16)), b"sealed", RNG)
        enrolments = [draft.proven(epoch, RNG)]
        return pb.EnrollRequest(
            key_id=made.pk.key_id, enrolments=enrolments, epoch=epoch, group=author.group(Right.ENROL)
        )

    with made.stub(camera.cert, camera.key) as stub:
        for name, call, request in (
            ("ask", stub.Identify, lambda: pb.IdentifyRequest(query=engines.ask(author, template, epoch, RNG).query)),
            ("erase", stub.Forget, lambda: engines.erasure(author, [handle], epoch, RNG)),
            ("enrol", stub.Enroll, enrolment),
        ):

            def settled(name: str = name, call: Any = call, request: Any = request) -> bool:
                try:
                    reply = call(request(), timeout=PATIENCE_S)
                    out[name] = reply.outcomes[0].error_code if name == "enrol" else ""
                except grpc.RpcError as error:
                    out[name] = typed(error).code
                return out[name] not in ("peer_unavailable", "not_ready", "overloaded")

            until(settled)  # as a client does
    return out


def desk_keys(made: Deployment) -> Mapping[Right, SigningKey]:
    return client_config.load(made.client_toml).group_keys()


def test_without_a_key_of_the_group_nothing_goes_past_s2(open_house: Deployment) -> None:
    """S1 may have a client do everything, and make its proofs itself: S2 wants a signature of each right's own key."""
    (person,) = open_house.people(1, 1)
    with open_house.connect() as desk:
        (entry,) = desk.roster()
    real = desk_keys(open_house)
    refused = dict.fromkeys(("ask", "enrol", "erase"), "not_authorised")
    strangers = {right: SigningKey.new(RNG) for right in Right}
    assert codes(open_house, forger(open_house, strangers), person, entry) == refused
    # the camera's own key is good for asking only, also when it is shown for something else
    only = dict.fromkeys(Right, real[Right.ASK])
    assert codes(open_house, forger(open_house, only), person, entry) == {**refused, "ask": ""}
    turned = {Right.ASK: real[Right.ENROL], Right.ENROL: real[Right.ERASE], Right.ERASE: real[Right.ASK]}
    assert codes(open_house, forger(open_house, turned), person, entry) == refused
    with open_house.connect() as desk:
        assert list(desk.roster()) == [entry]


def test_a_signature_goes_with_one_request(open_house: Deployment) -> None:
    """Put under another request of the same client, it is worth nothing; nor for other entries."""
    people = open_house.people(2, 2)
    with open_house.connect() as desk:
        (entry,) = desk.roster()
    one, other = (open_house.question(person).query for person in people)
    other.signature = one.signature
    erase, mine = open_house.erasure(77), open_house.erasure(entry)
    mine.signature = erase.signature
    more = pb.ForgetRequest()
    more.CopyFrom(erase)
    more.handles.append(entry)
    first, second = (open_house.enrolment(person) for person in people)
    second.signature = first.signature
    with open_house.stub() as stub:
        for call, request in (
            (stub.Identify, pb.IdentifyRequest(query=other)), (stub.Forget, mine), (stub.Forget, more)
        ):  # fmt: skip
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=60)
            assert isinstance(typed(caught.value), NotAuthorised)
        outcomes = stub.Enroll(open_house.request(first, second), timeout=60).outcomes
        assert [outcome.error_code for outcome in outcomes] == ["", "not_authorised"]
        assert stub.Identify(pb.IdentifyRequest(query=one), timeout=60).share
        assert stub.Forget(open_house.erasure(outcomes[0].handle), timeout=60).removed == 1
        for broken in (b"", one.signature[:-1], one.signature + b"x"):
            again = open_house.question(people[0]).query
            again.signature = broken
            with pytest.raises(grpc.RpcError) as caught:
                stub.Identify(pb.IdentifyRequest(query=again), timeout=60)
            assert typed(caught.value).code == "malformed_message"


def test_a_group_has_its_share_of_s2_and_no_more(pair: Deployment) -> None:
    public = pair.folder / "ca" / "groups" / "clients" / "group.json"
    rates = ("--questions", 2, "--enrolments", 3, "--erasures", 2)
    where = ("--config", pair.s2.config, "--public", public)
    assert server_cli("group", "add", "clients", *where, *rates).returncode == 0
    pair.start()
    people = pair.people(5, 1)
    with pair.connect() as desk, connect(pair.folder / "camera" / "client.toml") as camera:
        outcomes = desk.enroll_many([(person, f"person {i}") for i, person in enumerate(people)])
        assert [outcome.error is None for outcome in outcomes] == [True] * 3 + [False] * 2
        for outcome in outcomes[3:]:
            assert isinstance(outcome.error, BudgetSpent)
            assert "the group of this client" in str(outcome.error)
            assert "ask again in" in str(outcome.error)
        assert camera.identify(people[0]).match
        assert desk.identify(people[1]).match
        with pytest.raises(BudgetSpent, match=r"the group of this client has used up .* ask again in 30 min"):
            camera.identify(people[0])
        assert [desk.forget(f"person {i}") for i in range(2)] == [1, 1]
        with pytest.raises(BudgetSpent, match="the group of this client"):
            desk.forget("person 2")
        assert desk.list() == {"person 2": 1}


def test_a_lost_clients_key_counts_until_the_group_is_renewed(pair: Deployment) -> None:
    """By the steps of docs/operations.md, on running servers."""
    pair.start()
    (person,) = pair.people(1, 1)
    public = pair.folder / "ca" / "groups" / "clients" / "group.json"
    s2 = ("--config", pair.s2.config, "--public", public)
    stolen = desk_keys(pair)
    with pair.connect() as desk:
        desk.enroll(person, "Ada Lovelace")
        assert desk.identify(person).match
    # 1, 2: new keys, and S2 takes both
    assert server_cli("group", "renew", "clients", "--ca", pair.folder / "ca").returncode == 0
    assert server_cli("group", "add", "clients", *s2, "--questions", 500).returncode == 0
    with pair.connect() as desk:
        assert desk.identify(person).match
    # 3: the desk gets the new ones
    for right in Right:
        new = pair.folder / "ca" / "groups" / "clients" / f"group-{right}.key"
        (pair.client_toml.parent / new.name).write_bytes(new.read_bytes())
    with pair.connect() as desk:
        assert desk.identify(person).match
    # 4: S2 takes no others
    done = server_cli("group", "renew", "clients", *s2)
    assert (done.returncode, done.stdout) == (0, "clients: 3 older keys do not count any more\n")
    with pair.connect() as desk:
        assert desk.identify(person).match
    query = engines.ask(forger(pair, stolen), quantise(person, pair.params), pair.epoch(), RNG).query
    camera = client_config.load(pair.folder / "camera" / "client.toml")
    with pair.stub(camera.cert, camera.key) as stub, pytest.raises(grpc.RpcError) as caught:
        stub.Identify(pb.IdentifyRequest(query=query), timeout=60)
    assert isinstance(typed(caught.value), NotAuthorised)
