"""Keys are -<x, y>: whoever may send a longer vector is nearer to everybody. In 0.1 templates had lengths between
S - sqrt(D) / 2 and S + sqrt(D) / 2, which the servers had to accept: a probe at the better end needed a cosine of 0.342
where 0.37 was configured. Such a probe, on a build without the norm bit and on ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import deal_base_ots
from pair import Pair

from pura.crypto.encoding import quantise
from pura.crypto.rounding import to_length
from pura.errors import InvalidTemplate
from pura.params import Params, tau_from_cosine
from pura.protocols.prepared import norm
from pura.rounds import Rounds, nothing

D, S, THRESHOLD = 128, 128, 0.37
HIGH = math.ceil((S + math.sqrt(D) / 2) ** 2)
"""The largest squared length that plain rounding can give."""
NEEDED = 0.36
"""The cosine of the probe."""


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    deal_base_ots(monkeypatch)
    made = Pair(tmp_path, dimension=D, scale=S, tau=tau_from_cosine(THRESHOLD, S), packs=0, light_packs=0)
    made.connect()
    yield made
    made.close()


def anything(_stock: Any, _sizes: Any, share: Any, *, first: bool) -> Rounds[Any]:
    """In place of `norm.has_length`: every vector is a template."""
    yield from nothing()
    return np.packbits(np.full(len(share), first, np.uint8), bitorder="little")


def enrolled_and_long(params: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A template, the direction of a stranger at a cosine of `NEEDED`, and that direction as long as could be."""
    draw = np.random.default_rng(5)
    e, u = draw.standard_normal((2, D))
    e /= np.linalg.norm(e)
    u -= (u @ e) * e
    stranger = NEEDED * e + math.sqrt(1 - NEEDED**2) * u / np.linalg.norm(u)
    long = to_length(math.sqrt(HIGH) * stranger, HIGH)
    assert long is not None
    return quantise(e, params), stranger, long


def test_a_long_probe_has_a_discount_where_nobody_looks_at_lengths(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    y, stranger, long = enrolled_and_long(pair.params)
    assert float(y @ long) / np.linalg.norm(y) / np.linalg.norm(long) < THRESHOLD
    monkeypatch.setattr(norm, "has_length", anything)
    (handle,) = pair.enroll(y[None])
    assert pair.ask(long) == [handle]
    assert pair.ask(quantise(stranger, pair.params)) == []  # of its own length it is nobody


def test_ours_is_exact(pair: Pair) -> None:
    y, stranger, long = enrolled_and_long(pair.params)
    (handle,) = pair.enroll(y[None])
    assert pair.ask(long) == []
    with pytest.raises(InvalidTemplate):
        pair.enroll(long[None])
    assert pair.ask(quantise(stranger, pair.params)) == []
    assert pair.ask(y) == [handle]
    for norm2 in (S**2 - 1, S**2 + 1):
        off = to_length(y.astype(float), norm2)
        assert off is not None
        assert pair.ask(off) == []
        with pytest.raises(InvalidTemplate):
            pair.enroll(off[None])
