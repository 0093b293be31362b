"""Fixtures: two real server processes, fresh or shared by the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_pair import DEPLOYMENTS, ENGINES, Deployment, deploy, leaks

from pura.ids import Engine


@pytest.fixture(params=ENGINES)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of its own, not started."""
    made = deploy(tmp_path, request.param)
    yield made
    made.stop()


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment that the tests of one file share."""
    made = deploy(tmp_path_factory.mktemp("running"), request.param)
    made.start()
    yield made
    assert made.stop() == [0, 0]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of its own, not started, for what does not depend on the engine."""
    made = deploy(tmp_path, Engine.PUBLISHED)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def plain_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment for what does not depend on the engine."""
    made = deploy(tmp_path_factory.mktemp("plain"), Engine.PUBLISHED)
    made.start()
    yield made
    assert made.stop() == [0, 0]


@pytest.fixture(scope="session", autouse=True)
def _no_log_shows_a_secret() -> Iterator[None]:
    """After the last test: no share, embedding, score or label in any log of any server that was started."""
    yield
    assert [place for made in DEPLOYMENTS for place in leaks(made)] == []
