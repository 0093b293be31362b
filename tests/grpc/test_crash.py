"""SIGKILL of either server amid enrolments and a question: what was confirmed is there, nothing is half there."""

from __future__ import annotations

import os
import signal
import threading

import grpc
import pytest
from server_pair import Deployment
from waiting import PATIENCE_S, until

from pura.crypto.rng import SystemRng
from pura.errors import NotReady, PeerUnavailable, StaleEpoch
from pura.groups import Right
from pura.ids import Epoch
from pura.store.check import check_folder
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import engines
from pura_client.gateway import typed
from pura_client.processes import Server

ENROLMENTS = 20
KILL_AFTER = 7


def enrol_all(made: Deployment, items: list[engines.Draft], confirmed: dict[bytes, int], some: threading.Event) -> None:
    """One after the other, each again under its id until it is confirmed."""
    with made.stub() as stub:
        for item in items:
            confirmed[item.enrolment_id] = insist(made, stub, item)
            if len(confirmed) >= KILL_AFTER:
                some.set()


def insist(made: Deployment, stub: GatewayStub, item: engines.Draft) -> int:
    def sent() -> pb.EnrollOutcome | None:
        try:
            epoch = Epoch(stub.Info(pb.InfoRequest(), timeout=30, wait_for_ready=True).epoch)
            proven = item.proven(epoch, SystemRng())
            group = made.author.group(Right.ENROL)
            request = pb.EnrollRequest(key_id=made.pk.key_id, enrolments=[proven], epoch=epoch, group=group)
            (outcome,) = stub.Enroll(request, timeout=30, wait_for_ready=True).outcomes
        except grpc.RpcError as error:
            assert isinstance(typed(error), PeerUnavailable | NotReady | StaleEpoch)  # noqa: PT017 - and otherwise again
            return None
        return outcome

    outcome = until(sent)
    assert outcome is not None
    assert outcome.error_code == ""
    return outcome.handle


@pytest.mark.parametrize("victim", ["s1", "s2"])
def test_a_server_killed_in_the_middle(deployment: Deployment, victim: str) -> None:
    people = deployment.people(ENROLMENTS, 20)
    items = [deployment.draft(person) for person in people]
    value = deployment.measured("s1")
    deployment.start()
    server: Server = getattr(deployment, victim)

    confirmed: dict[bytes, int] = {}
    some = threading.Event()
    thread = threading.Thread(target=enrol_all, args=(deployment, items, confirmed, some))
    thread.start()
    assert some.wait(PATIENCE_S)
    before = dict(confirmed)
    deployment.restart(server)
    with deployment.stub() as stub:
        roster = [entry.handle for page in stub.Roster(pb.RosterRequest(), timeout=30) for entry in page.entries]
        assert set(before.values()) <= set(roster)
    thread.join(PATIENCE_S)
    assert len(confirmed) == ENROLMENTS

    # a question that the kill cuts in two: S1 has begun, S2 does not answer
    pid = deployment.s2.pid
    failed: list[Exception] = []

    query = deployment.question(people[3]).query

    def ask() -> None:
        try:
            with deployment.stub() as stub:
                stub.Identify(pb.IdentifyRequest(query=query), timeout=PATIENCE_S)
        except grpc.RpcError as error:
            failed.append(typed(error))

    os.kill(pid, signal.SIGSTOP)
    question = threading.Thread(target=ask)
    question.start()
    until(lambda: value('pura_open_operations{kind="question"}') == 1)
    server.stop(signal.SIGKILL)
    if victim == "s1":
        os.kill(pid, signal.SIGCONT)
    question.join(PATIENCE_S)
    assert [type(error) for error in failed] == [PeerUnavailable]
    server.start()
    deployment.wait()

    with deployment.stub() as stub:
        roster = [entry.handle for page in stub.Roster(pb.RosterRequest(), timeout=30) for entry in page.entries]
        assert sorted(roster) == sorted(confirmed.values())
        for i in (0, KILL_AFTER, ENROLMENTS - 1):
            asked = deployment.question(people[i])
            answer = stub.Identify(pb.IdentifyRequest(query=asked.query), timeout=60)
            assert asked.open(answer).handles == [confirmed[items[i].enrolment_id]]
            assert insist(deployment, stub, items[i]) in roster
    assert deployment.stop() == [0, 0]
    reports = [check_folder(deployment.folder / name / "data") for name in ("s1", "s2")]
    assert [(report.problems, report.prepared) for report in reports] == [((), ())] * 2
    assert reports[0].entries == ENROLMENTS
