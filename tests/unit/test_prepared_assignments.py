"""A name stands for one assignment of masks to the slots of a block, for as long as it lives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pura.errors import NotReady
from pura.ids import BlockId
from pura.protocols.prepared.correlations import SLOTS
from pura_server.prepared.assignments import EARLIER, Assignments, Written
from pura_server.prepared.slots import MASKING

BLOCK = BlockId(3)
Masking = NDArray[np.void]


def masked(nonce: int, count: int = 1) -> Masking:
    out = np.zeros(count, MASKING)
    out["nonces"] = nonce
    return out


def written(*slots: int, by: Masking) -> Written:
    return Written(np.array(slots), by, repr((slots, by.tobytes())).encode())


@pytest.fixture
def known() -> Assignments:
    """After a first connection, whose free slots have nonce 1, with two entries of before under nonce 9."""
    made = Assignments()
    made.renew(masked(1), {BLOCK: written(0, 1, by=masked(9, 2))}, fresh=True)
    return made


def nonces(known: Assignments, name: object, *slots: int) -> list[int]:
    found: list[int] = known.find(name)["nonces"][list(slots), 0, 0].tolist()  # type: ignore[arg-type]
    return found


def test_entries_that_come_and_go_change_neither_name_nor_masks(known: Assignments) -> None:
    name = known.name(BLOCK, written(0, 1, by=masked(9, 2)))
    came = Written(np.array([0, 1, 5]), np.concatenate([masked(9, 2), masked(1)]), b"three")
    assert known.name(BLOCK, came) == name
    assert known.name(BLOCK, written(5, by=masked(1))) == name  # both of before are gone
    assert nonces(known, name, 0, 1, 5, 6) == [9, 9, 1, 1]


def test_an_entry_that_gets_other_masks_where_it_is_changes_the_name(known: Assignments) -> None:
    before = known.name(BLOCK, written(0, 1, by=masked(9, 2)))
    after = known.name(BLOCK, Written(np.array([0, 1]), np.concatenate([masked(1), masked(9)]), b"moved"))
    assert after != before
    assert nonces(known, before, 0, 1, 2) == [9, 9, 1], "to a question that began before"
    assert nonces(known, after, 0, 1, 2) == [1, 9, 1]


def test_other_nonces_change_the_names_of_blocks_with_free_slots_only(known: Assignments) -> None:
    full = written(*range(SLOTS), by=masked(1, SLOTS))
    filled = known.name(BlockId(4), full)
    some = written(0, 1, by=masked(9, 2))
    before = known.name(BLOCK, some)
    names = known.renew(masked(2), {BLOCK: some, BlockId(4): full})
    assert names[BlockId(4)] == filled
    assert names[BLOCK] != before
    assert nonces(known, names[BLOCK], 0, 2) == [9, 2]
    assert nonces(known, filled, 0, SLOTS - 1) == [1, 1]
    again = known.renew(masked(3), {BLOCK: some, BlockId(4): full}, fresh=True)
    assert again[BlockId(4)] != filled, "the other server may have started anew"


def test_both_servers_give_the_same_names_whatever_each_has_been_through(known: Assignments) -> None:
    other = Assignments()  # it has just started
    other.name(BLOCK, written(0, 1, by=masked(9, 2)))
    blocks = {BLOCK: written(0, 1, by=masked(9, 2))}
    assert known.renew(masked(2), blocks, fresh=True) == other.renew(masked(2), blocks, fresh=True)
    later = written(0, 1, by=masked(2, 2))
    assert known.name(BLOCK, later) == other.name(BLOCK, later)


def test_a_name_of_long_ago_is_no_more(known: Assignments) -> None:
    some = written(0, 1, by=masked(9, 2))
    name = known.name(BLOCK, some)
    for nonce in range(2, 2 + EARLIER):
        known.renew(masked(nonce), {BLOCK: some})
        assert nonces(known, name, 2) == [1]
    known.renew(masked(99), {BLOCK: some})
    with pytest.raises(NotReady):
        known.find(name)
