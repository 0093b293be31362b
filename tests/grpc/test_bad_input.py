"""What a client may send: anything. Each piece of nonsense has its code, and the next honest question is answered."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from server_pair import Deployment

from pura.crypto.paillier import PublicKey
from pura.crypto.rng import SystemRng
from pura.errors import PuraError
from pura.ids import Engine, EnrolmentId, Handle
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import engines
from pura_client.gateway import typed

Change = Callable[[PublicKey, bytes], bytes]


def first(value: Callable[[PublicKey], int]) -> Change:
    """Puts a number in the place of the first ciphertext."""

    def change(pk: PublicKey, raw: bytes) -> bytes:
        return value(pk).to_bytes(pk.ciphertext_bytes, "big") + raw[pk.ciphertext_bytes :]

    return change


def of_another_key(pk: PublicKey, raw: bytes) -> bytes:
    other = dataclasses.replace(pk, n=pk.n - 2, h=type(pk.n)(2))
    return pk.dump(other.encrypt(5, SystemRng())) + raw[pk.ciphertext_bytes :]


BAD: dict[str, tuple[Change, set[str]]] = {
    "zero": (first(lambda pk: 0), {"malformed_ciphertext"}),
    "n": (first(lambda pk: int(pk.n)), {"malformed_ciphertext"}),
    "n squared": (first(lambda pk: int(pk.n2)), {"malformed_ciphertext"}),
    "above n squared": (first(lambda pk: int(pk.n2) + 1), {"malformed_ciphertext"}),
    "largest number": (first(lambda pk: (1 << 8 * pk.ciphertext_bytes) - 1), {"malformed_ciphertext"}),
    "common factor": (first(lambda pk: 5 * int(pk.n)), {"malformed_ciphertext"}),
    "truncated": (lambda pk, raw: raw[:-1], {"malformed_ciphertext"}),
    "a ciphertext short": (lambda pk, raw: raw[: -pk.ciphertext_bytes], {"malformed_ciphertext"}),
    "trailing byte": (lambda pk, raw: raw + b"\0", {"malformed_ciphertext"}),
    "trailing ciphertext": (lambda pk, raw: raw + raw[: pk.ciphertext_bytes], {"malformed_ciphertext"}),
    "empty": (lambda pk, raw: b"", {"malformed_ciphertext"}),
    "another key": (of_another_key, {"malformed_ciphertext", "bad_proof", "invalid_template"}),
}


@pytest.fixture
def stub(running: Deployment) -> Iterator[GatewayStub]:
    with running.stub() as stub:
        yield stub


@pytest.fixture(autouse=True)
def _still_answers(running: Deployment) -> Iterator[None]:
    """After each test, an honest question has its answer."""
    (person,) = running.people(1, 99)
    with running.stub() as stub:
        if not (known := _roster(stub)):
            request = running.request(running.enrolment(person))
            known = [outcome.handle for outcome in stub.Enroll(request, timeout=30).outcomes]
        yield
        question = running.question(person)
        answer = question.open(stub.Identify(pb.IdentifyRequest(query=question.query), timeout=30)).handles
        assert answer == known == _roster(stub)


def _roster(stub: GatewayStub) -> list[int]:
    return [entry.handle for page in stub.Roster(pb.RosterRequest(), timeout=30) for entry in page.entries]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: PuraError = typed(caught.value)
    assert str(error) == caught.value.details()  # type: ignore[attr-defined]
    return error.code


@pytest.mark.parametrize("name", BAD)
def test_bad_ciphertexts_in_questions(running: Deployment, stub: GatewayStub, name: str) -> None:
    change, codes = BAD[name]
    (person,) = running.people(1, 1)
    query = running.question(person).query
    query.ciphertexts = change(running.pk, query.ciphertexts)
    assert code_of(lambda: stub.Identify(pb.IdentifyRequest(query=query), timeout=30)) in codes


@pytest.mark.parametrize("name", BAD)
def test_bad_ciphertexts_in_enrolments(running: Deployment, stub: GatewayStub, name: str) -> None:
    if running.engine is Engine.PUBLISHED and name == "another key":
        pytest.skip("engine published opens nothing when it enrols")
    change, codes = BAD[name]
    (person,) = running.people(1, 2)
    bad = running.enrolment(person)
    bad.ciphertexts = change(running.pk, bad.ciphertexts)
    reply = stub.Enroll(running.request(bad), timeout=30)
    assert [(o.enrolment_id, o.handle) for o in reply.outcomes] == [(bad.enrolment_id, 0)]
    assert reply.outcomes[0].error_code in codes
    assert reply.outcomes[0].error_message


def test_wrong_lengths_and_keys(running: Deployment, stub: GatewayStub) -> None:
    (person,) = running.people(1, 3)

    def ask(**fields: bytes) -> str:
        query = running.question(person).query
        for name, value in fields.items():
            setattr(query, name, value)
        return code_of(lambda: stub.Identify(pb.IdentifyRequest(query=query), timeout=30))

    other_key = secrets.token_bytes(16)
    assert ask(key_id=other_key) == "wrong_key"
    assert ask(key_id=b"") == "wrong_key"
    assert ask(request_id=b"short") == "malformed_message"
    if running.engine is not Engine.PUBLISHED:
        assert ask(seal_key=bytes(31)) == "malformed_message"
        assert ask(mask=bytes(512)) == "malformed_ciphertext"
    else:
        assert ask(seal_key=bytes(32)) == "malformed_message"
        assert ask(mask=b"") == "malformed_ciphertext"
        assert ask(mask=bytes(running.pk.ciphertext_bytes)) == "malformed_ciphertext"
    good = running.enrolment(person)
    for key_id, change, code in (
        (other_key, {}, "wrong_key"),
        (running.pk.key_id, {"enrolment_id": b"short"}, "malformed_message"),
    ):
        bad = pb.Enrolment()
        bad.CopyFrom(good)
        for name, value in change.items():
            setattr(bad, name, value)
        request = pb.EnrollRequest(key_id=key_id, enrolments=[bad])
        assert code_of(lambda request=request: stub.Enroll(request, timeout=30)) == code  # type: ignore[misc]
    many = pb.EnrollRequest(key_id=running.pk.key_id, enrolments=[good] * 65)
    assert code_of(lambda: stub.Enroll(many, timeout=30)) == "out_of_range"
    assert not stub.Enroll(pb.EnrollRequest(key_id=running.pk.key_id), timeout=30).outcomes


def test_a_template_that_is_too_large(running: Deployment, stub: GatewayStub) -> None:
    """A vector that is not of unit length is refused: at enrolment, and in a question by saying nobody."""
    if running.engine is Engine.PUBLISHED:
        pytest.skip("engine published does not check norms")
    huge = np.full(running.params.dimension, running.params.scale)
    draft = engines.Draft(running.author, huge, EnrolmentId(secrets.token_bytes(16)), b"x", SystemRng())
    bad = draft.proven(running.epoch(), SystemRng())
    assert stub.Enroll(running.request(bad), timeout=30).outcomes[0].error_code == "invalid_template"
    question = engines.ask(running.author, huge, running.epoch(), SystemRng())
    reply = stub.Identify(pb.IdentifyRequest(query=question.query), timeout=30)
    assert question.open(reply).handles == []


def test_a_message_that_is_too_long(running: Deployment, stub: GatewayStub) -> None:
    request = pb.EnrollRequest(key_id=running.pk.key_id, enrolments=[pb.Enrolment(label=bytes(9 << 20))])
    assert code_of_status(lambda: stub.Enroll(request, timeout=30)) is grpc.StatusCode.RESOURCE_EXHAUSTED


def code_of_status(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()  # type: ignore[attr-defined, no-any-return]


def test_a_replayed_question(running: Deployment, stub: GatewayStub) -> None:
    (person,) = running.people(1, 4)
    question = running.question(person)
    stub.Identify(pb.IdentifyRequest(query=question.query), timeout=30)
    assert code_of(lambda: stub.Identify(pb.IdentifyRequest(query=question.query), timeout=30)) == "replayed"
    handle = _roster(stub)[0]
    again = pb.VerifyRequest(query=question.query, handles=[handle])
    assert code_of(lambda: stub.Verify(again, timeout=30)) == "replayed"


def test_unknown_entries(running: Deployment, stub: GatewayStub) -> None:
    (person,) = running.people(1, 6)
    for handles in ([12345], [], [0], [12345, 0]):
        named = [Handle(handle) for handle in handles]
        request = pb.VerifyRequest(query=running.question(person, named).query, handles=handles)
        assert code_of(lambda request=request: stub.Verify(request, timeout=30)) == "unknown_entry"  # type: ignore[misc]
    assert stub.Forget(running.erasure(12345), timeout=30).removed == 0
    assert stub.Forget(pb.ForgetRequest(), timeout=30).removed == 0


def test_a_replayed_enrolment_is_the_same_and_another_under_its_id_is_refused(
    running: Deployment, stub: GatewayStub
) -> None:
    one, two = running.people(2, 7)
    draft, unlike = running.draft(one), running.draft(two)
    unlike.enrolment_id, own_id = draft.enrolment_id, unlike.enrolment_id

    def proven(which: engines.Draft) -> pb.Enrolment:
        return which.proven(running.epoch(), SystemRng())

    item, other = proven(draft), proven(unlike)

    def enroll(*items: pb.Enrolment) -> list[pb.EnrollOutcome]:
        return list(stub.Enroll(running.request(*items), timeout=60).outcomes)

    (done,) = enroll(item)
    assert done.handle
    assert [outcome.handle for outcome in enroll(item)] == [done.handle]
    assert [outcome.handle for outcome in enroll(proven(draft))] == [done.handle]
    (conflict,) = enroll(other)
    assert (conflict.handle, conflict.error_code) == (0, "enrolment_conflict")
    unlike.enrolment_id = own_id
    other, bad = proven(unlike), running.enrolment(two)
    bad.ciphertexts = bytes(len(item.ciphertexts))
    again, refused, fresh = enroll(item, bad, other)
    assert (again.handle, refused.error_code, bool(fresh.handle)) == (done.handle, "malformed_ciphertext", True)
    assert stub.Forget(running.erasure(done.handle, fresh.handle), timeout=60).removed == 2
