"""The four attacks that broke 0.1, kept: they succeed on servers that look at no proof, and fail on ours.

Each is a client with one credential and the view, or the disk, of one server that follows the protocol. What they have
in common is a ciphertext whose sender does not know what is inside.

    S1's secret    a known template plus 20 [s_j], s_j one of S2's secrets: enrolled or refused is s_j
    the gallery    blocks of S2's disk times 2^k, above the slots that S1 masked: no disk has ciphertexts any more
    a row          one coordinate of a stolen template moved by -2 g: it keeps its length if that coordinate is g
    a question     another client's, sent again under an id and with a one-time key of one's own

On ours each is tried with both servers looking, and with either one in league with the client and looking at nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair import Pair, directions, opened_unchecked

from pura.crypto import proof as proofs
from pura.crypto.paillier import PublicKey
from pura.crypto.proof import Sealed
from pura.errors import BadProof, EnrolmentConflict, InvalidTemplate, MalformedCiphertext, PuraError
from pura.ids import ClientId, ContextDigest
from pura.protocols.prepared.client import SealedSession
from pura.protocols.prepared.sizes import Sizes
from pura_server.claims import Proven

D, S = 16, 16
SECRETS = 6
SHIFT = S + 4


@dataclasses.dataclass
class Loot:
    """What an attack came to: what it should read, what it read, and everything that the servers said to the client."""

    secret: Any
    read: Any = None
    told: list[Any] = dataclasses.field(default_factory=list)


# --- the attacks --------------------------------------------------------------------------------------


def read_secrets_of_s2(pair: Pair) -> Loot:
    """S1 and a client. In 0.1 S1 was sent [s_j] under the clients' key; here the test hands them over."""
    loot = Loot(pair.s2._session.ends.sender._delta[:SECRETS].tolist())
    known = np.zeros(D, np.int64)
    known[1] = S
    items = []
    for bit in loot.secret:
        hidden = pair.pk.encrypt(bit, pair.rng)
        items.append(pair.entry_of(shifted(pair, pair.seal(known), pair.pk.scale(hidden, SHIFT))))
    loot.told = list(pair.run(pair.s1.enroll(items)))
    loot.read = [int(isinstance(one, InvalidTemplate)) for one in loot.told]
    return loot


def read_row(pair: Pair) -> Loot:
    """A template's ciphertext as it was on the way, and one credential. In 0.1 a copy of S1's disk was enough."""
    y = directions(pair.params, 1)[0]
    item = pair.entry(y)
    pair.run(pair.s1.enroll([item]))
    (c,) = pair.pk.load_many(item.ciphertexts, 1)
    loot = Loot(y[:2].tolist(), [])
    guesses = [g for g in range(-S, S + 1) if g]
    for j in range(2):
        moved = [pair.pk.add_plain(pair.pk.rerandomise(c, pair.rng), coordinate(pair, j, -2 * g)) for g in guesses]
        outcomes = pair.run(pair.s1.enroll([pair.entry_of(Sealed((m,), (5,), (7,))) for m in moved]))
        loot.told += outcomes
        loot.read.append(sum(g for g, one in zip(guesses, outcomes, strict=True) if not isinstance(one, PuraError)))
    return loot


def read_question(pair: Pair) -> Loot:
    """Either server and a client, or whoever recorded a question."""
    ys = directions(pair.params, 3)
    handles = pair.enroll(ys)
    theirs, _ = pair.query(ys[1])
    pair.run(pair.s1.identify(theirs))
    loot = Loot([handles[1]])
    own = SealedSession.new(pair.rng)
    mine, _ = pair.query(ys[0])
    for claim in (theirs.claim, mine.claim):
        again = dataclasses.replace(mine, ciphertexts=theirs.ciphertexts, seal_key=own.public_key, claim=claim)
        try:
            answer = pair.run(pair.s1.identify(again))
        except PuraError as error:
            loot.told.append(error)
        else:
            loot.read = opened_unchecked(own, answer, again.request_id)
    return loot


def shifted(pair: Pair, own: Sealed, foreign: Any) -> Sealed:
    """One's own template plus what one does not know; with what one knows of it, which makes no proof."""
    return dataclasses.replace(own, ciphertexts=(pair.pk.add(own.ciphertexts[0], foreign),))


def coordinate(pair: Pair, j: int, by: int) -> int:
    """What moves coordinate j of a template."""
    return by << (j * Sizes.of(pair.params).digit_bits)


def question(pair: Pair, sealed: Sealed) -> Any:
    """What a client is told that asks with this template."""
    try:
        return pair.run(pair.s1.identify(pair.query_of(sealed)[0]))
    except PuraError as error:
        return error


# --- the servers --------------------------------------------------------------------------------------


class Credulous:
    """In place of a server's examiner: looks at no proof."""

    def __init__(self, pair: Pair) -> None:
        self._pk, self._rng = pair.pk, pair.rng

    def question(self, ciphertexts: bytes, *_: Any) -> Proven:
        return Proven(self._pk.load_many(ciphertexts, 1), self._rng.bytes(16), ContextDigest(b""))

    enrolment = question


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, dimension=D, scale=S, tau=256, packs=0, light_packs=0)
    made.connect()
    yield made
    made.close()


@pytest.fixture
def without_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that does not check, at either server."""

    def check(pk: PublicKey, ciphertexts: bytes, count: int, proof: bytes, context: ContextDigest) -> proofs.Proven:
        return proofs.Proven(pk.load_many(ciphertexts, count), proof[16:32] + context[:16])

    monkeypatch.setattr("pura.crypto.proof.check", check)


def both(_: Pair) -> None:
    """Both servers look at proofs."""


def only_s2(pair: Pair) -> None:
    """S1 is in league with the client."""
    pair.s1._examiner = Credulous(pair)  # type: ignore[assignment]


def only_s1(pair: Pair) -> None:
    """S2 is in league with the client."""
    pair.s2._gate._examiner = Credulous(pair)  # type: ignore[assignment]


LOOKING = pytest.mark.parametrize("looking", [both, only_s2, only_s1], ids=["both look", "S2 looks", "S1 looks"])
Looking = Callable[[Pair], None]


def nothing_but_bad_proof(loot: Loot) -> None:
    """Every attempt was refused, in the same words, and nothing was read."""
    assert loot.told
    assert {(type(one), str(one)) for one in loot.told} == {(BadProof, str(BadProof()))}
    assert loot.read != loot.secret


# --- S1's secret --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_s1_and_a_client_read_the_secrets_of_s2(pair: Pair) -> None:
    loot = read_secrets_of_s2(pair)
    assert loot.read == loot.secret
    assert 0 < sum(loot.secret) < SECRETS  # of both kinds


@LOOKING
def test_s1_and_a_client_do_not_read_the_secrets_of_s2(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = read_secrets_of_s2(pair)
    nothing_but_bad_proof(loot)
    assert pair.labels() == {}


# --- the gallery --------------------------------------------------------------------------------------


@LOOKING
def test_what_s2_has_is_no_template(pair: Pair, looking: Looking) -> None:
    """Its disk has no ciphertexts; E is not even of their length. What it has seen is malleable, and no use."""
    looking(pair)
    y = directions(pair.params, 1)[0]
    item = pair.entry(y)
    (handle,) = pair.run(pair.s1.enroll([item]))
    (c,) = pair.pk.load_many(item.ciphertexts, 1)
    loot = Loot(y.tolist())
    for k in (0, 40, 800, 1900):
        loot.told.append(question(pair, shifted(pair, pair.seal(y), pair.pk.scale(c, 1 << k))))
    nothing_but_bad_proof(loot)
    (row,) = pair.store2.bodies([handle])
    query, _ = pair.query(y)
    refusals = []
    for raw in (row, row.ljust(pair.pk.ciphertext_bytes, b"\0"), row.rjust(pair.pk.ciphertext_bytes, b"\0")):
        with pytest.raises((BadProof, MalformedCiphertext)) as told:
            pair.run(pair.s1.identify(dataclasses.replace(query, ciphertexts=raw)))
        refusals.append(told.value.code)
    assert refusals[0] == MalformedCiphertext.code


# --- a row --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_a_copy_of_rows_is_read_by_its_length(pair: Pair) -> None:
    loot = read_row(pair)
    assert loot.read == loot.secret


@LOOKING
def test_a_copy_of_rows_cannot_be_tried(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = read_row(pair)
    nothing_but_bad_proof(loot)
    assert len(pair.labels()) == 1  # the victim's


# --- a question ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_a_recorded_question_tells_who_was_on_the_photo(pair: Pair) -> None:
    loot = read_question(pair)
    assert loot.read == loot.secret


@LOOKING
def test_a_recorded_question_cannot_be_asked_again(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = read_question(pair)
    nothing_but_bad_proof(loot)
    assert loot.read is None


# --- what is left -------------------------------------------------------------------------------------


def test_the_label_of_an_erased_entry_can_be_used_again(pair: Pair) -> None:
    """SECURITY.md, "What each right can find out": who may enrol needs no label key for that. Not while it is there."""
    ys = directions(pair.params, 2)
    theirs = pair.entry(ys[0], b"a label that others read")
    (handle,) = pair.run(pair.s1.enroll([theirs]))

    def mine() -> Any:
        item = pair.entry_of(pair.seal(ys[1]), theirs.label, theirs.enrolment_id)
        (outcome,) = pair.run(pair.s1.enroll([dataclasses.replace(item, client=ClientId("another"))]))
        return outcome

    assert isinstance(mine(), EnrolmentConflict)
    assert pair.labels() == {handle: theirs.label}
    pair.forget([handle])
    again = mine()
    assert pair.labels() == {again: theirs.label}
