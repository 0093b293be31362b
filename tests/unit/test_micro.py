"""The benchmark of the primitives runs, checks its own answer, and writes what it prints. Untimed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pura_bench import micro


def test_micro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "DIMENSION", 8)
    monkeypatch.setattr(micro, "GALLERY", 5)
    file = tmp_path / "micro.json"
    done = CliRunner().invoke(micro.main, ["--bits", "2048", "--runs", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    figures = report["figures"]["2048"]["pura"]
    assert {"Enc", "PDec", "combine", "SMUL", "SCMP", micro.SQUARE, "SMIN", micro.QUERY} <= set(figures)
    assert all(value >= 0 for value in figures.values())
    assert all(name in done.output for name in figures)
    assert report["seed"] == 1
    assert "gmpy2" in report["machine"]["arithmetic"]
