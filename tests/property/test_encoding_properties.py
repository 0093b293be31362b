"""Packing and quantisation against plain integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto.encoding import RowLayout, distance2, masked, pack_slots, quantise, unpack_slots
from pura.errors import BadEmbedding, MalformedMessage
from pura.ids import KeyId
from pura.params import Metric, Params

KEY_ID = KeyId(bytes(16))
quick = settings(max_examples=80, deadline=None, derandomize=True)
floats = st.floats(width=64, allow_nan=True, allow_infinity=True)


@given(st.lists(st.integers(-(1 << 80), 1 << 80), max_size=60), st.integers(1, 90))
@quick
def test_packing_is_the_sum_of_shifted_values(values: list[int], bits: int) -> None:
    assert pack_slots(values, bits) == sum(v << (bits * i) for i, v in enumerate(values))


@given(st.integers(1, 90), st.data())
@quick
def test_unpacking_undoes_packing(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=40))
    assert unpack_slots(pack_slots(values, bits), bits, len(values)) == values


@given(st.integers(2, 60), st.data())
@quick
def test_signed_slots_are_twos_complement_with_a_borrow_from_below(bits: int, data: st.DataObject) -> None:
    """What the doubling of the scores is for: each slot is its value, or that less 1, modulo 2^bits."""
    half = 1 << (bits - 1)
    values = data.draw(st.lists(st.integers(-half, half - 1), max_size=30))
    slots = unpack_slots(pack_slots(values, bits), bits, len(values))
    borrow = 0
    for v, slot in zip(values, slots, strict=True):
        assert slot == (v - borrow) % (1 << bits)
        borrow = int(v - borrow < 0)


@given(st.integers(1, 150), st.sampled_from([16, 100, 512, 4096]), st.sampled_from([40, 80]), st.data())
@quick
def test_rows(dimension: int, scale: int, sigma: int, data: st.DataObject) -> None:
    p = Params(KEY_ID, 2048, dimension=dimension, scale=scale, sigma=sigma)
    rows = RowLayout.of(p)
    coordinate = st.one_of(st.sampled_from([scale, -scale, 0]), st.integers(-scale, scale))
    y = data.draw(st.lists(coordinate, min_size=dimension, max_size=dimension))
    masks = data.draw(st.lists(st.integers(0, (1 << rows.mask_bits) - 1), min_size=dimension, max_size=dimension))
    plain = rows.pack(np.array(y))
    assert [v - scale for v in rows.unpack(plain)] == y
    # a server's masks are added to all slots at once and carry nowhere
    hidden = [a + b for a, b in zip(plain, rows.pack_raw(masks), strict=True)]
    assert rows.unpack(hidden) == [v + scale + r for v, r in zip(y, masks, strict=True)]


@given(st.lists(st.integers(-(1 << 2100), 1 << 2100), max_size=6))
@quick
def test_any_plaintexts_are_rows_or_a_clear_error(plain: list[int]) -> None:
    rows = RowLayout.of(Params(KEY_ID, 2048))
    try:
        slots = rows.unpack(plain)
    except MalformedMessage:
        return
    assert rows.pack_raw(slots) == plain


@given(st.lists(floats, min_size=3, max_size=3), st.sampled_from(Metric))
@quick
def test_any_floats_are_a_template_or_a_clear_error(e: list[float], metric: Metric) -> None:
    p = Params(KEY_ID, 2048, dimension=3, metric=metric, radius=2.0)
    try:
        y = quantise(e, p)
    except BadEmbedding:
        return
    assert p.min_norm2 <= sum(int(v) ** 2 for v in y) <= p.max_norm2
    RowLayout.of(p).pack(y)


@given(st.integers(1, 20), st.integers(0, 5), st.data())
@quick
def test_distances(dimension: int, count: int, data: st.DataObject) -> None:
    vector = st.lists(st.integers(-4096, 4096), min_size=dimension, max_size=dimension)
    x, ys = data.draw(vector), data.draw(st.lists(vector, min_size=count, max_size=count))
    got = distance2(np.array(x), np.array(ys, dtype=np.int64).reshape(count, dimension))
    assert got.tolist() == [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in ys]


@given(st.lists(st.integers(-(1 << 200), 1 << 200), max_size=20), st.integers(1, 63))
@quick
def test_masking_is_the_remainder(values: list[int], bits: int) -> None:
    assert masked(values, bits).tolist() == [v % (1 << bits) for v in values]
