"""SIGTERM: not serving, what was begun comes to its end, exit status 0."""

from __future__ import annotations

import os
import signal
import threading

import grpc
import pytest
from server_pair import LABELS, Deployment
from waiting import PATIENCE_S, until

from pura.errors import NotReady, PeerUnavailable
from pura.wire._pb import pura_pb2 as pb
from pura_client.gateway import typed

ASKED = 'pura_open_operations{kind="question"}'


def test_a_question_in_progress_is_answered_before_s1_stops(plain: Deployment) -> None:
    people = plain.people(12, 5)
    value = plain.measured("s1")
    plain.start()
    with plain.stub() as stub:
        enrolments = [plain.enrolment(person) for person in people]
        stub.Enroll(plain.request(*enrolments), timeout=PATIENCE_S)
    answers: list[int] = []

    question = plain.question(people[4])

    def ask() -> None:
        with plain.stub() as stub:
            reply = stub.Identify(pb.IdentifyRequest(query=question.query), timeout=PATIENCE_S)
            answers.extend(question.open(reply).handles)

    asking = threading.Thread(target=ask)
    begun = len([row for row in plain.log(plain.s2) if row.get("method") == "Session"])
    os.kill(plain.s2.pid, signal.SIGSTOP)  # until S1 has been told to stop, the question cannot end
    asking.start()
    until(lambda: value(ASKED) == 1)
    late: list[str] = []

    def ask_late() -> None:
        with plain.stub() as stub:
            try:
                stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)
            except grpc.RpcError as error:
                late.append(typed(error).code)

    os.kill(plain.s1.pid, signal.SIGTERM)
    until(lambda: any(row["event"] == "stopping" for row in plain.log(plain.s1)))
    ask_late()
    assert late in ([NotReady.code], [PeerUnavailable.code])
    os.kill(plain.s2.pid, signal.SIGCONT)
    asking.join(PATIENCE_S)
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
    value = deployment.measured("s1")
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
    asked = pb.IdentifyRequest(query=deployment.question(people[2]).query)
    os.kill(deployment.s2.pid, signal.SIGSTOP)
    with deployment.stub() as stub:
        cancelled = 'pura_calls_total{code="cancelled",method="Identify"}'
        before = value(cancelled)
        going = stub.Identify.future(asked, timeout=PATIENCE_S)
        until(lambda: value(ASKED) == 1)
        going.cancel()
        until(lambda: value(cancelled) == before + 1)
        os.kill(deployment.s2.pid, signal.SIGCONT)
        question = deployment.question(people[3])
        assert (
            len(question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=PATIENCE_S)).handles) == 1
        )
    assert deployment.stop() == [0, 0]
