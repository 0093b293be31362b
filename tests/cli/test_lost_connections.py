"""Connections that die without a word, and proxies that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from fake_gateway import FakeGateway, person, serve
from wires import Wire, wire

from pura_client import Client, ClientConfig, connect
from pura_server.authority import issue, make_ca

DEADLINE_S = 120.0
"""A lost connection is noticed within 15 s; without pings an open client waits until its deadline, again and again."""


@pytest.fixture
def cut_off(gateway: FakeGateway) -> Iterator[tuple[Client, Wire]]:
    """A client that works, and its wire."""
    with serve(gateway) as config:
        host, _, port = config.server.rpartition(":")
        with wire((host, int(port))) as between:
            patient = config.model_copy(update={"server": between.address, "deadline_s": DEADLINE_S})
            with connect(patient, insecure=True) as client:
                client.enroll(person(1), "Ada")
                yield client, between


@pytest.mark.parametrize("idle", [False, True])
def test_a_connection_lost_without_a_word(cut_off: tuple[Client, Wire], idle: bool) -> None:
    """Noticed whether or not something is asked, and the same client works again."""
    client, between = cut_off
    assert between.cut() > 0
    if idle:
        assert between.given_up.wait(DEADLINE_S)
    assert client.identify(person(1)).label == "Ada"


@pytest.fixture
def elsewhere(gateway: FakeGateway, tmp_path: Path) -> Iterator[ClientConfig]:
    """The gateway with TLS under an address that does not look like this machine's."""
    ca = make_ca("test")
    server, client = issue(ca, "s1", ["0.0.0.0"]), issue(ca, "client")
    for name, body in (("ca.crt", ca.cert), ("client.crt", client.cert), ("client.key", client.key)):
        (tmp_path / name).write_bytes(body)
    credentials = grpc.ssl_server_credentials([(server.key, server.cert)], ca.cert, require_client_auth=True)
    with serve(gateway, credentials) as config:
        port = config.server.rpartition(":")[2]
        files = {name: tmp_path / file for name, file in
                 (("ca", "ca.crt"), ("cert", "client.crt"), ("key", "client.key"))}  # fmt: skip
        yield config.model_copy(update={"server": f"0.0.0.0:{port}", **files})


def test_a_proxy_of_the_environment_is_not_used(elsewhere: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(elsewhere.server.rpartition(":")[2])
    with wire(("127.0.0.1", port), answers_connect=True) as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        with connect(elsewhere) as client:
            assert client.status().peer_ready
        assert proxy.asked_for == []


def test_a_proxy_of_the_configuration_is_used(elsewhere: ClientConfig) -> None:
    port = int(elsewhere.server.rpartition(":")[2])
    with wire(("127.0.0.1", port), answers_connect=True) as proxy:
        with connect(elsewhere.model_copy(update={"proxy": f"http://{proxy.address}"})) as client:
            assert client.status().peer_ready
        assert proxy.asked_for == [f"CONNECT {elsewhere.server} HTTP/1.1".encode()]


def test_no_proxy_is_used_on_this_machine(gateway: FakeGateway) -> None:
    with serve(gateway) as config, wire(("127.0.0.1", 1), answers_connect=True) as proxy:
        with connect(config.model_copy(update={"proxy": f"http://{proxy.address}"}), insecure=True) as client:
            assert client.status().peer_ready
        assert proxy.asked_for == []
