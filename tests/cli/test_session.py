"""The client's session against a gateway that decrypts everything."""

import dataclasses
import logging
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_gateway import DIMENSION, LABEL_KEY, FakeGateway, Fault, person, serve

from pura.errors import (
    BadConfig,
    BadEmbedding,
    InvalidTemplate,
    MalformedMessage,
    NotAuthorised,
    OutOfRange,
    Overloaded,
    ParameterMismatch,
    PeerUnavailable,
    ProtocolError,
    PuraError,
    Replayed,
    UnknownLabel,
    WrongKey,
)
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED, DetectorSpec, EmbedderSpec
from pura.ids import Engine
from pura_client import Client, ClientConfig, connect
from pura_client import session as session_module

REFUSED = np.eye(1, DIMENSION)[0]
BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("engine", Engine)
def test_the_whole_job(engine: Engine) -> None:
    with serve(FakeGateway(engine=engine)) as config, connect(config, insecure=True) as client:
        _the_whole_job(client)


def _the_whole_job(client: Client) -> None:
    client.enroll(person(0), "Ada")
    client.enroll(person(2), "Grace")
    client.enroll(person(0) + 0.01, "Ada")
    assert client.list() == {"Ada": 2, "Grace": 1}
    assert client.identify(person(2) + 0.02) == session_module.Decision(True, "Grace", ("Grace",))
    assert client.identify(person(5)) == session_module.Decision(False)
    assert client.verify(person(0), "Ada").match
    assert not client.verify(person(2), "Ada").match
    assert client.forget("Ada") == 2
    assert not client.identify(person(0)).match
    status = client.status()
    assert (status.entries, status.peer_ready, status.levels) == (1, True, {"triples": 7.0})


def test_candidates_of_a_collection_with_top_k() -> None:
    with serve(FakeGateway(top_k=3)) as config, connect(config, insecure=True) as client:
        client.enroll(person(0), "Ada")
        client.enroll(person(0) + 0.02, "Ada")
        client.enroll(person(0) + 0.05, "Ada's twin")
        assert client.identify(person(0)).candidates == ("Ada", "Ada's twin")


def test_labels_are_compared_in_one_normal_form(client: Client) -> None:
    client.enroll(person(0), "Zoe\u0308 ")
    assert client.verify(person(0), "Zo\u00eb").match


def test_an_unknown_label(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(UnknownLabel):
        client.verify(person(0), "nobody")
    with pytest.raises(UnknownLabel):
        client.forget("nobody")
    assert "Verify" not in gateway.names()
    assert "Forget" not in gateway.names()


# --- what the server gets to see --------------------------------------------------------------------


def test_the_calls_of_identify_do_not_depend_on_the_answer(client: Client, gateway: FakeGateway) -> None:
    client.enroll(person(0), "Ada")
    client.list()  # the roster that a client has does not depend on what it asked
    seen = []
    for probe in (person(0), person(4)):
        gateway.calls.clear()
        client.identify(probe)
        seen.append([(name, request.ByteSize()) for name, request in gateway.calls])
    assert seen[0] == seen[1]
    assert [name for name, _ in seen[0]] == ["Identify", "Roster"]


def test_stored_labels_show_neither_text_nor_repetition(client: Client, gateway: FakeGateway) -> None:
    client.enroll(person(0), "Ada")
    client.enroll(person(1), "Ada")
    client.enroll(person(2), "Ada Lovelace, Countess of Lovelace")
    stored = [label for label, _ in gateway.entries.values()]
    assert len(set(stored)) == 3
    assert len({len(label) for label in stored}) == 1
    assert not any(b"Ada" in label for label in stored)


def test_a_label_of_another_key_does_not_stop_the_others(client: Client, gateway: FakeGateway) -> None:
    handle = client.enroll(person(0), "Ada")
    client.enroll(person(3), "Grace")
    gateway.entries[handle] = b"rubbish", gateway.entries[handle][1]
    assert client.list() == {"Grace": 1}
    assert client.identify(person(3)).label == "Grace"
    assert client.identify(person(0)) == session_module.Decision(match=True, label=None)


def test_nothing_is_printed_or_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.enroll(person(0), "Ada Lovelace")
    client.identify(person(0))
    assert "Ada" not in caplog.text
    outcome = client.enroll_many([(person(1), "x")])[0]
    assert "0.8" not in repr(outcome)
    assert LABEL_KEY not in repr(client.__dict__)


# --- photos -----------------------------------------------------------------------------------------


def test_bad_embeddings(client: Client, gateway: FakeGateway) -> None:
    for bad in (np.ones(DIMENSION + 1), np.zeros(DIMENSION), np.full(DIMENSION, np.nan)):
        with pytest.raises(BadEmbedding):
            client.identify(bad)
    assert "Identify" not in gateway.names()


def test_one_bad_photo_does_not_stop_the_others(client: Client, gateway: FakeGateway) -> None:
    items = [(person(0), "a"), (np.zeros(DIMENSION), "b"), (REFUSED, "c"), (person(1), " "), (person(2), "d")]
    seen = []
    outcomes = client.enroll_many(items, seen.append)
    assert [type(o.error) for o in outcomes] == [type(None), BadEmbedding, InvalidTemplate, OutOfRange, type(None)]
    assert seen == list(outcomes)
    assert client.list() == {"a": 1, "d": 1}
    with pytest.raises(InvalidTemplate):
        client.enroll(REFUSED, "c")


def test_many_enrolments_go_in_batches(client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BATCH_ENTRIES", 2)
    client.enroll_many([(person(i), f"p{i}") for i in range(5)])
    assert gateway.names().count("Enroll") == 3
    assert len(client.list()) == 5
    monkeypatch.setattr(session_module, "BATCH_BYTES", 1)
    client.enroll_many([(person(i), f"q{i}") for i in range(2)])
    assert gateway.names().count("Enroll") == 5


# --- errors, retries --------------------------------------------------------------------------------


def test_an_error_is_typed_by_its_code(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Identify", grpc.StatusCode.ALREADY_EXISTS, "replayed"))
    with pytest.raises(Replayed, match="told to fail"):
        client.identify(person(0))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, NotAuthorised),
        (grpc.StatusCode.PERMISSION_DENIED, NotAuthorised),
        (grpc.StatusCode.UNAVAILABLE, PeerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, PeerUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INTERNAL, ProtocolError),
    ],
)
def test_an_error_without_a_code(
    client: Client, gateway: FakeGateway, status: grpc.StatusCode, kind: type[PuraError]
) -> None:
    gateway.faults.append(Fault("Identify", status))
    with pytest.raises(kind):
        client.identify(person(0))


def test_an_unknown_code_is_an_internal_error(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Identify", grpc.StatusCode.INTERNAL, "from_the_future"))
    with pytest.raises(PuraError) as caught:
        client.identify(person(0))
    assert type(caught.value) is PuraError


def test_questions_are_sent_once(client: Client, gateway: FakeGateway) -> None:
    client.enroll(person(0), "Ada")
    gateway.faults += [Fault("Identify", BUSY, "overloaded"), Fault("Verify", BUSY, "overloaded")]
    for ask in (lambda: client.identify(person(0)), lambda: client.verify(person(0), "Ada")):
        with pytest.raises(Overloaded):
            ask()
    assert gateway.names().count("Identify") == gateway.names().count("Verify") == 1


def test_two_questions_share_neither_id_nor_key_nor_ciphertext(client: Client, gateway: FakeGateway) -> None:
    client.identify(person(0))
    client.identify(person(0))
    first, second = (request.query for name, request in gateway.calls if name == "Identify")
    for field in ("request_id", "seal_key", "ciphertexts"):
        assert getattr(first, field) != getattr(second, field)


@pytest.mark.parametrize("method", ["Enroll", "Forget", "Roster", "Status"])
def test_calls_that_may_be_repeated_are(client: Client, gateway: FakeGateway, method: str) -> None:
    gateway.faults.append(Fault(method, grpc.StatusCode.UNAVAILABLE, times=2))
    client.enroll(person(0), "Ada")
    client.status()
    assert client.list() == {"Ada": 1}
    assert client.forget("Ada") == 1
    assert gateway.names().count(method) == (4 if method == "Roster" else 3)


def test_a_repeated_enrolment_has_the_same_ids(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Enroll", grpc.StatusCode.UNAVAILABLE))
    client.enroll(person(0), "Ada")
    first, second = (request for name, request in gateway.calls if name == "Enroll")
    assert first == second
    assert len(gateway.entries) == 1


def test_retries_end(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Status", BUSY, "overloaded", times=100))
    with pytest.raises(Overloaded):
        client.status()
    assert gateway.names().count("Status") == 5


def test_what_does_not_pass_is_not_retried(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Status", grpc.StatusCode.PERMISSION_DENIED, "not_authorised"))
    with pytest.raises(NotAuthorised):
        client.status()
    assert gateway.names().count("Status") == 1


# --- connecting -------------------------------------------------------------------------------------


def test_a_server_with_another_key(tmp_path: Path, gateway: FakeGateway) -> None:
    other = Path(__file__).parents[1] / "fixtures" / "test-keys-3072" / "public.key"
    with serve(gateway) as config, pytest.raises(WrongKey):
        connect(config.model_copy(update={"public_key": other}), insecure=True)


@pytest.mark.parametrize("field", ["engine", "metric"])
def test_a_server_with_unknown_parameters(gateway: FakeGateway, field: str) -> None:
    gateway.params = dataclasses.replace(gateway.params, **{field: "new"})
    with serve(gateway) as config, pytest.raises(ParameterMismatch):
        connect(config, insecure=True)


@pytest.mark.parametrize("name", ["sface", "sface-centred"])
def test_the_collection_names_the_embedder(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    made = []

    class Faces:
        def __init__(self, spec: EmbedderSpec, detector: DetectorSpec) -> None:
            made.append(spec.name)

        def embed(self, photo: object, *, largest: bool) -> np.ndarray:
            return np.eye(1, 128)[0]

    monkeypatch.setattr("pura.face.pipeline.FacePipeline", Faces)
    gateway.params = dataclasses.replace(gateway.params, embedder=name, dimension=128)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        client._template("photo.jpg", False)
        client._template("photo.jpg", False)
        assert made == [name]
        with connect(config.model_copy(update={"embedder": SFACE}), insecure=True) as client:
            if name == "sface":
                client._template("photo.jpg", False)
            else:
                with pytest.raises(ParameterMismatch, match="sface-centred"):
                    client._template("photo.jpg", False)


def test_a_collection_of_an_embedder_that_is_not_built_in(client: Client) -> None:
    with pytest.raises(ParameterMismatch, match="'none'"):
        client.identify("photo.jpg")


def test_faces_that_were_brought_are_checked_too(gateway: FakeGateway) -> None:
    gateway.params = dataclasses.replace(gateway.params, embedder="sface-centred", dimension=128)
    with serve(gateway) as config:
        with pytest.raises(ParameterMismatch, match="sface-centred"):
            connect(config, insecure=True, faces=FacePipeline())
        connect(config, insecure=True, faces=FacePipeline(SFACE_CENTRED)).close()


def test_an_answer_of_another_question(client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    client.enroll(person(0), "Ada")
    answer = gateway._answer
    monkeypatch.setattr(gateway, "_answer", lambda q, h: answer(type(q)(**{**_fields(q), "request_id": bytes(16)}), h))
    with pytest.raises(MalformedMessage):
        client.identify(person(0))


def _fields(query: object) -> dict[str, bytes]:
    return {field.name: value for field, value in query.ListFields()}


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, gateway: FakeGateway) -> None:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(gateway) as config:
        pass
    with pytest.raises(PeerUnavailable):
        connect(config, insecure=True)


def test_plaintext_is_for_this_machine_only() -> None:
    config = ClientConfig(
        server="pura.example.org:7443",
        public_key=Path(__file__).parents[1] / "fixtures" / "test-keys-2048" / "public.key",
        label_key=LABEL_KEY,
    )
    with pytest.raises(BadConfig, match="this machine only"):
        connect(config, insecure=True)
    with pytest.raises(BadConfig, match="ca, cert and key"):
        connect(config)


def test_the_roster_is_sent_again_only_when_it_has_changed(gateway: FakeGateway, client: Client) -> None:
    client.enroll(person(1), "One")
    for _ in range(2):
        assert client.identify(person(1)).label == "One"
    known = [request.known for name, request in gateway.calls if name == "Roster"]
    assert known[0] == b""
    assert len(set(known[1:])) == 1
    client.enroll(person(2), "Two")
    assert client.identify(person(2)).label == "Two"
    assert client.list() == {"One": 1, "Two": 1}
    assert client.forget("One") == 1
    assert client.list() == {"Two": 1}
