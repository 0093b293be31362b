"""Engine published behind the two backends: enrol, identify, verify, forget, refill, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from waiting import until

from pura.crypto.encoding import Template, distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import (
    BadConfig,
    EnrolmentConflict,
    InvalidTemplate,
    MalformedCiphertext,
    ProtocolError,
    PuraError,
    StorageFull,
    UnknownEntry,
)
from pura.ids import NOBODY, ClientId, Engine, EnrolmentId, Handle, Party, RequestId
from pura.params import Params
from pura.protocols.published import client
from pura.rounds import advance, run_pair, send
from pura.store.sqlite import SqliteStore
from pura_server.backend import Answer, NewEntry, Query
from pura_server.published import MAX_ENTRIES, MAX_LABEL, MatchOpen, PublishedGateway, PublishedPeer

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
S1, S2 = (load_share(KEYS / f"{name}.share", PK) for name in ("s1", "s2"))
PARAMS = Params(PK.key_id, 2048, Engine.PUBLISHED, dimension=6, scale=16, tau_verify=61, tau_identify=60)
RNG = SeededRng("published server")


def open_store(folder: Path) -> SqliteStore:
    return SqliteStore.open(folder, role=Party.S1, agreement=PARAMS.agreement, key_id=PK.key_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with open_store(tmp_path) as opened:
        yield opened


def changes(store: SqliteStore) -> list[str]:
    return [row.kind for row in store.audit()]


def labels_of(gateway: PublishedGateway) -> dict[Handle, bytes]:
    return {one.handle: one.label for one in gateway.roster().entries}


@pytest.fixture
def s1(store: SqliteStore) -> Iterator[PublishedGateway]:
    gateway = PublishedGateway(PK, S1, PARAMS, store, RNG, zeros=5, smul_tuples=3)
    yield gateway
    gateway.close()


@pytest.fixture
def s2() -> Iterator[PublishedPeer]:
    peer = PublishedPeer(PK, S2, PARAMS, RNG, zeros=4)
    yield peer
    peer.close()


def new_entry(template: Template, name: str) -> NewEntry:
    raw = client.encrypt_template(PK, PARAMS, template, RNG)
    return NewEntry(EnrolmentId(RNG.bytes(16)), ClientId("door"), name.encode(), raw)


def enroll(gateway: PublishedGateway, items: Sequence[NewEntry]) -> list[Handle | PuraError]:
    done = advance(gateway.enroll(items), None)
    return done.result  # type: ignore[union-attr, return-value]


def ask(
    gateway: PublishedGateway, peer: PublishedPeer, template: Template, handles: Sequence[Handle] | None = None
) -> list[Handle]:
    rho, mask = client.make_mask(PK, PARAMS, RNG)
    raw = client.encrypt_template(PK, PARAMS, template, RNG)
    query = Query(RequestId(RNG.bytes(16)), raw, b"", mask)
    party = gateway.identify(query) if handles is None else gateway.verify(query, handles)
    answer, _ = run_pair(party, peer.session())
    assert isinstance(answer, Answer)
    assert len(answer.opened) == 14
    assert answer.share == answer.sealed == b""
    return client.open_answer(PK, PARAMS, rho, answer.opened)


def test_the_whole_job(s1: PublishedGateway, s2: PublishedPeer, store: SqliteStore, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    gallery = draw.integers(-16, 17, (5, 6))
    items = [new_entry(y, f"person {i}") for i, y in enumerate(gallery)]
    assert ask(s1, s2, gallery[0]) == []
    handles = [h for h in enroll(s1, items) if isinstance(h, int)]
    assert len(set(handles)) == 5
    assert NOBODY not in handles
    assert changes(store) == ["enrol"]
    assert labels_of(s1) == {h: item.label for h, item in zip(handles, items, strict=True)}
    probes = [gallery[3], np.clip(gallery[1] + 2, -16, 16), draw.integers(-16, 17, 6)]
    for probe in probes:
        d = distance2(probe, gallery)
        assert ask(s1, s2, probe) == ([handles[int(d.argmin())]] if d.min() <= PARAMS.tau_identify else [])
    assert ask(s1, s2, gallery[2], handles[2:3]) == handles[2:3]
    assert ask(s1, s2, gallery[2], [handles[4], handles[2], handles[2]]) == handles[2:3]
    assert ask(s1, s2, gallery[2], handles[3:4]) == []
    assert advance(s1.forget([handles[2], handles[2], Handle(1)]), None).result == 1  # type: ignore[union-attr]
    assert ask(s1, s2, gallery[2]) != handles[2:3]
    with pytest.raises(UnknownEntry):
        ask(s1, s2, gallery[2], handles[2:3])
    roster = labels_of(s1)
    store.close()
    with open_store(tmp_path) as reopened:
        again = PublishedGateway(PK, S1, PARAMS, reopened, RNG)
        assert labels_of(again) == roster
        assert ask(again, s2, gallery[4]) == handles[4:5]


@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_a_full_disk_leaves_nothing_behind(
    s1: PublishedGateway, s2: PublishedPeer, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    template = np.arange(6)
    item = new_entry(template, "one")

    def full(_: object) -> None:
        raise StorageFull()

    with monkeypatch.context() as patch:
        patch.setattr(store, step, full)
        with pytest.raises(StorageFull):
            enroll(s1, [item])
    assert (labels_of(s1), store.prepared()) == ({}, [])
    assert ask(s1, s2, template) == []
    (handle,) = enroll(s1, [item])
    with monkeypatch.context() as patch:
        patch.setattr(store, step, full)
        with pytest.raises(StorageFull):
            advance(s1.forget([handle]), None)  # type: ignore[list-item]
    assert ask(s1, s2, template) == [handle]


def test_a_crash_between_preparation_and_commit(s2: PublishedPeer, tmp_path: Path) -> None:
    item = new_entry(np.arange(6), "one")

    class Killed(BaseException):
        pass

    with open_store(tmp_path) as store, pytest.MonkeyPatch.context() as patch:
        s1 = PublishedGateway(PK, S1, PARAMS, store, RNG)

        def killed(_: object) -> None:
            raise Killed

        patch.setattr(store, "commit", killed)
        with pytest.raises(Killed):
            enroll(s1, [item])
        assert len(store.prepared()) == 1
    with open_store(tmp_path) as store:
        s1 = PublishedGateway(PK, S1, PARAMS, store, RNG)
        assert (labels_of(s1), store.prepared()) == ({}, [])
        (handle,) = enroll(s1, [item])
        assert ask(s1, s2, np.arange(6)) == [handle]


@pytest.mark.parametrize(("held", "matches"), [([7, 1, 1, 2, 1, 2], True), ([7, 2, 2, 2, 0, 0], False)])
def test_the_threshold_is_inclusive(s1: PublishedGateway, s2: PublishedPeer, held: list[int], matches: bool) -> None:
    assert sum(v * v for v in held) == PARAMS.tau_identify + (0 if matches else 1)
    (handle,) = enroll(s1, [new_entry(np.array(held), "edge")])
    assert ask(s1, s2, np.zeros(6, dtype=np.int64)) == ([handle] if matches else [])
    assert ask(s1, s2, np.zeros(6, dtype=np.int64), [handle]) == [handle]  # verify's own is one more


def test_enrolment_is_idempotent(s1: PublishedGateway, store: SqliteStore) -> None:
    item = new_entry(np.arange(6), "one")
    (first,) = enroll(s1, [item])
    assert enroll(s1, [item, item]) == [first, first]
    assert changes(store) == ["enrol"]
    for other in (
        dataclasses.replace(item, label=b"two"),
        dataclasses.replace(item, client=ClientId("gate")),
        dataclasses.replace(item, ciphertexts=new_entry(np.arange(6), "one").ciphertexts),
    ):
        (outcome,) = enroll(s1, [other])
        assert isinstance(outcome, EnrolmentConflict)
    twin = new_entry(np.arange(6), "three")
    done = enroll(s1, [twin, twin, dataclasses.replace(twin, label=b"four")])
    assert done[0] == done[1]
    assert isinstance(done[2], EnrolmentConflict)
    assert store.count() == 2


def test_bad_enrolments_do_not_stop_good_ones(s1: PublishedGateway, store: SqliteStore) -> None:
    good = new_entry(np.arange(6), "good")
    size = PK.ciphertext_bytes
    n = int(PK.n)
    bad = [
        good.ciphertexts[:-1],
        good.ciphertexts + b"\x00",
        good.ciphertexts[:-size],
        *(v.to_bytes(size, "big") + good.ciphertexts[size:] for v in (0, n, n * n, n * n + 1, 5 * n)),
    ]
    items = [NewEntry(EnrolmentId(RNG.bytes(16)), ClientId("door"), b"", raw) for raw in bad]
    long = NewEntry(EnrolmentId(RNG.bytes(16)), ClientId("door"), bytes(MAX_LABEL + 1), good.ciphertexts)
    *refused, last, kept = enroll(s1, [*items, long, good])
    assert [type(outcome) for outcome in refused] == [MalformedCiphertext] * len(bad)
    assert isinstance(last, InvalidTemplate)
    assert [one.handle for one in store.roster().entries] == [kept]


def test_bad_queries(s1: PublishedGateway, s2: PublishedPeer) -> None:
    enroll(s1, [new_entry(np.arange(6), "one")])
    raw = client.encrypt_template(PK, PARAMS, np.arange(6), RNG)
    _, mask = client.make_mask(PK, PARAMS, RNG)
    for ciphertexts, value in ((raw[:-1], mask), (raw, b""), (raw, bytes(len(mask))), (raw + raw, mask)):
        with pytest.raises(MalformedCiphertext):
            run_pair(s1.identify(Query(RequestId(bytes(16)), ciphertexts, b"", value)), s2.session())
    huge = PK.dump_many(PK.encrypt(1 << 200, RNG) for _ in range(6))
    with pytest.raises(InvalidTemplate):
        run_pair(s1.identify(Query(RequestId(bytes(16)), huge, b"", mask)), s2.session())


def test_a_mask_out_of_range_changes_nothing_but_its_own_answer(s1: PublishedGateway, s2: PublishedPeer) -> None:
    (handle,) = enroll(s1, [new_entry(np.arange(6), "one")])
    raw = client.encrypt_template(PK, PARAMS, np.arange(6), RNG)
    for rho in (-5, 1 << 1500):
        query = Query(RequestId(bytes(16)), raw, b"", PK.dump(PK.encrypt(rho, RNG)))
        answer, _ = run_pair(s1.identify(query), s2.session())
        assert int.from_bytes(answer.opened, "big") == (handle + rho) % (1 << 112)


def test_refilling(s1: PublishedGateway, s2: PublishedPeer) -> None:
    while (party := s1.refill()) is not None:
        run_pair(party, s2_idle())
    assert s1.levels() == {"entries": 0, "zeros": 5, "smul_tuples": 3}
    until(lambda: s2.levels()["zeros"] >= 4)
    assert s2.levels() == {"zeros": 4, "smul_tuples": 0}


def s2_idle():  # type: ignore[no-untyped-def]
    yield from ()


def test_s2_refuses_an_impossible_gallery(s2: PublishedPeer) -> None:
    with pytest.raises(ProtocolError):
        run_pair(send(MatchOpen(MAX_ENTRIES + 1)), s2.session())


def test_one_candidate_only(store: SqliteStore) -> None:
    with pytest.raises(BadConfig):
        PublishedGateway(PK, S1, dataclasses.replace(PARAMS, top_k=2), store, RNG)
