"""`pura-server rotate`: what it changes, what it refuses, and that a run which was cut off is done again."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pura.crypto.keys import load_public, load_share, write_keys
from pura.crypto.maskfile import load_masks, write_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import generate
from pura.errors import ParameterMismatch
from pura.ids import Party
from pura.store import SqliteStore
from pura_server import config as server_config
from pura_server.cli import cli

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEYS = FIXTURES / "test-keys-2048"
OLD = load_public(KEYS / "public.key")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of another ceremony for the same collection."""
    folder = tmp_path_factory.mktemp("new")
    write_keys(generate(2048, SeededRng("rotation"), OLD.engine, OLD.collection), folder)
    return folder


@pytest.fixture
def s1(tmp_path: Path) -> Path:
    """S1's configuration, a data folder, and mask keys."""
    made = run("init", "--out", tmp_path, "--keys", KEYS)
    assert made.exit_code == 0, made.output
    config = tmp_path / "s1" / "s1.toml"
    write_masks(config.with_name("s1.masks"), MaskKeys({1: bytes(32)}), Party.S1, OLD.key_id)
    open_data(config).close()
    (config.parent / "client.toml").write_text(f'[collection]\nkey_id = "{OLD.key_id.hex()}"\n')
    return config


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


def rotate(config: Path, new: Path) -> Result:
    return run("rotate", "--config", config, "--public", new / "public.key", "--share", new / "s1.share")


def open_data(config: Path) -> SqliteStore:
    settings = server_config.load(config)
    pk = load_public(settings.keys.public)
    params = settings.collection.params(pk)
    return SqliteStore.open(settings.data, role=Party.S1, agreement=params.storage, key_id=pk.key_id)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rotated(config: Path, new: Path) -> None:
    pk = load_public(new / "public.key")
    assert load_public(config.with_name("public.key")) == pk
    assert load_share(config.with_name("s1.share"), pk, Party.S1).t == load_share(new / "s1.share", pk, Party.S1).t
    assert load_masks(config.with_name("s1.masks"), Party.S1, pk.key_id).secret(1) == bytes(32)
    assert pk.key_id.hex() in config.with_name("client.toml").read_text()
    open_data(config).close()


def test_a_server_takes_other_keys(s1: Path, new: Path) -> None:
    done = rotate(s1, new)
    assert done.exit_code == 0, done.output
    rotated(s1, new)
    again = rotate(s1, new)
    assert (again.exit_code, "has that key already" in again.output) == (2, True)
    rotated(s1, new)


@pytest.mark.parametrize("after", range(4))
def test_a_rotation_that_was_cut_off(s1: Path, new: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """After the data folder, the masks, the share or the clients' file; the public key comes last."""
    left = iter(range(after))
    really = os.replace

    def full(one: Path, other: Path) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        really(one, other)

    monkeypatch.setattr(os, "replace", full)
    cut = rotate(s1, new)
    assert (cut.exit_code, "[storage_full]" in cut.output) == (2, True), cut.output
    monkeypatch.undo()
    with pytest.raises(ParameterMismatch):  # a server does not start on half of it
        open_data(s1)
    assert rotate(s1, new).exit_code == 0
    rotated(s1, new)


def test_what_is_refused(s1: Path, new: Path, tmp_path: Path) -> None:
    before = everything_in(s1.parent)
    codes = {"test-keys-3072": "wrong_key", "test-keys-2048-published": "bad_config", "test-keys-2048": "bad_config"}
    for folder, code in codes.items():
        refused = rotate(s1, FIXTURES / folder)
        assert (refused.exit_code, f"[{code}]" in refused.output) == (2, True), refused.output
    wrong = run("rotate", "--config", s1, "--public", new / "public.key", "--share", new / "s2.share")
    assert (wrong.exit_code, "[wrong_key]" in wrong.output) == (2, True)
    held = open_data(s1)
    assert "[data_folder_in_use]" in rotate(s1, new).output
    held.close()
    with closing(sqlite3.connect(s1.parent / "data" / "gallery.db")) as db, db:
        db.execute("INSERT INTO prepared (txn, kind, generation) VALUES (x'00', 'enrol', 1)")
    assert "not settled yet" in rotate(s1, new).output
    assert everything_in(s1.parent) == before
    open_data(s1).close()
