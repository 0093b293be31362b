"""`pura bench speed`: two real server processes at a tiny size, untimed; the relay; what is computed from rows."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.rounds import Rounds, receive, send
from pura_bench import workload
from pura_bench.speed import deployment, fit, plan
from pura_bench.speed.cli import speed
from pura_bench.speed.measure import Cell, measure
from pura_bench.speed.network import Network, Relay
from pura_bench.speed.stages import Meter

ROW = {
    "engine", "M", "D", "key_bits", "workers", "cpu_s_s1", "cpu_s_s2", "cpu_s_offline", "wall_s", "bytes_client",
    "bytes_peer", "rounds", "exact", "stages",
}  # fmt: skip


# --- the command ------------------------------------------------------------------------------------


def run(tmp_path: Path, engine: str) -> dict[str, Any]:
    file = tmp_path / "speed.json"
    args = ["--entries", "3", "--dimension", "16", "--probes", "3", "--engine", engine, "--engine", "plaintext"]
    done = CliRunner().invoke(speed, [*args, "--work", str(tmp_path / "work"), "--json", str(file)])
    assert done.exit_code == 0, done.output
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_published_in_processes(tmp_path: Path) -> None:
    content = run(tmp_path, "published")
    ours, plain = content["rows"]
    assert set(ours) >= ROW
    assert set(plain) >= ROW
    assert ours["exact"] is True
    assert ours["staged"]["exact"] is True
    assert ours["rounds"] > 0
    assert ours["bytes_peer"] > 1000
    assert {stage["stage"] for stage in ours["stages"]} == {"session", "squares", "minimum", "threshold", "answer"}
    # the bytes that the stages count are those that S1's metrics count
    assert sum(stage["bytes"] for stage in ours["stages"]) == pytest.approx(ours["bytes_peer"], rel=0.02)
    assert sum(stage["rounds"] for stage in ours["stages"]) == ours["rounds"]
    assert content["machine"]["seed"] == 1
    assert content["failed"] == []


def test_prepared_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries are enrolled and one is loaded; whichever is asked for is found."""
    monkeypatch.setattr(deployment, "REALLY_ENROLLED", 2)
    ours, _ = run(tmp_path, "prepared")["rows"]
    assert set(ours) >= ROW
    assert ours["exact"] is True
    assert ours["staged"]["exact"] is True
    assert {"conversion", "minimum", "threshold"} <= {s["stage"] for s in ours["stages"]}
    assert ours["matching_bytes_entry"] > 0
    assert (ours["enrolment"]["entries"], ours["enrolment"]["loaded"]) == (2, 1)


# --- the workload -----------------------------------------------------------------------------------


def test_a_larger_workload_begins_with_the_smaller_one() -> None:
    small, large = workload.make(5, 32, 4, 1), workload.make(9, 32, 4, 1)
    assert (large.gallery[:5] == small.gallery).all()


def test_probes_of_people_and_strangers() -> None:
    load = workload.make(50, 128, 6, 3)
    assert [len(truth) for truth in load.truth] == [1, 0, 1, 0, 1, 0]
    (who,) = load.truth[0]
    assert load.right(0, who)
    assert not load.right(0, None)
    assert not load.right(0, (who + 1) % 50)
    assert load.right(1, None)
    assert not load.right(1, 7)


def test_every_nearest_entry_is_right_when_several_are() -> None:
    gallery = np.array([[5, 0], [3, 4], [0, 5]])
    assert workload.nearest(np.array([4, 2]), gallery, 5) == frozenset({0, 1})
    assert workload.nearest(np.array([4, 2]), gallery, 4) == frozenset()


def test_plaintext_row(tmp_path: Path) -> None:
    row = measure(Cell("plaintext", 40, 16), tmp_path, 1)
    assert row["exact"]
    assert row["M"] == 40


# --- plans ------------------------------------------------------------------------------------------


def test_plans_grow_galleries_in_order() -> None:
    for cells in (plan.quick(), plan.full()):
        assert {cell.engine for cell in cells} == {"published", "prepared", "plaintext"}
        assert len(set(cells)) == len(cells)
    for engine in ("prepared",):
        sizes = {(c.dimension, c.key_bits, c.entries) for c in plan.full() if c.engine == engine}
        assert {(d, b, m) for d in (128, 512) for b in (2048, 3072) for m in (1, 100, 1000)} <= sizes
        assert (128, 2048, 10_000) in sizes


def test_custom_takes_each_size_apart_once() -> None:
    cells = plan.custom(["prepared"], [20, 10], [8], [2048], [1, 0], ["loopback", "wan"], 2)
    assert [c.entries for c in cells] == [10] * 4 + [20] * 4
    assert [c.stages for c in cells] == [True, False, False, False] * 2


# --- what follows from rows -------------------------------------------------------------------------


def row(engine: str, m: int, cpu: float, **more: Any) -> dict[str, Any]:
    return {
        "engine": engine, "M": m, "D": 128, "key_bits": 2048, "workers": 1, "network": "loopback",
        "extrapolated": False, "cpu_s_s1": cpu / 2, "cpu_s_s2": cpu / 2, "cpu_s_offline": 0.0, "wall_s": cpu,
        "bytes_peer": m, "bytes_client": 9, **more,
    }  # fmt: skip


def test_extrapolation_is_a_line_and_is_marked() -> None:
    out = fit.extrapolate(
        [row("published", 10, 1.5), row("published", 110, 11.5), row("prepared", 1, 1.0)], (100, 1000)
    )
    (only,) = out
    assert (only["M"], only["extrapolated"], only["from"]) == (1000, True, [10, 110])
    assert fit.online(only) == pytest.approx(100.5)
    assert only["exact"] is None


def test_slope_exponent_and_ratios() -> None:
    rows = [row("prepared", 100, 0.05), row("prepared", 1000, 0.5), row("published", 100, 10.0)]
    rows += [row("prepared", 1000, 2.0, D=512), row("prepared", 1000, 9.0, network="wan")]
    rows += fit.extrapolate(rows, (1000,))
    cost = {(e["engine"], e["D"]): e for e in fit.per_entry(rows)}
    assert cost["prepared", 128]["cpu_ms"] == pytest.approx(0.5)
    assert cost["prepared", 128]["exponent"] == pytest.approx(1.0)
    assert cost["prepared", 128]["slope_ms"] == pytest.approx(0.5)
    assert "slope_ms" not in cost["published", 128]
    found = {one["text"]: one["ratio"] for one in fit.ratios(rows)}
    assert found["published / prepared, D = 128, 2048 bits, 1 worker"] == pytest.approx(200)
    assert found["D = 512 / D = 128, prepared, 2048 bits, 1 worker"] == pytest.approx(4)


# --- the relay --------------------------------------------------------------------------------------


def test_relay_delays_and_limits_and_loses_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        relay = Relay(target.getsockname()[1], Network("test", 0.04, 1e6))
        with socket.create_connection(("127.0.0.1", relay.port)) as near:
            far, _ = target.accept()
            with far:
                began = time.monotonic()
                near.sendall(b"a")
                assert far.recv(1) == b"a"
                far.sendall(b"b")
                assert near.recv(1) == b"b"
                assert time.monotonic() - began >= 0.04
                body = bytes(range(256)) * 400
                began = time.monotonic()
                near.sendall(body)
                got = b""
                while len(got) < len(body):
                    got += far.recv(1 << 16)
                assert got == body
                assert time.monotonic() - began >= len(body) / 1e6
        relay.close()
    assert relay.bytes == len(body) + 2


# --- stages -----------------------------------------------------------------------------------------


@message
class BenchPing(Message):
    """S1 -> S2."""

    body: bytes


def test_meter_counts_bytes_and_rounds() -> None:
    def s1() -> Rounds[bytes]:
        yield from send(BenchPing(b"12345"))
        return (yield from receive(BenchPing)).body

    def s2() -> Rounds[None]:
        got = yield from receive(BenchPing)
        yield from send(BenchPing(got.body * 2))

    meter = Meter()
    assert meter.play(s1(), s2) == b"1234512345"
    stage = meter.stages["session"]
    assert stage.rounds == 1
    assert stage.bytes > 15


def test_meter_needs_no_session_of_a_party_that_never_speaks() -> None:
    def s1() -> Rounds[int]:
        yield from ()
        return 5

    def never() -> Rounds[None]:
        raise AssertionError

    assert Meter().play(s1(), never) == 5


def test_meter_sees_a_deadlock() -> None:
    def waits() -> Rounds[None]:
        yield from receive(BenchPing)

    with pytest.raises(ProtocolError):
        Meter().play(waits(), waits)
