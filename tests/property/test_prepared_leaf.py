"""Comparisons by leaves against plain integers: every width, edges, both senders and halves."""

from __future__ import annotations

import numpy as np
import pytest
from dealer import Dealer
from hypothesis import given, settings
from hypothesis import strategies as st
from moves import played

from pura.errors import ProtocolError
from pura.protocols.prepared import leaf
from pura.protocols.prepared.leaf import LeafChoices, LeafTables, Split, Want
from pura.protocols.shares.leaves import leaf_bits, shifts, word_type
from pura.rounds import receive, run_pair, send

widths = st.integers(1, 62)
counts = st.sampled_from([1, 2, 7, 8, 9, 64, 127, 128, 129, 300])


def numbers(rng, bits, count):
    """Random ones, edges, and many that are close or equal."""
    top = (1 << bits) - 1
    a = rng.integers(0, top, count, np.uint64, endpoint=True)
    b = np.where(rng.integers(0, 2, count) > 0, a, rng.integers(0, top, count, np.uint64, endpoint=True))
    flip = np.uint64(1) << rng.integers(0, bits, count).astype(np.uint64)
    b = np.where(rng.integers(0, 3, count) == 0, b ^ flip, b)
    edges = np.array([0, top, top, 0, top >> 1, (top >> 1) + 1, 1], np.uint64)
    a[: len(edges)], b[: len(edges)] = edges[:count], np.roll(edges, 1)[:count]
    return a, b


def bits_of(packed, count):
    return np.unpackbits(packed, bitorder="little", count=count)


def both(one, two, count):
    return bits_of(one ^ two, count).tolist()


@settings(max_examples=60, deadline=None)
@given(widths, counts, st.booleans(), st.integers(0, 2**32))
def test_less_and_equal_of_a_number_at_each_server(bits, count, s1_sends, seed):
    alpha, beta = numbers(np.random.default_rng(seed), bits, count)
    own = (alpha, beta) if s1_sends else (beta, alpha)
    dealer = Dealer(seed)
    one, two, moves = played(
        leaf.compare(dealer.stocks[0], own[0], bits, sends=s1_sends, first=True),
        leaf.compare(dealer.stocks[1], own[1], bits, sends=not s1_sends, first=False),
    )
    assert both(one[0], two[0], count) == (alpha < beta).astype(int).tolist()
    assert both(one[1], two[1], count) == (alpha == beta).astype(int).tolist()
    assert [stock.taken for stock in dealer.stocks] == [leaf.need(count, bits, sends=s1_sends)] * 2
    split = Split.one(count, s1=s1_sends)
    assert moves == leaf.moves(leaf.steps(split, bits, Want.BOTH))


@settings(max_examples=60, deadline=None)
@given(widths, counts, st.booleans(), st.integers(0, 2**32))
def test_equal_alone(bits, count, s1_sends, seed):
    alpha, beta = numbers(np.random.default_rng(seed), bits, count)
    dealer = Dealer(seed)
    one, two, moves = played(
        leaf.equal(dealer.stocks[0], alpha, bits, sends=s1_sends, first=True),
        leaf.equal(dealer.stocks[1], beta, bits, sends=not s1_sends, first=False),
    )
    assert both(one, two, count) == (alpha == beta).astype(int).tolist()
    assert [stock.taken for stock in dealer.stocks] == [leaf.equal_need(count, bits, sends=s1_sends)] * 2
    assert moves == leaf.moves(leaf.steps(Split.one(count, s1=s1_sends), bits, Want.EQUAL))


@settings(max_examples=60, deadline=None)
@given(widths, counts, st.integers(0, 2**32))
def test_the_carry_of_two_shares(bits, count, seed):
    a, b = numbers(np.random.default_rng(seed), bits, count)
    dealer = Dealer(seed)
    one, two, _ = played(
        leaf.carry(dealer.stocks[0], a, bits, first=True), leaf.carry(dealer.stocks[1], b, bits, first=False)
    )
    expected = [int(x) + int(y) >= 1 << bits for x, y in zip(a, b, strict=True)]
    assert both(one, two, count) == [int(e) for e in expected]


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 62), st.one_of(counts, st.sampled_from([1023, 1025, 1900, 2050, 4096])), st.integers(0, 2**32))
def test_whether_a_shared_number_is_negative(bits, count, seed):
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    values = rng.integers(-half, half - 1, count, endpoint=True)
    edges = [0, -1, 1, half - 1, -half, -half + 1]
    values[: len(edges)] = edges[:count]
    one = rng.integers(0, 2 * half - 1, count, np.uint64, endpoint=True)
    two = (values.astype(np.uint64) - one) & np.uint64(2 * half - 1)
    dealer = Dealer(seed)
    x, y, moves = played(
        leaf.negative(dealer.stocks[0], one, bits, first=True), leaf.negative(dealer.stocks[1], two, bits, first=False)
    )
    assert (x ^ y).tolist() == (values < 0).astype(int).tolist()
    assert [stock.taken for stock in dealer.stocks] == [leaf.negative_need(count, bits)] * 2
    assert moves == leaf.moves(leaf.steps(Split.halves(count), bits - 1, Want.LESS))


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_every_pair_of_small_numbers(bits):
    top = 1 << bits
    alpha, beta = (x.reshape(-1).astype(np.uint64) for x in np.meshgrid(np.arange(top), np.arange(top)))
    stocks = Dealer().stocks
    one, two = run_pair(
        leaf.compare(stocks[0], alpha, bits, sends=True, first=True),
        leaf.compare(stocks[1], beta, bits, sends=False, first=False),
    )
    assert both(one[0], two[0], top * top) == (alpha < beta).astype(int).tolist()
    assert both(one[1], two[1], top * top) == (alpha == beta).astype(int).tolist()


def test_leaves_are_few_and_even():
    assert [leaf_bits(b) for b in (1, 6, 7, 9, 16, 20, 26, 32)] == [
        (1,), (6,), (4, 3), (5, 4), (6, 5, 5), (5, 5, 5, 5), (6, 5, 5, 5, 5), (6, 6, 5, 5, 5, 5),
    ]  # fmt: skip
    for bits in range(1, 65):
        assert sum(leaf_bits(bits)) == bits
        assert max(leaf_bits(bits)) <= 6
        assert shifts(bits)[0] == 0
    assert [word_type(w).itemsize for w in range(1, 7)] == [1, 1, 1, 2, 4, 8]


def test_two_ands_at_17_bits_and_three_at_21():
    """What DESIGN counts, for many comparisons: 16 and 20 OTs of leaves, 2 and 3 ANDs an entry."""
    for bits, ands in ((17, 2), (21, 3)):
        need = leaf.negative_need(1024, bits)
        assert need.triple_octets == ands * 128
        assert [(x.bits, x.by_s1, x.by_s2) for x in need.leaves] == [(bits - 1, 1024, 0)]
    assert leaf.steps(Split.halves(1024), 20, Want.LESS) == "<>==="
    assert leaf.steps(Split.halves(4096), 16, Want.LESS) == "===="


def test_both_servers_send_where_there_is_much():
    assert Split.halves(1001) == Split(1008, 0)
    assert Split.halves(1500) == Split(1024, 480)
    for count in (1, 100, 2041, 2048, 10_001):
        split = Split.halves(count)
        assert split.by_s1 + split.by_s2 == 8 * -(-count // 8)
        assert split.by_s1 % 8 == split.by_s2 % 8 == 0
        assert count < 2041 or abs(split.by_s1 - split.by_s2) <= 8


# --- what each side sees ------------------------------------------------------------------------------


def test_what_is_sent_and_kept_looks_the_same_whatever_is_compared():
    """Choices, tables and shares are coins, for equal numbers as for any."""
    n, bits = 1 << 14, 12
    coins = 6 * 0.5 / np.sqrt(n)
    for alpha, beta in ((0, 0), (0, 4095), (4095, 0), (77, 78)):
        seen = []
        stocks = Dealer(alpha + beta).stocks

        def noted(party, seen=seen):
            step = next(party)
            while True:
                message = getattr(step, "message", None)
                if message is not None:
                    seen.append(message)
                got = yield step
                try:
                    step = party.send(got)
                except StopIteration as end:
                    return end.value

        one, two = run_pair(
            noted(leaf.compare(stocks[0], np.full(n, alpha, np.uint64), bits, sends=True, first=True)),
            noted(leaf.compare(stocks[1], np.full(n, beta, np.uint64), bits, sends=False, first=False)),
        )
        for share in (*one, *two):
            assert abs(bits_of(share, n).mean() - 0.5) < coins
        (e,) = (m.e for m in seen if isinstance(m, LeafChoices))
        single = np.unpackbits(np.frombuffer(e, np.uint8).reshape(n, 2), axis=1, bitorder="little")
        assert np.abs(single[:, :bits].mean(axis=0) - 0.5).max() < coins
        (t,) = (m.t for m in seen if isinstance(m, LeafTables))
        words = np.unpackbits(np.frombuffer(t, np.uint8).reshape(4, n, 8), axis=2)
        assert np.abs(words.mean(axis=1) - 0.5).max() < coins


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b""])
def test_messages_of_another_length_are_refused(change):
    numbers = np.arange(8).astype(np.uint64)
    good = LeafChoices(bytes(2 * 8))
    with pytest.raises(ProtocolError):
        run_pair(
            leaf.compare(Dealer().stocks[0], numbers, 16, sends=True, first=True), send(LeafChoices(change(good.e)))
        )

    def sender():
        yield from receive(LeafChoices)
        yield from send(LeafTables(change(bytes(8 * (16 + 2 * 4 * 2)))))

    with pytest.raises(ProtocolError):
        run_pair(sender(), leaf.compare(Dealer().stocks[1], numbers, 16, sends=False, first=False))
