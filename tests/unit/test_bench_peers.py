"""`pura bench peers` without a network: a real peer (phe) in this environment, what cannot be had, and the facts."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pura_bench.peers import cli, environment, measure
from pura_bench.peers.environment import Unavailable, choose, last_line, prepare, run_script
from pura_bench.peers.registry import PEERS, Peer
from pura_bench.report.plots import GREY, protection
from pura_bench.workload import make

BY_NAME = {peer.name: peer for peer in PEERS}
WORK = make(3, 16, 2, 1)


def ready(peer: Peer, cache: Path, *, install: bool = True) -> Path:
    return Path(sys.executable)


@pytest.mark.skipif(importlib.util.find_spec("phe") is None, reason="phe is not installed")
def test_a_real_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "prepare", ready)
    row = measure.measure(BY_NAME["phe"], WORK, tmp_path, install=False, limit_s=60)
    assert row["exact"] is True
    assert row["wall_s"] > 0
    assert row["bytes_client"] == 512 * (16 + 3)
    assert (row["entries"], row["dimension"]) == (3, 16)


def test_a_wrong_answer_is_not_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lies(python: Path, script: str, workload: Path, result: Path, limit_s: float) -> str:
        result.write_text('{"answers": [-1, -1], "wall_s": 1, "cpu_s": 1, "bytes_client": 1, "bytes_peer": 1}')
        return "Link details: total send bytes 40, recv\nLink details: total send bytes 2, recv"

    monkeypatch.setattr(measure, "prepare", ready)
    monkeypatch.setattr(measure, "run_script", lies)
    row = measure.measure(BY_NAME["spu-semi2k"], WORK, tmp_path, install=False, limit_s=60)
    assert row["exact"] is False  # the first probe is of somebody enrolled
    assert row["bytes_peer"] == 42


@pytest.mark.parametrize("script", ["no_such_module", "tenseal_tutorial"])
def test_what_fails_is_skipped_with_the_reason(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if script == "tenseal_tutorial" and importlib.util.find_spec("tenseal"):
        pytest.skip("tenseal is installed here")
    monkeypatch.setattr(measure, "prepare", ready)
    peer = dataclasses.replace(BY_NAME["seal"], script=script)
    row = measure.measure(peer, WORK, tmp_path, install=False, limit_s=60)
    assert "ModuleNotFoundError" in row["skipped"]
    assert "wall_s" not in row


def test_too_slow_is_left_out(tmp_path: Path) -> None:
    row = measure.measure(BY_NAME["phe"], WORK, tmp_path, install=False, limit_s=0.001)
    assert "left out" in row["skipped"]


def test_stopped_after_its_time(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="stopped after 0 s"):
        run_script(Path(sys.executable), "phe_plain", tmp_path / "none", tmp_path / "result", 0.01)


def test_nothing_is_installed_unasked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="--no-install"):
        prepare(BY_NAME["phe"], tmp_path, install=False)
    assert not list(tmp_path.iterdir())


def test_what_does_not_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        made.append(command)
        return subprocess.CompletedProcess(command, int("pip" in command), "", "WARNING: x\nERROR: no wheel\n")

    monkeypatch.setattr(environment.subprocess, "run", run)
    with pytest.raises(Unavailable, match="does not install: ERROR: no wheel"):
        prepare(BY_NAME["seal"], tmp_path)
    assert made[0][1:3] == ["-m", "venv"]
    assert "tenseal==0.3.18" in made[1]


def test_wheels_for_some_interpreters_only() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    peer = dataclasses.replace(BY_NAME["openfhe"], builds=(("1.2", ("old",)), ("9.9", ("new",))))
    assert choose(peer, {"9.9": "/python9.9"}.get) == ("/python9.9", ("new",))
    with pytest.raises(Unavailable, match=r"1\.2 or 9\.9"):
        choose(peer, lambda _: None)
    assert choose(dataclasses.replace(peer, builds=((here, ("now",)),)), lambda _: None) == (sys.executable, ("now",))


def test_every_peer_is_pinned_and_has_its_script() -> None:
    for peer in PEERS:
        packages = [*peer.packages, *peer.loose, *(p for _, ps in peer.builds for p in ps)]
        assert packages
        assert all("==" in package for package in packages)
        assert (environment.SCRIPTS / f"{peer.script}.py").is_file()
        assert all(dataclasses.asdict(peer.facts).values())
    kept = {peer.name for peer in PEERS if protection(dataclasses.asdict(peer.facts)) != GREY}
    assert kept == {"crypten", "spu-semi2k", "spu-cheetah"}


def test_verdicts_say_what_a_faster_one_gives_up() -> None:
    base: dict[str, Any] = {"entries": 10, "title": "T", **dataclasses.asdict(BY_NAME["seal"].facts)}
    rows = [
        {**base, "name": "prepared", "wall_s": 1.0, "cpu_s": 1.0},
        {**base, "name": "fast", "wall_s": 0.5, "cpu_s": 0.5},
        {**base, "name": "slow", "wall_s": 3.0, "cpu_s": 4.0},
        {**base, "name": "none", "skipped": "why"},
    ]
    fast, slow = cli.verdicts(rows)
    assert "2 times faster than prepared" in fast
    assert "scores known to the client, all M" in fast
    assert "3 times the wall time and 4 times the CPU" in slow


def test_the_command_names_what_was_skipped(tmp_path: Path) -> None:
    args = ["--only", "seal", "--entries", "3", "--dimension", "16", "--no-install", "--cache", str(tmp_path)]
    done = CliRunner().invoke(cli.peers, [*args, "--json", str(tmp_path / "peers.json")])
    assert done.exit_code == 0, done.output
    assert "skipped" in done.output
    assert (tmp_path / "peers.json").exists()


def test_last_line() -> None:
    assert last_line("one\n\n  two \nWARNING: three\n") == "two"
    assert last_line("") == ""
