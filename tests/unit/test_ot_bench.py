"""The benchmark of OT extension runs, checks its own results, and writes what it prints. Untimed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pura.errors import ProtocolError
from pura_bench import ot


def test_ot_bench(tmp_path: Path) -> None:
    file = tmp_path / "ot.json"
    args = ["--log2", "7", "--log2", "9", "--k", "1", "--k", "4", "--runs", "1", "--json", str(file)]
    done = CliRunner().invoke(ot.main, args)
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert [(row["k"], row["n"], row["bytes"]) for row in report["rows"]] == [
        (1, 128, 16.0),
        (1, 512, 16.0),
        (4, 128, 4.0),
        (4, 512, 4.0),
    ]
    for row in report["rows"]:
        assert set(ot.COLUMNS) <= set(row)
    assert [set(ot.STAGES) <= set(stage) for stage in report["stages"]] == [True, True]
    assert report["machine"]["seed"] == 1
    assert "seed 1" in done.output


def test_ot_bench_notices_wrong_results() -> None:
    pads = np.arange(8 * 16, dtype=np.uint8).reshape(8, 16)
    with pytest.raises(ProtocolError):
        ot.check_pads((pads, pads), pads ^ np.uint8(1), np.zeros(1, np.uint8))
    words = np.arange(2, dtype=np.uint64)
    with pytest.raises(ProtocolError):
        ot.check_bits((words, words), words ^ np.uint64(1), np.zeros(16, np.uint8))
