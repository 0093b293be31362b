"""Parameters: their ranges, the bounds that follow from them, and the two hashes by which both sides agree."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pura.errors import OutOfRange
from pura.ids import Engine, KeyId
from pura.params import POLICY, Params, check_rounding, tau_from_cosine

BASE = Params(KeyId(bytes(range(16))), 2048, tau_verify=1000, tau_identify=900, lockout_tau=2000, lockout_limit=5)
CHANGES = {
    "key_id": KeyId(bytes(16)),
    "n_bits": 3072,
    "engine": Engine.PUBLISHED,
    "dimension": 192,
    "scale": 256,
    "tau_verify": 1001,
    "tau_identify": 901,
    "top_k": 2,
    "lockout_tau": 2001,
    "retention_days": 30,
    "lockout_limit": 3,
    "tau_deep": 1,
    "tries": (1, 2, 3),
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
    assert BASE.storage.hex() == "ac8d6e837baa83ba05217778c8b6c2843d012df3e43609b24ef2e4665e03ecf6"


@pytest.mark.parametrize(
    "wrong",
    [
        {"dimension": 0},
        {"dimension": -1},
        {"dimension": 4097},
        {"scale": 15},
        {"scale": 4097},
        {"top_k": 0},
        {"top_k": 11},
        {"tau_verify": -1},
        {"tau_identify": -1},
        {"tau_verify": 4 * BASE.norm2 + 1, "lockout_limit": 0},
        {"tau_identify": 4 * BASE.norm2 + 1, "lockout_limit": 0},
        {"tau_verify": 0, "lockout_tau": 899},
        {"lockout_limit": -1},
        {"lockout_limit": 1 << 16},
        {"lockout_tau": 999},
        {"lockout_tau": 4 * BASE.norm2 + 1},
    ],
    ids=str,
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(OutOfRange):
        dataclasses.replace(BASE, **wrong)  # type: ignore[arg-type]


def test_the_ends_of_every_range() -> None:
    farthest = 4 * BASE.norm2
    for end in (
        {"dimension": 1},
        {"scale": 16, "tau_verify": 0, "tau_identify": 0, "lockout_tau": 0},
        {"top_k": 10},
        {"tau_verify": 0, "tau_identify": 0},
        {"tau_verify": farthest, "tau_identify": farthest, "lockout_tau": farthest},
        {"lockout_tau": 1000},
        {"lockout_limit": 0, "lockout_tau": 0},
        {"lockout_limit": (1 << 16) - 1},
    ):
        dataclasses.replace(BASE, **end)  # type: ignore[arg-type]
    dataclasses.replace(BASE, dimension=4096, scale=4096)


@pytest.mark.parametrize(("dimension", "scale"), [(16, 16), (64, 16), (128, 23), (512, 46), (1024, 64), (4096, 128)])
def test_what_can_be_rounded(dimension: int, scale: int) -> None:
    check_rounding(dimension, scale)


@pytest.mark.parametrize(
    ("dimension", "scale", "why"),
    [
        (15, 128, "at least 16 numbers"),
        (1, 4096, "at least 16 numbers"),
        (512, 16, "at least 46"),
        (512, 45, "at least 46"),
        (65, 16, "at least 17"),
        (4096, 127, "at least 128"),
    ],
)
def test_what_cannot_be_rounded(dimension: int, scale: int, why: str) -> None:
    with pytest.raises(OutOfRange, match=why):
        check_rounding(dimension, scale)


@pytest.mark.parametrize("threshold", [-1.0, -0.5, 0.0, 0.363, 0.5, 0.999, 1.0])
def test_a_cosine_threshold(threshold: float) -> None:
    tau = tau_from_cosine(threshold, 512)
    assert 0 <= tau <= 4 * 512**2
    assert tau <= 2 * 512**2 * (1 - threshold) < tau + 1
    Params(BASE.key_id, 2048, tau_verify=tau)


@pytest.mark.parametrize("threshold", [-1.01, 1.01, math.nan, math.inf])
def test_no_cosine(threshold: float) -> None:
    with pytest.raises(OutOfRange):
        tau_from_cosine(threshold, 512)
