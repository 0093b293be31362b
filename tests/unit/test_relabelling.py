"""Other labels for entries: what the two servers make of a wish, and that a signed one cannot be used for more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pair import FIXTURES, Pair, templates

from pura.crypto.context import NO_CERTIFICATE, NewLabel, label_hash
from pura.crypto.sign import SigningKey
from pura.errors import LabelConflict, NotAuthorised, OutOfRange, ProtocolError, StaleEpoch
from pura.groups import Right
from pura.ids import Epoch, Handle
from pura.store import Relabel
from pura_client import engines
from pura_server.backend import MAX_LABEL
from pura_server.claims import Gate, Order
from pura_server.groups import GroupBook
from pura_server.prepared import change
from pura_server.requests import labels_of, order_of

GROUP = FIXTURES / "test-group"
KEYS = {right: SigningKey.load(GROUP / f"group-{right}.key") for right in Right}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path, dimension=16, scale=16, tau=0, packs=1, light_packs=1)
    made.connect()
    return made


def test_entries_get_other_labels_and_everything_else_stays(pair: Pair) -> None:
    ys = templates(pair.params, 3)
    one, two, three = pair.enroll(ys)
    before = pair.s1.roster()
    bodies = pair.store1.bodies([one, two, three])
    assert pair.relabel({one: b"first", three: b"third", Handle(99): b"nobody"}) == 2
    after = pair.s1.roster()
    assert after.generation == before.generation + 1
    assert after.digest != before.digest
    assert pair.labels() == {one: b"first", two: b"", three: b"third"}
    assert {entry.handle: entry.label for entry in pair.store2.entries()} == pair.labels()
    assert pair.store1.bodies([one, two, three]) == bodies
    changes = pair.s1.roster(before.generation)
    assert not changes.full
    assert {entry.handle for entry in changes.entries} == {one, three}
    assert pair.verifier.roster(changes.signature, changes.generation, changes.digest)
    for y in ys:
        pair.check(y)
    assert [row.kind for row in pair.store2.audit()] == ["enrol", "relabel"]
    assert [row.relabels for row in pair.store2.audit()] == [0, 2]
    pair.close()
    pair.open()
    pair.connect()
    assert pair.labels()[one] == b"first"


def test_what_is_done_is_done_and_what_was_changed_meanwhile_is_refused(pair: Pair) -> None:
    one, two = pair.enroll(templates(pair.params, 2))
    wish = pair.new_labels({one: b"first", two: b"second"})
    assert pair.run(pair.s1.relabel(wish)) == 2
    generation = pair.s1.roster().generation
    assert pair.run(pair.s1.relabel(wish)) == 2
    assert pair.s1.roster().generation == generation, "nothing was left to do"
    pair.relabel({one: b"later"})
    with pytest.raises(LabelConflict):
        pair.run(pair.s1.relabel(wish))
    assert pair.labels() == {one: b"later", two: b"second"}
    pair.forget([one])
    assert pair.run(pair.s1.relabel(wish)) == 1


def test_wishes_that_no_client_has(pair: Pair) -> None:
    (one,) = pair.enroll(templates(pair.params, 1))
    (wish,) = pair.new_labels({one: b"first"})
    with pytest.raises(OutOfRange):
        pair.run(pair.s1.relabel([wish, wish]))
    with pytest.raises(OutOfRange):
        pair.run(pair.s1.relabel([wish._replace(label=bytes(MAX_LABEL + 1))]))
    assert pair.labels() == {one: b""}
    assert "first" not in repr(wish)


def gate_of(pair: Pair) -> Gate:
    return Gate(pair.s2._gate._examiner, pair.s2._gate.epochs, GroupBook(GROUP / "groups.json"))


def signed(pair: Pair, labels: list[NewLabel], keys: Any = KEYS) -> Order:
    author = engines.Author(pair.pk, pair.params, NO_CERTIFICATE, keys, pair.verifier)
    request = engines.relabelling(author, labels, pair.epoch(), pair.rng)
    assert labels_of(request) == labels
    return order_of(request, NO_CERTIFICATE)


def test_s2_takes_what_a_group_signed_and_nothing_else(pair: Pair) -> None:
    one, two = pair.enroll(templates(pair.params, 2))
    pair.s2._gate = gate_of(pair)
    wish = pair.new_labels({one: b"first", two: b"second"})
    order = signed(pair, wish)
    shuffled = {Right.ASK: KEYS[Right.ENROL], Right.ENROL: KEYS[Right.ERASE], Right.ERASE: KEYS[Right.ASK]}
    other = [wish[0], wish[1]._replace(label=b"somebody else")]
    swapped = [wish[0]._replace(label=wish[1].label), wish[1]._replace(label=wish[0].label)]
    cases = [
        (wish[:1], order, NotAuthorised),
        (other, order, NotAuthorised),
        (swapped, order, NotAuthorised),
        ([*wish, NewLabel(Handle(7), bytes(32), b"x")], order, NotAuthorised),
        (wish, signed(pair, wish, shuffled), NotAuthorised),
        (wish, Order(order.request, Epoch(bytes(16)), order.client, order.group, order.signature), StaleEpoch),
    ]
    for labels, by, kind in cases:
        assert isinstance(pair.run(pair.s1.relabel(labels, by)), kind)
    assert pair.labels() == {one: b"", two: b""}
    assert pair.run(pair.s1.relabel(wish, order)) == 2


def test_an_order_to_rename_is_none_to_erase_and_brings_no_older_label_back(pair: Pair) -> None:
    (one,) = pair.enroll(templates(pair.params, 1))
    pair.s2._gate = gate_of(pair)
    first = pair.new_labels({one: b"first"})
    order = signed(pair, first)
    assert isinstance(pair.run(pair.s1.forget([one], order)), NotAuthorised)
    assert pair.run(pair.s1.relabel(first, order)) == 1
    second = pair.new_labels({one: b"second"})
    assert pair.run(pair.s1.relabel(second, signed(pair, second))) == 1
    with pytest.raises(LabelConflict):  # a right server does not even ask
        pair.run(pair.s1.relabel(first, order))


def test_a_deviating_s1_that_asks_all_the_same(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = pair.enroll(templates(pair.params, 1))
    first = pair.new_labels({one: b"first"})
    pair.relabel({one: b"second"})
    entry = pair.store1.by_handle(one)

    def planned(store: Any, labels: Any) -> Any:
        if store is pair.store1:
            return [Relabel(one, entry.enrolment_id, b"first")], 1
        return real(store, labels)

    real = change.planned
    monkeypatch.setattr(change, "planned", planned)
    with pytest.raises(ProtocolError):
        pair.run(pair.s1.relabel(first))
    assert pair.store2.by_handle(one).label == b"second"
    assert label_hash(b"second") != first[0].before
