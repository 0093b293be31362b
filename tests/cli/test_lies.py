"""A client against servers that lie in what they answer: forged, replayed, of an older gallery, from another S2."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_gateway import FakeGateway, client_toml, person, serve

from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey
from pura.errors import DeviatingServer
from pura.ids import EnrolmentId, Handle
from pura.roster import Changes
from pura.statements import Signer
from pura.wire._pb import pura_pb2 as pb
from pura_client import Client, connect
from pura_client.answers import Decision

Outcome = Callable[[EnrolmentId, Handle], pb.EnrollOutcome]


def other_s2(gateway: FakeGateway) -> None:
    """S1 in the place of S2, with a key of its own."""
    gateway.signer = Signer(SigningKey.new(SeededRng("s1")), gateway.pk.key_id)


def test_nothing_of_another_s2_is_believed(gateway: FakeGateway, client: Client) -> None:
    client.enroll(person(0), "Ada")
    client.list()
    other_s2(gateway)
    for call in (
        lambda: client.identify(person(0)),
        lambda: client.verify(person(0), "Ada"),
        lambda: client.list(),
        lambda: client.enroll(person(1), "Grace"),
        lambda: client.forget_entries(list(gateway.entries)),
    ):
        with pytest.raises(DeviatingServer, match="S2"):
            call()


# --- outcomes ---------------------------------------------------------------------------------------


def forged(gateway: FakeGateway, honest: Outcome, lie: str) -> Outcome:
    """What `FakeGateway._enrolled` gives instead."""

    def outcome(enrolment_id: EnrolmentId, handle: Handle) -> pb.EnrollOutcome:
        said = honest(enrolment_id, handle)
        match lie:
            case "another entry":
                said.handle ^= 1
            case "another generation":
                said.generation += 1
            case "of another enrolment":
                said.signature = gateway.signer.enrolled(said.generation, EnrolmentId(bytes(16)), handle)
            case "as if erased":
                said.signature = gateway.signer.erased(said.generation, [handle])
            case "not signed":
                said.signature = b""
            case "of before":
                said.signature = gateway.signer.enrolled(1, enrolment_id, handle)
                said.generation = 1
        return said

    return outcome


@pytest.mark.parametrize(
    "lie", ["another entry", "another generation", "of another enrolment", "as if erased", "not signed", "of before"]
)
def test_an_enrolment_that_s2_does_not_confirm(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    client.enroll(person(0), "Ada")
    client.enroll(person(1), "Grace")
    monkeypatch.setattr(gateway, "_enrolled", forged(gateway, gateway._enrolled, lie))
    with pytest.raises(DeviatingServer, match="the outcome of an enrolment"):
        client.enroll(person(2), "Alan")


@pytest.mark.parametrize("lie", ["nothing erased", "another entry", "not signed", "of before"])
def test_an_erasure_that_s2_does_not_confirm(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """S1 says that all is erased. Before an entry was there, S2 did sign that it is not: that is too old."""
    client.enroll(person(0), "Ada")
    handle = client.enroll(person(1), "Grace")
    client.list()

    def forgotten(_: object) -> pb.ForgetReply:
        now = len(gateway.log)
        signature = {
            "nothing erased": gateway.signer.roster(now, gateway.roster.digest()),
            "another entry": gateway.signer.erased(now, [Handle(handle ^ 1)]),
            "not signed": b"",
            "of before": gateway.signer.erased(1, [handle]),
        }[lie]
        return pb.ForgetReply(removed=1, generation=1 if lie == "of before" else now, signature=signature)

    monkeypatch.setattr(gateway, "_forgotten", forgotten)
    with pytest.raises(DeviatingServer, match="the outcome of an erasure"):
        client.forget("Grace")


# --- answers ----------------------------------------------------------------------------------------


def test_an_answer_about_an_older_gallery(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1 asks about a gallery in which somebody is still enrolled who was erased, as the client knows."""
    client.enroll(person(0), "Ada")
    client.enroll(person(1), "Grace")
    client.forget("Grace")
    monkeypatch.setattr(gateway, "answers_at", len(gateway.log) - 1)
    with pytest.raises(DeviatingServer, match="generation 2 of the gallery, and this client knows of generation 3"):
        client.identify(person(0))


def test_an_answer_to_another_question(gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2 did sign it, and sealed it to the question before."""
    client.enroll(person(0), "Ada")
    client.enroll(person(1), "Eve")
    answer, kept = gateway._answer, []

    def replayed(query: pb.Query, handles: list[int]) -> pb.AnswerReply:
        kept.append(answer(query, handles))
        return kept[0]

    monkeypatch.setattr(gateway, "_answer", replayed)
    assert client.identify(person(1)).label == "Eve"
    with pytest.raises(DeviatingServer, match="not sealed to this question"):
        client.identify(person(0))
    with pytest.raises(DeviatingServer):
        list(client.identify_many([person(0)]))


def test_without_a_guess_s1_makes_it_nobody(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SECURITY.md: what nobody notices. S1 turns every handle into another one, and says of all that it may have become
    that they were erased meanwhile."""
    handles, by = [client.enroll(person(0), "Ada"), client.enroll(person(1), "Eve")], 12345
    answer, changes = gateway._answer, gateway.changes

    def shifted(query: pb.Query, named: list[int]) -> pb.AnswerReply:
        reply = answer(query, named)
        reply.share = (int.from_bytes(reply.share, "big") ^ by).to_bytes(8, "big")
        return reply

    def erased(since: int) -> Changes:
        return dataclasses.replace(changes(since), removed=[Handle(by), *(Handle(one ^ by) for one in handles)])

    monkeypatch.setattr(gateway, "_answer", shifted)
    with pytest.raises(DeviatingServer):
        client.identify(person(0))
    monkeypatch.setattr(gateway, "changes", erased)
    for probe in (person(0), person(1), person(5)):
        assert client.identify(probe) == Decision(False)


def test_a_guess_of_s1_makes_it_another_answer(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SECURITY.md says that a server can do by deviating: whose guess is right turns the answer into another
    entry, or nobody. Nothing notices that, and a wrong guess is noticed."""
    ada, eve = client.enroll(person(0), "Ada"), client.enroll(person(1), "Eve")
    answer = gateway._answer

    def shifted(by: int) -> Callable[[pb.Query, list[int]], pb.AnswerReply]:
        def changed(query: pb.Query, handles: list[int]) -> pb.AnswerReply:
            reply = answer(query, handles)
            reply.share = (int.from_bytes(reply.share, "big") ^ by).to_bytes(8, "big")
            return reply

        return changed

    stranger = person(5)
    for by, guessed, becomes, wrong in (
        (ada ^ eve, person(0), Decision(True, "Eve", ("Eve",)), stranger),
        (ada, person(0), Decision(False), person(1)),
        (eve, stranger, Decision(True, "Eve", ("Eve",)), person(0)),
    ):
        monkeypatch.setattr(gateway, "_answer", shifted(by))
        assert client.identify(guessed) == becomes
        with pytest.raises(DeviatingServer, match="names an entry that is not there"):
            client.identify(wrong)


def test_servers_that_went_back_between_two_runs(gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    with serve(gateway) as config:
        file.write_text(client_toml(config))
        with connect(file, insecure=True) as client:
            client.enroll(person(0), "Ada")
            client.enroll(person(1), "Grace")
        gateway.restore(1)
        with connect(file, insecure=True) as client:
            for call in (client.list, lambda: client.identify(person(0)), lambda: client.verify(person(0), "Ada")):
                with pytest.raises(DeviatingServer, match="generation 1"):
                    call()
        (tmp_path / "client.state").unlink()  # as the message says for a backup that was restored
        with connect(file, insecure=True) as client:
            assert client.list() == {"Ada": 1}
