"""The four attacks that broke 0.1 (`pura_bench.security.forged`), kept: they succeed on servers that look at no proof,
and fail on ours, where each is tried with both servers looking, and with either one in league with the client and
looking at nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pair import Pair, directions

from pura.errors import BadProof, EnrolmentConflict, MalformedCiphertext
from pura.ids import ClientId
from pura_bench.security import forged
from pura_bench.security.forged import LOOKING, SECRETS, nothing_but_bad_proof

D, S = 16, 16


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, dimension=D, scale=S, tau=256, packs=0, light_packs=0)
    made.connect()
    yield made
    made.close()


@pytest.fixture
def without_proofs() -> Iterator[None]:
    with forged.without_proofs():
        yield


everywhere = pytest.mark.parametrize("looking", list(LOOKING.values()), ids=list(LOOKING))
Looking = Callable[[Pair], None]


# --- S1's secret --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_s1_and_a_client_read_the_secrets_of_s2(pair: Pair) -> None:
    loot = forged.read_secrets_of_s2(pair)
    assert loot.read == loot.secret
    assert 0 < sum(loot.secret) < SECRETS  # of both kinds


@everywhere
def test_s1_and_a_client_do_not_read_the_secrets_of_s2(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = forged.read_secrets_of_s2(pair)
    assert nothing_but_bad_proof(loot)
    assert pair.labels() == {}


# --- the gallery --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [16, 128])
def test_without_proofs_and_under_masks_of_0_1_a_template_is_read(tmp_path: Path, dimension: int) -> None:
    with forged.as_in_0_1():
        pair = Pair(tmp_path, dimension=dimension, scale=dimension, tau=256, packs=0, light_packs=0)
        pair.connect()
        loot = forged.read_gallery(pair)
        pair.close()
    assert loot.read == loot.secret


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_the_mask_alone_hides_what_lies_above_the_slots(pair: Pair) -> None:
    loot = forged.read_gallery(pair)
    assert loot.told
    assert loot.read != loot.secret


@everywhere
def test_what_was_seen_of_a_template_is_no_use(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = forged.read_gallery(pair)
    assert nothing_but_bad_proof(loot)
    assert loot.read is None


def test_what_s2_has_is_no_template(pair: Pair) -> None:
    """Its disk has no ciphertexts; E is not even of their length."""
    y = directions(pair.params, 1)[0]
    (handle,) = pair.enroll(y[None])
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
    loot = forged.read_row(pair)
    assert loot.read == loot.secret


@everywhere
def test_a_copy_of_rows_cannot_be_tried(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = forged.read_row(pair)
    assert nothing_but_bad_proof(loot)
    assert len(pair.labels()) == 1  # the victim's


# --- a question ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_proofs")
def test_without_proofs_a_recorded_question_tells_who_was_on_the_photo(pair: Pair) -> None:
    loot = forged.read_question(pair)
    assert loot.read == loot.secret


@everywhere
def test_a_recorded_question_cannot_be_asked_again(pair: Pair, looking: Looking) -> None:
    looking(pair)
    loot = forged.read_question(pair)
    assert nothing_but_bad_proof(loot)
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
