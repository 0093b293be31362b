"""Engine prepared as a list of operations with faults at simulated times, against dictionaries: tests/support/day.py.

The lists are drawn, the same ones from the same seed. A list that failed once is kept in REGRESSIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from day import HOUR_S, Life, life

from pura_server.prepared import PreparedGateway, change

SEEDS = range(6)
REGRESSIONS: tuple[int, ...] = ()


@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_any_list_of_operations(seed: int, tmp_path: Path) -> None:
    with life(tmp_path, seed) as made:
        made.live(HOUR_S / 3)
        made.agree()


def test_entries_expire_while_servers_live_on(tmp_path: Path) -> None:
    with life(tmp_path, 7) as made:
        for _ in range(6):
            made.step("enrol")
        kept = {handle for handle, one in made.pair.known.items() if not one.expires}
        assert 0 < len(kept) < len(made.pair.model)
        for _ in range(26):
            made.pair.now += HOUR_S
            made.step("ask")
        made.agree()
        assert set(made.pair.model) == kept


# --- builds that are wrong --------------------------------------------------------------------------


def confirms(_: Any, things: Any, *more: Any) -> Any:
    """Says that it was done."""
    return len(things)
    yield


def loses(patch: pytest.MonkeyPatch, made: Life) -> None:
    """An erasure that is confirmed and not done."""
    patch.setattr(PreparedGateway, "forget", confirms)


def forgets(patch: pytest.MonkeyPatch, made: Life) -> None:
    """Another label that is confirmed and not kept."""
    patch.setattr(PreparedGateway, "relabel", confirms)


def errs(patch: pytest.MonkeyPatch, made: Life) -> None:
    """One coordinate of an entry that is off, by one in each server's share."""
    right = change.masked_entries

    def wrong(sizes: Any, x: Any, masks: Any) -> Any:
        x = x.copy()
        x[0, 0] += 1
        return right(sizes, x, masks)

    patch.setattr(change, "masked_entries", wrong)


@pytest.mark.parametrize("broken", [loses, forgets, errs])
def test_a_wrong_build_is_noticed(broken: Callable[[pytest.MonkeyPatch, Life], None], tmp_path: Path) -> None:
    with life(tmp_path, 1) as made, pytest.MonkeyPatch.context() as patch:  # undone before what a life patches
        broken(patch, made)
        with pytest.raises(AssertionError):
            made.live(4 * HOUR_S)
