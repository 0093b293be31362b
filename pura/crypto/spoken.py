"""A short code that two people compare by telephone, to know that they have the same bytes.

    code = 100 bits of scrypt(SHA-256(tag, fields), tag; 2^15, 8, 1), in 20 letters and digits

Whoever can change what both are sent looks for two pairs that have one code: a birthday, some 2^50 trials, each of them
a scrypt of 32 MiB. Letters that sound or look alike are left out (Crockford's alphabet).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pura.crypto.hashing import digest

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS, _GROUP = 20, 4
_BITS = 5
COST = 1 << 15


def code(tag: bytes, *fields: bytes) -> str:
    """Five groups of four: `k3fw-0m9z-...`. The same for the same tag and fields."""
    raw = Scrypt(salt=tag, length=16, n=COST, r=8, p=1).derive(digest(tag, *fields))
    number = int.from_bytes(raw, "big")
    letters = "".join(_ALPHABET[number >> _BITS * at & 31] for at in range(_LETTERS))
    return "-".join(letters[at : at + _GROUP] for at in range(0, _LETTERS, _GROUP))
