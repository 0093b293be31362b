"""Choosing between shared values, and layers of ANDs that are too short."""

from __future__ import annotations

import numpy as np
import pytest
from dealer import Dealer
from hypothesis import given
from hypothesis import strategies as st

from pura.errors import ProtocolError
from pura.protocols.shares import gmw
from pura.protocols.shares.select import Candidates, mask_of, select
from pura.rounds import run_pair, send

BITS = 23
TOP = 1 << (BITS - 1)


def shared(values, bits, seed=0):
    """Additive shares modulo 2^bits."""
    one = np.random.default_rng(seed).integers(0, 1 << bits, len(values)).astype(np.uint64)
    return one, (np.array(values, dtype=np.uint64) - one) & mask_of(bits)


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


@pytest.mark.parametrize("short", [gmw.MaskedBits(b"", b""), gmw.MaskedBits(bytes(5), bytes(4))])
def test_a_short_layer_is_refused(short):
    x = np.zeros(5, np.uint8)
    with pytest.raises(ProtocolError):
        run_pair(gmw.conjunction(Dealer().stocks[0], x, x, first=True), send(short))
