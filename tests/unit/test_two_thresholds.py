"""Verify and identify have thresholds of their own; who names many entries gets the stricter one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faults import deal_base_ots
from pair import Pair

from pura.params import FEW

D = S = 16
AT = 2 * S * S - 2 * 128
"""The squared distance of the question to the first entry: a cosine of 1/2."""


def gallery() -> np.ndarray:
    """One axis, and others that are far from the question."""
    ys = np.zeros((FEW + 1, D), np.int64)
    ys[0, 0] = S
    ys[1:, 15] = S
    return ys


def question() -> np.ndarray:
    x = np.zeros(D, np.int64)
    x[:4] = 8
    return x


@pytest.mark.parametrize(
    ("verify", "identify", "names", "finds"),
    [
        (AT, AT - 1, True, False),
        (AT - 1, AT, False, True),
        (AT, AT, True, True),
    ],
)
def test_each_kind_of_question_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: int, identify: int, *, names: bool, finds: bool
) -> None:
    deal_base_ots(monkeypatch)
    pair = Pair(
        tmp_path, dimension=D, scale=S, tau_verify=verify, tau_identify=identify, packs=0, light_packs=0,
    )  # fmt: skip
    pair.connect()
    handles = pair.enroll(gallery())
    x = question()
    found = [handles[0]]
    assert pair.ask(x) == (found if finds else [])
    assert pair.ask(x, handles[:1]) == (found if names else [])
    assert pair.ask(x, handles[:FEW]) == (found if names else [])
    assert pair.ask(x, handles[: FEW + 1]) == (found if names and finds else [])
    pair.close()
