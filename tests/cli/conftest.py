from collections.abc import Iterator

import pytest
from fake_gateway import FakeGateway, serve

from pura_client import Client, connect


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


class Clock:
    """Time passes where the client pauses, and nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For clients that wait until their deadline, however fast the machine is."""
    made = Clock()
    monkeypatch.setattr("pura_client.gateway.time", made)
    return made


@pytest.fixture
def client(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        yield client
