"""Signatures: what was signed for one purpose means nothing for another; key files."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pura.crypto.hashing import framed
from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey, VerifyKey
from pura.errors import BadKeyFile, StorageFull, WouldOverwrite

KEY = SigningKey.new(SeededRng("sign"))


def test_a_fixed_vector() -> None:
    """By the library's own interface, from the description of what is signed; the key is the first of RFC 8032, 7.1."""

    class Rfc(SeededRng):
        def bytes(self, count: int) -> bytes:
            return bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")

    rfc = SigningKey.new(Rfc(0))
    assert rfc.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert rfc.public.made(rfc.sign(b"tag"), b"tag")
    signature = KEY.sign(b"tag", b"one", b"")
    body = b"\0\0\0\0\0\0\0\3tag" + b"\0\0\0\0\0\0\0\3one" + bytes(8)
    Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(signature, body)
    assert body == framed(b"tag", b"one", b"")


def test_another_tag_other_fields_and_other_borders_are_not_what_was_signed() -> None:
    signature = KEY.sign(b"tag", b"one", b"two")
    assert KEY.public.made(signature, b"tag", b"one", b"two")
    others = [(b"gat", b"one", b"two"), (b"tag", b"onet", b"wo"), (b"tag", b"onetwo"), (b"tag", b"one", b"two", b""),
              (b"tag", b"two", b"one"), (b"tagone", b"two")]  # fmt: skip
    assert not any(KEY.public.made(signature, *other) for other in others)


def test_every_changed_bit_is_noticed() -> None:
    signature = KEY.sign(b"tag", b"text")
    for i, bit in itertools.product(range(len(signature)), range(8)):
        changed = bytearray(signature)
        changed[i] ^= 1 << bit
        assert not KEY.public.made(bytes(changed), b"tag", b"text")
    for cut in (b"", signature[:-1], signature + b"\0"):
        assert not KEY.public.made(cut, b"tag", b"text")


def test_another_key_made_nothing() -> None:
    other = SigningKey.new(SeededRng("other"))
    assert not other.public.made(KEY.sign(b"tag"), b"tag")
    assert other.public != KEY.public == SigningKey.new(SeededRng("sign")).public


def test_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "s2.sign"
    KEY.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).public == KEY.public
    with pytest.raises(WouldOverwrite):
        KEY.write(path)
    with pytest.raises(StorageFull):
        KEY.write(tmp_path / "nowhere" / "s2.sign")


def test_files_that_are_no_signing_key(tmp_path: Path) -> None:
    path = tmp_path / "s2.sign"
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for body in (b"", b"rubbish", os.urandom(200), KEY.dump()[:-30], other):
        path.write_bytes(body)
        with pytest.raises(BadKeyFile, match=r"s2\.sign"):
            SigningKey.load(path)
    with pytest.raises(BadKeyFile, match="cannot be read"):
        SigningKey.load(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 31, "00" * 33, "0x" + "00" * 31])
def test_texts_that_are_no_public_key(text: str) -> None:
    with pytest.raises(BadKeyFile):
        VerifyKey.from_hex(text)


def test_a_public_key_survives_its_text() -> None:
    assert VerifyKey.from_hex(KEY.public.hex()) == KEY.public
    assert len({KEY.public, VerifyKey.from_hex(KEY.public.hex().upper())}) == 1


def test_the_private_half_does_not_print() -> None:
    assert repr(KEY) == "SigningKey(…)"
