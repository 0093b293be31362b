"""`keygen --seal`, `pura-server seal`, `keys.unseal` and the page of the ceremony."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pura.crypto import vault
from pura.crypto.keys import load_public, load_share
from pura.crypto.maskfile import load_masks, write_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.vault import Vault
from pura.errors import BadConfig
from pura.ids import Party
from pura_client import cli as client_cli
from pura_server import config as server_config
from pura_server import engines
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "COST", 1 << 14)


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, args)])


def pura(*args: object) -> Result:
    return CliRunner().invoke(client_cli.cli, [*map(str, args)])


def key_file(path: Path, text: str) -> Path:
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def s2(tmp_path: Path) -> Path:
    """S2's configuration, with all of its secret files, none of them sealed."""
    assert run("init", "--out", tmp_path, "--keys", KEYS).exit_code == 0
    write_masks(tmp_path / "s2" / "s2.masks", MaskKeys({1: bytes(32)}), Party.S2, PK.key_id)
    key_file(tmp_path / "s2" / "first.secret", "the first secret")
    key_file(tmp_path / "s2" / "second.secret", "the second secret")
    return tmp_path / "s2" / "s2.toml"


def secrets_of(config: Path) -> dict[str, bytes]:
    return {name: (config.parent / name).read_bytes() for name in ("s2.share", "s2.masks", "s2.sign")}


def says(config: Path, unseal: str | None) -> None:
    text = re.sub(r"(?m)^unseal = .*\n", "", config.read_text())
    config.write_text(text.replace("[keys]\n", f'[keys]\nunseal = "{unseal}"\n') if unseal else text)


def usable(config: Path) -> None:
    settings = server_config.load(config)
    opened = settings.keys.vault()
    load_share(settings.keys.share, PK, Party.S2, opened)
    load_masks(settings.keys.mask_file, Party.S2, PK.key_id, opened)
    settings.signer(PK, opened)


def test_a_server_is_sealed_sealed_anew_and_opened(s2: Path) -> None:
    plain = secrets_of(s2)
    first, second = (f"file:{s2.parent / name}.secret" for name in ("first", "second"))
    assert run("seal", "--config", s2, "--seal", first).exit_code == 0
    assert all(map(vault.is_sealed, secrets_of(s2).values()))
    refused = run("seal", "--config", s2, "--seal", second)
    assert (refused.exit_code, "[secret_needed]" in refused.output) == (2, True)  # nobody is at the terminal
    says(s2, "file:first.secret")  # beside the configuration
    usable(s2)
    assert run("seal", "--config", s2, "--seal", second).exit_code == 0
    with pytest.raises(Exception, match="does not open"):
        usable(s2)
    says(s2, f"command:{sys.executable} -c 'print(\"the second secret\")'".replace('"', '\\"'))
    usable(s2)
    assert run("seal", "--config", s2, "--plain").exit_code == 0
    says(s2, None)
    usable(s2)
    assert secrets_of(s2) == plain


def test_a_wrong_secret_changes_nothing(s2: Path) -> None:
    first, second = (f"file:{s2.parent / name}.secret" for name in ("first", "second"))
    assert run("seal", "--config", s2, "--seal", first).exit_code == 0
    before = secrets_of(s2)
    refused = run("seal", "--config", s2, "--unseal", second, "--plain")
    assert (refused.exit_code, "[wrong_passphrase]" in refused.output) == (2, True)
    assert secrets_of(s2) == before
    for options in (
        (),
        ("--plain", "--seal", first),
        ("--seal", "nonsense"),
        ("--seal", "file:"),
        ("--seal", "command:'"),
    ):
        assert run("seal", "--config", s2, *options).exit_code == 2
    assert secrets_of(s2) == before
    says(s2, "nonsense")
    with pytest.raises(BadConfig, match=r"keys\.unseal"):
        server_config.load(s2)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_run_that_was_cut_off_is_done_again(s2: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    first, second = (f"file:{s2.parent / name}.secret" for name in ("first", "second"))
    assert run("seal", "--config", s2, "--seal", first).exit_code == 0
    left = iter(range(after))
    really = os.replace

    def full(one: Path, other: Path) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        really(one, other)

    monkeypatch.setattr(os, "replace", full)
    cut = run("seal", "--config", s2, "--unseal", first, "--seal", second)
    assert (cut.exit_code, "[storage_full]" in cut.output) == (2, True)
    monkeypatch.undo()
    monkeypatch.setattr(vault, "COST", 1 << 14)
    assert run("seal", "--config", s2, "--unseal", first, "--seal", second).exit_code == 0
    says(s2, "file:second.secret")
    usable(s2)


def test_a_server_that_starts_seals_its_first_mask_keys(s2: Path) -> None:
    (s2.parent / "s2.masks").unlink()
    assert run("seal", "--config", s2, "--seal", f"file:{s2.parent / 'first.secret'}").exit_code == 0
    says(s2, "file:first.secret")
    text = s2.read_text()
    s2.write_text(text + '[workers]\ncount = 1\nbackend = "threading"\n')
    parts = engines.prepare(server_config.load(s2))
    try:
        engines.mask_keys(parts)
    finally:
        parts.workers.close()
        parts.store.close()
    assert vault.is_sealed((s2.parent / "s2.masks").read_bytes())
    assert run("masks", "renew", "--config", s2).exit_code == 0
    assert vault.is_sealed((s2.parent / "s2.masks").read_bytes())
    assert "secret" not in repr(parts.vault).replace("secrets", "")


# --- the ceremony -----------------------------------------------------------------------------------


def test_a_ceremony_with_two_operators(tmp_path: Path) -> None:
    """Each share is sealed with a secret of its own; the page has the fingerprint of every file."""
    one, two = key_file(tmp_path / "one", "of the first operator"), key_file(tmp_path / "two", "of the second operator")
    out = tmp_path / "keys"
    done = pura("keygen", "--out", out, "--bits", "2048", "--seal-s1", f"file:{one}", "--seal-s2", f"file:{two}")
    assert done.exit_code == 0, done.output
    pk = load_public(out / "public.key")
    for party, secret in ((Party.S1, b"of the first operator"), (Party.S2, b"of the second operator")):
        load_share(out / f"{party.name.lower()}.share", pk, party, Vault(lambda: secret))  # noqa: B023 - used here only
    page = (out / "ceremony.txt").read_text()
    assert pk.key_id.hex() in page
    flat = re.sub(r"\s+", " ", page)
    for name in ("public.key", "s1.share", "s2.share"):
        assert vault.fingerprint((out / name).read_bytes()) in flat
        shown = pura("fingerprint", out / name)
        assert vault.fingerprint((out / name).read_bytes()) in shown.output
    assert "s1.share, sealed" in page
    assert page.count("____") >= 3
    assert max(map(len, page.splitlines())) <= 80
    assert "first operator" not in page + done.output
    assert pura("fingerprint", tmp_path / "none").exit_code == 2


def test_a_share_that_cannot_be_sealed_leaves_nothing_behind(tmp_path: Path) -> None:
    for how in ("file:none", "command:false", "nonsense", "passphrase"):
        done = pura("keygen", "--out", tmp_path / "keys", "--bits", "2048", "--seal-s2", how)
        assert (done.exit_code, "[secret_needed]" in done.output) == (2, True), done.output
        assert not (tmp_path / "keys").exists()


def test_other_keys_for_the_same_collection(tmp_path: Path) -> None:
    shutil.copy(KEYS / "public.key", tmp_path / "old.key")
    done = pura("keygen", "--out", tmp_path / "keys", "--bits", "2048", "--like", tmp_path / "old.key")
    assert done.exit_code == 0, done.output
    new = load_public(tmp_path / "keys" / "public.key")
    assert (new.collection, new.engine) == (PK.collection, PK.engine)
    assert new.key_id != PK.key_id
