"""`pura-server request`, `join`, `ca` and `pura client-request`, `client-join`: what fits, and what is refused."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pura.crypto import handover, keyfile, spoken, vault
from pura.crypto.keys import load_public
from pura.crypto.rng import SeededRng
from pura.ids import Engine
from pura_client import cli as client_cli
from pura_client import config as client_config
from pura_client import labelkey
from pura_server import config as server_config
from pura_server import tls
from pura_server.authority import fits
from pura_server.cli import cli
from pura_server.credentials import read_clients

FIXTURES = Path(__file__).parents[1] / "fixtures"
KEYS = FIXTURES / "test-keys-2048"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "COST", 1 << 4)
    monkeypatch.setattr(vault, "COST", 1 << 14)


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


def pura(*args: object) -> Result:
    return CliRunner().invoke(client_cli.cli, [*map(str, args)])


def good(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.output.startswith("error: "), result.output
    for word in words:
        assert word in result.output, result.output


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def operator(folder: Path, name: str, keys: Path = KEYS, *options: object, host: str = "127.0.0.1") -> Path:
    """One server's folder with its keys, and its request."""
    at = folder / name
    at.mkdir(parents=True)
    for file in ("public.key", f"{name}.share"):
        shutil.copy(keys / file, at / file)
    good(run("request", at, "--host", host, *options))
    return at


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two operators who have made their requests, and the organisation's folder."""
    good(run("ca", "new", "--out", tmp_path / "ca"))
    return operator(tmp_path, "s1", KEYS, "--threshold", "0.4"), operator(tmp_path, "s2", host="two.example")


def join_both(s1: Path, s2: Path) -> tuple[str, str]:
    """The codes that they see."""
    first = good(run("join", s1, "--peer", s2 / "s2.request", "--clients-ca", s1.parent / "ca" / "ca.crt"))
    second = good(run("join", s2, "--peer", s1 / "s1.request"))
    return first.partition("code: ")[2].split()[0], second.partition("code: ")[2].split()[0]


def test_two_operators_join(two: tuple[Path, Path]) -> None:
    s1, s2 = two
    one, other = join_both(s1, s2)
    assert one == other
    first, second = (server_config.load(at / f"{at.name}.toml") for at in two)
    pk = load_public(s1 / "public.key")
    assert first.collection.params(pk).agreement == second.collection.params(pk).agreement
    assert first.collection.threshold == 0.4
    assert (first.peer.address, second.sessions) == ("two.example:7702", "0.0.0.0:7703")
    assert first.verifier(pk).key == second.signer(pk).key.public
    assert first.peer.certificate is not None
    assert first.peer.certificate.read_bytes() == (s2 / "s2.crt").read_bytes()
    tls.door_context(first)
    tls.door_context(second)
    # what is exchanged has no secret in it, and nothing of the other operator's lies here
    for at in two:
        request = (at / f"{at.name}.request").read_text()
        assert "PRIVATE" not in request
        for secret in (at / f"{at.name}.key", at / f"{at.name}.share"):
            assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0 or secret.suffix == ".share"
    assert not (set(everything_in(s1)) & {"s2.key", "s2.sign", "s2.share"})
    assert not (set(everything_in(s2)) & {"s1.key", "s1.share"})
    assert "threshold" not in (s1 / "client.toml").read_text()


@pytest.mark.parametrize("what", ["certificate", "parameters", "host", "port", "signature key"])
def test_a_file_that_was_changed_on_its_way_shows_in_the_code(two: tuple[Path, Path], what: str) -> None:
    s1, s2 = two
    there = s1.parent / "changed"
    if what == "parameters":
        other = operator(there, "s1", KEYS, "--threshold", "0.1")
        request = json.loads((s1 / "s1.request").read_text())
        request["collection"] = json.loads((other / "s1.request").read_text())["collection"]
        path, victim = other / "s1.request", s2
    else:
        other = operator(there, "s2", host="two.example")
        request = json.loads((s2 / "s2.request").read_text())
        fresh = json.loads((other / "s2.request").read_text())
        if what == "certificate":
            request["certificate"] = fresh["certificate"]
        elif what == "signature key":
            request["sign_key"] = fresh["sign_key"]
        elif what == "host":
            request["host"] = "three.example"
        else:
            request["port"] = 7709
        path, victim = other / "s2.request", s1
    del request["checksum"], request["version"]
    path.write_text(keyfile.seal(request))
    more = ("--clients-ca", s1.parent / "ca" / "ca.crt") if victim == s1 else ()
    cheated = good(run("join", victim, "--peer", path, *more)).partition("code: ")[2].split()[0]
    for left in (
        "s1.toml",
        "s2.crt",
        "clients.json",
        "client.toml",
        "clients-ca.crt",
        "s2.toml",
        "s1.crt",
        "groups.json",
    ):
        if left not in (f"{victim.name}.crt",):
            (victim / left).unlink(missing_ok=True)
    one, other_code = join_both(s1, s2)
    assert one == other_code != cheated


def test_what_does_not_belong_together(two: tuple[Path, Path], tmp_path: Path) -> None:
    s1, s2 = two
    ca = ("--clients-ca", tmp_path / "ca" / "ca.crt")
    other = operator(tmp_path / "other", "s2", FIXTURES / "test-keys-3072")
    expired = tmp_path / "expired.request"
    before = everything_in(tmp_path)
    refused(run("join", s1, "--peer", s1 / "s1.request", *ca), "both requests are of S1")
    refused(run("join", s1, "--peer", other / "s2.request", *ca), "another public key")
    refused(run("join", s1, "--peer", s2 / "s2.request"), "--clients-ca is missing")
    refused(run("join", s2, "--peer", s1 / "s1.request", *ca), "S2 meets no client")
    refused(run("join", s1, "--peer", s1 / "public.key", *ca), "not a file that `pura-server request` wrote")
    refused(run("join", s1, "--peer", tmp_path / "none", *ca), "cannot be read")
    refused(run("join", s1, "--peer", s2 / "s2.request", "--clients-ca", s1 / "public.key"), "not a certificate")
    body = json.loads((s2 / "s2.request").read_text())
    for change in (
        {"certificate": "nothing"},
        {"certificate": (tmp_path / "ca" / "ca.crt").read_text()},
        {"port": 0},
        {"port": "7702"},
        {"host": "a b"},
        {"server": "S3"},
        {"key_id": "zz"},
        {"sign_key": None},
        {"more": 1},
    ):
        del body["checksum"], body["version"]
        expired.write_text(keyfile.seal({**body, **change}))
        refused(run("join", s1, "--peer", expired, *ca))
        expired.unlink()
        body = json.loads((s2 / "s2.request").read_text())
    damaged = (s2 / "s2.request").read_text().replace("7702", "7703")
    expired.write_text(damaged)
    refused(run("join", s1, "--peer", expired, *ca), "checksum")
    expired.unlink()
    assert everything_in(tmp_path) == before


def test_a_folder_is_joined_once(two: tuple[Path, Path]) -> None:
    join_both(*two)
    before = everything_in(two[0].parent)
    for at, other in (two, two[::-1]):
        more = ("--clients-ca", two[0].parent / "ca" / "ca.crt") if at.name == "s1" else ()
        refused(run("join", at, "--peer", other / f"{other.name}.request", *more), "[would_overwrite]")
        refused(run("request", at, "--host", "127.0.0.1"), "[would_overwrite]")
    assert everything_in(two[0].parent) == before


def test_what_request_needs(tmp_path: Path) -> None:
    at = tmp_path / "s1"
    at.mkdir()
    refused(run("request", at, "--host", "127.0.0.1"), "public.key")
    shutil.copy(KEYS / "public.key", at)
    refused(run("request", at, "--host", "127.0.0.1"), "one server's share")
    shutil.copy(KEYS / "s1.share", at)
    refused(run("request", at), "--host is missing")
    shutil.copy(KEYS / "s2.share", at)
    refused(run("request", at, "--host", "127.0.0.1"), "one server's share")
    (at / "s2.share").unlink()
    shutil.copy(FIXTURES / "test-keys-3072" / "s1.share", at)
    refused(run("request", at, "--host", "127.0.0.1"), "[wrong_key]")
    assert sorted(everything_in(at)) == ["public.key", "s1.share"]


def test_a_certificate_that_an_authority_signed(two: tuple[Path, Path], tmp_path: Path) -> None:
    s1, s2 = two
    signed = tmp_path / "signed.crt"
    good(run("ca", "sign", s1 / "s1.csr", "--ca", tmp_path / "ca", "--name", "s1", "--out", signed, "--days", 7))
    assert fits(signed.read_bytes(), (s1 / "s1.key").read_bytes())
    refused(run("request", s2, "--cert", signed), "is not for the key")
    good(run("request", s1, "--cert", signed))
    assert (s1 / "s1.crt").read_bytes() == signed.read_bytes()
    one, other = join_both(s1, s2)
    assert one == other
    refused(run("ca", "sign", s1 / "s1.crt", "--ca", tmp_path / "ca", "--name", "s1", "--out", tmp_path / "x"))
    refused(run("ca", "sign", s1 / "s1.csr", "--ca", s1, "--name", "s1", "--out", tmp_path / "x"), "ca.crt")
    assert not (tmp_path / "x").exists()


def test_engine_published_joins_without_a_signature_key(tmp_path: Path) -> None:
    good(run("ca", "new", "--out", tmp_path / "ca"))
    keys = FIXTURES / "test-keys-2048-published"
    s1, s2 = operator(tmp_path, "s1", keys, "--allow-leaky"), operator(tmp_path, "s2", keys)
    one, other = join_both(s1, s2)
    assert one == other
    assert server_config.load(s2 / "s2.toml").collection.engine is Engine.PUBLISHED
    assert not (s2 / "s2.sign").exists()


# --- clients ----------------------------------------------------------------------------------------


@pytest.fixture
def org(two: tuple[Path, Path], tmp_path: Path) -> Path:
    """Joined servers, and the organisation with all that bundles are made from."""
    join_both(*two)
    for name in ("public.key", "client.toml"):
        shutil.copy(two[0] / name, tmp_path / "ca" / name)
    good(pura("label-key", tmp_path / "label.key"))
    return tmp_path


def asked(org: Path, name: str = "kiosk") -> Path:
    folder = org / name
    good(pura("client-request", name, "--out", folder))
    return folder


def bundle(org: Path, name: str, *rights: str) -> Result:
    may = [word for right in rights for word in ("--may", right)]
    request = org / name / f"{name}.request"
    return run(
        "client", "add", name, "--ca", org / "ca", "--request", request, "--bundle", org / f"{name}.bundle", *may
    )


def test_a_client_by_one_file(org: Path) -> None:
    kiosk = asked(org)
    made = good(bundle(org, "kiosk", "ask", "enrol"))
    done = good(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle", "--label-key", org / "label.key"))
    assert made.partition("code: ")[2].split()[0] == done.partition("code: ")[2].split()[0]
    assert "--cert kiosk.crt --may ask --may enrol" in made
    config = client_config.load(kiosk / "client.toml")
    assert config.label_keys() == labelkey.load(org / "label.key")
    assert {right.value for right in config.group_keys()} == {"ask", "enrol"}
    assert config.cert is not None
    assert config.key is not None
    assert fits(config.cert.read_bytes(), config.key.read_bytes())
    config.pins().check(server_config.load(org / "s1" / "s1.toml").collection.params(load_public(config.public_key)))
    s1 = ("--config", org / "s1" / "s1.toml")
    good(run("client", "add", "kiosk", *s1, "--cert", org / "kiosk.crt", "--may", "ask", "--may", "enrol"))
    assert read_clients(org / "s1" / "clients.json")[-1].fingerprint == config.fingerprint().hex()
    assert not (kiosk / ".joining").exists()
    for path in kiosk.iterdir():
        public = path.name in ("kiosk.request", "ca.crt", "client.crt", "public.key")
        assert stat.S_IMODE(path.stat().st_mode) == (0o644 if public else 0o600), path
    # nobody else can read the bundle: not even what it is made of
    text = (org / "kiosk.bundle").read_text()
    assert (kiosk / "group-ask.key").read_bytes().hex() not in text
    # and its private key was never with the organisation
    assert (kiosk / "client.key").read_bytes() not in everything_in(org / "ca").values()


def test_a_bundle_opens_beside_its_own_request_only(org: Path) -> None:
    kiosk, other = asked(org), asked(org, "other")
    good(bundle(org, "kiosk"))
    before = everything_in(other)
    key = ("--label-key", org / "label.key")
    refused(pura("client-join", other, "--bundle", org / "kiosk.bundle", *key), "[bad_key_file]")
    refused(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle"), "--label-key is missing")
    refused(pura("client-join", kiosk, "--bundle", org / "label.key", *key), "[bad_key_file]")
    body = json.loads((org / "kiosk.bundle").read_text())
    body["sealed"] = f"{int(body['sealed'][200], 16) ^ 1:x}".join((body["sealed"][:200], body["sealed"][201:]))
    del body["checksum"], body["version"]
    (org / "changed").write_text(keyfile.seal(body))
    refused(pura("client-join", kiosk, "--bundle", org / "changed", *key), "was changed")
    assert everything_in(other) == before
    assert not (kiosk / "client.toml").exists()
    good(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle", *key))
    refused(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle", *key), "no request waits")


def test_a_bundle_names_no_file_of_its_own(org: Path) -> None:
    """Whoever makes a bundle writes below the folder, and nowhere else."""
    kiosk = asked(org)
    request = handover.ClientRequest.parse((kiosk / "kiosk.request").read_text())
    for name in ("../x", "/tmp/x", ".joining/x", ""):
        files = {"client.toml": b"", "client.crt": b"", name: b"evil"}
        (org / "evil").write_bytes(handover.make_bundle(request, files, SeededRng("evil"))[0])
        refused(pura("client-join", kiosk, "--bundle", org / "evil", "--label-key", org / "label.key"), "bad_key_file")
    assert not (org / "x").exists()


def test_a_request_under_another_name(org: Path) -> None:
    asked(org)
    request, out = org / "kiosk" / "kiosk.request", org / "x.bundle"
    before = everything_in(org)
    refused(run("client", "add", "desk", "--ca", org / "ca", "--request", request, "--bundle", out), "something else")
    refused(run("client", "add", "kiosk", "--ca", org / "ca", "--request", org / "label.key", "--bundle", out))
    refused(run("client", "add", "kiosk", "--ca", org / "ca", "--request", request), "give --config and --cert")
    refused(pura("client-request", "kiosk", "--out", org / "kiosk"), "[would_overwrite]")
    refused(pura("client-request", "../kiosk", "--out", org / "k"), "[bad_config]")
    assert everything_in(org) == before


def test_a_certificate_of_a_client_is_renewed(org: Path) -> None:
    """Both count until the older one is revoked; what was edited is kept."""
    kiosk, s1 = asked(org), ("--config", org / "s1" / "s1.toml")
    good(bundle(org, "kiosk"))
    good(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle", "--label-key", org / "label.key"))
    good(run("client", "add", "kiosk", *s1, "--cert", org / "kiosk.crt"))
    (kiosk / "client.toml").write_text((kiosk / "client.toml").read_text() + "# edited\n")
    old = client_config.load(kiosk / "client.toml").fingerprint().hex()
    good(pura("client-request", "kiosk", "--out", kiosk))
    assert client_config.load(kiosk / "client.toml").fingerprint().hex() == old
    for name in ("kiosk.bundle", "kiosk.crt"):
        (org / name).unlink()
    good(bundle(org, "kiosk"))
    good(run("client", "add", "kiosk", *s1, "--cert", org / "kiosk.crt"))
    good(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle"))
    new = client_config.load(kiosk / "client.toml").fingerprint().hex()
    assert "# edited" in (kiosk / "client.toml.before").read_text()
    records = read_clients(org / "s1" / "clients.json")
    assert [(one.fingerprint, one.revoked) for one in records] == [(old, None), (new, None)]
    assert good(run("client", "revoke", "kiosk", *s1, "--older")) == "kiosk: 1 certificates revoked\n"
    assert [one.revoked is None for one in read_clients(org / "s1" / "clients.json")] == [False, True]
    assert good(run("client", "revoke", "kiosk", *s1, "--older")) == "kiosk: 0 certificates revoked\n"


def test_clients_of_a_server_that_signed_its_own_certificate(org: Path) -> None:
    """They know S1 by that very certificate."""
    shutil.copy(org / "s1" / "s1.crt", org / "ca" / "server.crt")
    kiosk = asked(org)
    good(bundle(org, "kiosk"))
    good(pura("client-join", kiosk, "--bundle", org / "kiosk.bundle", "--label-key", org / "label.key"))
    assert (kiosk / "ca.crt").read_bytes() == (org / "s1" / "s1.crt").read_bytes()


# --- the label key ----------------------------------------------------------------------------------


def test_a_label_key_sealed_on_its_way(org: Path) -> None:
    secret = org / "secret"
    secret.write_text("some words that are long\n")
    secret.chmod(0o600)
    good(pura("label-key", org / "sealed.key", "--seal", f"file:{secret}"))
    assert vault.about(org / "sealed.key") == {"kind": "pura label key"}
    kiosk = asked(org)
    good(bundle(org, "kiosk"))
    take = ("client-join", kiosk, "--bundle", org / "kiosk.bundle", "--label-key", org / "sealed.key")
    refused(pura(*take), "[secret_needed]")
    refused(pura(*take, "--unseal", f"file:{org / 'label.key'}"), "[secret_needed]" if False else "[wrong_passphrase]")
    good(pura(*take, "--unseal", f"file:{secret}"))
    assert len(client_config.load(kiosk / "client.toml").label_key_bytes()) == 32


def test_a_label_key_renewed_and_pruned(tmp_path: Path) -> None:
    path = tmp_path / "label.key"
    good(pura("label-key", path))
    (first,) = labelkey.load(path)
    refused(pura("label-key", path), "[would_overwrite]")
    good(pura("label-key", path, "--renew"))
    assert labelkey.load(path)[1:] == [first]
    newest = labelkey.load(path)[0]
    good(pura("label-key", path, "--prune"))
    assert labelkey.load(path) == [newest]
    for _ in range(labelkey.MOST - 1):
        good(pura("label-key", path, "--renew"))
    refused(pura("label-key", path, "--renew"), "too many")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- renewing a server's certificate ----------------------------------------------------------------


def test_what_renew_refuses(two: tuple[Path, Path], tmp_path: Path) -> None:
    join_both(*two)
    s1, s2 = (("--config", at / f"{at.name}.toml") for at in two)
    before = everything_in(tmp_path)
    refused(run("renew", *s1, "--use", "--prune"), "give one of")
    refused(run("renew", *s1, "--use"), "cannot be read")
    refused(run("renew", *s1, "--accept", two[1] / "s2.request"), "not a file that `pura-server renew` wrote")
    refused(run("renew", *s1, "--accept", tmp_path / "none"), "cannot be read")
    assert everything_in(tmp_path) == before
    good(run("renew", *s2))
    refused(run("renew", *s2, "--accept", two[1] / "s2.renewal"), "[not_authorised]")  # it is S2's own, not S1's
    refused(run("renew", *s2, "--cert", two[0] / "s1.crt"), "is not for the key")
    good(run("renew", *s1, "--accept", two[1] / "s2.renewal"))
    good(run("renew", *s1, "--accept", two[1] / "s2.renewal"))  # twice is once
    assert len(tls.pinned(two[0] / "s2.crt")) == 2
    good(run("renew", *s2, "--use"))
    settings = server_config.load(two[1] / "s2.toml")
    tls.door_context(settings)
    assert settings.tls is not None
    assert stat.S_IMODE(settings.tls.key.stat().st_mode) == 0o600
    assert tls.hosts_of(settings.tls.cert) == ["two.example"]
    good(run("renew", *s1, "--prune"))
    assert tls.pinned(two[0] / "s2.crt") == {tls.fingerprint(settings.tls.cert.read_bytes())}


def test_files_that_do_not_fit_are_not_used(two: tuple[Path, Path]) -> None:
    """Between the two files of a renewal a server keeps what it had."""
    join_both(*two)
    settings = server_config.load(two[0] / "s1.toml")
    current = tls.remade(settings, lambda: tls.door_context(settings))
    first = current()
    key = (two[0] / "s1.key").read_bytes()
    (two[0] / "s1.key").write_bytes((two[1] / "s2.key").read_bytes())
    assert current() is first
    (two[0] / "s1.key").write_bytes(key)
    assert current() is not first
