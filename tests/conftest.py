"""Settings of all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as a server has it

import pytest
from hypothesis import settings

# a busy machine is no failure; in CI the same examples every time, elsewhere new ones
settings.register_profile("pura", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("pura")


FIRST = ("grpc", "simulation", "cli")
"""Folders whose files take longest: in parallel, whoever begins with them does not end with one of them alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of `FIRST`, then all others; no test depends on another's place."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.parent, len(FIRST)))


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """A server narrows the umask for good: one that a test starts in this process must not change the next test."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
