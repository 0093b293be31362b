from collections.abc import Iterator

import pytest
from fake_gateway import FakeGateway, serve

from pura_client import Client, connect


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def client(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        yield client
