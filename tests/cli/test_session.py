"""The client's session against a gateway that decrypts everything."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from fake_gateway import DIMENSION, LABEL_KEY, FakeGateway, Fault, person, serve
from PIL import Image

from pura.errors import (
    BadConfig,
    BadEmbedding,
    DeviatingServer,
    InvalidTemplate,
    NotAuthorised,
    OutOfRange,
    Overloaded,
    ParameterMismatch,
    PeerUnavailable,
    PhotosDisagree,
    ProtocolError,
    PuraError,
    Replayed,
    StaleEpoch,
    UnknownLabel,
    UnreadableImage,
    WrongKey,
)
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED, DetectorSpec, EmbedderSpec
from pura.ids import CollectionId, Engine
from pura.wire._pb import pura_pb2 as pb
from pura_client import Client, ClientConfig, Raw, Ready, connect, enrolling
from pura_client import session as session_module
from pura_client.config import Pins
from pura_server import listing
from pura_server.epochs import EPOCH_S

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


@pytest.mark.parametrize("encloses", [True, False])
def test_the_calls_of_identify_do_not_depend_on_the_answer(
    client: Client, gateway: FakeGateway, encloses: bool
) -> None:
    gateway.encloses = encloses
    client.enroll(person(0), "Ada")
    client.list()  # the roster that a client has does not depend on what it asked
    seen = []
    for probe in (person(0), person(4)):
        gateway.calls.clear()
        client.identify(probe)
        seen.append([(name, request.ByteSize()) for name, request in gateway.calls])
    assert seen[0] == seen[1]
    assert [name for name, _ in seen[0]] == ["Identify"] if encloses else ["Identify", "Roster"]


@pytest.mark.parametrize("encloses", [True, False])
def test_verify_too_brings_the_roster_up_to_date_afterwards(
    client: Client, gateway: FakeGateway, encloses: bool
) -> None:
    gateway.encloses = encloses
    client.enroll(person(0), "Ada")
    client.list()
    seen = []
    for probe in (person(0), person(4)):
        gateway.calls.clear()
        client.verify(probe, "Ada")
        seen.append([(name, request.ByteSize()) for name, request in gateway.calls])
    assert seen[0] == seen[1]
    assert [name for name, _ in seen[0]] == ["Roster", "Verify"] if encloses else ["Roster", "Verify", "Roster"]


def test_stored_labels_show_neither_text_nor_repetition(client: Client, gateway: FakeGateway) -> None:
    client.enroll(person(0), "Ada")
    client.enroll(person(1), "Ada")
    client.enroll(person(2), "Ada Lovelace, Countess of Lovelace")
    stored = [listed.label for listed, _ in gateway.entries.values()]
    assert len(set(stored)) == 3
    assert len({len(label) for label in stored}) == 1
    assert not any(b"Ada" in label for label in stored)


def test_a_label_of_another_key_does_not_stop_the_others(client: Client, gateway: FakeGateway) -> None:
    handle = client.enroll(person(0), "Ada")
    client.enroll(person(3), "Grace")
    gateway.roster.add([dataclasses.replace(gateway.entries[handle][0], label=b"rubbish")])
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


@pytest.mark.parametrize(
    "bad",
    [
        ("/no/such/photo.jpg", "b"),
        (Path("/no/such/photo.jpg"), "b"),
        (b"no picture", "b"),
        (object(), "b"),
        (None, "b"),
        (np.zeros((8, 8, 3), np.float32), "b"),
        (np.zeros(DIMENSION, complex), "b"),
        (np.zeros(DIMENSION, np.uint8), "b"),
        ([1.0] * DIMENSION, "b"),
        (Raw(person(1)), "b"),
        (Ready([1j] * DIMENSION), "b"),
        (Ready(person(1)[:-1]), "b"),
        ([Ready(person(1)), Ready(person(3))], "b"),
        ([], "b"),
        (Ready(person(1)), None),
        (Ready(person(1)), "x" * 100_000),
        ("only one thing",),
        None,
        7,
        (1, 2, 3),
    ],
    ids=lambda bad: repr(bad).partition(" at 0x")[0][:40],
)
def test_whatever_is_wrong_with_one_item_its_neighbours_are_enrolled(client: Client, bad: Any) -> None:
    outcomes = client.enroll_many([(person(0), "a"), bad, (person(2), "c")])
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert client.list() == {"a": 1, "c": 1}


def test_embeddings_that_say_what_they_are(client: Client) -> None:
    one = [Ready(person(0) + 0.02), Ready((person(0) - 0.02).tolist())]
    client.enroll(embedding=one, label="Ada")
    client.enroll([Ready(person(2)), Ready(person(2))], "Grace")
    client.enroll(embedding=Ready(person(4)[None]), label="Bob")
    assert client.list() == {"Ada": 1, "Bob": 1, "Grace": 1}
    assert client.identify(embedding=Ready(person(0))).label == "Ada"
    assert client.identify(Ready(person(4).astype(np.float16))).label == "Bob"
    assert client.verify(embedding=Ready(person(2)), label="Grace").match
    with pytest.raises(BadEmbedding, match="Raw"):
        client.identify(embedding=person(0))
    with pytest.raises(BadEmbedding, match="does not know the embedder"):
        client.identify(embedding=Raw(person(0)))
    with pytest.raises(UnreadableImage):
        client.identify()
    with pytest.raises(PhotosDisagree):
        client.enroll(embedding=[Ready(person(0)), Ready(person(2))], label="both")
    assert "both" not in client.list()


def test_what_became_of_several_photos(client: Client) -> None:
    alike, odd = [Ready(person(0)), Ready(person(0))], Ready(person(2))
    (outcome,) = client.enroll_many([([*alike, odd], "Ada")])
    assert outcome.error is None
    assert [(photo, error.code) for photo, error in outcome.left_out] == [(odd, "photos_disagree")]
    (outcome,) = client.enroll_many([([*alike, odd], "Ada")], strict=True)
    assert isinstance(outcome.error, PhotosDisagree)
    assert client.list() == {"Ada": 1}


def test_many_enrolments_go_in_batches(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BATCH_ENTRIES", 2)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        client.enroll_many([(person(i), f"p{i}") for i in range(5)])
        assert gateway.names().count("Enroll") == 3
        assert len(client.list()) == 5
        monkeypatch.setattr(enrolling, "BATCH_BYTES", 1)
        client.enroll_many([(person(i), f"q{i}") for i in range(2)])
        assert gateway.names().count("Enroll") == 5


def test_no_batch_is_larger_than_the_server_says(gateway: FakeGateway) -> None:
    gateway.batch = 3
    with serve(gateway) as config, connect(config, insecure=True) as client:
        client.enroll_many([(person(i), f"p{i}") for i in range(7)])
    assert gateway.names().count("Enroll") == 3


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
@pytest.mark.usefixtures("clock")
def test_an_error_without_a_code(gateway: FakeGateway, status: grpc.StatusCode, kind: type[PuraError]) -> None:
    gateway.faults.append(Fault("Identify", status, times=1 << 30))
    with serve(gateway) as config, connect(config, insecure=True) as client, pytest.raises(kind):
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


@pytest.mark.parametrize("code", [None, "peer_unavailable", "not_ready"])
def test_a_question_waits_for_servers_that_start(client: Client, gateway: FakeGateway, code: str | None) -> None:
    client.enroll(person(0), "Ada")
    gateway.faults.append(Fault("Identify", grpc.StatusCode.UNAVAILABLE, code, times=3))
    assert client.identify(person(0)).label == "Ada"
    sent = [request for name, request in gateway.calls if name == "Identify"]
    assert len(sent) == 4
    assert all(request == sent[0] for request in sent)


def test_a_question_that_was_lost_is_no_replay(client: Client, gateway: FakeGateway) -> None:
    """S1 had admitted the copy whose answer never came: the caller is told of the loss."""
    gateway.faults += [
        Fault("Identify", grpc.StatusCode.UNAVAILABLE, "peer_unavailable"),
        Fault("Identify", grpc.StatusCode.ALREADY_EXISTS, "replayed"),
    ]
    with pytest.raises(PeerUnavailable):
        client.identify(person(0))
    assert gateway.names().count("Identify") == 2


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
    (first,), (second,) = (request.enrolments for name, request in gateway.calls if name == "Enroll")
    assert (first.enrolment_id, first.label, first.ciphertexts) == (
        second.enrolment_id,
        second.label,
        second.ciphertexts,
    )
    # the first may have been taken, and no proof is taken twice
    assert first.proof != second.proof
    assert first.salt != second.salt
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


# --- epochs -----------------------------------------------------------------------------------------


def test_a_session_that_outlives_its_epoch_proves_anew_by_itself(client: Client, gateway: FakeGateway) -> None:
    client.enroll(person(0), "Ada")
    for i in range(3):
        gateway.now += 3 * EPOCH_S
        assert client.identify(person(0)).label == "Ada"
        gateway.now += 3 * EPOCH_S
        assert client.verify(person(0), "Ada").match
        gateway.now += 3 * EPOCH_S
        client.enroll(person(1 + i), "Grace")
    asked = [request.query for name, request in gateway.calls if name == "Identify"]
    assert len(asked) == 6
    assert len({query.request_id for query in asked}) == len({query.seal_key for query in asked}) == 6
    assert client.list() == {"Ada": 1, "Grace": 3}


def test_some_enrolments_of_a_batch_that_were_too_late(
    client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2 may begin an epoch while it looks at a batch: those that it had not seen yet are sent again."""
    epochs, seen = gateway.epochs, []
    check = epochs.check

    def late(epoch: bytes) -> None:
        seen.append(epoch)
        if len(seen) == 3:
            epochs.renew()
            epochs.renew()
        check(epoch)

    monkeypatch.setattr(epochs, "check", late)
    outcomes = client.enroll_many([(person(i), f"p{i}") for i in range(5)])
    assert all(outcome.handle for outcome in outcomes)
    first, second = (request.enrolments for name, request in gateway.calls if name == "Enroll")
    assert [one.enrolment_id for one in second] == [one.enrolment_id for one in first[2:]]
    assert len(client.list()) == 5


def test_an_epoch_that_is_always_over_is_asked_for_a_few_times(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Identify", grpc.StatusCode.FAILED_PRECONDITION, "stale_epoch", times=100))
    with pytest.raises(StaleEpoch):
        client.identify(person(0))
    assert gateway.names().count("Identify") == 4


def test_epochs_that_end_one_after_the_other_are_no_error(client: Client, gateway: FakeGateway) -> None:
    """As when a server is restarted twice in a moment."""
    gateway.faults.append(Fault("Identify", grpc.StatusCode.FAILED_PRECONDITION, "stale_epoch", times=3))
    assert not client.identify(person(0)).match


# --- connecting -------------------------------------------------------------------------------------


def test_a_server_with_another_key(tmp_path: Path, gateway: FakeGateway) -> None:
    for name in ("test-keys-3072", "test-keys-2048-published"):
        other = Path(__file__).parents[1] / "fixtures" / name / "public.key"
        with serve(gateway) as config, pytest.raises(WrongKey):
            connect(config.model_copy(update={"public_key": other}), insecure=True)


def test_a_server_of_another_engine_or_collection(gateway: FakeGateway) -> None:
    params, pk = gateway.params, gateway.pk
    for other_params, other_pk in (
        (dataclasses.replace(params, engine=Engine.PUBLISHED), pk),
        (params, dataclasses.replace(pk, collection=CollectionId(bytes(16)))),
    ):
        gateway.params, gateway.pk = other_params, other_pk
        with serve(gateway) as config, pytest.raises(WrongKey):
            connect(config, insecure=True)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("key_id", "00" * 16, WrongKey),
        ("dimension", 9, ParameterMismatch),
        ("scale", 256, ParameterMismatch),
        ("embedder", "other", ParameterMismatch),
    ],
)
def test_a_server_that_is_not_what_the_client_pins(
    gateway: FakeGateway, name: str, value: object, kind: type[PuraError]
) -> None:
    with serve(gateway) as config:
        pins = config.pins().model_copy(update={name: value})
        with pytest.raises(kind, match=f"collection.{name}"):
            connect(config.model_copy(update={"collection": pins}), insecure=True)


@pytest.mark.parametrize(("name", "mends"), [("collection", "key_id, dimension"), ("s2_key", "pura-server sign-key")])
def test_a_client_without_its_pins(gateway: FakeGateway, name: str, mends: str) -> None:
    with serve(gateway) as config, pytest.raises(BadConfig, match=f"{name} is missing.*{mends}"):
        connect(config.model_copy(update={name: None}), insecure=True)
    assert gateway.calls == []


def test_a_server_with_unknown_parameters(gateway: FakeGateway) -> None:
    object.__setattr__(gateway.params, "scale", 5000)
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
        client._templates.of("photo.jpg", largest=False)
        client._templates.of("photo.jpg", largest=False)
        assert made == [name]
        with connect(config.model_copy(update={"embedder": SFACE}), insecure=True) as client:
            if name == "sface":
                client._templates.of("photo.jpg", largest=False)
            else:
                with pytest.raises(ParameterMismatch, match="sface-centred"):
                    client._templates.of("photo.jpg", largest=False)


def test_photos_are_given_on_as_they_come(gateway: FakeGateway, tmp_path: Path) -> None:
    """Paths, a file's bytes, Pillow's images and arrays: what `pura.face.images.read` takes."""
    seen = []

    class Faces(FacePipeline):
        def embed(self, photo: object, *, largest: bool = False) -> np.ndarray:
            seen.append(photo)
            return person(0)

    image = Image.new("RGB", (32, 32))
    image.save(tmp_path / "a.png")
    photos = [tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image, np.asarray(image)]
    spec = EmbedderSpec(name="none", path=tmp_path, dimension=DIMENSION)
    with serve(gateway) as config, connect(config, insecure=True, faces=Faces(spec)) as client:
        handles = [client.enroll(photo, "Ada") for photo in photos]
        assert all(client.identify(photo).label == "Ada" for photo in photos)
    assert handles[0] == handles[1]  # one file
    assert handles[2] == handles[3]  # one picture
    assert len(seen) == 8
    assert all(one is two for one, two in zip(seen, photos * 2, strict=True))


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
    with pytest.raises(DeviatingServer):
        client.identify(person(0))


def _fields(query: object) -> dict[str, bytes]:
    return {field.name: value for field, value in query.ListFields()}


@pytest.mark.usefixtures("clock")
def test_nobody_listens(gateway: FakeGateway) -> None:
    with serve(gateway) as config:
        pass
    with pytest.raises(PeerUnavailable, match=f"{config.server} cannot be reached: Connection refused"):
        connect(config.model_copy(update={"deadline_s": 5.0}), insecure=True)


def test_plaintext_is_for_this_machine_only() -> None:
    config = ClientConfig(
        server="pura.example.org:7443",
        public_key=Path(__file__).parents[1] / "fixtures" / "test-keys-2048" / "public.key",
        label_key=LABEL_KEY,
        s2_key="00" * 32,
        collection=Pins(key_id="00" * 16, dimension=8, scale=512, embedder="none"),
    )
    with pytest.raises(BadConfig, match="this machine only"):
        connect(config, insecure=True)
    with pytest.raises(BadConfig, match="ca, cert and key"):
        connect(config)


@pytest.mark.parametrize("encloses", [True, False])
def test_only_what_has_changed_of_the_roster_is_sent_again(
    gateway: FakeGateway, client: Client, encloses: bool
) -> None:
    gateway.encloses = encloses
    client.enroll(person(1), "One")
    for _ in range(2):
        assert client.identify(person(1)).label == "One"
    client.enroll(person(2), "Two")
    assert client.identify(person(2)).label == "Two"
    assert client.list() == {"One": 1, "Two": 1}
    assert client.forget("One") == 1
    assert client.list() == {"Two": 1}
    asked = [(name, request.since) for name, request in gateway.calls if name in ("Identify", "Roster")]
    fetched = [since for name, since in asked if name == "Roster"]
    assert [since for name, since in asked if name == "Identify"] == [0, 1, 1]
    assert fetched == ([0, 2, 2, 2] if encloses else [0, 1, 1, 2, 2, 2])


def test_a_roster_that_changed_by_more_than_a_page_is_fetched(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.enroll(person(1), "One")
    client.list()
    monkeypatch.setattr(listing, "ENTRIES", 2)
    client.enroll_many([(person(i), f"more {i}") for i in (2, 3, 4)])
    gateway.calls.clear()
    assert client.identify(person(4)).label == "more 4"
    assert gateway.names() == ["Identify", "Roster"]


@pytest.mark.parametrize("kind", ["unsigned", "stale", "other"])
def test_what_comes_with_an_answer_is_believed_no_more_than_what_is_fetched(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    client.enroll(person(1), "One")
    client.list()
    stale = gateway.changes(1)
    client.enroll(person(2), "Two")
    changes = gateway.changes
    wrong = {
        "unsigned": lambda since: dataclasses.replace(changes(since), signature=bytes(64)),
        "stale": lambda since: stale,
        "other": lambda since: dataclasses.replace(changes(since), entries=[]),
    }[kind]
    monkeypatch.setattr(gateway, "changes", wrong)
    with pytest.raises(DeviatingServer):
        client.identify(person(2))


def test_an_answer_that_names_no_entry(gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a share without knowing the answer hits no handle."""
    client.enroll(person(1), "One")
    answer = gateway._answer

    def changed(query: pb.Query, handles: list[int]) -> pb.AnswerReply:
        reply = answer(query, handles)
        return pb.AnswerReply(share=bytes([reply.share[0] ^ 1]) + reply.share[1:], sealed=reply.sealed)

    monkeypatch.setattr(gateway, "_answer", changed)
    for probe in (person(1), person(4)):
        with pytest.raises(DeviatingServer, match="names an entry that is not there"):
            client.identify(probe)
    with pytest.raises(DeviatingServer):
        client.verify(person(1), "One")


def test_an_answer_to_verify_that_names_another_entry(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.enroll(person(1), "One")
    client.enroll(person(2), "Two")
    answer = gateway._answer
    monkeypatch.setattr(gateway, "_answer", lambda query, _: answer(query, list(gateway.entries)))
    assert client.verify(person(1), "One").match
    with pytest.raises(DeviatingServer):
        client.verify(person(2), "One")


@pytest.mark.parametrize("fetched", [True, False])
def test_an_entry_that_is_erased_meanwhile_is_nobody(
    gateway: FakeGateway, client: Client, monkeypatch: pytest.MonkeyPatch, fetched: bool
) -> None:
    handle = client.enroll(person(1), "One")
    client.enroll(person(2), "Two")
    if fetched:
        client.list()
    answer = gateway._answer

    def answered(query: pb.Query, handles: list[int]) -> pb.AnswerReply:
        reply = answer(query, handles)
        gateway.erase([handle])
        return reply

    monkeypatch.setattr(gateway, "_answer", answered)
    assert client.identify(person(1)) == session_module.Decision(False)
    assert client.identify(person(2)).label == "Two"
