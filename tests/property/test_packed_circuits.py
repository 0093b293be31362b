"""Comparisons, selection, the tournament and the norm check on shares, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from dealer import Dealer
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError
from pura.ids import Party
from pura.params import Metric, Params
from pura.protocols.packed import gmw, norm, tournament
from pura.protocols.packed.convert import Masks
from pura.protocols.packed.select import Candidates, mask_of, select
from pura.protocols.packed.side import Side
from pura.rounds import Tally, run_pair, send

BITS = 23
TOP = 1 << (BITS - 1)


def shared(values, bits, seed=0):
    """Additive shares modulo 2^bits."""
    one = np.random.default_rng(seed).integers(0, 1 << bits, len(values)).astype(np.uint64)
    return one, (np.array(values, dtype=np.uint64) - one) & mask_of(bits)


@given(st.integers(2, 31), st.data())
def test_sign_is_the_top_bit_of_the_sum(bits, data):
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=20))
    one, two = shared(values, bits, data.draw(st.integers(0, 99)))
    stocks = Dealer().stocks
    tally = Tally()
    a, b = run_pair(
        gmw.sign(stocks[0], gmw.planes_of(one, bits), first=True),
        gmw.sign(stocks[1], gmw.planes_of(two, bits), first=False),
        tally,
    )
    assert gmw.unpack_bits(a ^ b, len(values)).tolist() == [v >> (bits - 1) for v in values]
    ands, rounds = gmw.sign_cost(bits)
    assert stocks[0].triple_octets == ands * gmw.octets(len(values))
    assert tally.rounds == rounds


@given(st.lists(st.integers(0, 2**200 - 1), min_size=1, max_size=9))
def test_wide_planes_hold_every_bit(values):
    planes = gmw.planes_of_wide(values, 200)
    back = np.stack([gmw.unpack_bits(p, len(values)) for p in planes]).T
    assert [sum(int(b) << i for i, b in enumerate(row)) for row in back] == values


@given(st.lists(st.tuples(st.booleans(), st.integers(0, TOP - 1), st.integers(0, 2**64 - 1)), min_size=1, max_size=20))
def test_select_gives_the_candidate_or_zero(rows):
    n = len(rows)
    rng = np.random.default_rng(n)
    s = np.array([r[0] for r in rows], dtype=np.uint8)
    s1 = rng.integers(0, 2, n, dtype=np.uint8)
    k1, k2 = shared([r[1] for r in rows], BITS)
    h = np.array([r[2] for r in rows], dtype=np.uint64)
    h1 = rng.integers(0, 2**63, n).astype(np.uint64)
    stocks = Dealer().stocks
    a, b = run_pair(
        select(stocks[0], s1, Candidates(k1, h1), BITS), select(stocks[1], s ^ s1, Candidates(k2, h ^ h1), BITS)
    )
    whole = a.plus(b, BITS)
    assert whole.keys.tolist() == [r[1] if r[0] else 0 for r in rows]
    assert whole.handles.tolist() == [r[2] if r[0] else 0 for r in rows]


distances = st.lists(st.integers(0, TOP // 4 - 2), min_size=1, max_size=70)
small_distances = st.lists(st.integers(0, 2), min_size=1, max_size=70)
contests = st.one_of(st.tuples(st.just(1), st.integers(2, 16)), st.tuples(st.integers(2, 10), st.just(2)))


@settings(max_examples=60)
@given(st.one_of(distances, small_distances), contests, st.integers(0, TOP // 4 - 2), st.integers(0, 99))
def test_nearest_finds_the_smallest_within_the_threshold_whatever_the_carries(values, how, tau, seed):
    n, (results, fan_in) = len(values), how
    contest = tournament.Contest(n, BITS, results, fan_in)
    handles = np.random.default_rng(1).permutation(np.arange(1, n + 1)).astype(np.uint64) << np.uint64(40)
    carries = np.random.default_rng(seed).integers(0, 2, n)
    found, stocks, tally = contested(contest, values, carries, handles, tau)
    by_handle = dict(zip(handles.tolist(), values, strict=True))
    expected = [d for d in sorted(values)[:results] if d <= tau]
    assert [by_handle[h] for h in found if h] == expected
    assert found[len(expected) :] == [0] * (results - len(expected))
    assert len({h for h in found if h}) == len(expected)
    assert tournament.need(contest) == tournament.Need(stocks[0].triple_octets, stocks[0].ots)
    assert tournament.rounds(contest) == tally.rounds
    assert contested(contest, values, 1 - carries, handles, tau)[0] == found  # also which of equal ones


def contested(contest, values, carries, handles, tau):
    """The handles that `nearest` gives, the stocks that it used and what it sent."""
    k1, k2 = shared([4 * d + int(c) for d, c in zip(values, carries, strict=True)], BITS, len(values))
    stocks = Dealer().stocks
    tally = Tally()
    none = np.zeros(len(values), np.uint64)
    one, two = run_pair(
        tournament.nearest(stocks[0], contest, Candidates(k1, handles), tau, first=True),
        tournament.nearest(stocks[1], contest, Candidates(k2, none), tau, first=False),
        tally,
    )
    return [a ^ b for a, b in zip(one, two, strict=True)], stocks, tally


def test_a_slow_network_gets_larger_groups():
    fans = [tournament.best_fan_in(1000, BITS, s) for s in (1e-4, 5e-3, 2e-2)]
    assert fans[0] == 2
    assert fans == sorted(fans)
    assert fans[-1] > 2


@pytest.mark.parametrize("short", [gmw.MaskedBits(b"", b""), gmw.MaskedBits(bytes(5), bytes(4))])
def test_a_short_layer_is_refused(short):
    x = np.zeros(5, np.uint8)
    with pytest.raises(ProtocolError):
        run_pair(gmw.conjunction(Dealer().stocks[0], x, x, first=True), send(short))


# --- the norm ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(request):
    folder = request.config.rootpath / "tests/fixtures/test-keys-2048"
    pk = load_public(folder / "public.key")
    shares = [load_share(folder / f"{p.name.lower()}.share", pk) for p in Party]

    def make(**how):
        params = Params(pk.key_id, 2048, **how)
        return tuple(Side(pk, share, params, SeededRng(share.party.name)) for share in shares)

    return make


def checked(sides, templates):
    dealer = Dealer()
    masks = [Masks.draw(sides[0].rows, SeededRng(i)) for i in range(len(templates))]
    vs = [
        [int(x) + sides[0].params.scale + r for x, r in zip(t, m.r, strict=True)]
        for t, m in zip(templates, masks, strict=True)
    ]
    ots = [dealer.chosen(norm.choices_of(sides[0], m)) for m in masks]
    one, two = run_pair(
        norm.check_s1(sides[0], dealer.stocks[0], masks, [norm.CrossReceiver(*o[2:]) for o in ots]),
        norm.check_s2(sides[1], dealer.stocks[1], vs, [norm.CrossSender(*o[:2]) for o in ots]),
    )
    assert norm.need(sides[0], len(templates)).triple_octets == dealer.stocks[0].triple_octets
    return one, two


@pytest.mark.parametrize(
    "how",
    [
        {"dimension": 8},
        {"dimension": 128},
        {"dimension": 16, "sigma": 64},
        {"dimension": 16, "sigma": 80},
        {"dimension": 8, "metric": Metric.EUCLIDEAN},
        {"dimension": 20, "scale": 4096},
    ],
)
def test_a_norm_is_exact_and_only_a_templates_passes(pair, how):
    sides = pair(**how)
    p, u = sides[0].params, sides[0].rows.slot_bits
    rng = np.random.default_rng(4)
    templates = []
    for length in (1.0, 1.0, 0.5, 2.0, 1.2):
        y = rng.standard_normal(p.dimension)
        templates.append([int(v) for v in np.rint(p.scale * length * y / np.linalg.norm(y))])
    good = templates[0]
    templates.append([0] * p.dimension)
    for size in (1 << (u // 2), 1 << (u - 2), -p.scale, (1 << u) - 2 * p.scale):  # what would wrap in a narrow ring
        templates.append([*good[:3], size, *good[4:]])
    one, two = checked(sides, templates)
    whole = 1 << sides[0].columns.slot_bits
    for t, a, b in zip(templates, one, two, strict=True):
        n2 = sum(v * v for v in t)
        fits = p.min_norm2 <= n2 <= p.max_norm2
        assert (a is not None, b is not None) == (fits, fits)
        if a is not None:
            assert (a.value + b.value) % whole == n2 % whole


def test_nothing_to_check_takes_no_round(pair):
    assert checked(pair(dimension=8), []) == ([], [])
