"""Labels as the servers keep them: encrypted under a key that the organisation's clients share.

    stored = version || nonce || AES-256-GCM(key, nonce, length || label || zeros; enrolment id)

The text is padded to a multiple of 64 bytes before it is encrypted, so that its length says little. Nonces are random:
at 2^32 labels under one key a repeated one has probability 2^-33. The enrolment id is associated data: a label opens
beside the enrolment that it was sealed for and no other, so a server cannot put it on another entry.
"""

from __future__ import annotations

import contextlib
import hmac
import re
import unicodedata
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pura.crypto.hashing import framed
from pura.crypto.rng import Rng
from pura.errors import BadConfig, MalformedMessage, OutOfRange
from pura.ids import EnrolmentId

KEY_BYTES = 32
BUCKET = 64
LONGEST = 255
"""The longest label, in bytes of UTF-8."""
_JOINERS = frozenset("\u200c\u200d")
_VERSION = b"\x02"
_TAG = b"pura label v2"
_NONCE_BYTES = 12
_LENGTH_BYTES = 2


def normalise(label: str) -> str:
    """The form in which labels are compared: NFC; any run of spaces, of whatever width, as one; none around.

    Zero-width joiners stay: Persian, Sinhala and emoji need them. Raises `OutOfRange` when it is empty or too long, or
    has characters that are not seen or that turn the text round.
    """
    if not isinstance(label, str):
        raise OutOfRange("a label is a text")
    label = unicodedata.normalize("NFC", label)
    label = re.sub(" +", " ", "".join(" " if unicodedata.category(c) == "Zs" else c for c in label)).strip()
    if not label.strip("".join(_JOINERS)):
        raise OutOfRange("a label needs at least one character that is seen")
    if not all(c.isprintable() or c in _JOINERS for c in label):
        raise OutOfRange("a label has no line breaks, control characters or marks that turn the text round")
    if len(label.encode()) > LONGEST:
        raise OutOfRange(f"a label has at most {LONGEST} bytes")
    return label


class LabelCipher:
    """Encrypts and decrypts labels. Its repr does not show the key."""

    def __init__(self, key: bytes, older: Sequence[bytes] = ()) -> None:
        """`older`: keys under which labels may be stored still; nothing is encrypted under them any more."""
        if any(len(one) != KEY_BYTES for one in (key, *older)):
            raise BadConfig("the label key must have 32 bytes")
        self._aead = AESGCM(key)
        self._key = key
        self._older = [LabelCipher(one) for one in older]

    def __repr__(self) -> str:
        return "LabelCipher(…)"

    def mac(self, tag: bytes, *fields: bytes) -> bytes:
        """HMAC-SHA256 under the label key, 32 bytes: what servers can compare, and neither make nor guess."""
        return hmac.digest(self._key, framed(tag, *fields), "sha256")

    def seal(self, label: str, enrolment_id: EnrolmentId, rng: Rng) -> bytes:
        """The stored form of an enrolment's label: 93, 157, ... bytes. Two seals of one label differ. Raises
        `OutOfRange`."""
        text = normalise(label).encode()
        body = len(text).to_bytes(_LENGTH_BYTES, "big") + text
        body += bytes(-len(body) % BUCKET)
        nonce = rng.bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, body, framed(_TAG, enrolment_id))

    def open(self, stored: bytes, enrolment_id: EnrolmentId) -> str:
        """The label in its stored form. Raises `MalformedMessage` when none of the keys made it for this enrolment."""
        try:
            return self._open(stored, enrolment_id)
        except MalformedMessage:
            for older in self._older:
                with contextlib.suppress(MalformedMessage):
                    return older.open(stored, enrolment_id)
            raise

    def is_newest(self, stored: bytes, enrolment_id: EnrolmentId) -> bool:
        """Whether the newest key made it."""
        try:
            self._open(stored, enrolment_id)
        except MalformedMessage:
            return False
        return True

    def _open(self, stored: bytes, enrolment_id: EnrolmentId) -> str:
        if stored[:1] != _VERSION:
            raise MalformedMessage("a label was stored in an unknown form")
        nonce, sealed = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        try:
            body = self._aead.decrypt(nonce, sealed, framed(_TAG, enrolment_id))
            end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
            text = body[_LENGTH_BYTES:end].decode()
        except (InvalidTag, ValueError) as error:
            raise MalformedMessage("a label cannot be opened with this label key, or is another enrolment's") from error
        if len(body) % BUCKET or end > len(body) or any(body[end:]):
            raise MalformedMessage("a label is not padded as it should be")
        if not _is_normal(text):
            raise MalformedMessage("a label has characters that no label may have")  # whoever wrote it
        return text


def _is_normal(text: str) -> bool:
    try:
        return normalise(text) == text
    except OutOfRange:
        return False
