"""Embeddings from a Parquet file, interrupted twice, are enrolled once: `pura import` beside two real servers.

Embeddings have 16 numbers and the key 2048 bits, and there are 160 of them, so that it takes seconds;
PURA_IMPORT_ROWS=1000 is the same with a thousand.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from server_pair import Deployment, deploy
from waiting import PATIENCE_S

from pura.ids import Engine

ROWS = int(os.environ.get("PURA_IMPORT_ROWS", "160"))


def test_interrupted_twice_and_enrolled_once(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    made = deploy(tmp_path / "deployment", Engine.PREPARED)
    draw = np.random.default_rng(5)
    numbers = draw.normal(size=(ROWS, made.params.dimension)).astype(np.float32)
    labels = [f"Person {i:04d}" for i in range(ROWS)]
    file = tmp_path / "people.parquet"
    parquet.write_table(pyarrow.table({"label": labels, "embedding": numbers.tolist()}), file)
    made.start()
    try:
        _interrupted(made, file, ROWS // 10)
        _interrupted(made, file, ROWS // 2)
        done = subprocess.run(_command(made, file), capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        said = json.loads(done.stdout)
        assert said["left_out"] == []
        assert said["already"] >= ROWS // 2
        assert said["enrolled"] + said["already"] == ROWS
        with made.connect() as client:
            assert client.list() == dict.fromkeys(labels, 1)
            for i in (0, ROWS // 2, ROWS - 1):
                assert client.identify(numbers[i]).label == labels[i]
    finally:
        assert made.stop() == [0, 0]


def _command(made: Deployment, file: Path) -> list[str]:
    return [
        *(sys.executable, "-c", "from pura_client.cli import main; main()"),
        *("import", str(file), "--ready", "--json", "--config", str(made.client_toml)),
    ]


def _interrupted(made: Deployment, file: Path, entries: int) -> None:
    """A run that is stopped by Ctrl-C once so many rows are enrolled."""
    running = subprocess.Popen(_command(made, file), stdout=subprocess.PIPE, text=True)
    with made.connect() as client:
        while client.status().entries < entries:
            assert running.poll() is None
            time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 2
    assert json.loads(said)["error"] == "stopped"
    assert json.loads(said)["enrolled"] < ROWS
