"""Labels as the servers keep them: encrypted under a key that the organisation's clients share.

    stored = version || nonce || AES-256-GCM(key, nonce, length || label || zeros)

The text is padded to a multiple of 64 bytes before it is encrypted, so that its length says little. Nonces are random:
at 2^32 labels under one key a repeated one has probability 2^-33.
"""

from __future__ import annotations

import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pura.crypto.rng import Rng
from pura.errors import BadConfig, MalformedMessage, OutOfRange

KEY_BYTES = 32
BUCKET = 64
LONGEST = 255
"""The longest label, in bytes of UTF-8."""
_VERSION = b"\x01"
_CONTEXT = b"pura label v1"
_NONCE_BYTES = 12
_LENGTH_BYTES = 2


def normalise(label: str) -> str:
    """The form in which labels are compared: NFC, no space around. Raises `OutOfRange` if it is empty or too long."""
    label = unicodedata.normalize("NFC", label).strip()
    if not label or not label.isprintable():
        raise OutOfRange("a label needs at least one character, and printable ones only")
    if len(label.encode()) > LONGEST:
        raise OutOfRange(f"a label has at most {LONGEST} bytes")
    return label


class LabelCipher:
    """Encrypts and decrypts labels. Its repr does not show the key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadConfig("the label key must have 32 bytes")
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "LabelCipher(…)"

    def seal(self, label: str, rng: Rng) -> bytes:
        """The stored form of a label: 93, 157, ... bytes. Two seals of one label differ. Raises `OutOfRange`."""
        text = normalise(label).encode()
        body = len(text).to_bytes(_LENGTH_BYTES, "big") + text
        body += bytes(-len(body) % BUCKET)
        nonce = rng.bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, body, _CONTEXT)

    def open(self, stored: bytes) -> str:
        """The label in its stored form. Raises `MalformedMessage` when this key did not make it."""
        if stored[:1] != _VERSION:
            raise MalformedMessage("a label was stored in an unknown form")
        nonce, sealed = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        try:
            body = self._aead.decrypt(nonce, sealed, _CONTEXT)
            end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
            text = body[_LENGTH_BYTES:end].decode()
        except (InvalidTag, ValueError) as error:
            raise MalformedMessage("a label cannot be opened with this label key") from error
        if len(body) % BUCKET or end > len(body) or any(body[end:]):
            raise MalformedMessage("a label is not padded as it should be")
        return text
