"""Data folders of every release with engine prepared are taken over: tests/fixtures/data-folders/make.py made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pair import Pair, directions

from pura.ids import Handle, Party
from pura.store.check import check_folder

FOLDERS = Path(__file__).parents[1] / "fixtures" / "data-folders"
HOW = {"dimension": 16, "scale": 16, "tau": 60, "packs": 1, "light_packs": 1}


@pytest.mark.parametrize("version", sorted(path.name for path in FOLDERS.iterdir() if path.is_dir()))
def test_a_folder_of_a_release_goes_on(version: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDERS / version, tmp_path / "servers")
    known = json.loads((FOLDERS / version / "known.json").read_text())
    for party in Party:
        assert check_folder(tmp_path / "servers" / party.name).problems == ()
    pair = Pair(tmp_path / "servers", **HOW)
    pair.model = {Handle(int(handle)): np.array(y) for handle, y in known["there"].items()}
    pair.connect()
    assert set(pair.labels()) == set(pair.model)
    assert set(pair.labels().values()) == {f"person {i}".encode() for i in range(len(pair.model))}
    for y in [*pair.model.values(), *map(np.array, known["erased"])]:
        pair.check(y)
    pair.enroll(directions(pair.params, 2, seed=2))
    pair.forget(list(pair.model)[:3])
    pair.refill()
    for y in [*pair.model.values(), *map(np.array, known["erased"])]:
        pair.check(y)
    pair.close()
    for party in Party:
        assert check_folder(tmp_path / "servers" / party.name).problems == ()
