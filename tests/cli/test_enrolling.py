"""Runs of enrolments: an outcome for every item whatever happens, and nobody enrolled twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_gateway import DIMENSION, LABEL_KEY, FakeGateway, Fault, person, serve
from PIL import Image
from pydantic import SecretStr

from pura.errors import (
    BadEmbedding,
    BadWeights,
    BudgetSpent,
    DeviatingServer,
    EnrolmentConflict,
    NotAuthorised,
    OutOfRange,
    PeerUnavailable,
    PuraError,
    UnknownEntry,
    UnknownLabel,
    UnreadableImage,
)
from pura.ids import CollectionId, EnrolmentId, Handle
from pura.wire._pb import pura_pb2 as pb
from pura_client import Client, Enrolment, Raw, Ready, connect, enrolling, naming
from pura_client import session as session_module
from pura_client.alike import Alike
from pura_client.labels import LabelCipher

COLLECTION = CollectionId(bytes(16))
LABELS = LabelCipher(bytes(range(32)))
PEOPLE = [(person(i), f"person {i}") for i in range(DIMENSION)]
AWAY = grpc.StatusCode.UNAVAILABLE


@contextmanager
def session(gateway: FakeGateway, label_key: str = LABEL_KEY) -> Iterator[Client]:
    with (
        serve(gateway) as config,
        connect(config.model_copy(update={"label_key": SecretStr(label_key)}), insecure=True) as client,
    ):
        yield client


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BATCH_ENTRIES", 2)
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)


def embedded(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the client embeds from now on."""
    seen: list[object] = []
    embedding = client._templates._embedding

    def embed(photo: np.ndarray, largest: bool) -> np.ndarray:
        seen.append(photo)
        return embedding(photo, largest)

    monkeypatch.setattr(client._templates, "_embedding", embed)
    return seen


# --- again ------------------------------------------------------------------------------------------


def test_a_second_run_enrols_nobody_twice(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with session(gateway) as client:
        first = client.enroll_many(PEOPLE[:5])
    with session(gateway) as client:
        seen = embedded(client, monkeypatch)
        second = client.enroll_many(PEOPLE[:6])
        assert len(seen) == 1
        assert client.list() == {label: 1 for _, label in PEOPLE[:6]}
    assert [one.already for one in first] == [False] * 5
    assert [one.already for one in second] == [True] * 5 + [False]
    assert [one.handle for one in second[:5]] == [one.handle for one in first]


def test_one_photo_again_is_the_same_entry(client: Client, gateway: FakeGateway) -> None:
    handle = client.enroll(person(0), "Ada")
    assert client.enroll(person(0), " Ada ") == handle
    assert "Roster" in gateway.names()  # only now: one photo is not worth the whole roster
    assert gateway.names().count("Enroll") == 2
    assert client.enroll(person(0), "Grace") != handle
    assert client.forget("Ada") == 1
    assert client.enroll(person(0), "Ada") != handle


def test_a_run_that_overtakes_the_last_batch_of_an_earlier_one(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roster does not have it yet, and then the server has it under other ciphertexts."""
    with session(gateway) as client:
        first = client.enroll_many(PEOPLE[:2])
        there = client._there
        answers: Iterator[dict[EnrolmentId, Handle]] = iter([{}])
        monkeypatch.setattr(client, "_there", lambda: next(answers, there()))
        again = client.enroll_many(PEOPLE[:3])
        assert [one.already for one in again] == [True, True, False]
        assert [one.handle for one in again[:2]] == [one.handle for one in first]
        assert gateway.names().count("Enroll") == 2


def test_an_entry_that_is_erased_while_a_run_goes_on(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there at the beginning is gone when the roster is looked at again: it is enrolled anew."""
    monkeypatch.setattr(session_module, "BATCH_ENTRIES", 1)
    with session(gateway) as client:
        erased = client.enroll(*PEOPLE[2])
        client.list()

        def items() -> Iterator[tuple[np.ndarray, str]]:
            yield PEOPLE[0]
            with session(gateway) as other:  # after this run has looked: one more, and one less
                other.enroll(*PEOPLE[1])
            gateway.erase([erased])
            yield from PEOPLE[1:4]

        outcomes = client.enroll_many(items())
        assert [one.already for one in outcomes] == [False, True, False, False]
        assert all(one.error is None for one in outcomes)
        assert outcomes[2].handle != erased
        assert client.list() == {label: 1 for _, label in PEOPLE[:4]}


def test_the_same_photo_twice_in_one_run(client: Client, gateway: FakeGateway) -> None:
    outcomes = client.enroll_many([PEOPLE[0], PEOPLE[1], PEOPLE[0]])
    assert [one.already for one in outcomes] == [False, False, True]
    assert outcomes[2].handle == outcomes[0].handle
    assert len(gateway.entries) == 2


def test_names_of_the_callers_own(client: Client, gateway: FakeGateway) -> None:
    first = client.enroll(person(0), "Ada", name="badge 17")
    assert client.enroll(person(1), "Ada", name="badge 17") == first
    assert client.enroll(person(0), "Ada", name="badge 18") != first
    with pytest.raises(EnrolmentConflict, match="under another label"):
        client.enroll(person(2), "Grace", name="badge 17")
    two = [Enrolment(person(3), "Alan", "badge 19"), Enrolment(person(4), "Alonzo", "badge 19")]
    assert [type(one.error) for one in client.enroll_many(two)] == [type(None), EnrolmentConflict]
    with pytest.raises(OutOfRange):
        client.enroll(person(5), "Alan", name="")
    assert client.list() == {"Ada": 2, "Alan": 1}
    assert not any(b"badge" in request.SerializeToString() for _, request in gateway.calls)


# --- ids --------------------------------------------------------------------------------------------


def test_what_an_enrolment_id_depends_on(tmp_path: Path) -> None:
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes((tmp_path / "one.png").read_bytes())

    def name(
        photo: object, label: str = "Ada", labels: LabelCipher = LABELS, collection: CollectionId = COLLECTION
    ) -> bytes:
        return naming.by_photo(labels, collection, photo, label)  # type: ignore[arg-type]

    file, body = tmp_path / "one.png", (tmp_path / "one.png").read_bytes()
    assert name(file) == name(str(file)) == name(tmp_path / "two.png") == name(body)
    assert name(image) == name(pixels)
    assert name(person(0)) == name(person(0).astype(np.float64))
    assert name(Ready(person(0))) == name(Ready(person(0).tolist())) == name(person(0))
    assert name([file]) == name(file)
    assert name([file, pixels]) == name((pixels, file))
    assert name(file, "Zoe\u0308 ") == name(file, "Zo\u00eb")
    different = [
        name(file),
        name(file, "Grace"),
        name(file, labels=LabelCipher(bytes(32))),
        name(file, collection=CollectionId(bytes([1] * 16))),
        name(pixels),
        name(pixels.reshape(32, 96)),
        name(pixels.view(np.int8)),
        name(person(0)),
        name(Raw(person(0))),
        name([file, pixels]),
        name([file, file]),
        name(person(0).view(np.uint8).reshape(2, -1)),
        naming.by_name(LABELS, COLLECTION, "Ada"),
    ]
    assert len(set(different)) == len(different)
    assert {len(one) for one in different} == {16}


@pytest.mark.parametrize(
    ("photo", "kind"),
    [
        (Path("nowhere.jpg"), UnreadableImage),
        (3, UnreadableImage),
        (np.array(["x"]), BadEmbedding),
        (np.ones(8, complex), BadEmbedding),
    ],
)
def test_what_has_no_id(client: Client, photo: object, kind: type[PuraError]) -> None:
    """Nor does it stop the others."""
    outcomes = client.enroll_many([(photo, "x"), PEOPLE[0]])  # type: ignore[list-item]
    assert [type(one.error) for one in outcomes] == [kind, type(None)]


def test_a_client_with_another_label_key_cannot_tell(gateway: FakeGateway) -> None:
    for key in ("07" * 32, "08" * 32):
        with session(gateway, key) as client:
            client.enroll_many(PEOPLE[:2])
    assert len(gateway.entries) == 4


# --- what stops a run -------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_batches", "clock")
def test_servers_that_stay_away_end_a_run_and_nothing_is_lost(gateway: FakeGateway) -> None:
    lost = Fault("Enroll", AWAY, times=1 << 30)
    with session(gateway) as client:
        seen = []

        def progress(one: enrolling.Enrolled) -> None:
            seen.append(one)
            if len(seen) == 4:
                gateway.faults.append(lost)

        outcomes = client.enroll_many(PEOPLE, progress)
        assert seen == list(outcomes)
        assert [one.handle is not None for one in outcomes] == [True] * 4 + [False] * 4
        assert [type(one.error) for one in outcomes] == [type(None)] * 4 + [PeerUnavailable] * 4
        assert [one.stopped for one in outcomes] == [False] * 4 + [True] * 4
        # the answer was lost, not the request: two more are there
        gateway.faults.remove(lost)
        again = client.enroll_many(PEOPLE)
        assert [one.already for one in again] == [True] * 6 + [False] * 2
        assert client.list() == {label: 1 for _, label in PEOPLE}


@pytest.mark.usefixtures("small_batches", "clock")
@pytest.mark.parametrize("code", [None, "peer_unavailable", "not_ready", "overloaded"])
def test_a_run_waits_for_servers_that_come_back(gateway: FakeGateway, code: str | None) -> None:
    with session(gateway) as client:
        gateway.faults.append(Fault("Enroll", AWAY, code, times=8))
        outcomes = client.enroll_many(PEOPLE[:4])
        assert all(one.error is None and not one.already for one in outcomes)
    assert gateway.names().count("Enroll") == 10
    assert len(gateway.entries) == 4


@pytest.mark.usefixtures("small_batches")
def test_what_does_not_pass_ends_a_run_at_once(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with session(gateway) as client:
        gateway.faults.append(Fault("Enroll", grpc.StatusCode.PERMISSION_DENIED, "not_authorised", times=9))
        seen = embedded(client, monkeypatch)
        outcomes = client.enroll_many(PEOPLE)
        assert [type(one.error) for one in outcomes] == [NotAuthorised] * len(PEOPLE)
        assert gateway.names().count("Enroll") == 1
        assert len(seen) == 2


@pytest.mark.usefixtures("clock")
def test_a_roster_that_cannot_be_had_ends_a_run_before_it_begins(gateway: FakeGateway) -> None:
    with session(gateway) as client:
        gateway.faults.append(Fault("Roster", AWAY, times=1 << 30))
        outcomes = client.enroll_many(PEOPLE)
    assert [one.stopped for one in outcomes] == [True] * len(PEOPLE)
    assert "Enroll" not in gateway.names()


@pytest.mark.usefixtures("small_batches")
def test_a_spent_budget_ends_a_run(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.enrolments = 3
    with session(gateway) as client:
        outcomes = client.enroll_many(PEOPLE)
        assert [type(one.error) for one in outcomes] == [type(None)] * 3 + [BudgetSpent] * 5
        assert [one.stopped for one in outcomes] == [False] * 3 + [True] * 5
        assert gateway.names().count("Enroll") == 2
        gateway.enrolments = None
        assert [one.already for one in client.enroll_many(PEOPLE)] == [True] * 3 + [False] * 5


def test_without_a_model_nothing_is_tried_again_and_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def embed(photo: object, largest: bool) -> np.ndarray:
        if not isinstance(photo, bytes):
            return person(0)
        seen.append(photo)
        raise BadWeights()

    monkeypatch.setattr(client._templates, "_embedding", embed)
    outcomes = client.enroll_many([(b"a photo", f"person {i}") for i in range(6)])
    assert [type(one.error) for one in outcomes] == [BadWeights] * 6
    assert [one.stopped for one in outcomes] == [True] * 6
    assert len(seen) == 1
    # which is no reason to leave out embeddings, before or after
    outcomes = client.enroll_many([(person(0), "Ada"), (b"a photo", "Bob"), (person(1), "Grace")])
    assert [type(one.error) for one in outcomes] == [type(None), BadWeights, type(None)]
    assert client.list() == {"Ada": 1, "Grace": 1}


def test_outcomes_come_as_soon_as_they_are_known(client: Client) -> None:
    """Items that need no server do not wait for a batch."""
    client.enroll_many(PEOPLE[:2])
    seen: list[enrolling.Enrolled] = []
    known = []

    def items() -> Iterator[tuple[np.ndarray, str]]:
        for item in [PEOPLE[0], (person(1), " "), PEOPLE[1]]:
            known.append(len(seen))
            yield item

    client.enroll_many(items(), seen.append)
    assert known == [0, 1, 2]


class S2Away(FakeGateway):
    """S1 has no epoch of S2's for the first times."""

    times = 3

    def Info(self, request: pb.InfoRequest, context: grpc.ServicerContext) -> pb.InfoReply:
        reply = super().Info(request, context)
        self.times -= 1
        if self.times >= 0:
            reply.ClearField("epoch")
        return reply


@pytest.mark.usefixtures("clock")
def test_an_epoch_is_waited_for_while_s2_is_away() -> None:
    gateway = S2Away()
    with session(gateway) as client:
        assert client.enroll(*PEOPLE[0]) in gateway.entries
    assert gateway.names() == ["Info", "Enroll", "Info", "Info", "Info", "Enroll"]


# --- the same face under two labels -----------------------------------------------------------------


def test_one_face_under_two_labels_is_pointed_out(client: Client) -> None:
    near = person(0) + np.float32(0.05)
    outcomes = client.enroll_many([(person(0), "Ada"), (near, "Ada"), (person(3), "Grace"), (near, "Bob")])
    assert [one.alike for one in outcomes] == [None, None, None, "Ada"]
    assert all(one.error is None for one in outcomes)


def test_the_most_alike_of_many() -> None:
    draw = np.random.default_rng(1)
    known = Alike(64)
    people = draw.normal(size=(200, 64)) * 100
    assert [known.add(p.astype(np.int64), str(i)) for i, p in enumerate(people)] == [None] * 200
    for i in (0, 63, 64, 199):
        assert known.add((people[i] + draw.normal(size=64)).astype(np.int64), "new") == str(i)


# --- erasing, many entries --------------------------------------------------------------------------


def many_of_one(client: Client, count: int) -> list[Handle]:
    photos = [person(0) + np.float32(i / 1000) for i in range(count)]
    return [one.handle for one in client.enroll_many([(photo, "Ada") for photo in photos]) if one.handle is not None]


@pytest.mark.parametrize("probe", [0, 3])
def test_a_label_with_more_entries_than_one_request_may_name(
    client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, probe: int
) -> None:
    monkeypatch.setattr(session_module, "MAX_HANDLES", 2)
    handles = many_of_one(client, 5)
    assert client.verify(person(probe), "Ada").match == (probe == 0)
    asked = [list(request.handles) for name, request in gateway.calls if name == "Verify"]
    assert [len(one) for one in asked] == [2, 2, 1]  # whatever the first one says
    assert sorted(handle for one in asked for handle in one) == sorted(handles)
    assert client.forget("Ada") == 5
    assert [len(request.handles) for name, request in gateway.calls if name == "Forget"] == [2, 2, 1]
    assert not gateway.entries


def test_forgetting_many(client: Client, gateway: FakeGateway) -> None:
    client.enroll_many(PEOPLE[:4])
    client.enroll(person(6), "person 0")
    done = client.forget_many(["person 0", "nobody", " ", "person 2"])
    assert [(one.label, one.entries, type(one.error)) for one in done] == [
        ("person 0", 2, type(None)),
        ("nobody", 0, UnknownLabel),
        (" ", 0, OutOfRange),
        ("person 2", 1, type(None)),
    ]
    assert client.list() == {"person 1": 1, "person 3": 1}


def test_forgetting_goes_on_after_a_refusal_and_ends_with_what_concerns_all(gateway: FakeGateway) -> None:
    with session(gateway) as client:
        client.enroll_many(PEOPLE[:4])
        gateway.faults += [Fault("Forget", grpc.StatusCode.PERMISSION_DENIED, "not_authorised")]
        assert [type(one.error) for one in client.forget_many(["person 0", "person 1"])] == [NotAuthorised, type(None)]
        gateway.faults += [Fault("Forget", grpc.StatusCode.INTERNAL, "deviating_server")]
        assert [type(one.error) for one in client.forget_many(["person 2", "person 3"])] == [DeviatingServer] * 2
        assert client.list() == {label: 1 for label in ("person 0", "person 2", "person 3")}


def test_single_entries(client: Client, gateway: FakeGateway) -> None:
    first, _, third = many_of_one(client, 3)
    assert {(one.handle, one.label) for one in client.entries()} == {(handle, "Ada") for handle in gateway.entries}
    assert client.forget_entries([first]) == 1
    assert client.forget_entries([first]) == 0
    client.forget_photo(person(0) + np.float32(1 / 1000), "Ada")
    assert [one.handle for one in client.entries()] == [third]
    for photo, label in ((person(0) + np.float32(1 / 1000), "Ada"), (person(0) + np.float32(2 / 1000), "Grace")):
        with pytest.raises(UnknownEntry):
            client.forget_photo(photo, label)
    with session(gateway, "08" * 32) as other:
        assert [(one.handle, one.label) for one in other.entries()] == [(third, None)]
