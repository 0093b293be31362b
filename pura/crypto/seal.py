"""Sealing S2's share of an answer to a client's one-time key: X25519, HKDF-SHA256, ChaCha20-Poly1305.

S1 carries the sealed share and cannot open it. Key and nonce are used once: both X25519 keys are fresh for every query.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pura.crypto.rng import Rng
from pura.errors import MalformedMessage

KEY_BYTES = 32
OVERHEAD = KEY_BYTES + 16
"""How much longer a sealed text is than the text: the sender's one-time key and the tag."""


class SealKey:
    """The receiver's one-time key pair. Its repr shows nothing."""

    def __init__(self, rng: Rng) -> None:
        self._take(rng.bytes(KEY_BYTES))

    @classmethod
    def of(cls, raw: bytes) -> SealKey:
        """A key that was kept, 32 bytes. Raises `ValueError`."""
        made = cls.__new__(cls)
        made._take(raw)
        return made

    def _take(self, raw: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(raw)
        self.public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "SealKey(…)"

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The text sealed to this key in this context. Raises `MalformedMessage` if it was not."""
        try:
            sender = X25519PublicKey.from_public_bytes(sealed[:KEY_BYTES])
            key = _derive(self._private, sender, sealed[:KEY_BYTES] + self.public)
            return ChaCha20Poly1305(key).decrypt(bytes(12), sealed[KEY_BYTES:], context)
        except (ValueError, InvalidTag) as error:
            raise MalformedMessage("the answer was not sealed to this question") from error


def seal(public: bytes, text: bytes, context: bytes, rng: Rng) -> bytes:
    """`text` sealed to a 32-byte X25519 key; `context` is authenticated. Raises `MalformedMessage` for a bad key."""
    own = X25519PrivateKey.from_private_bytes(rng.bytes(KEY_BYTES))
    sender = own.public_key().public_bytes_raw()
    try:
        key = _derive(own, X25519PublicKey.from_public_bytes(public), sender + public)
    except ValueError as error:  # wrong length, or a point of small order
        raise MalformedMessage("the one-time key of the question is not valid") from error
    return sender + ChaCha20Poly1305(key).encrypt(bytes(12), text, context)


def _derive(own: X25519PrivateKey, other: X25519PublicKey, salt: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=salt, info=b"pura seal v1").derive(own.exchange(other))
