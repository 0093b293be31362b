"""The command line `pura-server`: help texts, what `init` writes, clients, check."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from pura.crypto.keys import load_public
from pura.ids import Engine
from pura.params import DEFAULT_SCALE, tau_from_cosine
from pura_client import config as client_config
from pura_server import config as server_config
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
SERVER_SNAPSHOTS = Path(__file__).parent / "help_server"
SERVER_COMMANDS = ["", *cli.commands, "client add", "client revoke", "client list"]


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


@pytest.mark.parametrize("command", SERVER_COMMANDS)
def test_help_of_the_server(command: str) -> None:
    """`PURA_SNAPSHOTS=write pytest tests/cli` renews the snapshots."""
    result = CliRunner().invoke(cli, [*command.split(), "--help"], prog_name="pura-server", terminal_width=100)
    snapshot = SERVER_SNAPSHOTS / f"{command.replace(' ', '-') or 'pura-server'}.txt"
    if os.environ.get("PURA_SNAPSHOTS") == "write":
        snapshot.write_text(result.output)
    assert result.exit_code == 0
    assert result.output == snapshot.read_text()


def test_no_server_snapshot_is_left_over() -> None:
    names = {command.replace(" ", "-") or "pura-server" for command in SERVER_COMMANDS}
    assert {path.stem for path in SERVER_SNAPSHOTS.iterdir()} == names


def test_init_writes_a_deployment(tmp_path: Path) -> None:
    result = run("init", "--out", tmp_path, "--keys", KEYS, "--host", "faces.example", "--s2-host", "other.example")
    assert result.exit_code == 0, result.output
    s1, s2 = (server_config.load(tmp_path / name / f"{name}.toml") for name in ("s1", "s2"))
    client = client_config.load(tmp_path / "client" / "client.toml")
    pk = load_public(client.public_key)
    params = s1.collection.params(pk)
    assert params.agreement == s2.collection.params(pk).agreement
    assert (params.engine, params.embedder) == (Engine.PACKED, "sface-centred")
    assert params.tau == tau_from_cosine(0.37, DEFAULT_SCALE)
    assert client.embedder is None  # the collection says which
    assert (s1.listen, s2.listen) == ("0.0.0.0:7701", "0.0.0.0:7702")
    assert (s1.peer.address, client.server) == ("other.example:7702", "faces.example:7701")
    assert len(client.label_key_bytes()) == 32
    s1.require_tls()
    s2.require_tls()
    secret = [
        path for path in tmp_path.rglob("*") if path.suffix in (".key", ".share", ".toml") and path.stem != "public"
    ]
    assert len(secret) == 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    cert = x509.load_pem_x509_certificate((tmp_path / "s1" / "s1.crt").read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "faces.example" in names.get_values_for_type(x509.DNSName)
    # each folder has nothing of the other server's but its certificate
    assert sorted(path.name for path in (tmp_path / "s2").rglob("*") if path.is_file()) == [
        "public.key", "s1.crt", "s2.crt", "s2.key", "s2.share", "s2.toml",
    ]  # fmt: skip
    assert not (tmp_path / "s1" / "s2.share").exists()


def test_init_for_embeddings_as_they_are(tmp_path: Path) -> None:
    assert run("init", "--out", tmp_path, "--keys", KEYS, "--embedder", "sface").exit_code == 0
    collection = server_config.load(tmp_path / "s1" / "s1.toml").collection
    assert (collection.embedder, collection.threshold) == ("sface", 0.425)


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "s2").mkdir()
    result = run("init", "--out", tmp_path, "--keys", KEYS)
    assert (result.exit_code, "[would_overwrite]" in result.output) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["s2"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--threshold", "1.5"), "bad_config"),
        (("--embedder", "mine"), "bad_config"),
        (("--metric", "euclidean"), "bad_config"),
        (("--dimension", "0"), "bad_config"),
        (("--top-k", "11"), "bad_config"),
        (("--sigma", "41"), "bad_config"),
        (("--keys", "nowhere"), "bad_key_file"),
    ],
)
def test_init_refuses(tmp_path: Path, options: tuple[str, str], code: str) -> None:
    result = run("init", "--out", tmp_path / "out", "--keys", KEYS, *options)
    assert result.exit_code == 2
    assert result.output.endswith(f"[{code}]\n")
    assert not (tmp_path / "out").exists()


def test_init_for_other_embeddings(tmp_path: Path) -> None:
    options = (
        "--engine",
        "published",
        "--metric",
        "euclidean",
        "--radius",
        "2.5",
        "--threshold",
        "1.1",
        "--embedder",
        "x",
    )
    assert run("init", "--out", tmp_path, "--keys", KEYS, *options, "--dimension", "512").exit_code == 0
    body = tomllib.loads((tmp_path / "s2" / "s2.toml").read_text())["collection"]
    assert (body["radius"], body["threshold"], body["dimension"], body["metric"]) == (2.5, 1.1, 512, "euclidean")


def test_clients(tmp_path: Path) -> None:
    run("init", "--out", tmp_path, "--keys", KEYS)
    config = ("--config", tmp_path / "s1" / "s1.toml")
    listed = run("client", "list", *config).output
    assert listed.startswith("client ")
    assert listed.endswith("ask,enrol\n")
    assert run("client", "add", "door", *config).exit_code == 2
    assert run("client", "add", "../door", *config, "--cert", tmp_path / "s2" / "s2.crt").exit_code == 2
    added = run("client", "add", "door", *config, "--cert", tmp_path / "s2" / "s2.crt", "--no-enrol")
    assert (added.exit_code, added.output) == (0, "door may ask\n")
    assert run("client", "add", "again", *config, "--cert", tmp_path / "s2" / "s2.crt").exit_code == 2
    assert run("client", "revoke", "door", *config).output == "door: 1 certificates revoked\n"
    assert run("client", "revoke", "door", *config).output == "door: 0 certificates revoked\n"
    body = (tmp_path / "s1" / "data" / "clients.json").read_text()
    assert len(json.loads(body)["clients"]) == 2
    assert "BEGIN" not in body
    assert run("client", "list", "--config", tmp_path / "s2" / "s2.toml").exit_code == 2


def test_without_a_command_or_a_configuration() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--config" in result.output
