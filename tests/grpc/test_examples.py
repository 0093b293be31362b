"""The programs in examples/ do what they say, against two real servers."""

from __future__ import annotations

import asyncio
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_file import pooled_network
from server_pair import Deployment, deploy

from pura.ids import Engine

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    running = deploy(tmp_path_factory.mktemp("examples"), Engine.PREPARED, dimension=48, embedder="mine")
    running.start()
    yield running
    assert running.stop() == [0, 0]


def main_of(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_every_example_is_tested_and_listed() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    tested = Path(__file__).read_text() + Path(__file__).with_name("test_desk_http.py").read_text()
    listed = (EXAMPLES / "README.md").read_text()
    assert {name for name in names if f'"{name}"' not in tested or f"`{name}`" not in listed} == set()


def test_embeddings(made: Deployment) -> None:
    command = [sys.executable, str(EXAMPLES / "embeddings.py"), str(made.client_toml)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said == "Ada is Ada (example)\na stranger is None\nit is Ada: True\nerased: 1\n"


def test_an_npy_file_enrols_each_row_once(made: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers, labels = tmp_path / "people.npy", tmp_path / "labels.txt"
    np.save(numbers, np.random.default_rng(7).standard_normal((3, 48)).astype(np.float32))
    labels.write_text("Ada\nGrace\nAlan\n")
    for outcome in ("enrolled", "was there"):
        main_of("import_npy.py")(made.client_toml, numbers, labels)
        assert capsys.readouterr().out == "".join(f"{name} {outcome}\n" for name in ("Ada", "Grace", "Alan"))


def test_a_model_of_ones_own(made: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = pooled_network(tmp_path, 32, 4)
    models = tmp_path / "models.toml"
    models.write_text(
        f'[embedder]\nname = "mine"\npath = "{network.name}"\ndimension = 48\ninput_size = 32\nmean = 127.0\n'
    )
    main_of("own_model.py")(made.client_toml, models)
    assert capsys.readouterr().out.startswith("the crop is Crop (example)\n")


def test_in_your_tests() -> None:
    command = [sys.executable, str(EXAMPLES / "in_your_tests.py")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said == "both as they should be\n"


def test_many_at_once(made: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(main_of("many_at_once.py")(made.client_toml))
    assert capsys.readouterr().out == "matches: 0 of 8\n"
