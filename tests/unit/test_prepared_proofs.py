"""Engine prepared: both servers look at proofs, each by itself; what one of them lets pass the other does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pair import Pair, directions

from pura.crypto.paillier import PublicKey
from pura.crypto.proof import encrypt
from pura.errors import BadProof, InvalidTemplate, MalformedCiphertext, NotReady, PuraError, StaleEpoch
from pura.ids import ContextDigest, EnrolmentId, Handle
from pura_server.backend import NewEntry, Query
from pura_server.claims import Claim, Proven
from pura_server.epochs import EPOCH_S

D = S = 16


class Credulous:
    """Takes every template: a server that does not look at proofs, or an attacker in its place."""

    def __init__(self, pk: PublicKey, count: int) -> None:
        self._pk, self._count = pk, count

    def question(self, ciphertexts: bytes, *_: Any) -> Proven:
        return Proven(self._pk.load_many(ciphertexts, self._count), bytes(16), ContextDigest(b""))

    enrolment = question


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, dimension=D, scale=S, tau=S * S, packs=0, light_packs=0)
    made.connect()
    yield made
    made.close()


@pytest.fixture
def credulous(pair: Pair) -> Pair:
    """S1 looks at nothing: all that is left is S2."""
    pair.s1._examiner = Credulous(pair.pk, 1)  # type: ignore[assignment]
    return pair


def outcome(pair: Pair, item: NewEntry) -> Handle | PuraError:
    (one,) = pair.run(pair.s1.enroll([item]))
    return one


def malleated(pair: Pair, raw: bytes) -> dict[str, bytes]:
    """What anybody can make of another's ciphertexts."""
    pk = pair.pk
    (c,) = pk.load_many(raw, 1)
    return {
        "re-randomised": pk.dump(pk.rerandomise(c, pair.rng)),
        "shifted": pk.dump(pk.add_plain(c, 1)),
        "scaled": pk.dump(pk.scale(c, 1 << 40)),
        "with a template of one's own": pk.dump(pk.add(c, pk.encrypt(5, pair.rng))),
    }


WHO = pytest.mark.parametrize("who", ["pair", "credulous"], ids=["S1 looks", "S2 looks"])


@WHO
def test_nothing_can_be_made_of_anothers_question(request: pytest.FixtureRequest, who: str) -> None:
    pair: Pair = request.getfixturevalue(who)
    ys = directions(pair.params, 3)
    pair.enroll(ys)
    theirs, _ = pair.query(ys[0])
    mine, _ = pair.query(ys[1])
    for ciphertexts in malleated(pair, theirs.ciphertexts).values():
        for claim in (theirs.claim, mine.claim):
            bad = dataclasses.replace(theirs, ciphertexts=ciphertexts, claim=claim)
            with pytest.raises(BadProof):
                pair.run(pair.s1.identify(bad))
    changes: list[dict[str, Any]] = [
        {"request_id": mine.request_id},  # the whole of it, under an id of one's own
        {"seal_key": mine.seal_key},  # ... and with a key of one's own for the answer
        {"claim": dataclasses.replace(theirs.claim, client=mine.claim.client)},
        {"claim": dataclasses.replace(mine.claim, proof=theirs.claim.proof)},
    ]
    for change in changes:
        with pytest.raises(BadProof):
            pair.run(pair.s1.identify(dataclasses.replace(theirs, **change)))
    with pytest.raises(BadProof):
        pair.run(pair.s1.verify(theirs, [next(iter(pair.model))]))
    assert pair.check(ys[0])


@WHO
def test_a_question_about_some_entries_is_about_no_others(request: pytest.FixtureRequest, who: str) -> None:
    pair: Pair = request.getfixturevalue(who)
    ys = directions(pair.params, 3)
    a, b, c = pair.enroll(ys)
    query, session = pair.query(ys[0], [b, a])
    for named in ([a], [a, c], [a, b, c]):
        with pytest.raises(BadProof):
            pair.run(pair.s1.verify(query, named))
    with pytest.raises(BadProof):
        pair.run(pair.s1.identify(query))
    answer = pair.run(pair.s1.verify(query, [a, b, a]))  # the same entries, however they are named
    assert pair.opened(query, session, answer, [a, b]).handles == [a]


@WHO
def test_nothing_can_be_made_of_anothers_enrolment(request: pytest.FixtureRequest, who: str) -> None:
    pair: Pair = request.getfixturevalue(who)
    ys = directions(pair.params, 2)
    theirs, mine = pair.entry(ys[0], b"theirs"), pair.entry(ys[1], b"mine")
    bad = [dataclasses.replace(theirs, ciphertexts=raw) for raw in malleated(pair, theirs.ciphertexts).values()]
    bad += [
        dataclasses.replace(theirs, label=mine.label),
        dataclasses.replace(theirs, claim=dataclasses.replace(theirs.claim, client=mine.claim.client)),
        dataclasses.replace(mine, ciphertexts=theirs.ciphertexts),
        dataclasses.replace(mine, claim=theirs.claim),
    ]
    question, _ = pair.query(ys[0])
    bad.append(dataclasses.replace(mine, ciphertexts=question.ciphertexts, claim=question.claim))
    bad.append(dataclasses.replace(theirs, enrolment_id=EnrolmentId(b"n" * 16)))
    for item in bad:
        assert isinstance(outcome(pair, item), BadProof)
    refused, handle = pair.run(pair.s1.enroll([bad[0], mine]))  # which hurts nobody else
    assert isinstance(refused, BadProof)
    assert pair.labels() == {handle: b"mine"}


def test_a_proof_is_used_once(pair: Pair) -> None:
    ys = directions(pair.params, 1)
    (known,) = pair.enroll(ys)
    query, session = pair.query(ys[0])
    answer = pair.run(pair.s1.identify(query))
    assert pair.opened(query, session, answer).handles == [known]
    for _ in range(2):  # S1 would not take its id twice; S2 does not take its proof twice
        with pytest.raises(BadProof):
            pair.run(pair.s1.identify(query))
    pair.check(ys[0])


def test_an_enrolment_that_was_refused_is_no_more_when_it_comes_again(pair: Pair) -> None:
    """And it does not get in the way of others."""
    ys = directions(pair.params, 2)
    sealed = encrypt(pair.pk, [0], pair.rng)
    bad = pair.entry_of(sealed)
    assert isinstance(outcome(pair, bad), InvalidTemplate)
    again, good = pair.run(pair.s1.enroll([bad, pair.entry(ys[0])]))
    assert isinstance(again, BadProof)
    pair.model[good] = ys[0]
    assert isinstance(outcome(pair, bad), BadProof)
    assert isinstance(outcome(pair, pair.again(bad)), InvalidTemplate)
    pair.check(ys[0])


def test_a_proof_that_names_an_epoch_that_is_over(tmp_path: Path) -> None:
    now = [0.0]
    pair = Pair(tmp_path, dimension=D, scale=S, tau=S * S, packs=0, light_packs=0)
    pair.s2._gate.epochs._clock = lambda: now[0]
    pair.connect()
    ys = directions(pair.params, 2)
    item, (query, _) = pair.entry(ys[0]), pair.query(ys[0])
    now[0] += EPOCH_S  # one later: still good
    handle = outcome(pair, item)
    assert isinstance(handle, int)
    pair.model[handle] = ys[0]
    now[0] += EPOCH_S
    with pytest.raises(StaleEpoch):
        pair.run(pair.s1.identify(query))
    late = pair.entry(ys[1])
    now[0] += 2 * EPOCH_S
    assert isinstance(outcome(pair, late), StaleEpoch)
    assert isinstance(outcome(pair, pair.again(late)), int)
    pair.check(ys[0])
    pair.close()


def test_a_question_that_s2_could_not_answer_yet_may_come_again_with_its_proof(pair: Pair) -> None:
    """S1 tries again when the two were just changing the gallery: the proof is not used up by that."""
    ys = directions(pair.params, 1)
    (known,) = pair.enroll(ys)
    query, session = pair.query(ys[0])
    find = pair.s2._pictures.find

    def busy(*_: Any) -> Any:
        pair.s2._pictures.find = find  # type: ignore[method-assign]
        raise NotReady()

    pair.s2._pictures.find = busy  # type: ignore[method-assign]
    with pytest.raises(NotReady):
        pair.run(pair.s1.identify(query))
    answer = pair.run(pair.s1.identify(query))
    assert pair.opened(query, session, answer).handles == [known]


def test_s2_keeps_labels_and_enrolment_ids(pair: Pair) -> None:
    ys = directions(pair.params, 3)
    items = [pair.entry(y, b"label %d" % i) for i, y in enumerate(ys)]
    handles = pair.run(pair.s1.enroll(items))
    for handle, item in zip(handles, items, strict=True):
        entry = pair.store2.by_handle(handle)
        assert entry is not None
        assert (entry.enrolment_id, entry.label) == (item.enrolment_id, item.label)
        assert (entry.client, entry.digest) == ("", bytes(32))
    pair.forget(handles[:1])
    assert [entry.label for entry in pair.store2.entries()] == [b"label 1", b"label 2"]


def test_cheap_checks_come_first(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is taken for what a length, an epoch or a range refuses."""
    ys = directions(pair.params, 1)
    pair.enroll(ys)
    query, _ = pair.query(ys[0])

    def expensive(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("pura.crypto.proof.power", expensive)
    long_z1 = query.claim.proof[:16] + b"\xff" * 256 + query.claim.proof[272:]
    for bad, error in (
        (with_proof(query, query.claim.proof[:-1]), BadProof),
        (with_proof(query, long_z1), BadProof),
        (with_proof(query, query.claim.proof[:-83] + b"\xff" * 83), BadProof),
        (dataclasses.replace(query, ciphertexts=bytes(pair.pk.ciphertext_bytes)), MalformedCiphertext),
        (dataclasses.replace(query, ciphertexts=query.ciphertexts[:-1]), MalformedCiphertext),
    ):
        with pytest.raises(error):
            pair.run(pair.s1.identify(bad))
    pair.s1._examiner = Credulous(pair.pk, 1)  # type: ignore[assignment]
    stale = Claim(type(query.claim.epoch)(bytes(16)), query.claim.client, query.claim.proof)
    with pytest.raises(StaleEpoch):
        pair.run(pair.s1.identify(dataclasses.replace(query, claim=stale)))


def with_proof(query: Query, proof: bytes) -> Query:
    return dataclasses.replace(query, claim=dataclasses.replace(query.claim, proof=proof))


def test_a_refusal_says_nothing_of_why() -> None:
    assert {str(BadProof(detail=why)) for why in ("length", "range", "challenge", "used before")} == {str(BadProof())}
