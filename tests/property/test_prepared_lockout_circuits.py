"""Counting and locking on shares against plain integers: near questions and all others, at the limit and beyond."""

from __future__ import annotations

import numpy as np
import pytest
from dealer import Dealer
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.protocols.prepared import lockout
from pura.protocols.prepared.lockout import Rule
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.tournament import Contest
from pura.protocols.shares.select import Candidates
from pura.rounds import run_pair

SCALE = 16
SIZES = Sizes(16, SCALE, 2048)
TOP = SCALE**2


def shared(keys, rng):
    mask = np.uint64((1 << SIZES.key_bits) - 1)
    blind = rng.integers(0, 1 << 62, len(keys)).astype(np.uint64)
    return (keys.astype(np.uint64) - blind) & mask, blind & mask


def words(rule, numbers, locked, rng):
    """Shares of counters and bits, (limits, n) each."""
    one = two = np.zeros(numbers.shape[1], np.uint64)
    low = np.uint64((1 << rule.width) - 1)
    for i in range(len(rule.limits)):
        blind, coin = rng.integers(0, 1 << 62, len(one)).astype(np.uint64) & low, rng.integers(0, 2, len(one))
        at, top = np.uint64(i * rule.width), np.uint64(63 - i)
        one = one | (numbers[i].astype(np.uint64) - blind & low) << at | (locked[i] ^ coin).astype(np.uint64) << top
        two = two | blind << at | coin.astype(np.uint64) << top
    return one, two


def opened(rule, one, two):
    """Counters and bits, (limits, n) each."""
    pairs = zip(lockout.counters_of(rule, one), lockout.counters_of(rule, two), strict=True)
    low = np.uint64((1 << rule.width) - 1)
    numbers = [(a + b & low).tolist() for a, b in pairs]
    return numbers, [((one ^ two) >> np.uint64(63 - i) & np.uint64(1)).tolist() for i in range(len(rule.limits))]


def counted(rule, keys, numbers, locked, good, seed=0):
    rng, dealer = np.random.default_rng(seed), Dealer(seed)
    contest = Contest(len(keys), SIZES.key_bits, SIZES.never)
    coin = int(rng.integers(0, 2))
    k, w, gates = (
        shared(keys, rng),
        words(rule, np.atleast_2d(numbers), np.atleast_2d(locked), rng),
        (coin ^ good, coin),
    )
    one, two = run_pair(
        *(
            lockout.counted(dealer.stocks[i], rule, contest, k[i], w[i], np.array([gates[i]], np.uint8), first=i == 0)
            for i in (0, 1)
        )
    )
    assert [stock.taken for stock in dealer.stocks] == [lockout.count_need(contest, rule)] * 2
    return opened(rule, one, two)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 60), st.sampled_from([1, 2, 3, 4, 5, 20, 100, 65_535, 1 << 20]), st.booleans(),
    st.integers(1 - TOP, TOP + 1), st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_a_question_counts_where_it_should(entries, questions, near, bound, good, seed):
    rng, rule = np.random.default_rng(seed), Rule(bound, questions, near)
    keys = rng.integers(-TOP, TOP + 1, entries)
    keys[rng.integers(0, entries, 1 + entries // 4)] = rng.choice([bound - 1, bound]).clip(-TOP, TOP)
    numbers = rng.integers(0, questions + 1, entries)
    numbers[rng.integers(0, entries, 1 + entries // 4)] = rng.choice([questions - 1, questions])
    locked = numbers >= questions
    got, bits = counted(rule, keys, numbers, locked, int(good), seed)
    grows = ((keys < bound) == near) & good & ~locked
    assert got == [(numbers + grows).tolist()]
    assert bits == [(numbers + grows >= questions).astype(int).tolist()]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40), st.lists(st.integers(1, 130), min_size=2, max_size=3), st.integers(1 - TOP, TOP + 1),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_every_limit_counts_and_any_of_them_locks(entries, limits, bound, good, seed):
    rng, rule = np.random.default_rng(seed), Rule(bound, max(limits), False, tuple(sorted(limits)[:-1]))
    keys = rng.integers(-TOP, TOP + 1, entries)
    top = np.array(rule.limits)[:, None]
    numbers = rng.integers(0, top + 1, (len(limits), entries))
    numbers[rng.random(numbers.shape) < 0.3] = 0
    locked = numbers >= top
    got, bits = counted(rule, keys, numbers, locked, int(good), seed)
    grows = (keys >= bound) & good & ~locked.any(0)
    assert got == (numbers + grows).tolist()
    assert bits == (numbers + grows >= top).astype(int).tolist()
    one, two = words(rule, numbers, locked, rng)
    for over in range(1 << len(limits)):
        kept = rule.kept(over)
        left, still = opened(rule, one & kept, two & kept)
        for i in range(len(limits)):
            gone = over >> i & 1
            assert left[i] == (numbers[i] * (1 - gone)).tolist()
            assert still[i] == (locked[i] & (not gone)).astype(int).tolist()


@pytest.mark.parametrize("near", [True, False])
def test_so_many_questions_and_no_more(near):
    """A question at a time, from nothing, far beyond the limit."""
    rule = Rule(0, 3, near)
    keys = np.array([-5, 5])
    numbers, locked = np.zeros(2, np.int64), np.zeros(2, bool)
    answered = 0
    for question in range(6):
        answered += not locked[0 if near else 1]
        got, bits = counted(rule, keys, numbers, locked, 1, question)
        numbers, locked = np.array(got[0]), np.array(bits[0], bool)
    assert answered == 3
    assert numbers.tolist() == ([3, 0] if near else [0, 3])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sampled_from([(), (2,), (4, 2)]), st.integers(0, 2**32))
def test_locked_entries_become_losers_and_nothing_else_changes(entries, sooner, seed):
    rng, dealer, rule = np.random.default_rng(seed), Dealer(seed), Rule(0, 9, sooner=sooner)
    contest = Contest(entries, SIZES.key_bits, SIZES.never)
    keys, bits = rng.integers(-TOP, TOP + 1, entries), rng.integers(0, 2, (len(rule.limits), entries))
    locked = bits.any(0)
    handles, blind = rng.integers(1, 1 << 62, (2, entries)).astype(np.uint64)
    k, w = shared(keys, rng), words(rule, rng.integers(0, 9, bits.shape), bits, rng)
    h = (handles ^ blind, blind)
    one, two = run_pair(
        *(
            lockout.hide(dealer.stocks[i], rule, contest, Candidates(k[i], h[i]), w[i], first=i == 0)
            for i in (0, 1)
        )
    )  # fmt: skip
    whole = one.plus(two, SIZES.key_bits)
    signed = whole.keys.astype(np.int64)
    signed -= np.where(signed >> (SIZES.key_bits - 1), 1 << SIZES.key_bits, 0)
    assert signed.tolist() == np.where(locked, SIZES.never, keys).tolist()
    assert whole.handles.tolist() == np.where(locked, 0, handles.astype(np.int64)).tolist()
    assert [stock.taken for stock in dealer.stocks] == [lockout.hide_need(contest, rule)] * 2


def test_ots_an_entry():
    """Counting takes 31 OTs an entry at k = 17 and a limit of 20, hiding 2 more."""
    contest, rule = Contest(1024, 17, 16385), Rule(0, 20)
    assert lockout.count_need(contest, rule).ots / 1024 == 16 + 2 * 2 + 5 + 2 * 2 + 2
    assert lockout.hide_need(contest, rule).ots / 1024 == 2
