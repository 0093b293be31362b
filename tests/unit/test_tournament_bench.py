"""The benchmark of tournaments runs, checks its answers, and writes what it prints. Untimed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pura.errors import ProtocolError
from pura.protocols.prepared import tournament as prepared
from pura_bench import tournament


def test_tournament_bench(tmp_path: Path) -> None:
    file = tmp_path / "tournament.json"
    args = ["--entries", "1", "--entries", "20", "--k", "17", "--questions", "2", "--runs", "1", "--json", str(file)]
    done = CliRunner().invoke(tournament.main, args)
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert [row["entries"] for row in report["rows"]] == [1, 20]
    for row in report["rows"]:
        assert row["ots"] > 0
        assert row["moves"] > 0
        assert row["online_bytes"] > 0
    assert report["machine"]["seed"] == 1
    assert "seed 1" in done.output


def test_tournament_bench_notices_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = prepared.nearest

    def wrong(*args: object, **how: object) -> object:
        got = yield from real(*args, **how)  # type: ignore[arg-type]
        return [value ^ 1 for value in got] if how["first"] else got

    monkeypatch.setattr(prepared, "nearest", wrong)
    with pytest.raises(ProtocolError):
        tournament.Bench(1).prepared(5, 17, 1, 1)
