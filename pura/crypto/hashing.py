"""Hashing of several fields, so that no two lists of fields give the same bytes."""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 32
_LENGTH_BYTES = 8


def framed(*fields: bytes) -> bytes:
    """Fields one behind the other, each behind its length (8 bytes): injective."""
    return b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)


def digest(tag: bytes, *fields: bytes) -> bytes:
    """SHA-256 of the framed tag and fields. The tag says what is hashed; no two purposes share one."""
    return hashlib.sha256(framed(tag, *fields)).digest()
