"""SIGTERM: not serving, what was begun comes to its end, exit status 0."""

from __future__ import annotations

import signal
import threading
import time

import grpc
import pytest
from conftest import Deployment

from pura.errors import NotReady, PeerUnavailable
from pura.wire._pb import pura_pb2 as pb
from pura_client.gateway import typed


def test_a_question_in_progress_is_answered_before_s1_stops(plain: Deployment) -> None:
    people = plain.people(12, 5)
    plain.start()
    with plain.stub() as stub:
        enrolments = [plain.enrolment(person) for person in people]
        stub.Enroll(pb.EnrollRequest(key_id=plain.pk.key_id, enrolments=enrolments), timeout=60)
    answers: list[int] = []

    def ask() -> None:
        with plain.stub() as stub:
            question = plain.question(people[4])
            answers.extend(question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=60)))

    asking = threading.Thread(target=ask)
    begun = len([row for row in plain.log(plain.s2) if row.get("method") == "Session"])
    asking.start()
    time.sleep(0.3)
    late: list[str] = []

    def ask_late() -> None:
        with plain.stub() as stub:
            try:
                stub.Status(pb.StatusRequest(), timeout=10)
            except grpc.RpcError as error:
                late.append(typed(error).code)

    assert plain.s1._process is not None
    plain.s1._process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    if asking.is_alive():
        ask_late()
        assert late in ([NotReady.code], [PeerUnavailable.code])
    asking.join(60)
    assert plain.s1.stop() == 0
    assert len(answers) == 1
    rows = plain.log(plain.s1)
    assert [row["event"] for row in rows if row["event"] in ("stopping", "stopped")] == ["stopping", "stopped"]
    assert plain.s2.stop() == 0
    ended = [row for row in plain.log(plain.s2) if row.get("method") == "Session"]
    assert len(ended) == begun + 1
    assert ended[-1]["code"] == "ok"


def test_s2_stops_while_nobody_asks_and_s1_goes_on_when_it_is_back(deployment: Deployment) -> None:
    (person,) = deployment.people(1, 6)
    deployment.start()
    with deployment.connect() as client:
        client.enroll(person, "Ada Lovelace")
        assert client.identify(person).label == "Ada Lovelace"
        assert deployment.s2.stop() == 0
        with pytest.raises(PeerUnavailable):
            client.identify(person)
        deployment.s2.start()
        deployment.wait()
        assert client.identify(person).label == "Ada Lovelace"


def test_a_question_whose_client_goes_away_is_dropped_by_both(deployment: Deployment) -> None:
    people = deployment.people(8, 8)
    deployment.start()
    with deployment.stub() as stub:
        enrolments = [deployment.enrolment(person) for person in people]
        stub.Enroll(pb.EnrollRequest(key_id=deployment.pk.key_id, enrolments=enrolments), timeout=60)
        assert deployment.s2._process is not None
        deployment.s2._process.send_signal(signal.SIGSTOP)
        going = stub.Identify.future(pb.IdentifyRequest(query=deployment.question(people[0]).query), timeout=60)
        time.sleep(0.5)
        going.cancel()
        deployment.s2._process.send_signal(signal.SIGCONT)
        question = deployment.question(people[1])
        assert len(question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=60))) == 1
    assert deployment.stop() == [0, 0]
    cut = [row for row in deployment.log(deployment.s1) if row.get("code") == "cancelled"]
    assert len(cut) == 1
