"""`pura-server client`: bundles, rights, and what is refused before anything is written."""

from __future__ import annotations

import datetime
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pura.crypto.sign import VerifyKey
from pura_client import config as client_config
from pura_server.cli import cli
from pura_server.credentials import read_clients
from pura_server.groups import read_groups
from pura_server.tls import fingerprint

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A deployment that `init` wrote."""
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    return tmp_path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def certificate(*, days: tuple[float, float] = (-1, 1), ca: bool | None = False) -> bytes:
    """A self-signed certificate, valid between two days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    first, last = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=n) for n in days)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(first).not_valid_after(last)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_clients(made: Path) -> None:
    config = ("--config", made / "s1" / "s1.toml")
    listed = run("client", "list", *config).output.splitlines()
    assert [line.split()[0] for line in listed] == ["desk", "camera"]
    assert [line.split()[-1] for line in listed] == ["ask,enrol,erase,erase-all", "ask"]
    cert = made / "s2" / "s2.crt"
    added = run("client", "add", "door", *config, "--cert", cert)
    assert (added.exit_code, added.output) == (0, "door may ask\n")
    assert run("client", "add", "again", *config, "--cert", cert).exit_code == 2
    assert run("client", "revoke", "door", *config).output == "door: 1 certificates revoked\n"
    assert run("client", "revoke", "door", *config).output == "door: 0 certificates revoked\n"
    assert "revoked" in run("client", "list", *config).output
    body = (made / "s1" / "clients.json").read_text()
    assert len(json.loads(body)["clients"]) == 3
    assert "BEGIN" not in body
    for command in (("list",), ("revoke", "door"), ("add", "x", "--cert", cert)):
        refused = run("client", *command, "--config", made / "s2" / "s2.toml")
        assert (refused.exit_code, "S1 only" in refused.output) == (2, True)


def test_a_client_on_one_machine(made: Path) -> None:
    """Made and let in at once: a bundle that works like the first ones."""
    out = made / "more" / "kiosk"
    rights = ("--may", "enrol", "--may", "erase", "--may", "enrol")
    done = run(
        "client", "add", "kiosk", "--config", made / "s1" / "s1.toml", "--ca", made / "ca", "--out", out, *rights
    )
    assert (done.exit_code, done.output) == (0, "kiosk may enrol and erase\n")
    desk, kiosk = (client_config.load(folder / "client.toml") for folder in (made / "desk", out))
    assert kiosk.label_key_bytes() == desk.label_key_bytes()
    assert (kiosk.server, kiosk.public_key.read_bytes()) == (desk.server, desk.public_key.read_bytes())
    assert kiosk.cert is not None
    record = read_clients(made / "s1" / "clients.json")[-1]
    assert (record.name, record.fingerprint) == ("kiosk", fingerprint(kiosk.cert.read_bytes()))
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert stat.S_IMODE((out / "client.key").stat().st_mode) == 0o600


def test_a_client_on_two_machines(made: Path) -> None:
    """S1 never sees the folder ca: the bundle is made elsewhere, and only its certificate comes to S1."""
    out = made / "kiosk"
    done = run("client", "add", "kiosk", "--ca", made / "ca", "--out", out)
    assert done.exit_code == 0
    assert "--cert" in done.output
    assert len(read_clients(made / "s1" / "clients.json")) == 2
    done = run("client", "add", "kiosk", "--config", made / "s1" / "s1.toml", "--cert", out / "client.crt")
    assert (done.exit_code, done.output) == (0, "kiosk may ask\n")


@pytest.mark.parametrize("name", ["../evil", "cam 8/é", "", ".hidden", "a" * 65, "a/b", "/etc/x", "-", "a\n", "a\0"])
@pytest.mark.parametrize("where", ["made here", "its own certificate"])
def test_a_name_is_checked_before_anything_is_written(made: Path, name: str, where: str) -> None:
    before = everything_in(made)
    how = ("--ca", made / "ca", "--out", made / "x" / "out") if where == "made here" else ("--cert", made / "s2/s2.crt")
    result = CliRunner().invoke(
        cli, ["client", "add", "--config", str(made / "s1" / "s1.toml"), *map(str, how), "--", name]
    )
    assert (result.exit_code, result.output.endswith("[bad_config]\n")) == (2, True), result.output
    assert everything_in(made) == before


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (certificate(days=(-9, -2)), "expired on"),
        (certificate(days=(2, 9)), "not valid before"),
        (certificate(ca=True), "authority"),
        (b"nothing", "not a certificate"),
    ],
)
def test_a_certificate_that_cannot_be_a_clients(made: Path, pem: bytes, why: str) -> None:
    before = everything_in(made)
    (made / "x.crt").write_bytes(pem)
    result = run("client", "add", "door", "--config", made / "s1" / "s1.toml", "--cert", made / "x.crt")
    assert (result.exit_code, why in result.output) == (2, True), result.output
    (made / "x.crt").unlink()
    assert everything_in(made) == before
    (made / "x.crt").write_bytes(certificate(ca=None))
    assert run("client", "add", "door", "--config", made / "s1" / "s1.toml", "--cert", made / "x.crt").exit_code == 0


def test_a_client_that_cannot_be_let_in_leaves_no_bundle(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything_in(made)
    both = ("--config", made / "s1" / "s1.toml", "--ca", made / "ca")
    lists = made / "s1" / "clients.json"
    lists.write_text("damaged")
    assert run("client", "add", "door", *both, "--out", made / "more" / "door").exit_code == 2
    lists.write_bytes(before["s1/clients.json"])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run("client", "add", "door", *both, "--out", made / "more" / "door")
    assert (result.exit_code, "[storage_full]" in result.output) == (2, True)
    left = set(everything_in(made)) - set(before)
    assert left == {"s1/clients.lock"}
    monkeypatch.undo()
    assert run("client", "add", "door", *both, "--out", made / "desk").exit_code == 2  # somebody's bundle already
    assert everything_in(made / "desk") == {k[5:]: v for k, v in before.items() if k.startswith("desk/")}


@pytest.mark.parametrize(
    "options", [(), ("--cert", "c"), ("--ca", "ca"), ("--out", "o"), ("--cert", "c", "--ca", "ca", "--out", "o")]
)
def test_what_client_add_needs(made: Path, options: tuple[str, ...]) -> None:
    assert run("client", "add", "door", *options).exit_code == 2
    both = run("client", "add", "door", "--ca", made / "desk", "--out", made / "x")
    assert (both.exit_code, "ca.key" in both.output) == (2, True)


# --- groups -----------------------------------------------------------------------------------------


def groups_of(made: Path) -> dict[tuple[str, str], set[VerifyKey]]:
    found: dict[tuple[str, str], set[VerifyKey]] = {}
    for key in read_groups(made / "s2" / "groups.json"):
        found.setdefault((key.name, key.right), set()).add(key.key)
    return found


def test_a_group_on_two_machines(made: Path) -> None:
    """S2 never sees the folder ca: the keys are made elsewhere, and only their public halves come to S2."""
    s2 = ("--config", made / "s2" / "s2.toml")
    done = run("group", "add", "doors", "--ca", made / "ca")
    assert (done.exit_code, "group.json" in done.output) == (0, True)
    assert {name for name, _ in groups_of(made)} == {"clients"}
    public = made / "ca" / "groups" / "doors" / "group.json"
    assert "PRIVATE" not in public.read_text()
    done = run("group", "add", "doors", *s2, "--public", public, "--questions", "7")
    assert (done.exit_code, done.output) == (0, "doors: 7 questions, 1000 enrolments and 1000 erasures an hour\n")
    listed = run("group", "list", *s2).output
    assert "doors" in listed
    assert "7 an hour" in listed
    assert run("group", "list", "--config", made / "s1" / "s1.toml").exit_code == 2
    # a camera of this group, and only with the key that it needs
    assert run("client", "add", "eye", "--ca", made / "ca", "--out", made / "eye", "--group", "doors").exit_code == 0
    keys = client_config.load(made / "eye" / "client.toml").group_keys()
    assert {key.public for key in keys.values()} == groups_of(made)["doors", "ask"]
    assert sorted(path.name for path in (made / "eye").glob("group*")) == ["group-ask.key"]
    desk = client_config.load(made / "desk" / "client.toml").group_keys()
    assert {key.public for key in desk.values()}.isdisjoint(key.public for key in keys.values())


def test_a_group_that_is_renewed(made: Path) -> None:
    s2 = ("--config", made / "s2" / "s2.toml")
    public = made / "ca" / "groups" / "clients" / "group.json"
    before = groups_of(made)
    assert run("group", "renew", "clients", "--ca", made / "ca").exit_code == 0
    assert groups_of(made) == before
    assert run("group", "add", "clients", *s2, "--public", public).exit_code == 0
    both = groups_of(made)
    assert all(both[which] > before[which] for which in before)
    done = run("group", "renew", "clients", *s2, "--public", public)
    assert (done.exit_code, done.output) == (0, "clients: 3 older keys do not count any more\n")
    assert all(groups_of(made)[which] == both[which] - before[which] for which in before)
    run("client", "add", "eye", "--ca", made / "ca", "--out", made / "eye", "--may", "erase-all")
    (key,) = client_config.load(made / "eye" / "client.toml").group_keys().values()
    assert key.public in groups_of(made)["clients", "erase"]


@pytest.mark.parametrize("name", ["../evil", "", "a/b", "é"])
def test_a_groups_name_is_checked_before_anything_is_written(made: Path, name: str) -> None:
    before = everything_in(made)
    for command in ("add", "renew"):
        result = CliRunner().invoke(cli, ["group", command, "--ca", str(made / "ca"), "--", name])
        assert (result.exit_code, result.output.endswith("[bad_config]\n")) == (2, True), result.output
    result = CliRunner().invoke(
        cli, ["client", "add", "x", "--ca", str(made / "ca"), "--out", str(made / "x"), "--group", name]
    )
    assert result.exit_code == 2
    assert everything_in(made) == before


def test_what_is_refused_of_groups(made: Path) -> None:
    s2 = ("--config", made / "s2" / "s2.toml")
    public = made / "ca" / "groups" / "clients" / "group.json"
    before = everything_in(made)
    for arguments in (
        ("add", "doors"),
        ("add", "doors", *s2),
        ("add", "doors", *s2, "--public", public),  # which is of another group
        ("add", "doors", *s2, "--public", made / "s1" / "clients.json"),
        ("add", "doors", *s2, "--public", made / "nothing"),
        ("add", "doors", "--ca", made / "desk"),
        ("add", "clients", "--ca", made / "ca"),  # there is one
        ("renew", "doors", "--ca", made / "ca"),
        ("renew", "doors", *s2, "--public", public),
        ("renew", "clients", "--config", made / "s1" / "s1.toml", "--public", public),
    ):
        result = run("group", *arguments)
        assert result.exit_code == 2, arguments
        assert result.output.startswith("error: "), arguments
    assert run("client", "add", "x", "--ca", made / "ca", "--out", made / "x", "--group", "doors").exit_code == 2
    assert everything_in(made) == before
