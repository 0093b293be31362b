"""Lies of S1 against two real servers, once each: which of them the client notices, and by what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pura_bench.security import collusion, deviating

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
BELIEVED = {
    "shifts its share, on a right guess of who asks",
    "shifts its share, says that what it may name was erased",
    "refuses, as for a budget that is spent",
    "shows an old roster, to a client that only lists, and has seen nothing",
    "answer by an older gallery, to a client that has seen nothing",
}
"""SECURITY.md: what nobody notices."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("lies") / "made"
    return list(deviating.at_the_door(folder, KEYS, collusion.defaults("sface-mirrored"), 1, 1))


def test_what_the_client_notices_and_what_it_does_not(told: list[dict[str, Any]]) -> None:
    assert {row["attack"] for row in told if row["succeeded"]["k"]} == BELIEVED
    for row in told:
        assert row["control"]["k"] == 1, row
        assert row["told"] == ("" if row["attack"] in BELIEVED else "deviating_server (1)"), row


def test_tries_count_what_all_credentials_ask(tmp_path: Path) -> None:
    row = collusion.counted_together(tmp_path / "made", KEYS, collusion.defaults("sface-mirrored"), 1, 1)
    assert row["control"]["k"] == row["locked"]["k"] == 1
