"""The nearest entries on shares, against plain integers: every k, ties, extremes, fan-ins, the k nearest."""

from __future__ import annotations

import numpy as np
import pytest
from dealer import Dealer
from hypothesis import given, settings
from hypothesis import strategies as st
from moves import played

from pura.errors import ProtocolError
from pura.protocols.prepared import tournament
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.tournament import Contest, best_fan_ins, load_fan_ins, moves, nearest, need, planned
from pura.protocols.shares.select import Candidates
from pura.protocols.shares.stock import Need

scales = st.sampled_from([2, 3, 8, 16, 45, 128, 181, 362, 512, 724, 1448])  # k from 5 to 24
how = st.one_of(
    st.tuples(st.just(1), st.lists(st.integers(2, 16), max_size=6).map(tuple)),
    st.tuples(st.integers(2, 10), st.just(())),
)


def sizes(scale):
    return Sizes(16, scale, 2048)


def shared(keys, handles, bits, rng):
    blind = rng.integers(0, 1 << 62, (2, len(keys))).astype(np.uint64)
    mask = np.uint64((1 << bits) - 1)
    whole = np.array(keys, np.int64).astype(np.uint64)
    return Candidates((whole - blind[0]) & mask, handles ^ blind[1]), Candidates(blind[0] & mask, blind[1])


def asked(contest, keys, limit, gate, seed=0):
    """The handles that come out, as places from 1 on, 0 for nobody; what it took is counted."""
    rng = np.random.default_rng(seed)
    handles = rng.permutation(np.arange(1, len(keys) + 1)).astype(np.uint64) << np.uint64(40)
    dealer, shares = Dealer(seed), shared(keys, handles, contest.bits, rng)
    open_gate = int(rng.integers(0, 2))
    gates = np.array([open_gate ^ gate], np.uint8), np.array([open_gate], np.uint8)
    one, two, took = played(
        *(nearest(dealer.stocks[i], contest, shares[i], limit, gates[i], first=i == 0) for i in (0, 1))
    )
    assert [stock.taken for stock in dealer.stocks] == [need(contest)] * 2
    assert took == moves(contest)
    place = {0: 0, **{int(h): i + 1 for i, h in enumerate(handles)}}
    return [place[a ^ b] for a, b in zip(one, two, strict=True)]


def expected(keys, limit, gate, results):
    order = sorted(range(len(keys)), key=lambda i: keys[i])[:results]
    return [keys[i] for i in order if gate and keys[i] < limit]


@settings(max_examples=150, deadline=None)
@given(scales, st.integers(1, 300), how, st.booleans(), st.integers(0, 2**32))
def test_the_nearest_below_the_limit_where_the_gate_is_open(scale, entries, how, gate, seed):
    results, fan_ins = how
    s, rng = sizes(scale), np.random.default_rng(seed)
    top = scale**2
    kinds = [
        rng.integers(-top, top, entries, endpoint=True),
        rng.integers(-1, 2, entries),
        rng.choice([-top, top], entries),
        np.full(entries, rng.integers(-top, top, endpoint=True)),
    ]
    keys = kinds[seed % 4]
    keys[rng.integers(0, entries, entries // 3)] = s.never  # locked, or empty
    keys = keys.tolist()
    limit = int(rng.choice([1 - top, top + 1, keys[0], keys[0] + 1, int(rng.integers(1 - top, top + 1))]))
    contest = Contest(entries, s.key_bits, s.never, results, fan_ins)
    got = asked(contest, keys, min(max(limit, 1 - top), top + 1), gate, seed)
    want = expected(keys, min(max(limit, 1 - top), top + 1), gate, results)
    assert [keys[i - 1] for i in got if i] == want
    assert got[len(want) :] == [0] * (results - len(want))
    assert len({i for i in got if i}) == len(want)
    assert all(keys[i - 1] != s.never for i in got if i)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(2, 16), max_size=6).map(tuple), st.integers(0, 2**32))
def test_of_equal_keys_the_earlier_place_wins(entries, fan_ins, seed):
    s, rng = sizes(16), np.random.default_rng(seed)
    keys = rng.integers(0, 3, entries).tolist()
    contest = Contest(entries, s.key_bits, s.never, 1, fan_ins)
    assert asked(contest, keys, 256, 1, seed) == [keys.index(min(keys)) + 1]


@pytest.mark.parametrize("bits", range(8, 25))
def test_every_k(bits):
    """The largest S^2 of each k, with keys at both ends of its range and the one that never wins."""
    top = ((1 << (bits - 1)) - 2) // 2
    keys = [top, -top, top + 1, -top + 1, top + 1, -top, 0]
    for limit, answer in ((top + 1, [2]), (1 - top, [2]), (-top, [0])):
        assert asked(Contest(7, bits, top + 1, 1, (2, 4)), keys, limit, 1) == answer
    alone = Contest(1, bits, top + 1, 1, ())
    assert asked(alone, [top + 1], top + 1, 1) == [0]
    assert asked(alone, [top], top + 1, 1) == [1]
    assert asked(alone, [-top], 1 - top, 1) == [1]
    assert asked(alone, [-top], 1 - top, 0) == [0]


@pytest.mark.parametrize("entries", [1, 2, 3, 16, 17, 100, 300, 1000])
@pytest.mark.parametrize("move_s", [0.0, 7e-5, 1e-2])
def test_planned_fan_ins_answer_right(entries, move_s):
    s, rng = sizes(128), np.random.default_rng(entries)
    keys = rng.integers(-(128**2), 128**2, entries).tolist()
    contest = Contest(entries, s.key_bits, s.never, 1, best_fan_ins(entries, s.key_bits, move_s))
    assert asked(contest, keys, 128**2 + 1, 1) == [keys.index(min(keys)) + 1]


def test_a_dear_move_makes_larger_groups():
    plans = [best_fan_ins(1000, 17, move_s) for move_s in (0.0, 7e-5, 3e-4, 1e-2)]
    taken = [moves(Contest(1000, 17, 1, 1, plan)) for plan in plans]
    ots = [need(Contest(1000, 17, 1, 1, plan)).ots for plan in plans]
    assert taken == sorted(taken, reverse=True)
    assert ots == sorted(ots)
    assert taken[-1] <= 25 < 40 < taken[0]
    assert best_fan_ins(10_000, 17, 7e-5)[:5] == (2, 2, 2, 2, 2)


def test_a_plan_is_best_among_all_for_few_candidates():
    """Against every sequence of fan-ins."""

    def every(n):
        if n <= tournament.MAX_FAN_IN:
            yield (max(2, n),)
        for m in range(2, min(16, n - 1) + 1):
            yield from ((m, *rest) for rest in every(-(-n // m)))

    for n in (1, 2, 5, 17, 23):
        for move_s in (0.0, 7e-5, 1e-3):
            best = min(tournament.cost(Contest(n, 17, 1, 1, plan)).seconds(move_s) for plan in every(n))
            _, plan = tournament._best(n, 17, move_s)
            assert tournament.cost(Contest(n, 17, 1, 1, plan)).seconds(move_s) == pytest.approx(best)


def test_a_gallery_that_grows_a_little_keeps_its_plan():
    plans = [best_fan_ins(n, 17, 7e-5) for n in range(5000, 10_000)]
    assert len(set(plans)) < 20
    for n in (1, 2, 7, 16, 17, 100, 333, 1000, 5000, 60_000):
        for move_s in (0.0, 7e-5, 1e-2):
            plan, most = best_fan_ins(n, 17, move_s), planned(n)
            assert 1.05 * n <= most <= 1.16 * n + 2 if n < 512 else 1.003 * n < most < 1.04 * n
            made = need(Contest(most, 17, 1, 1, plan))
            sizes = range(1, n + 1, max(1, n // 333))
            assert all(need(Contest(m, 17, 1, 1, plan)).beyond(made) == Need() for m in sizes)


def test_fan_ins_from_the_other_server_are_checked():
    assert load_fan_ins(bytes((2, 3, 16))) == (2, 3, 16)
    for raw in (b"", b"\1", b"\x11", b"\0\2", bytes([2] * 65)):
        with pytest.raises(ProtocolError):
            load_fan_ins(raw)


def test_ots_and_moves_of_the_design():
    """22 OTs an entry at k = 17; the moves at M = 10,000 with groups of two, and as planned."""
    for n, most in ((1000, 24), (10_000, 22.6), (100_000, 22.1)):
        twos = Contest(n, 17, 16385, 1, ())
        assert need(twos).ots / n < most
        large = sum(n // 2 ** (i + 1) >= 2048 for i in range(20))
        assert moves(twos) <= 4 * len(twos.levels) + large + 8
    planned = Contest(10_000, 17, 16385, 1, best_fan_ins(10_000, 17, 7e-5))
    assert moves(planned) <= 48
    assert need(planned).ots / 10_000 < 23
