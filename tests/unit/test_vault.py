"""Files sealed where they lie: what opens them, what does not, and where the secret may not be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pura import passwords
from pura.crypto import keyfile, vault
from pura.crypto.keys import SHARE_NAMES, load_public, load_share, write_keys
from pura.crypto.maskfile import load_masks, write_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey
from pura.crypto.threshold import KeySet
from pura.crypto.vault import Vault
from pura.errors import BadKeyFile, SecretNeeded, WrongKey, WrongPassphrase
from pura.ids import Party

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
ABOUT = {"kind": "a test"}


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "COST", 1 << 14)


def sealing(secret: bytes = b"correct horse") -> Vault:
    return Vault(lambda: secret, sealing=True, rng=SeededRng("vault"))


def test_what_is_sealed_opens_with_the_secret_and_with_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(sealing().sealed(b"the text", ABOUT, "x"))
    assert b"the text" not in path.read_bytes()
    assert b"the text".hex().encode() not in path.read_bytes()
    assert Vault(lambda: b"correct horse").read(path) == b"the text"
    assert vault.about(path) == ABOUT
    with pytest.raises(WrongPassphrase):
        Vault(lambda: b"correct horsf").read(path)
    with pytest.raises(SecretNeeded):
        vault.PLAIN.read(path)


def test_two_sealings_share_nothing() -> None:
    made = sealing()
    one, two = (json.loads(made.sealed(b"text", ABOUT, "x")) for _ in range(2))
    assert not {one[name] for name in ("salt", "nonce", "text")} & {two[name] for name in ("salt", "nonce", "text")}


def test_a_plain_file_needs_no_secret(tmp_path: Path) -> None:
    def asked() -> bytes:
        raise AssertionError

    (tmp_path / "x").write_bytes(b"plain")
    assert Vault(asked).read(tmp_path / "x") == b"plain"
    assert vault.about(tmp_path / "x") is None
    assert Vault(asked).bytes_for(b"plain", ABOUT, "x") == b"plain"


@pytest.mark.parametrize("field", ["about", "n", "salt", "nonce", "text"])
def test_whatever_is_changed_does_not_open(tmp_path: Path, field: str) -> None:
    """Also with a checksum that fits again."""
    body = keyfile.unseal(sealing().sealed(b"the text", ABOUT, "x").decode(), vault.KIND)
    value = body[field]
    body[field] = (
        {"kind": "another"}
        if field == "about"
        else 2 * value
        if field == "n"
        else f"{int(value[0], 16) ^ 1:x}{value[1:]}"
    )
    del body["version"]
    (tmp_path / "x").write_text(keyfile.seal(body))
    with pytest.raises(WrongPassphrase):
        Vault(lambda: b"correct horse").read(tmp_path / "x")


@pytest.mark.parametrize(
    ("field", "value"),
    [("n", 1 << 30), ("n", 2), ("n", (1 << 14) + 1), ("n", "many"), ("salt", "zz"), ("text", 7), ("nonce", None)],
)
def test_nonsense_is_refused_before_it_costs_anything(tmp_path: Path, field: str, value: object) -> None:
    body = keyfile.unseal(sealing().sealed(b"the text", ABOUT, "x").decode(), vault.KIND)
    del body["version"]
    (tmp_path / "x").write_text(keyfile.seal({**body, field: value}))
    with pytest.raises(BadKeyFile):
        Vault(lambda: b"correct horse").read(tmp_path / "x")
    (tmp_path / "x").write_text((tmp_path / "x").read_text()[:-9])
    with pytest.raises(BadKeyFile):
        Vault(lambda: b"correct horse").read(tmp_path / "x")


def test_the_files_of_a_ceremony_sealed_for_two_operators(tmp_path: Path) -> None:
    plain = KeySet(PK, *(load_share(KEYS / SHARE_NAMES[party], PK, party) for party in Party))
    secrets = {Party.S1: b"of the first operator", Party.S2: b"of the second operator"}
    write_keys(plain, tmp_path, {party: sealing(secret) for party, secret in secrets.items()})
    for party, name in SHARE_NAMES.items():
        text = (tmp_path / name).read_text()
        assert '"t"' not in text
        assert vault.about(tmp_path / name) == {
            "kind": "pura key share", "party": party.name, "key_id": PK.key_id.hex()
        }  # fmt: skip
        own, other = Vault(lambda: secrets[party]), Vault(lambda: secrets[party.other])  # noqa: B023 - used here only
        assert load_share(tmp_path / name, PK, party, own).t == load_share(KEYS / name, PK, party).t
        with pytest.raises(WrongPassphrase):
            load_share(tmp_path / name, PK, party, other)
        with pytest.raises(SecretNeeded):
            load_share(tmp_path / name, PK, party)
    with pytest.raises(WrongKey):
        load_share(tmp_path / "s1.share", PK, Party.S2, Vault(lambda: secrets[Party.S1]))


def test_mask_keys_and_signature_keys_sealed(tmp_path: Path) -> None:
    keys = MaskKeys({1: bytes(range(32))})
    write_masks(tmp_path / "s1.masks", keys, Party.S1, PK.key_id, sealing())
    assert bytes(range(32)).hex() not in (tmp_path / "s1.masks").read_text()
    back = load_masks(tmp_path / "s1.masks", Party.S1, PK.key_id, sealing())
    assert back.secret(1) == keys.secret(1)
    sign = SigningKey.new(SeededRng("sign"))
    (tmp_path / "s2.sign").write_bytes(sealing().sealed(sign.dump(), ABOUT, "s2.sign"))
    assert SigningKey.load(tmp_path / "s2.sign", sealing()).public == sign.public
    with pytest.raises(SecretNeeded):
        SigningKey.load(tmp_path / "s2.sign")


def test_a_vault_asks_once_and_does_not_print(tmp_path: Path) -> None:
    asked = []
    made = Vault(lambda: asked.append(1) or b"a secret of some length", sealing=True)  # type: ignore[func-returns-value]
    raw = [made.sealed(b"x", ABOUT, "x") for _ in range(2)]
    assert [made.opened(one, "x") for one in raw] == [b"x", b"x"]
    assert asked == [1]
    assert "secret" not in repr(made)


# --- where the secret comes from --------------------------------------------------------------------


def test_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"some words\n")
    path.chmod(0o600)
    assert passwords.of_file(path) == b"some words"
    path.chmod(0o604)
    with pytest.raises(SecretNeeded, match="everybody"):
        passwords.of_file(path)
    path.chmod(0o600)
    path.write_bytes(b"\n")
    with pytest.raises(SecretNeeded):
        passwords.of_file(path)
    with pytest.raises(SecretNeeded):
        passwords.of_file(tmp_path / "none")


def test_a_command_that_prints_it(tmp_path: Path) -> None:
    assert passwords.of_command([sys.executable, "-c", "print('from afar')"]) == b"from afar"
    for code in ("raise SystemExit(3)", ""):
        with pytest.raises(SecretNeeded) as error:
            passwords.of_command([sys.executable, "-c", f"print('half', end='');{code}" if code else ""])
        assert "half" not in str(error.value)
    with pytest.raises(SecretNeeded):
        passwords.of_command([str(tmp_path / "none")])


def test_nobody_at_the_terminal() -> None:
    with pytest.raises(SecretNeeded, match="terminal"):
        passwords.of_terminal("passphrase")


def test_a_new_passphrase_is_typed_twice_and_long(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[bytes] = []
    monkeypatch.setattr(passwords, "_typed", lambda prompt: typed.pop(0))
    typed[:] = [b"correct horse battery", b"correct horse battery"]
    assert passwords.new_of_terminal("x") == b"correct horse battery"
    for answers in ([b"short", b"short"], [b"correct horse battery", b"correct horse batterz"]):
        typed[:] = answers
        with pytest.raises(SecretNeeded):
            passwords.new_of_terminal("x")
