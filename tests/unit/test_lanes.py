"""Rows of powers shared out among threads: the same results in the same order, and what fails fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import pytest

from pura.bigint import Z, power_many
from pura.lanes import LEAST, in_lanes


@pytest.mark.parametrize("count", [0, 1, LEAST, 2 * LEAST - 1, 2 * LEAST, 33, 100])
@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
def test_the_same_results_in_the_same_order(count: int, lanes: int) -> None:
    bases = [Z(3 + i) for i in range(count)]
    assert in_lanes(lambda part: power_many(part, 65537, 1 << 127), bases, lanes) == power_many(bases, 65537, 1 << 127)


def test_every_item_is_worked_on_once_and_a_few_are_done_here() -> None:
    seen: list[tuple[int, int]] = []
    lock = threading.Lock()

    def work(part: Sequence[int]) -> list[int]:
        with lock:
            seen.extend((item, threading.get_ident()) for item in part)
        return list(part)

    assert in_lanes(work, range(50), 2) == list(range(50))
    assert sorted(item for item, _ in seen) == list(range(50))
    assert threading.get_ident() not in {thread for _, thread in seen}
    seen.clear()
    in_lanes(work, range(2 * LEAST - 1), 2)
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_what_fails_fails() -> None:
    def work(part: Sequence[int]) -> list[int]:
        if 40 in part:
            raise ZeroDivisionError
        return list(part)

    with pytest.raises(ZeroDivisionError):
        in_lanes(work, range(50), 2)
    assert in_lanes(work, range(30), 2) == list(range(30))


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="the system has no priorities")
def test_lanes_give_way_and_nobody_else_does() -> None:
    def work(part: Sequence[int]) -> list[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in part]

    own = os.getpriority(os.PRIO_PROCESS, 0)
    if own > 10 or os.uname().sysname != "Linux":
        pytest.skip("threads have no priority of their own here")
    assert set(in_lanes(work, range(50), 2)) == {10}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
