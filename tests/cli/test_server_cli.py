"""The command line `pura-server`: help texts, what `init` writes, clients, check."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from pura.crypto.keys import load_public
from pura.crypto.sign import SigningKey
from pura.errors import BadConfig, WrongKey
from pura.ids import Engine
from pura.params import DEFAULT_SCALE, tau_from_cosine
from pura.statements import Verifier
from pura_client import config as client_config
from pura_server import cli_collection, engines
from pura_server import config as server_config
from pura_server.cli import cli
from pura_server.cli_access import client, group
from pura_server.cli_audit import audit
from pura_server.cli_gallery import masks
from pura_server.cli_join import ca
from pura_server.credentials import May, read_clients
from pura_server.groups import read_groups
from pura_server.tls import fingerprint

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
SERVER_SNAPSHOTS = Path(__file__).parent / "help_server"
SERVER_COMMANDS = ["", *cli.commands, *(f"client {name}" for name in client.commands)]
SERVER_COMMANDS += [f"group {name}" for name in group.commands]
SERVER_COMMANDS += [f"masks {name}" for name in masks.commands]
SERVER_COMMANDS += [f"audit {name}" for name in audit.commands]
SERVER_COMMANDS += [f"ca {name}" for name in ca.commands]


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
    client = client_config.load(tmp_path / "desk" / "client.toml")
    pk = load_public(client.public_key)
    params = s1.collection.params(pk)
    assert params.agreement == s2.collection.params(pk).agreement
    assert (params.engine, params.embedder) == (Engine.PREPARED, "sface-mirrored")
    assert params.tau_verify == tau_from_cosine(0.37, DEFAULT_SCALE)
    assert client.embedder is None  # the collection says which
    assert (s1.listen, s2.listen) == ("0.0.0.0:7701", "0.0.0.0:7702")
    assert (s1.sessions, s2.sessions) == (None, "0.0.0.0:7703")  # a firewall between the two has to know it
    assert (s1.peer.address, client.server) == ("other.example:7702", "faces.example:7701")
    assert len(client.label_key_bytes()) == 32
    s1.require_tls()
    s2.require_tls()
    secret = [
        path
        for path in tmp_path.rglob("*")
        if path.suffix in (".key", ".share", ".sign", ".toml") and path.stem != "public"
    ]
    assert len(secret) == 20
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    cert = x509.load_pem_x509_certificate((tmp_path / "s1" / "s1.crt").read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "faces.example" in names.get_values_for_type(x509.DNSName)
    # each folder has nothing of the other server's but its certificate
    assert sorted(path.name for path in (tmp_path / "s2").rglob("*") if path.is_file()) == [
        "groups.json", "public.key", "s1.crt", "s2.crt", "s2.key", "s2.share", "s2.sign", "s2.toml",
    ]  # fmt: skip
    assert not (tmp_path / "s1" / "s2.share").exists()
    assert sorted(path.name for path in (tmp_path / "s1").rglob("*")) == [
        "clients-ca.crt", "clients.json", "public.key", "s1.crt", "s1.key", "s1.share", "s1.toml", "s2.crt",
    ]  # fmt: skip
    assert "100 questions" in result.output
    assert (s1.budget.questions, s1.budget.enrolments) == (100, 1000)
    assert s1.budget.per_hour * 24 == pytest.approx(100, rel=1e-3)


def test_init_writes_a_desk_and_a_camera(tmp_path: Path) -> None:
    """Each a bundle of its own, that works wherever it is brought."""
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    rights = {record.name: record.may for record in read_clients(tmp_path / "s1" / "clients.json")}
    assert rights == {"desk": set(May), "camera": {May.ASK}}
    shown = set()
    known = {key.key: key.per_hour for key in read_groups(tmp_path / "s2" / "groups.json")}
    assert sorted(known.values()) == [200, 1000, 2000]  # erasures; both clients' questions, and enrolments
    for name in rights:
        bundle = tmp_path / name
        config = client_config.load(bundle / "client.toml")
        for path in (config.cert, config.key, config.ca, config.public_key):
            assert path is not None
            assert path.parent == bundle
            assert path.exists()
        assert config.cert is not None
        assert {right.value for right in config.group_keys()} == {one for one in rights[name] if one != May.ERASE_ALL}
        for key in config.group_keys().values():
            assert key.public in known
        shown.add(fingerprint(config.cert.read_bytes()))
    assert not [path for path in tmp_path.rglob("group-*.key") if path.parts[-2] in ("s1", "s2")]
    assert shown == {record.fingerprint for record in read_clients(tmp_path / "s1" / "clients.json")}
    assert len(shown) == 2


def test_init_writes_the_budget_that_it_is_told(tmp_path: Path) -> None:
    options = ("--questions-a-day", "24", "--enrolments-a-day", "48")
    result = run("init", "--out", tmp_path, "--keys", KEYS, *options)
    assert "24 questions and enrol 48 photos a day" in result.output
    budget = server_config.load(tmp_path / "s1" / "s1.toml").budget
    assert (budget.questions, budget.per_hour, budget.enrolments, budget.enrolments_per_hour) == (24, 1, 48, 2)


def test_init_asks_at_a_terminal_how_many_questions_a_client_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_collection, "at_a_terminal", lambda: True)
    arguments = ["init", "--out", str(tmp_path), "--keys", str(KEYS)]
    result = CliRunner().invoke(cli, arguments, input="none\n0\n30\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("How many questions a day") == 3
    assert server_config.load(tmp_path / "s1" / "s1.toml").budget.questions == 30


def test_init_for_embeddings_as_they_are(tmp_path: Path) -> None:
    assert run("init", "--out", tmp_path, "--keys", KEYS, "--embedder", "sface").exit_code == 0
    collection = server_config.load(tmp_path / "s1" / "s1.toml").collection
    assert (collection.embedder, collection.threshold) == ("sface", 0.425)


def test_init_makes_the_key_that_s2_signs_with(tmp_path: Path) -> None:
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    s1, s2 = (server_config.load(tmp_path / name / f"{name}.toml") for name in ("s1", "s2"))
    desk = client_config.load(tmp_path / "desk" / "client.toml")
    camera = client_config.load(tmp_path / "camera" / "client.toml")
    pk = load_public(KEYS / "public.key")
    signer = s2.signer(pk)
    assert s2.keys.sign == tmp_path / "s2" / "s2.sign"
    assert stat.S_IMODE(s2.keys.sign.stat().st_mode) == 0o600
    assert s1.verifier(pk) == desk.verifier(pk) == camera.verifier(pk) == Verifier(signer.key.public, pk.key_id)
    assert not [path for path in tmp_path.rglob("*.sign") if path != s2.keys.sign]
    assert desk.pins() == camera.pins()
    desk.pins().check(s1.collection.params(pk))


@pytest.mark.parametrize(("role", "key"), [("s1", "peer.sign_key"), ("s2", "keys.sign")])
def test_a_server_without_the_key_of_s2_says_what_to_mend(tmp_path: Path, role: str, key: str) -> None:
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    path = tmp_path / role / f"{role}.toml"
    path.write_text(re.sub(rf"(?m)^{key.partition('.')[2]} = .*$", "", path.read_text()))
    with pytest.raises(BadConfig, match=rf"{key} is missing.*pura-server sign-key"):
        engines.prepare(server_config.load(path))


@pytest.mark.parametrize(
    ("role", "section", "line", "message"),
    [
        ("s1", "[keys]", 'sign = "s2.sign"', "keys.sign is not for S1"),
        ("s2", "[peer]", f'sign_key = "{"00" * 32}"', "peer.sign_key is not for S2"),
    ],
)
def test_the_key_of_s2_is_no_key_of_s1(tmp_path: Path, role: str, section: str, line: str, message: str) -> None:
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    path = tmp_path / role / f"{role}.toml"
    path.write_text(path.read_text().replace(section, f"{section}\n{line}"))
    with pytest.raises(BadConfig, match=message):
        server_config.load(path)


def test_sign_key_makes_a_key_once_and_shows_its_public_half(tmp_path: Path) -> None:
    first, second = (run("sign-key", tmp_path / "s2.sign") for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.output == second.output == SigningKey.load(tmp_path / "s2.sign").public.hex() + "\n"
    (tmp_path / "other").write_text("rubbish")
    bad = run("sign-key", tmp_path / "other")
    assert (bad.exit_code, "[bad_key_file]" in bad.output) == (2, True)


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "s2").mkdir()
    result = run("init", "--out", tmp_path, "--keys", KEYS)
    assert (result.exit_code, "[would_overwrite]" in result.output) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["s2"]


@pytest.mark.parametrize("after", [1, 5, 20])
def test_init_on_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    left = iter(range(after))
    really = os.fsync

    def full(fd: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(fd)

    monkeypatch.setattr(os, "fsync", full)
    result = run("init", "--out", tmp_path / "a" / "b", "--keys", KEYS)
    assert (result.exit_code, "[storage_full]" in result.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "address", "san"),
    [
        ("::1", "[::1]", "::1"),
        ("[::1]", "[::1]", "::1"),
        ("2001:db8::7", "[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8:0:0::7", "[2001:db8::7]", "2001:db8::7"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("zürich.example", "xn--zrich-kva.example", "xn--zrich-kva.example"),
        ("Faces.Example", "faces.example", "faces.example"),
        ("localhost", "localhost", "localhost"),
    ],
)
def test_init_takes_every_kind_of_host(tmp_path: Path, host: str, address: str, san: str) -> None:
    result = run("init", "--out", tmp_path, "--keys", KEYS, "--host", host)
    assert result.exit_code == 0, result.output
    s1, s2 = (server_config.load(tmp_path / name / f"{name}.toml") for name in ("s1", "s2"))
    assert s1.peer.address == f"{address}:7702"
    assert client_config.load(tmp_path / "desk" / "client.toml").server == f"{address}:7701"
    loopback = address in ("[::1]", "localhost")
    assert server_config.is_loopback(s1.listen) == loopback
    assert s2.listen == (f"{address}:7702" if loopback else f"{'[::]' if ':' in san else '0.0.0.0'}:7702")
    cert = x509.load_pem_x509_certificate((tmp_path / "s1" / "s1.crt").read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san in [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


@pytest.mark.parametrize(
    "host",
    ["", " ", "pura_s1", "-a.example", "a..example", "a.example.", "a.example:7701", "https://a.example", "1.2.3",
     "fe80::1%eth0", "::", "0.0.0.0", "224.0.0.1", "x" * 64, ".".join(["x" * 60] * 5), "straße.example", "a b", "a/b",
     "\ud800.example", "ü" * 70],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--host", "--s2-host"])
def test_init_refuses_what_is_no_host(tmp_path: Path, option: str, host: str) -> None:
    result = run("init", "--out", tmp_path / "out", "--keys", KEYS, option, host)
    assert (result.exit_code, result.output.startswith(f"error: {option}: ")) == (2, True), result.output
    assert result.output.endswith("[bad_config]\n")
    assert not (tmp_path / "out").exists()


def test_a_umask_of_nothing_opens_nothing(tmp_path: Path) -> None:
    """The programs themselves, started under umask 000."""
    before = os.umask(0)
    try:
        for program, *arguments in (
            ("pura_client.cli", "keygen", "--out", tmp_path / "a" / "keys", "--bits", "2048"),
            ("pura_server.cli", "init", "--out", tmp_path / "b" / "out", "--keys", KEYS),
        ):
            command = [sys.executable, "-c", f"from {program} import main; main()", *map(str, arguments)]
            assert subprocess.run(command, check=False, timeout=120).returncode == 0
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for top in "ab" for path in (tmp_path / top).rglob("*")}
    assert [str(path) for path, mode in modes.items() if mode & 0o022] == []
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) & 0o022 == 0
    secret = [path for path in modes if path.suffix in (".share", ".toml") or path.name in ("clients.json", "s1.key")]
    assert {modes[path] for path in secret} == {0o600}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--threshold", "1.5"), "bad_config"),
        (("--embedder", "mine"), "bad_config"),
        (("--dimension", "0"), "bad_config"),
        (("--dimension", "15"), "bad_config"),
        (("--dimension", "512", "--scale", "16"), "bad_config"),
        (("--top-k", "11"), "bad_config"),
        (("--keys", "nowhere"), "bad_key_file"),
    ],
)
def test_init_refuses(tmp_path: Path, options: tuple[str, str], code: str) -> None:
    result = run("init", "--out", tmp_path / "out", "--keys", KEYS, *options)
    assert result.exit_code == 2
    assert result.output.endswith(f"[{code}]\n")
    assert not (tmp_path / "out").exists()


def test_an_engine_that_leaks_is_named_by_the_key_and_allowed_on_purpose(tmp_path: Path) -> None:
    for keys, options in ((KEYS.with_name("test-keys-2048-published"), ()), (KEYS, ("--allow-leaky",))):
        refused = run("init", "--out", tmp_path / "out", "--keys", keys, *options)
        assert (refused.exit_code, refused.output.endswith("[bad_config]\n")) == (2, True)
        assert "allow_leaky = true" in refused.output
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    config = tmp_path / "s1" / "s1.toml"
    collection = server_config.load(config).collection
    with pytest.raises(WrongKey):
        collection.params(load_public(KEYS.with_name("test-keys-2048-published") / "public.key"))
    config.write_text(config.read_text().replace('"prepared"', '"published"'))
    with pytest.raises(BadConfig):
        server_config.load(config)


def test_init_for_other_embeddings(tmp_path: Path) -> None:
    options = (
        "--allow-leaky",
        "--threshold",
        "0.6",
        "--embedder",
        "x",
    )
    keys = KEYS.with_name("test-keys-2048-published")
    assert run("init", "--out", tmp_path, "--keys", keys, *options, "--dimension", "512").exit_code == 0
    body = tomllib.loads((tmp_path / "s2" / "s2.toml").read_text())["collection"]
    assert (body["engine"], body["allow_leaky"]) == ("published", True)
    assert (body["threshold"], body["dimension"], body["embedder"]) == (0.6, 512, "x")


def test_without_a_command_or_a_configuration() -> None:
    result = run()
    assert result.exit_code == 2
    assert "--config" in result.output
