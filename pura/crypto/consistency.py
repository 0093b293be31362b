"""The check that an OT extension's receiver used one vector of choices in all its trees.

R is a universal hash of 128 bits, linear over bits, under a key that is drawn from what the receiver has sent, so that
it cannot choose its message by R. The two ends hold v_b and q_b = v_b + Delta_b choices, hence

    R(q_b) = R(v_b) + Delta_b R(choices)                                  for each of the 128 columns b

and the receiver sends x = R(choices) and a hash of all R(v_b). 128 OTs more than are handed out make x uniform: their
choices are the last block that is hashed. R(v_b) tells the sender nothing: it is R(q_b) or R(q_b) + x.

R is GHASH, the polynomial hash over GF(2^128) inside AES-GCM (NIST SP 800-38D), which OpenSSL makes at 10 to 20 GB a
second: two chunks of w blocks meet with probability (w + 1) / 2^128. A tag is R(data) + a constant of the key. The keys
are public and a chunk's one nonce serves all columns: nothing is encrypted here.

    K_i = SHA-256(everything sent up to chunk i)

Chained, not chunk by chunk: if keys depended on their own chunk alone, a receiver could look for chunks whose hashes
cancel (Wagner's generalised birthdays). This way the last chunk in which two candidates differ decides alone.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from pura.crypto.bits import ROW_BITS, Words

MASKING = 128
"""OTs that an extension makes and drops, so that R(choices) tells nothing about the others' choices."""
HASH_BYTES = 16
PROOF_BYTES = HASH_BYTES + 32
"""x and the hash of all R(v_b)."""

_NONCE = bytes(12)

Tags = NDArray[np.uint8]


class _Chain:
    """The keys of R, from everything that both ends have seen."""

    def __init__(self, session: int, first: int) -> None:
        self._seen = hashlib.sha256(b"pura ot check\x00" + session.to_bytes(8, "big") + first.to_bytes(8, "big"))
        self._sums: Tags = np.zeros((ROW_BITS, HASH_BYTES), np.uint8)

    @property
    def digest(self) -> bytes:
        """32 bytes that depend on all that was sent."""
        return self._seen.digest()

    def _absorb(self, c: Words, columns: Words) -> AESGCM:
        """A chunk of c (trees, w) and of all columns (128, w)."""
        self._seen.update(np.ascontiguousarray(c).data.cast("B"))
        r = AESGCM(self.digest[:16])
        tags = b"".join(r.encrypt(_NONCE, b"", column.data.cast("B")) for column in columns)
        self._sums ^= np.frombuffer(tags, np.uint8).reshape(ROW_BITS, HASH_BYTES)
        return r


class Prover(_Chain):
    """The receiver's end."""

    def __init__(self, session: int, first: int) -> None:
        super().__init__(session, first)
        self._x: Tags = np.zeros(HASH_BYTES, np.uint8)

    def absorb(self, c: Words, columns: Words, choices: Words) -> None:
        """A chunk of c (trees, w), of all v_b (128, w) and of the choices (w,)."""
        r = self._absorb(c, columns)
        for data in (choices, np.zeros_like(choices)):  # linear: the key's constant is taken out
            self._x ^= np.frombuffer(r.encrypt(_NONCE, b"", data.data.cast("B")), np.uint8)

    def proof(self) -> bytes:
        """x and the hash of all R(v_b), 48 bytes."""
        return self._x.tobytes() + _hash(self.digest, self._sums)


class Checker(_Chain):
    """The sender's end."""

    def absorb(self, c: Words, columns: Words) -> None:
        """A chunk of c (trees, w) and of all q_b (128, w)."""
        self._absorb(c, columns)

    def holds(self, proof: bytes, delta: NDArray[np.uint8]) -> bool:
        """Whether the proof, 48 bytes, fits these columns. delta: the 128 bits of s, one in a byte."""
        x = np.frombuffer(proof[:HASH_BYTES], np.uint8)
        return hmac.compare_digest(_hash(self.digest, self._sums ^ delta[:, None] * x), proof[HASH_BYTES:])


def _hash(digest: bytes, sums: Tags) -> bytes:
    return hashlib.sha256(b"pura ot columns\x00" + digest + sums.tobytes()).digest()
