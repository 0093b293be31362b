"""Clients that want S1's time and memory, by every attack and with every kind of certificate, beside an honest one.

By counts and events, not by the clock: the honest client is answered while the attack goes on, S1's memory stays below
one and a half times that of a quiet server, and every attacker is turned away or bounded, and counted. How long the
honest client waits is measured by `pura bench hostile`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc
from server_pair import LABELS, Deployment, Embedding, deploy
from waiting import PATIENCE_S

from pura.ids import Engine
from pura_bench.hostile.attacks import ATTACKS, Tally
from pura_bench.hostile.measure import KINDS, attacker, main, refusals
from pura_bench.hostile.run import attacking, elsewhere
from pura_bench.loopback import Files
from pura_bench.machine import resident_bytes
from pura_client.processes import free_ports
from pura_client.session import Client
from pura_server.config import load
from pura_server.tls import SHOWN_DIGITS, fingerprint

MEMORY = 1.5

BOUNDED = {
    "idle": "too many calls of one client",
    "watch": "method that is off or not for this certificate",
    "big": "message broken off",
    "slow": "too many calls of one client",
    "bomb": "unreadable message",
    "connections": "too many connections of one client",
    "handshakes": "handshake",
}
"""What S1 says of a client of its list."""
TURNED_AWAY = {"unknown": "unknown certificate", "revoked": "revoked certificate"}


@dataclasses.dataclass
class Scene:
    """A running deployment with a gallery, and what it took when it was quiet."""

    made: Deployment
    client: Client
    ada: Embedding
    metrics: str
    quiet: int
    attackers: dict[str, Files]

    def memory(self) -> float:
        return resident_bytes(self.made.s1.pid, alone=True) / self.quiet


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = deploy(tmp_path_factory.mktemp("hostile"), Engine.PUBLISHED)
    (port,) = free_ports(1)
    made.edit("s1", lambda text: text + f'[metrics]\nlisten = "127.0.0.1:{port}"\n[limits]\nmessage_s = 2\n')
    made.start()
    people = made.people(2, 40)
    with made.connect() as client:
        for person, label in zip(people, LABELS, strict=False):
            client.enroll(person, label)
        for _ in range(5):
            assert client.identify(people[0]).label == LABELS[0]
        quiet = resident_bytes(made.s1.pid, alone=True)
        attackers = {kind: attacker(made.folder, kind) for kind in KINDS}
        yield Scene(made, client, people[0], f"127.0.0.1:{port}", quiet, attackers)
    assert made.stop() == [0, 0]


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_client_beside(scene: Scene, kind: str, name: str) -> None:
    made = scene.made
    listed = kind == "listed" or name == "handshakes"
    reasons = {BOUNDED[name] if listed else TURNED_AWAY[kind]}
    if name == "handshakes":  # an address that has come too often is not greeted at all
        reasons.add("too many connections from one address")

    def told() -> float:
        return sum(count for reason, count in refusals(scene.metrics).items() if reason in reasons)

    before = told()

    def often(tally: Tally) -> bool:
        """Each connection, or each of so many calls, was ended several times over."""
        connections = ATTACKS[name].connections
        if listed and ATTACKS[name].calls:
            return tally.ended > 3 * connections * min(ATTACKS[name].calls, 4)
        return tally.refused + tally.closed > 3 * min(connections, 40)

    with attacking(name, load(made.s1.config).listen, scene.attackers[kind]) as running:
        running.until(often, PATIENCE_S)
        assert scene.client.identify(scene.ada).label == LABELS[0]
        if elsewhere() != "127.0.0.1":  # else the crowd's address is the honest client's
            with made.connect() as another:
                assert another.identify(scene.ada).label == LABELS[0]
        assert scene.memory() < MEMORY
        running.until(often, PATIENCE_S)  # and it goes on
    assert told() > before


def test_the_log_names_them(scene: Scene) -> None:
    """By the fingerprint, and not as often as they came."""
    for kind, reason in TURNED_AWAY.items():
        shown = fingerprint(scene.attackers[kind].cert.read_bytes())[:SHOWN_DIGITS]
        with attacking("idle", load(scene.made.s1.config).listen, scene.attackers[kind]) as running:
            tally = running.until(lambda tally: tally.refused + tally.closed > 12, PATIENCE_S)
        lines = [row for row in scene.made.log(scene.made.s1) if row.get("certificate") == shown]
        assert {row["reason"] for row in lines} == {reason}
        assert len(lines) < (tally.refused + tally.closed) / 2


def test_a_message_that_comes_a_byte_at_a_time_is_given_up(scene: Scene) -> None:
    before = refusals(scene.metrics).get("message too slow", 0)
    with attacking("slow", load(scene.made.s1.config).listen, scene.attackers["listed"]) as running:
        running.until(lambda _: refusals(scene.metrics).get("message too slow", 0) > before, PATIENCE_S)


def test_watch_is_off_and_check_is_not(scene: Scene) -> None:
    files = scene.attackers["listed"]
    credentials = grpc.ssl_channel_credentials(*(path.read_bytes() for path in (files.ca, files.key, files.cert)))
    with grpc.secure_channel(load(scene.made.s1.config).listen, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request, timeout=PATIENCE_S).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Watch(request, timeout=PATIENCE_S))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_strangers_at_s2(scene: Scene) -> None:
    """They get as far as the handshake there, too, and S1 goes on with its questions."""
    address = load(scene.made.s2.config).listen
    for name in ("handshakes", "connections"):
        with attacking(name, address, scene.attackers["listed"]) as running:
            running.until(lambda tally: tally.connected + tally.refused > 300, PATIENCE_S)
            assert scene.client.identify(scene.ada).label == LABELS[0]


def test_the_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "hostile.json"
    args = ["--dimension", "16", "--entries", "2", "--questions", "1", "--who", "revoked", "--attack", "idle"]
    done = CliRunner().invoke(main, [*args, "--out", str(out)])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(out.read_text())["rows"]
    assert row["refused"]["revoked certificate"] > 0
