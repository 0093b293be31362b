"""What a client remembers between its runs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pura.errors import BadConfig
from pura.ids import CollectionId
from pura_client.seen import Seen

COLLECTION, S2 = CollectionId(b"k" * 16), "ab" * 32


def seen(path: Path | None, collection: CollectionId = COLLECTION, s2: str = S2) -> Seen:
    return Seen(path, collection, s2)


def test_it_lasts_and_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "client.state"
    first = seen(path)
    assert first.generation == 0
    for generation in (3, 7, 5):
        first.learn(generation)
    assert seen(path).generation == first.generation == 7
    assert json.loads(path.read_text())["generation"] == 7
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["client.state"]


def test_another_process_of_the_same_client_may_know_more(tmp_path: Path) -> None:
    one, two = seen(tmp_path / "client.state"), seen(tmp_path / "client.state")
    two.learn(9)
    one.learn(4)
    assert one.generation == seen(tmp_path / "client.state").generation == 9


def test_other_keys_are_another_collection(tmp_path: Path) -> None:
    path = tmp_path / "client.state"
    seen(path).learn(9)
    assert seen(path, s2="cd" * 32).generation == 0
    assert seen(path, collection=CollectionId(b"l" * 16)).generation == 0


def test_without_a_file_it_lasts_for_one_run() -> None:
    memory = seen(None)
    memory.learn(4)
    assert memory.generation == 4


@pytest.mark.parametrize("text", ["", "{", "7", '{"version": 1}', '{"version": 2, "generation": 7}',
                                  '{"version": 1, "generation": -1}', '{"version": 1, "generation": "7"}'])  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "client.state"
    path.write_text(text)
    with pytest.raises(BadConfig, match=r"client\.state is damaged; remove it"):
        seen(path)


def test_where_nothing_can_be_written_it_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="`state`"):
        seen(tmp_path / "nowhere" / "client.state")
    (tmp_path / "client.state").mkdir()
    with pytest.raises(BadConfig, match="cannot be read"):
        seen(tmp_path / "client.state")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "client.state"
    memory = seen(path)
    memory.learn(3)

    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BadConfig):
            memory.learn(4)
    assert seen(path).generation == 3
    assert os.listdir(tmp_path) == ["client.state"]
