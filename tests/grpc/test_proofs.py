"""Proofs through two real servers: bound to the certificate that was shown and to S2's epoch, which costs no budget."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from server_pair import Deployment, deploy
from test_access import add

from pura.ids import Engine
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client.gateway import typed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment whose clients may ask three times, and never again."""
    made = deploy(tmp_path_factory.mktemp("proofs"), Engine.PREPARED, extra="[budget]\nquestions = 3\nper_hour = 0\n")
    made.start()
    yield made
    assert made.stop() == [0, 0]


def code_of(stub: GatewayStub, query: pb.Query) -> str:
    try:
        stub.Identify(pb.IdentifyRequest(query=query), timeout=30)
    except grpc.RpcError as error:
        return typed(error).code
    return "ok"


def test_a_question_belongs_to_a_certificate_and_an_epoch(made: Deployment) -> None:
    (person,) = made.people(1, 1)
    with made.stub() as mine, made.stub(*add(made, "another")) as theirs:
        epoch = mine.Info(pb.InfoRequest(), timeout=30).epoch
        assert len(epoch) == 16
        recorded = made.question(person).query
        assert recorded.epoch == epoch
        stale = pb.Query()
        stale.CopyFrom(recorded)
        stale.epoch = bytes(16)
        for _ in range(10):
            assert code_of(mine, stale) == "stale_epoch"  # which costs nothing
        for field, value, code in (
            ("proof", b"", "bad_proof"),
            ("proof", recorded.proof + b"\0", "bad_proof"),
            ("salt", b"", "malformed_message"),
        ):
            short = pb.Query()
            short.CopyFrom(recorded)
            setattr(short, field, value)
            assert code_of(mine, short) == code  # nor does this
        assert code_of(theirs, recorded) == "bad_proof"
        assert code_of(mine, made.question(person).query) == "ok"
        salted = made.question(person).query
        salted.salt = bytes(16)
        assert code_of(mine, salted) == "bad_proof"
        assert code_of(mine, made.question(person).query) == "ok"
        assert code_of(mine, made.question(person).query) == "budget_spent"


def test_an_enrolment_belongs_to_a_certificate_and_an_epoch(made: Deployment) -> None:
    one, two = made.people(2, 2)
    with made.stub() as mine, made.stub(*add(made, "third", "--may", "enrol")) as theirs:
        request = made.request(made.enrolment(one))
        (refused,) = theirs.Enroll(request, timeout=60).outcomes
        assert (refused.error_code, refused.handle) == ("bad_proof", 0)
        late = pb.EnrollRequest()
        late.CopyFrom(request)
        late.epoch = bytes(16)
        with pytest.raises(grpc.RpcError) as caught:
            mine.Enroll(late, timeout=60)
        assert typed(caught.value).code == "stale_epoch"
        spoilt = made.enrolment(two)
        spoilt.label = b"another label"
        outcomes = mine.Enroll(made.request(*request.enrolments, spoilt), timeout=60).outcomes
        assert [outcome.error_code for outcome in outcomes] == ["", "bad_proof"]
        assert outcomes[0].handle


def test_a_client_goes_on_when_s2_has_started_anew(made: Deployment) -> None:
    (person,) = made.people(1, 3)
    with made.connect() as client:
        client.enroll(person, "Ada Lovelace")
        before = made.epoch()
        made.restart(made.s2)
        assert made.epoch() != before
        client.enroll(person, "Grace Hopper")
        assert set(client.list()) >= {"Ada Lovelace", "Grace Hopper"}
