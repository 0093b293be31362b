"""Shares add up to <w, b> for every (k, D) that a collection can have, for uniform numbers and for extreme ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lattice_bench import Bench

KEY_BITS = range(11, 22)
"""k of S = 16 to 512."""
LARGE = [(17, 512), (21, 512), (17, 1024), (21, 1024)]


def extremes(bits: int) -> list[int]:
    """0, 1, and what is centred to the largest and the smallest number, of the whole and of its halves."""
    half = 1 << bits - 1
    low = 1 << (bits + 1) // 2 - 1
    return [0, 1, half - 1, half, 2 * half - 1, low, low - 1, half | low]


@pytest.mark.parametrize(("bits", "dimension"), [*((k, d) for k in KEY_BITS for d in (16, 128)), *LARGE])
def test_shares_add_up(bits: int, dimension: int) -> None:
    bench = Bench(bits, dimension)
    values = extremes(bits)
    bench.b[:, :64] = np.repeat(values, 8)
    same = np.broadcast_to(np.array(values, np.uint64)[:, None], (len(values), dimension))
    w = np.concatenate([bench.numbers((2, dimension)), same])
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()
    assert share.max() < 1 << bits


@given(st.sampled_from(KEY_BITS), st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_shares_add_up_for_any_dimension(bits: int, dimension: int, count: int, seed: int) -> None:
    bench = Bench(bits, dimension, seed)
    w = bench.numbers((count, dimension))
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()
