"""Several collections of one organisation: a folder for each, and clients that choose by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pura.errors import BadConfig
from pura_client import cli
from pura_client import config as client_config
from pura_server import config as server_config
from pura_server.cli import cli as server

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
NAMES = ("staff", "visitors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections, and a client's folder with a configuration of each."""
    folder = tmp_path_factory.mktemp("collections")
    for i, name in enumerate(NAMES):
        args = ["--out", str(folder / "org"), "--keys", str(KEYS), "--collection", name]
        ports = ["--s1-port", str(7711 + 2 * i), "--s2-port", str(7712 + 2 * i)]
        done = CliRunner().invoke(server, ["init", *args, *ports])
        assert done.exit_code == 0, done.output
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "org" / name / "desk").rename(folder / "mine" / name)
    return folder


def test_each_has_a_folder_and_ports_of_its_own(made: Path) -> None:
    listens = {server_config.load(made / "org" / name / party / f"{party}.toml").listen
               for name in NAMES for party in ("s1", "s2")}  # fmt: skip
    assert len(listens) == 4


@pytest.mark.parametrize("name", ["../staff", "", "a b", "x" * 65])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    args = ["init", "--out", str(tmp_path / "org"), "--keys", str(KEYS), "--collection", name]
    done = CliRunner().invoke(server, args)
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_client_chooses_by_name(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: client_config.load(made / "mine", name) for name in NAMES}
    assert len({config.server for config in found.values()}) == 2
    monkeypatch.setenv(client_config.COLLECTION_ENV, "staff")
    asked: list[Path] = []
    monkeypatch.setattr(cli, "connect", lambda config, **_: asked.append(config))
    assert client_config.load(made / "mine") == found["staff"]
    for file, name in ((made / "mine", "staff"), (made / "mine" / "visitors" / "client.toml", "visitors")):
        assert client_config.load(file) == found[name]
        CliRunner().invoke(cli.cli, ["list", "--config", str(file)])
        assert asked.pop() == made / "mine" / name / "client.toml"


def test_who_does_not_choose_is_told_what_there_is(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(client_config.COLLECTION_ENV, raising=False)
    with pytest.raises(BadConfig, match="staff, visitors"):
        client_config.load(made / "mine")
    for more in ([], ["--collection", "nobody"]):
        done = CliRunner().invoke(cli.cli, ["list", "--config", str(made / "mine"), "--json", *more])
        assert done.exit_code == 2
        said = json.loads(done.output)
        assert said["error"] == "bad_config"
        assert "staff, visitors" in said["message"]
