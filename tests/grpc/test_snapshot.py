"""Snapshots of two running servers by command, and what the operator's door lets in."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from server_pair import Deployment, deploy

from pura.errors import DeviatingServer
from pura.ids import Engine
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub, OperatorStub
from pura_client import config as client_config
from pura_server.cli import cli
from pura_server.config import load
from pura_server.health import to_own_server


def command(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


def test_snapshot_and_restore_of_two_real_servers(tmp_path: Path) -> None:
    made = deploy(tmp_path, Engine.PREPARED)
    one, two = made.people(2, 5)
    made.start()
    try:
        with made.connect() as client:
            client.enroll(one, "Ada Lovelace")
            client.enroll(two, "Alan Turing")
            taken = command("snapshot", "--config", made.s1.config)
            assert taken.exit_code == 0, taken.output
            moment = taken.output.partition(":")[0]
            assert "2 entries" in taken.output
            assert client.identify(one).label == "Ada Lovelace"
            assert client.forget("Ada Lovelace") == 1
            assert client.identify(one).label is None
        strangers_are_turned_away(made)
    finally:
        assert made.stop() == [0, 0]
    for server in made.servers:
        assert moment in command("snapshot", "--list", "--config", server.config).output
        copy = load(server.config).snapshots_folder / moment
        assert command("restore", "--config", server.config, "--from", copy).exit_code == 2
        restored = command("restore", "--config", server.config, "--from", copy, "--replace")
        assert restored.exit_code == 0, restored.output
    made.start()
    try:
        with made.connect() as client, pytest.raises(DeviatingServer, match=r"client\.state"):
            client.identify(one)  # it has seen the erasure
        state = client_config.load(made.client_toml).state
        assert state is not None
        state.unlink()
        with made.connect() as client:
            assert client.identify(one).label == "Ada Lovelace"
    finally:
        assert made.stop() == [0, 0]


def strangers_are_turned_away(made: Deployment) -> None:
    """A client may not call the operator's service, nor the operator the clients'."""
    settings = client_config.load(made.client_toml)
    assert settings.ca is not None
    assert settings.key is not None
    assert settings.cert is not None
    credentials = grpc.ssl_channel_credentials(
        settings.ca.read_bytes(), settings.key.read_bytes(), settings.cert.read_bytes()
    )
    with grpc.secure_channel(settings.server, credentials) as channel, pytest.raises(grpc.RpcError) as error:
        OperatorStub(channel).Snapshot(pb.SnapshotRequest(), timeout=60)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
    channel = to_own_server(load(made.s1.config), insecure=False)
    with channel, pytest.raises(grpc.RpcError) as error:
        GatewayStub(channel).Roster(pb.RosterRequest(), timeout=60).next()
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]


def test_a_snapshot_is_asked_for_on_s1_of_servers_that_run(tmp_path: Path) -> None:
    made = deploy(tmp_path, Engine.PREPARED)
    on_s2 = command("snapshot", "--config", made.s2.config)
    assert on_s2.exit_code == 2
    assert "on S1" in on_s2.output
    nobody = command("snapshot", "--config", made.s1.config)
    assert nobody.exit_code == 2
    assert "[peer_unavailable]" in nobody.output
