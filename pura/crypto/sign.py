"""Signatures: Ed25519 over a tag and framed fields, so that what was signed for one purpose means nothing for another.

A private key is a PEM file (PKCS #8), readable by its owner only; a public one is 64 hexadecimal digits in a
configuration.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pura.crypto.hashing import framed
from pura.crypto.pem import private_key
from pura.crypto.rng import Rng
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadKeyFile, StorageFull, WouldOverwrite

KEY_BYTES = 32
SIGNATURE_BYTES = 64


class VerifyKey:
    """The public half. Two are equal when their bytes are."""

    def __init__(self, raw: bytes) -> None:
        """`raw`: 32 bytes. Raises `BadKeyFile`."""
        if len(raw) != KEY_BYTES:
            raise BadKeyFile(f"a signature key has {KEY_BYTES} bytes")
        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def from_hex(cls, text: str) -> VerifyKey:
        """From 64 hexadecimal digits. Raises `BadKeyFile`."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise BadKeyFile("a signature key is written as 64 hexadecimal digits") from None

    def hex(self) -> str:
        """64 hexadecimal digits."""
        return self.raw.hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.hex()})"

    def made(self, signature: bytes, tag: bytes, *fields: bytes) -> bool:
        """Whether the private half signed exactly these fields under this tag."""
        try:
            self._key.verify(signature, framed(tag, *fields))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """The private half. Its repr shows nothing."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = VerifyKey(key.public_key().public_bytes_raw())

    @classmethod
    def new(cls, rng: Rng) -> SigningKey:
        """A fresh key."""
        return cls(Ed25519PrivateKey.from_private_bytes(rng.bytes(KEY_BYTES)))

    @classmethod
    def parse(cls, pem: bytes) -> SigningKey:
        """The key in the bytes of its file. Raises `BadKeyFile`."""
        try:
            key = private_key(pem)
        except ValueError:
            raise BadKeyFile("this is not a private key in PEM form, without a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKeyFile("this is not an Ed25519 key")
        return cls(key)

    @classmethod
    def load(cls, path: Path, vault: Vault = PLAIN) -> SigningKey:
        """Read a key file. Raises `BadKeyFile` that names it; `SecretNeeded`, `WrongPassphrase` for a sealed one."""
        pem = vault.read(path)
        try:
            return cls.parse(pem)
        except BadKeyFile as error:
            raise BadKeyFile(f"{path.name}: {error}") from None

    def dump(self) -> bytes:
        """The bytes of the key's file: a secret."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, path: Path) -> None:
        """Make the key's file, mode 0600. Raises `WouldOverwrite`, `StorageFull`."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(self.dump())
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise WouldOverwrite(f"{path} exists already; nothing was changed") from None
        except OSError as error:
            raise StorageFull(f"{path} could not be written", detail=str(error)) from error

    def __repr__(self) -> str:
        return "SigningKey(…)"

    def sign(self, tag: bytes, *fields: bytes) -> bytes:
        """64 bytes; the same for the same tag and fields."""
        return self._key.sign(framed(tag, *fields))
