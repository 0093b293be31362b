"""Packing and quantisation against plain integers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto.encoding import distance2, pack_slots, quantise, unpack_slots
from pura.errors import BadEmbedding
from pura.ids import KeyId
from pura.params import Params, check_rounding

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


@given(st.integers(1, 20).flatmap(lambda d: st.lists(floats, min_size=d, max_size=d)), st.sampled_from([16, 63, 512]))
@quick
def test_any_floats_are_a_template_or_a_clear_error(e: list[float], scale: int) -> None:
    p = Params(KEY_ID, 2048, dimension=len(e), scale=scale)
    try:
        y = quantise(e, p)
    except BadEmbedding:
        return
    assert sum(int(v) ** 2 for v in y) == scale**2


@given(st.sampled_from([(16, 16), (16, 128), (17, 512), (64, 16), (128, 128), (300, 35)]), st.data())
@quick
def test_from_16_coordinates_on_every_vector_has_a_template(how: tuple[int, int], data: st.DataObject) -> None:
    """Alike, sparse, tiny beside large, of either sign: whatever is drawn."""
    dimension, scale = how
    check_rounding(dimension, scale)
    p = Params(KEY_ID, 2048, dimension=dimension, scale=scale)
    few = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=dimension))
    e = np.zeros(dimension)
    e[data.draw(st.permutations(range(dimension)))[: len(few)]] = few
    if np.linalg.norm(e) < 1e-12:
        e[0] = 1.0
    y = quantise(e, p)
    assert int(y @ y) == scale**2
    assert float(y @ e) >= 0.96 * scale * float(np.linalg.norm(e))


@given(st.integers(1, 20), st.integers(0, 5), st.data())
@quick
def test_distances(dimension: int, count: int, data: st.DataObject) -> None:
    vector = st.lists(st.integers(-4096, 4096), min_size=dimension, max_size=dimension)
    x, ys = data.draw(vector), data.draw(st.lists(vector, min_size=count, max_size=count))
    got = distance2(np.array(x), np.array(ys, dtype=np.int64).reshape(count, dimension))
    assert got.tolist() == [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in ys]
