"""Long rows of powers on all cores: threads, since gmpy2 lets go of the interpreter while it computes a row.

The threads give way to others (`nice`): a batch of enrolments must not keep a question waiting.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from joblib.externals import loky

A = TypeVar("A")
B = TypeVar("B")

LEAST = 4
"""A lane is worth it for so many items."""
_NICE = 10


def in_lanes(work: Callable[[Sequence[A]], list[B]], items: Sequence[A], lanes: int | None = None) -> list[B]:
    """`work(items)`, of a function that works on each item by itself, with the items shared out among the cores (or
    `lanes`). What it raises is raised; a few items are done here and now."""
    count = min(lanes or loky.cpu_count(), len(items) // LEAST)
    if count < 2:
        return work(items)
    ends = [len(items) * i // count for i in range(count + 1)]
    parts = [items[first:end] for first, end in itertools.pairwise(ends)]
    return [one for part in _pool(count).map(work, parts) for one in part]


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="lane", initializer=_give_way)


def _give_way() -> None:
    """Where the system has that for single threads."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
