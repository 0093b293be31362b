"""The GPU bench runs on a processor, checks what it times, and writes it down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the extra `gpu` is not installed")

from pura.errors import ProtocolError
from pura.protocols.prepared.on_torch import OnTorch
from pura_bench import gpu

ARGUMENTS = ["--device", "cpu", "--entries", "10", "--rows", "2", "--dimension", "16", "--runs", "1"]


def test_it_writes_what_it_prints(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    result = CliRunner().invoke(gpu.main, [*ARGUMENTS, "--json", str(file)], catch_exceptions=False)
    assert "torch" in result.output
    assert "seed 1" in result.output
    content = json.loads(file.read_text())
    assert content["machine"]["device"] == "cpu"
    (row,) = content["table"]
    assert row["entries"] == 10
    assert set(row["ratio"]) == set(gpu.STEPS)


def test_it_stops_when_the_two_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = OnTorch.sums
    monkeypatch.setattr(OnTorch, "sums", lambda *args: honest(*args) + 1)
    with pytest.raises(ProtocolError, match="differ"):
        CliRunner().invoke(gpu.main, ARGUMENTS, catch_exceptions=False)
