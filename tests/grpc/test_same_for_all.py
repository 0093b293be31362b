"""What every client does, whatever is behind it: two servers with engine prepared or published, or the double."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from server_pair import Embedding, deploy

from pura.errors import EnrolmentConflict, OutOfRange, UnknownEntry, UnknownLabel
from pura.ids import Engine
from pura_client.doubles import ENGINE, Double
from pura_client.enrolling import Enrolment
from pura_client.session import Client

D, THRESHOLD = 16, 0.5
ADA, GRACE = "Ada Lovelace", "Grace Hopper"


@pytest.fixture(scope="module", params=[*(engine.value for engine in Engine), ENGINE])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    if request.param == ENGINE:
        with Double(threshold=THRESHOLD, dimension=D, embedder="none") as double:
            yield double
        return
    made = deploy(tmp_path_factory.mktemp(request.param), Engine(request.param), dimension=D)
    made.start()
    with made.connect() as client:
        yield client
    assert made.stop() == [0, 0]


@pytest.fixture
def client(opened: Client) -> Iterator[Client]:
    """Nobody is enrolled."""
    yield opened
    opened.forget_entries([entry.handle for entry in opened.entries()])


def people(count: int, seed: int = 3) -> list[Embedding]:
    """Nobody is near anybody else."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))
    return list(basis[:count].astype(np.float32))


def near(person: Embedding, other: Embedding, cosine: float) -> Embedding:
    """Somebody at this cosine from `person`, towards `other`."""
    return (cosine * person + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def test_nobody(client: Client) -> None:
    (x,) = people(1)
    assert not client.identify(x).match
    assert (client.list(), list(client.entries()), client.roster()) == ({}, [], {})
    for call in (lambda: client.verify(x, ADA), lambda: client.forget(ADA), lambda: client.relabel(ADA, GRACE)):
        with pytest.raises(UnknownLabel):
            call()


@pytest.mark.parametrize(("cosine", "match"), [(1.0, True), (0.56, True), (0.44, False), (0.0, False), (-1.0, False)])
def test_who_is_near_enough_is_found(client: Client, cosine: float, match: bool) -> None:
    ada, grace, other = people(3)
    client.enroll(ada, ADA)
    client.enroll(grace, GRACE)
    x = near(ada, other, cosine)
    assert (client.identify(x).match, client.identify(x).label) == (match, ADA if match else None)
    assert (client.verify(x, ADA).match, client.verify(x, GRACE).match) == (match, False)


def test_the_nearest_is_named(client: Client) -> None:
    ada, grace = people(2)
    client.enroll(ada, ADA)
    client.enroll(grace, GRACE)
    for cosine, label in ((0.8, ADA), (0.6, GRACE)):
        assert client.identify(near(ada, grace, cosine)).label == label


def test_the_same_is_one_entry_and_another_is_two(client: Client) -> None:
    ada, other = people(2)
    first = client.enroll(ada, ADA)
    assert client.enroll(ada, ADA) == first
    again, new = client.enroll_many([(ada, ADA), (near(ada, other, 0.9), ADA)])
    assert (again.handle, again.already, new.already) == (first, True, False)
    assert client.list() == {ADA: 2}
    assert {entry.handle for entry in client.entries()} == set(client.roster()) == {first, new.handle}


def test_a_name_of_ones_own_is_one_person_s(client: Client) -> None:
    ada, grace = people(2)
    outcomes = client.enroll_many([Enrolment(ada, ADA, name="42"), Enrolment(grace, GRACE, name="42")])
    assert outcomes[0].error is None
    assert isinstance(outcomes[1].error, EnrolmentConflict)


def test_what_is_wrong_with_one_does_not_stop_the_others(client: Client) -> None:
    ada, grace = people(2)
    outcomes = client.enroll_many([(ada, "x" * 300), (grace, GRACE)])
    assert isinstance(outcomes[0].error, OutOfRange)
    assert client.list() == {GRACE: 1}
    assert outcomes[1].handle is not None


def test_who_is_forgotten_is_nobody(client: Client) -> None:
    ada, grace = people(2)
    client.enroll(ada, ADA)
    client.enroll(grace, GRACE)
    assert client.forget(ADA) == 1
    assert not client.identify(ada).match
    assert client.identify(grace).label == GRACE
    client.forget_photo(grace, GRACE)
    with pytest.raises(UnknownEntry):
        client.forget_photo(grace, GRACE)
    first, second = client.forget_many([ADA, GRACE])
    assert isinstance(first.error, UnknownLabel)
    assert isinstance(second.error, UnknownLabel)
    assert client.list() == {}


def test_another_label(client: Client) -> None:
    ada, grace = people(2)
    client.enroll(ada, ADA)
    client.enroll(grace, GRACE)
    if client.params.engine is Engine.PUBLISHED:
        return
    assert client.relabel(ADA, "Countess of Lovelace") == 1
    assert client.identify(ada).label == "Countess of Lovelace"
    assert client.relabel(GRACE, "Countess of Lovelace") == 1
    assert client.list() == {"Countess of Lovelace": 2}


def test_many_photos_and_what_is_asked_beyond_the_limit(client: Client) -> None:
    ada, grace, other = people(3)
    client.enroll(ada, ADA)
    found = [one.faces[0].decision for one in client.identify_many([ada, grace, near(ada, other, 0.9)])]
    assert [decision is not None and decision.match for decision in found] == [True, False, True]
    with pytest.raises(OutOfRange):
        client.identify(ada, top_k=2)


def test_status(client: Client) -> None:
    assert client.status().peer_ready
    assert client.status().entries == 0
