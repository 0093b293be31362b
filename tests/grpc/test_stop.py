"""SIGTERM: not serving, what was begun comes to its end, exit status 0."""

from __future__ import annotations

import os
import signal
import threading
import time

import grpc
import pytest
from server_pair import LABELS, Deployment

from pura.errors import NotReady, PeerUnavailable
from pura.wire._pb import pura_pb2 as pb
from pura_client.gateway import typed


def test_a_question_in_progress_is_answered_before_s1_stops(plain: Deployment) -> None:
    people = plain.people(12, 5)
    plain.start()
    with plain.stub() as stub:
        enrolments = [plain.enrolment(person) for person in people]
        stub.Enroll(plain.request(*enrolments), timeout=60)
    answers: list[int] = []

    def ask() -> None:
        with plain.stub() as stub:
            question = plain.question(people[4])
            answers.extend(question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=60)).handles)

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

    os.kill(plain.s1.pid, signal.SIGTERM)
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


def test_s2_stops_and_comes_back_and_a_client_goes_away(deployment: Deployment) -> None:
    people = deployment.people(4, 6)
    deployment.start()
    with deployment.connect() as client:
        for person, label in zip(people, LABELS, strict=True):
            client.enroll(person, label)
        assert client.identify(people[0]).label == LABELS[0]
        assert deployment.s2.stop() == 0
        with deployment.connect(deadline_s=1) as impatient, pytest.raises(PeerUnavailable):
            impatient.identify(people[0])
        deployment.s2.start()
        deployment.wait()
        assert client.identify(people[1]).label == LABELS[1]
    # a question whose client gives up while S2 is silent: dropped by both
    os.kill(deployment.s2.pid, signal.SIGSTOP)
    with deployment.stub() as stub:
        going = stub.Identify.future(pb.IdentifyRequest(query=deployment.question(people[2]).query), timeout=60)
        time.sleep(0.5)
        going.cancel()
        os.kill(deployment.s2.pid, signal.SIGCONT)
        question = deployment.question(people[3])
        assert len(question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=60)).handles) == 1
    assert deployment.stop() == [0, 0]
    assert [row.get("code") for row in deployment.log(deployment.s1)].count("cancelled") == 1
