"""Engine prepared in two servers on real stores: enrol, ask, verify, forget, refill, come back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import deal_base_ots
from pair import LatticePair, Pair, directions, templates

from pura.crypto.masks import MaskKeys
from pura.crypto.proof import encrypt
from pura.crypto.rng import SeededRng
from pura.errors import (
    EnrolmentConflict,
    InvalidTemplate,
    MalformedCiphertext,
    MalformedMessage,
    ProtocolError,
    UnknownEntry,
)
from pura.ids import BlockId, Handle, Party
from pura.protocols.prepared.correlations import SLOTS
from pura.rounds import run_pair, send
from pura_bench import gallery
from pura_server.backend import MAX_LABEL
from pura_server.prepared.offline import Kind
from pura_server.prepared.session import ECHOES
from pura_server.prepared.wire import Commit


@pytest.fixture(params=[Pair, LatticePair])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Pair:
    made: Pair = request.param(tmp_path, dimension=16, scale=16, tau=256, packs=3, light_packs=1)
    made.connect()
    return made


def test_everything_that_a_client_does(pair: Pair) -> None:
    ys = templates(pair.params, 12)
    assert pair.ask(ys[0]) == []
    handles = pair.enroll(ys)
    for y in ys:
        assert pair.check(y)
    pair.refill()
    assert pair.s1.levels() == {"entries": 12.0, "blocks": 1.0, "packs": 3.0, "packs_light": 1.0}
    for y in ys[:4]:
        pair.check(y)
        pair.check(y, handles[:3])
    assert pair.forget([handles[0], handles[5], Handle(77)]) == 2
    assert pair.forget([handles[0]]) == 0
    pair.check(ys[0])
    with pytest.raises(UnknownEntry):
        pair.ask(ys[0], [handles[0]])
    pair.enroll(ys[:1])
    pair.check(ys[0])


def test_servers_come_back_to_the_gallery_that_they_left(pair: Pair) -> None:
    ys = templates(pair.params, 6)
    handles = pair.enroll(ys)
    pair.forget(handles[1:2])
    pair.close()
    pair.open()
    pair.connect()
    for y in ys:
        pair.check(y)
    pair.enroll(ys[1:2])
    pair.refill()
    for y in ys:
        pair.check(y)


def test_a_template_of_another_length_is_refused_at_enrolment_and_nobody_in_a_question(pair: Pair) -> None:
    y = np.array([8, -8, 8, 8] + 12 * [0])
    longer, shorter = y.copy(), y.copy()
    longer[15], shorter[3] = 1, 7
    items = [pair.entry(v) for v in (longer, y, shorter)]
    first, handle, last = pair.run(pair.s1.enroll(items))
    assert isinstance(first, InvalidTemplate)
    assert isinstance(last, InvalidTemplate)
    pair.model[handle] = y
    assert pair.ask(y) == [handle]
    assert pair.ask(longer) == []
    assert pair.ask(shorter) == []


def test_an_enrolment_is_idempotent(pair: Pair) -> None:
    one, two = (pair.entry(y) for y in templates(pair.params, 2))
    (handle,) = pair.run(pair.s1.enroll([one]))
    assert pair.run(pair.s1.enroll([one])) == [handle]
    (conflict,) = pair.run(pair.s1.enroll([type(one)(one.enrolment_id, one.client, b"", two.ciphertexts)]))
    assert isinstance(conflict, EnrolmentConflict)


def test_packs_are_completed_when_the_gallery_grows(pair: Pair) -> None:
    ys = templates(pair.params, 40, seed=3)
    pair.enroll(ys[:2])
    pair.refill()
    pair.enroll(ys[2:])
    assert pair.s1.levels()["packs"] == 0, "none could be used as it is"
    pair.check(ys[7])
    pair.refill()
    assert pair.s1.levels()["packs"] == 3
    pair.check(ys[8])


def test_a_block_whose_entries_fit_into_others_goes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ys = templates(pair.params, 30, seed=9)
    takes = pair.s1._pictures.slots.take
    handles = pair.enroll(ys[:10])
    monkeypatch.setattr(pair.s1._pictures.slots, "take", lambda n: [(BlockId(3), 4000 + i) for i in range(n)])
    handles += pair.enroll(ys[10:20])
    monkeypatch.setattr(pair.s1._pictures.slots, "take", takes)
    pair.forget(handles[2:4])
    assert pair.s1.levels()["blocks"] == 2
    before = pair.s1._pictures.latest()
    pair.refill()
    after = pair.s1._pictures.latest()
    assert pair.s1.levels()["blocks"] == 1
    moved = np.isin(after.handles, np.array(handles[:10], np.uint64))
    assert len(after) == len(before) == 18
    assert not set(after.places[moved].tolist()) & set(before.places.tolist())
    for y in ys[:20]:
        pair.check(y)
    pair.enroll(ys[20:])
    pair.close()
    pair.open()
    pair.connect()
    for y in ys:
        pair.check(y)


def test_entries_follow_to_new_keys_of_masks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ys = templates(pair.params, 5, seed=2)
    pair.enroll(ys)
    for later in (Party.S1, Party.S2):
        pair.close()
        old = pair.mask_keys

        def keys(party: Party, before: Any = old, later: Party = later) -> MaskKeys:
            known = before(party)
            return known.renewed(SeededRng(b"later")) if party is later else known

        monkeypatch.setattr(pair, "mask_keys", keys)
        pair.open()
        pair.connect()
        pair.check(ys[0])
        rows = pair.store1.bodies(list(pair.model))
        pair.refill()
        changed = pair.store1.bodies(list(pair.model))
        assert all(a != b for a, b in zip(rows, changed, strict=True))
        assert pair.store2.bodies(list(pair.model)) == changed
        for y in ys:
            pair.check(y)
    pair.close()
    monkeypatch.setattr(pair, "mask_keys", lambda party, every=pair.mask_keys: every(party).latest())
    pair.open()
    pair.connect()
    for y in ys:
        pair.check(y)


@pytest.mark.parametrize("who", [Party.S1, Party.S2])
def test_a_full_block_after_one_server_started_anew(tmp_path: Path, who: Party) -> None:
    """The other one still knows which masks the block had; that must not count."""
    pair = Pair(tmp_path, dimension=16, scale=16, tau=256, packs=1, light_packs=0)
    ys = templates(pair.params, SLOTS)
    keys = pair.mask_keys(Party.S1), pair.mask_keys(Party.S2)
    both = gallery.changes(pair.params, keys, ys, np.arange(SLOTS), ["p"] * SLOTS, pair.rng)
    for store, change in zip((pair.store1, pair.store2), both, strict=True):
        store.apply(change)
    pair.close()
    pair.open()
    pair.connect()
    if who is Party.S1:
        pair.store1.close()
        pair.open_s1()
    else:
        pair.store2.close()
        pair.open_s2()
    pair.connect()
    pair.refill()
    assert pair.s1.levels()["packs"] == 1
    assert len(pair.ask(ys[0])) == 1
    pair.close()


# --- where it does not matter how the correlations are made -----------------------------------------


@pytest.fixture
def dealt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    deal_base_ots(monkeypatch)
    made = Pair(tmp_path, dimension=16, scale=16, tau=256, packs=3, light_packs=1)
    made.connect()
    yield made
    made.close()


def test_of_equal_entries_the_first_answers(dealt: Pair) -> None:
    x, other = templates(dealt.params, 2)
    handles = dealt.enroll(np.array([-x, x, other, x]))
    assert [dealt.ask(x) for _ in range(8)] == [[handles[1]]] * 8


def test_the_k_nearest_in_order(tmp_path: Path) -> None:
    pair = Pair(tmp_path, dimension=16, scale=16, tau=1024, top_k=5, packs=1, light_packs=0)
    pair.connect()
    ys = directions(pair.params, 23)
    pair.enroll(ys)
    pair.refill()
    for x in ys[:3]:
        assert len(pair.check(x)) == 5
    pair.check(ys[0], list(pair.model)[:2])
    pair.close()


def test_forgetting_is_in_the_log_of_the_store(dealt: Pair) -> None:
    ys = templates(dealt.params, 4)
    dealt.enroll(ys)
    assert dealt.forget(list(dealt.model)) == 4
    assert dealt.s1.levels()["entries"] == dealt.s2.levels()["entries"] == 0
    assert dealt.check(ys[0]) == []
    assert [row.kind for row in dealt.store1.audit()] == ["enrol", "erase"]


def test_an_enrolment_is_done_once(dealt: Pair) -> None:
    ys = templates(dealt.params, 2)
    item = dealt.entry(ys[0], b"label")
    (handle,) = dealt.run(dealt.s1.enroll([item]))
    assert dealt.run(dealt.s1.enroll([item])) == [handle]
    assert dealt.run(dealt.s1.enroll([dealt.again(item)])) == [handle]
    other = dataclasses.replace(item, ciphertexts=dealt.entry(ys[1]).ciphertexts)
    twice = dealt.entry(ys[1])
    conflict, fine, second = dealt.run(dealt.s1.enroll([other, twice, twice]))
    assert isinstance(conflict, EnrolmentConflict)
    assert isinstance(fine, int)
    assert isinstance(second, EnrolmentConflict)
    assert dealt.labels() == {handle: b"label", fine: b""}


def test_a_bad_template_hurts_only_itself(dealt: Pair) -> None:
    ys = templates(dealt.params, 3)
    short = dataclasses.replace(dealt.entry(ys[0]), ciphertexts=b"")
    long_label = dealt.entry(ys[0], bytes(MAX_LABEL + 1))
    # its author knows what is inside, and proves it: that makes no template of it
    wide = encrypt(dealt.pk, [int(dealt.pk.n) - 1], dealt.rng)
    good = dealt.entry(ys[2])
    outcomes = dealt.run(dealt.s1.enroll([short, long_label, dealt.entry_of(wide), good]))
    assert [type(o) for o in outcomes[:3]] == [MalformedCiphertext, InvalidTemplate, InvalidTemplate]
    dealt.model = {outcomes[3]: ys[2]}
    query, session = dealt.query_of(wide)
    assert dealt.opened(query, session, dealt.run(dealt.s1.identify(query))).handles == []
    dealt.check(ys[2])


def test_a_bad_question_is_refused_before_anything_is_sent(dealt: Pair) -> None:
    query, _ = dealt.query(templates(dealt.params, 1)[0])
    with pytest.raises(MalformedMessage):
        dealt.run(dealt.s1.identify(dataclasses.replace(query, seal_key=bytes(32))))
    with pytest.raises(MalformedCiphertext):
        dealt.run(dealt.s1.identify(dataclasses.replace(query, ciphertexts=query.ciphertexts + b"\0")))
    with pytest.raises(UnknownEntry):
        dealt.run(dealt.s1.verify(query, []))
    assert dealt.tally.bytes_sent == 0


def test_s2_refuses_what_opens_nothing(dealt: Pair) -> None:
    with pytest.raises(ProtocolError):
        run_pair(send(Commit()), dealt.s2.session())


def test_a_slow_line_is_measured_and_gets_fewer_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read before and after the echoes: 10 ms a round."""
    deal_base_ots(monkeypatch)
    times = iter([0.0, 0.0, ECHOES * 0.01])
    pair = Pair(tmp_path, dimension=16, scale=16, tau=256, packs=0, light_packs=0, clock=lambda: next(times, 1.0))
    pair.connect()
    ys = templates(pair.params, 60)
    pair.enroll(ys)
    pair.check(ys[0])
    slow = pair.tally.rounds
    pair.s1._round_s = 0.0
    pair.check(ys[0])
    assert slow < pair.tally.rounds
    pair.close()


def test_base_ots_are_renewed_when_many_forks_were_made(dealt: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ys = templates(dealt.params, 2)
    dealt.enroll(ys)
    dealt.refill()
    before = dealt.s1._session
    monkeypatch.setattr("pura_server.prepared.gateway.MAX_FORKS", 1)
    party = dealt.s1.refill()
    assert party is not None
    dealt.run(party)
    assert dealt.s1._session is not before
    assert dealt.s2.levels()["packs"] == 0
    dealt.check(ys[0])


def test_of_a_large_gallery_products_are_made_for_more_packs_than_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pura_server.prepared.gateway.PIECE", 1)  # so four packs at a time
    pair = LatticePair(tmp_path, dimension=16, scale=16, tau=256, packs=10, light_packs=0)
    pair.connect()
    ys = templates(pair.params, 12)
    pair.enroll(ys)
    made = []
    while (party := pair.s1.refill()) is not None:
        pair.run(party)
        made.append((pair.s1.levels()["packs"], pair.s1._shelf.count(Kind.FULL)))
    assert made == [(0, 16), (4, 16), (8, 16), (10, 16)]
    for y in ys[:3]:
        pair.check(y)
    assert pair.s1.levels()["packs"] == 7, "one that lacks nothing goes first"
    assert pair.refill() == 1
    assert (pair.s1.levels()["packs"], pair.s1._shelf.count(Kind.FULL)) == (10, 13)
    pair.s1._shelf.clear()
    pair.run(pair.s1.refill())  # products only
    pair.check(ys[3])  # the stock is made on the spot


def test_masks_of_an_erased_entry_stay_while_its_slot_is_not_free(pair: Pair) -> None:
    """A question that began before the erasure, and whose products are made after it, meets the entry as it was: else
    its score would be any number, and might win."""
    handles = pair.enroll(templates(pair.params, 3))
    pair.connect()  # the free slots have other nonces than the entries now
    pictures = [pair.s1._pictures, pair.s2._pictures]
    (block,) = [BlockId(b) for b in pictures[0].latest().blocks]
    masked = pictures[0].latest().blocks[block].masked
    before = [each.masks(masked).copy() for each in pictures]
    slot = int(pictures[0].latest().places[list(pictures[0].latest().handles).index(handles[1])]) % SLOTS
    pair.forget([handles[1]])
    for each, earlier in zip(pictures, before, strict=True):
        assert len(each.latest()) == 2
        assert (each.masks(masked) == earlier).all()
    pair.connect()  # and now it is free: another mask
    masked = pair.s1._pictures.latest().blocks[block].masked
    for each, earlier in zip([pair.s1._pictures, pair.s2._pictures], before, strict=True):
        assert (each.masks(masked)[slot] != earlier[slot]).any()
