"""Engine packed behind the two backends, on real stores: enrol, ask, forget, refill, compact, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packed_pair import Pair, templates

from pura.errors import (
    EnrolmentConflict,
    InvalidTemplate,
    MalformedCiphertext,
    MalformedMessage,
    MaterialUsed,
    NotReady,
    ProtocolError,
    UnknownEntry,
)
from pura.ids import Handle
from pura.rounds import run_pair, send
from pura_server.packed.change import MAX_LABEL
from pura_server.packed.gateway import ECHOES
from pura_server.packed.offline import Kind
from pura_server.packed.wire import Commit

D = 6
NEAR = 150_000
"""tau: of random vectors of 6 coordinates a few are this near."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, dimension=D, tau=NEAR, packs=2, light_packs=1)
    made.connect()
    yield made
    made.close()


def kinds(pair: Pair) -> list[str]:
    return [row.kind for row in pair.store1.audit()]


def test_answers_equal_plain_integers_with_and_without_packs(pair: Pair) -> None:
    ys = templates(pair.params, 95)
    assert pair.check(ys[0]) == []  # an empty gallery
    handles = pair.enroll(ys)
    for inline in (True, False):
        if not inline:
            assert pair.refill() == 3
        for x in (ys[3], *templates(pair.params, 2, 9)):
            pair.check(x)
        assert pair.check(ys[4], handles[4:5]) == [handles[4]]
        assert pair.check(-ys[4], handles[4:5]) == []
        pair.check(ys[5], handles[90:])
    assert pair.s1.levels()["entries"] == pair.s2.levels()["entries"] == 95
    assert pair.s1.levels()["blocks"] == 2


def test_ties_and_single_entries(pair: Pair) -> None:
    y = templates(pair.params, 1)
    first = pair.enroll(y)
    assert pair.check(y[0]) == first
    same = pair.enroll(np.repeat(y, 3, axis=0))
    assert set(pair.check(y[0])) <= {*first, *same}


def test_which_of_equal_entries_answers_tells_nothing_of_a_third(pair: Pair) -> None:
    """Carries between slots depend on the entry one slot below. If they broke ties, about one answer in four would name
    the later twin here, and how many do would tell an asker how near the entry below is."""
    x, other = templates(pair.params, 2)
    handles = pair.enroll(np.array([-x, x, other, x]))
    assert [pair.ask(x) for _ in range(30)] == [[handles[1]]] * 30


def test_what_was_confirmed_is_there_after_a_restart(pair: Pair) -> None:
    ys = templates(pair.params, 5)
    pair.enroll(ys[:4])
    pair.refill()
    pair.close()
    pair.open()
    with pytest.raises(NotReady):
        pair.ask(ys[0])
    pair.connect()
    for x in ys:
        pair.check(x)
    pair.enroll(ys[4:])
    pair.check(ys[4])


def test_the_k_nearest_in_order(tmp_path: Path) -> None:
    pair = Pair(tmp_path, dimension=D, tau=4 * NEAR, top_k=5, packs=1, light_packs=0)
    pair.connect()
    ys = templates(pair.params, 23)
    pair.enroll(ys)
    pair.refill()
    for x in ys[:3]:
        assert len(pair.check(x)) == 5
    pair.check(ys[0], list(pair.model)[:2])
    pair.close()


def test_forgetting_empties_the_slot_and_the_store(pair: Pair) -> None:
    ys = templates(pair.params, 6)
    handles = pair.enroll(ys)
    pair.refill()
    assert pair.forget([*handles[:2], Handle(12345)]) == 2
    assert pair.forget(handles[:2]) == 0
    for x in ys:
        pair.check(x)
    with pytest.raises(UnknownEntry):
        pair.ask(ys[0], handles[:1])
    assert pair.store1.by_handle(handles[0]) is None
    again = pair.enroll(ys[:2])
    assert not set(again) & set(handles)
    pair.check(ys[0])
    assert pair.forget(list(pair.model)) == 6
    assert pair.s1.levels()["blocks"] == pair.s2.levels()["blocks"] == 0
    assert pair.check(ys[0]) == []
    assert kinds(pair) == ["enrol", "erase", "enrol", "erase"]


def test_compaction_frees_a_block_and_changes_no_answer(pair: Pair) -> None:
    capacity = pair.s1._side.columns.entries
    ys = templates(pair.params, capacity + 10)
    handles = pair.enroll(ys)
    pair.forget(handles[5:40])
    assert pair.s1.levels()["blocks"] == 2
    assert pair.refill() > 3
    assert pair.s1.levels()["blocks"] == pair.s2.levels()["blocks"] == 1
    assert "compact" in kinds(pair)
    for x in (*ys[:2], *ys[-2:], ys[20]):
        pair.check(x)
    pair.close()
    pair.open()
    pair.connect()
    pair.check(ys[-1])
    pair.forget(handles[-3:])
    pair.check(ys[-1])


def test_an_enrolment_is_done_once(pair: Pair) -> None:
    ys = templates(pair.params, 2)
    item = pair.entry(ys[0], b"label")
    (handle,) = pair.run(pair.s1.enroll([item]))
    assert pair.run(pair.s1.enroll([item])) == [handle]
    other = dataclasses.replace(item, ciphertexts=pair.entry(ys[1]).ciphertexts)
    twice = pair.entry(ys[1])
    (conflict, fine, second) = pair.run(pair.s1.enroll([other, twice, twice]))
    assert isinstance(conflict, EnrolmentConflict)
    assert isinstance(fine, int)
    assert isinstance(second, EnrolmentConflict)
    assert pair.s1.roster() == [(handle, b"label"), (fine, b"")]


def test_a_bad_template_hurts_only_itself(pair: Pair) -> None:
    ys = templates(pair.params, 3)
    short = dataclasses.replace(pair.entry(ys[0]), ciphertexts=b"")
    long_label = pair.entry(ys[0], bytes(MAX_LABEL + 1))
    too_long = pair.entry(ys[1])
    raw = pair.pk.dump_many(
        pair.pk.encrypt(p, pair.rng) for p in pair.s1._side.rows.pack_raw([2 * pair.params.scale] * D)
    )
    too_long = dataclasses.replace(too_long, ciphertexts=raw)
    wide = dataclasses.replace(pair.entry(ys[1]), ciphertexts=pair.pk.dump(pair.pk.encrypt(-1, pair.rng)))
    good = pair.entry(ys[2])
    outcomes = pair.run(pair.s1.enroll([short, long_label, too_long, wide, good]))
    assert [type(o) for o in outcomes[:4]] == [MalformedCiphertext, InvalidTemplate, InvalidTemplate, InvalidTemplate]
    pair.model = {outcomes[4]: ys[2]}
    pair.check(ys[2])
    for item in (too_long, wide):
        query, _ = pair.query(ys[0])
        query = dataclasses.replace(query, ciphertexts=item.ciphertexts)
        with pytest.raises(InvalidTemplate):
            pair.run(pair.s1.identify(query))
    pair.check(ys[2])


def test_a_vector_that_would_wrap_matches_nobody(pair: Pair) -> None:
    """Without the norm check a huge random vector matches a share of all entries."""
    pair.enroll(templates(pair.params, 20))
    side = pair.s1._side
    for seed in range(3):
        slots = [int(v) for v in np.random.default_rng(seed).integers(0, 1 << side.rows.mask_bits, D)]
        query, _ = pair.query(templates(pair.params, 1)[0])
        raw = side.pk.dump_many(side.pk.encrypt(p, pair.rng) for p in side.rows.pack_raw(slots))
        with pytest.raises(InvalidTemplate):
            pair.run(pair.s1.identify(dataclasses.replace(query, ciphertexts=raw)))


def test_a_bad_question_is_refused_before_anything_is_sent(pair: Pair) -> None:
    x = templates(pair.params, 1)[0]
    query, _ = pair.query(x)
    with pytest.raises(MalformedMessage):
        pair.run(pair.s1.identify(dataclasses.replace(query, seal_key=bytes(32))))
    with pytest.raises(MalformedCiphertext):
        pair.run(pair.s1.identify(dataclasses.replace(query, ciphertexts=query.ciphertexts + b"\0")))
    with pytest.raises(UnknownEntry):
        pair.run(pair.s1.verify(query, []))
    assert pair.tally.bytes_sent == 0


def test_a_pack_is_used_once(pair: Pair) -> None:
    ys = templates(pair.params, 3)
    pair.enroll(ys)
    pair.refill()
    taken = pair.s1._shelf.take(Kind.FULL)
    assert taken is not None
    for _ in range(2):  # at the front for the question that may use it, then for one that may not
        while pair.s1._shelf.take(Kind.FULL):
            pass
        pair.s1._shelf.put(Kind.FULL, *taken)
        if not taken[1].used:
            pair.check(ys[0])
    with pytest.raises(MaterialUsed):
        pair.ask(ys[0])
    pair.check(ys[0])


def test_s2_refuses_what_opens_nothing(pair: Pair) -> None:
    with pytest.raises(ProtocolError):
        run_pair(send(Commit()), pair.s2.session())


def test_nothing_prints_a_secret(pair: Pair) -> None:
    pair.refill()
    _, pack = pair.s1._shelf.take(Kind.FULL)  # type: ignore[misc]
    for thing in (pack, pack.masks, pack.cross, pack.stock, pair.s1._ends, pair.s1._side.share):
        assert str(pack.masks.r[0]) not in repr(thing)
        assert len(repr(thing)) < 120


def test_base_ots_are_renewed_when_many_forks_were_made(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    ys = templates(pair.params, 2)
    pair.enroll(ys)
    pair.refill()
    before = pair.s1._ends
    monkeypatch.setattr("pura_server.packed.gateway.MAX_FORKS", 2)
    party = pair.s1.refill()
    assert party is not None
    pair.run(party)
    assert pair.s1._ends is not before
    assert pair.s2.levels()["packs"] == 0
    pair.check(ys[0])


def test_a_slow_line_is_measured_and_gets_larger_groups(tmp_path: Path) -> None:
    """The clock is read before and after the echoes: 10 ms a round."""
    times = iter([0.0, 0.0, ECHOES * 0.01])
    pair = Pair(tmp_path, dimension=D, tau=NEAR, packs=0, light_packs=0, clock=lambda: next(times, 1.0))
    pair.connect()
    pair.enroll(templates(pair.params, 60))
    pair.check(templates(pair.params, 1)[0])
    slow = pair.tally.rounds
    pair.s1._round_s = 0.0
    pair.check(templates(pair.params, 1)[0])
    assert slow < 0.7 * pair.tally.rounds
    pair.close()
