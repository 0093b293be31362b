"""Rounding to an exact length: nearest of all, whatever the vector, and what combinations of D and S keep of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pura.crypto.rounding import to_length
from pura.errors import OutOfRange
from pura.params import check_rounding

COMBINATIONS = [(16, 16), (32, 64), (64, 16), (128, 23), (128, 128), (128, 512), (512, 46), (512, 128), (512, 512)]


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


def flat_vectors(dimension: int) -> list[np.ndarray]:
    """Some coordinates that are alike, the others zero: where plain rounding errs in one direction everywhere."""
    counts = sorted({1, 2, 3, 5, 8, 12, dimension // 4, dimension // 2, 2 * dimension // 3, dimension - 1, dimension})
    return [unit(np.r_[np.ones(k), np.zeros(dimension - k)]) for k in counts if k]


@pytest.mark.parametrize(("dimension", "scale"), COMBINATIONS)
def test_every_vector_gets_the_exact_length_and_stays_near(dimension: int, scale: int) -> None:
    check_rounding(dimension, scale)
    draw = np.random.default_rng([dimension, scale])
    random = [unit(draw.standard_normal(dimension)) for _ in range(20)]
    noisy = [unit(e + 0.02 * draw.standard_normal(dimension)) for e in flat_vectors(dimension)]
    for e in [*random, *flat_vectors(dimension), *noisy]:
        y = to_length(scale * e, scale**2)
        assert y is not None
        assert int(y @ y) == scale**2
        assert float(y @ e) / scale >= 0.97
        assert np.array_equal(y, to_length(scale * e, scale**2))


@pytest.mark.parametrize(("dimension", "scale"), [(512, 16), (1024, 23), (1024, 16)])
def test_flat_vectors_lose_where_the_rule_refuses(dimension: int, scale: int) -> None:
    with pytest.raises(OutOfRange):
        check_rounding(dimension, scale)
    e = unit(np.ones(dimension))
    y = to_length(scale * e, scale**2)
    assert y is not None
    assert float(y @ e) / scale < 0.75


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [9, 21, 64])
def test_it_is_the_nearest_of_all(seed: int, scale: int) -> None:
    """Of all vectors that differ by at most 1 a coordinate from the rounded one."""
    v = scale * unit(np.random.default_rng(seed).standard_normal(8))
    near = np.rint(v).astype(np.int64) + np.array(list(itertools.product((-1, 0, 1), repeat=8)))
    exact = near[(near**2).sum(1) == scale**2]
    assert len(exact)
    y = to_length(v, scale**2)
    assert y is not None
    assert ((y - v) ** 2).sum() == pytest.approx(((exact - v) ** 2).sum(1).min())


def test_in_few_dimensions_there_may_be_none() -> None:
    assert to_length(512 * unit(np.array([3.0, 4.0])), 512**2) is None


def test_scores_are_no_less_exact_than_with_plain_rounding() -> None:
    """Pairs at a cosine of 0.37: the standard deviation of a score's error, against the rounded vectors' own."""
    draw = np.random.default_rng(7)
    scale, dimension, at = 128, 128, 0.37
    ours, plain = [], []
    for _ in range(60):
        e, u = unit(draw.standard_normal(dimension)), draw.standard_normal(dimension)
        h = at * e + math.sqrt(1 - at**2) * unit(u - (u @ e) * e)
        x, y = to_length(scale * e, scale**2), to_length(scale * h, scale**2)
        assert x is not None
        assert y is not None
        ours.append(float(x @ y) / scale**2 - at)
        d = ((np.rint(scale * e) - np.rint(scale * h)) ** 2).sum()
        plain.append(1 - d / (2 * scale**2) - at)
    assert np.std(ours) < 1.1 * np.std(plain)
    assert abs(np.mean(ours)) < 2e-3
