"""Embeddings from a Parquet file, interrupted twice, are enrolled once: `pura import` beside two real servers.

Embeddings have 16 numbers and the key 2048 bits, and there are 160 of them, so that it takes seconds;
PURA_IMPORT_ROWS=1000 is the same with a thousand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


WHOLE = "from pura_client.cli import main; main()"
STOPPED = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started without
from pura_client.gateway import Gateway
enroll, enrolled = Gateway.enroll, 0
def counted(self, request):
    global enrolled
    reply = enroll(self, request)
    enrolled += len(reply.outcomes)
    if enrolled >= {entries}:
        os.kill(os.getpid(), signal.SIGINT)
    return reply
Gateway.enroll = counted
"""


def _command(made: Deployment, file: Path, program: str = WHOLE) -> list[str]:
    config = str(made.client_toml)
    return [sys.executable, "-c", program, "import", str(file), "--ready", "--json", "--config", config]


def _interrupted(made: Deployment, file: Path, entries: int) -> None:
    """A run that is stopped by Ctrl-C once so many rows are enrolled."""
    command = _command(made, file, STOPPED.format(entries=entries) + WHOLE)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert said["error"] == "stopped"
    assert said["enrolled"] < ROWS
