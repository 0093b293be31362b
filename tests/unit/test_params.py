"""Parameters: their ranges, the bounds that follow from them, and the two hashes by which both sides agree."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from pura.errors import OutOfRange
from pura.ids import Engine, KeyId
from pura.params import POLICY, Metric, Params, tau_from_cosine, tau_from_distance

BASE = Params(KeyId(bytes(range(16))), 2048, tau=1000, lockout_tau=2000, lockout_limit=5)
CHANGES = {
    "key_id": KeyId(bytes(16)),
    "n_bits": 3072,
    "engine": Engine.PUBLISHED,
    "dimension": 192,
    "scale": 256,
    "metric": Metric.EUCLIDEAN,
    "radius": 2.0,
    "sigma": 64,
    "tau": 1001,
    "top_k": 2,
    "lockout_tau": 2001,
    "lockout_limit": 3,
    "embedder": "other",
}


def test_every_parameter_is_agreed_on() -> None:
    assert set(CHANGES) == {f.name for f in dataclasses.fields(Params)}
    changed = [dataclasses.replace(BASE, **{name: value}) for name, value in CHANGES.items()]  # type: ignore[arg-type]
    assert len({p.agreement for p in [BASE, *changed]}) == len(CHANGES) + 1
    assert dataclasses.replace(BASE).agreement == BASE.agreement
    assert len(BASE.agreement) == 32


def test_stored_entries_outlive_a_new_policy_and_nothing_else() -> None:
    for name, value in CHANGES.items():
        changed = dataclasses.replace(BASE, **{name: value})  # type: ignore[arg-type]
        assert (changed.storage == BASE.storage) is (name in POLICY), name
    assert BASE.storage != BASE.agreement


def test_what_a_data_folder_is_made_for_is_a_fixed_hash() -> None:
    """A server of another release must open the data folder of this one."""
    assert BASE.storage.hex() == "e34348837d23debdf84ef4ad70ecb72f5df790cecd8c45bb8b756ae1a1f9aa87"


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 0},
        {"dimension": -1},
        {"dimension": 4097},
        {"scale": 15},
        {"scale": 4097},
        {"sigma": 0},
        {"sigma": 39},
        {"sigma": 128},
        {"top_k": 0},
        {"top_k": 11},
        {"radius": 0.0},
        {"radius": -1.0},
        {"radius": math.nan},
        {"radius": math.inf},
        {"tau": -1},
        {"tau": 4 * BASE.max_norm2 + 1, "lockout_limit": 0},
        {"lockout_limit": -1},
        {"lockout_limit": 1 << 16},
        {"lockout_tau": 999},
        {"lockout_tau": 4 * BASE.max_norm2 + 1},
    ],
    ids=str,
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(OutOfRange):
        dataclasses.replace(BASE, **wrong)  # type: ignore[arg-type]


def test_the_ends_of_every_range() -> None:
    farthest = 4 * BASE.max_norm2
    for end in (
        {"dimension": 1},
        {"scale": 16, "tau": 0, "lockout_tau": 0},
        {"top_k": 10},
        {"tau": 0},
        {"tau": farthest, "lockout_tau": farthest},
        {"lockout_tau": 1000},
        {"lockout_limit": 0, "lockout_tau": 0},
        {"lockout_limit": (1 << 16) - 1},
    ):
        dataclasses.replace(BASE, **end)  # type: ignore[arg-type]
    dataclasses.replace(BASE, dimension=4096, scale=4096, sigma=80)


@pytest.mark.parametrize("dimension", [1, 2, 128, 512, 4096])
@pytest.mark.parametrize("scale", [16, 512, 4096])
def test_no_honest_template_is_outside_the_norms(dimension: int, scale: int) -> None:
    p = Params(BASE.key_id, 2048, dimension=dimension, scale=scale)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(dimension) for _ in range(20)]
    # every coordinate a half up or down: rounding at its worst
    for k in (0.5, 1.5, scale / math.sqrt(dimension) + 0.49):
        directions.append(np.full(dimension, k))
    for e in directions:
        y = np.rint(scale * e / np.linalg.norm(e)).astype(np.int64)
        assert p.min_norm2 <= int(y @ y) <= p.max_norm2
    assert dataclasses.replace(p, metric=Metric.EUCLIDEAN).min_norm2 == 0
    # two templates on opposite sides are no further apart than tau may be
    assert (2 * math.isqrt(p.max_norm2)) ** 2 <= 4 * p.max_norm2


@pytest.mark.parametrize("threshold", [-1.0, -0.5, 0.0, 0.363, 0.5, 0.999, 1.0])
def test_a_cosine_threshold(threshold: float) -> None:
    tau = tau_from_cosine(threshold, 512)
    assert 0 <= tau <= 4 * 512**2
    assert tau <= 2 * 512**2 * (1 - threshold) < tau + 1
    Params(BASE.key_id, 2048, tau=tau)


@pytest.mark.parametrize("threshold", [-1.01, 1.01, math.nan, math.inf])
def test_no_cosine(threshold: float) -> None:
    with pytest.raises(OutOfRange):
        tau_from_cosine(threshold, 512)


def test_a_distance_threshold() -> None:
    assert tau_from_distance(0.0, 512, 1.0) == 0
    assert tau_from_distance(1.0, 512, 1.0) == 512**2
    assert tau_from_distance(3.0, 512, 6.0) == 256**2
    assert tau_from_distance(1.128, 512, 2.0) == math.floor((512 * 1.128 / 2) ** 2)
    with pytest.raises(OutOfRange):
        tau_from_distance(-0.1, 512, 1.0)
    for bad in (math.nan, math.inf, 2.1):
        with pytest.raises(OutOfRange):
            tau_from_distance(bad, 512, 1.0)
