"""Where randomness comes from: always an argument, so a protocol can be replayed in a test and never by accident.

`SystemRng` reads the operating system. `SeededRng` is AES-256 in counter mode under a key derived from a seed: for
tests, benchmarks and expanding a short seed.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from pura.crypto.hashing import framed

_FRESH_BYTES = 32


class Rng(Protocol):
    """A source of uniform bytes and of what is made of them."""

    def bytes(self, count: int) -> bytes:
        """`count` uniform bytes."""
        ...

    def bits(self, count: int) -> int:
        """A uniform integer in [0, 2^count)."""
        ...

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), bound >= 1."""
        ...


class _FromBytes:
    def bytes(self, count: int) -> bytes:
        raise AssertionError("each source defines its own bytes")

    def bits(self, count: int) -> int:
        return int.from_bytes(self.bytes((count + 7) // 8), "big") >> (-count % 8)

    def below(self, bound: int) -> int:
        if bound < 1:
            raise ValueError("there is no number below this bound")
        width = (bound - 1).bit_length()
        while (value := self.bits(width)) >= bound:
            pass
        return value


class SystemRng(_FromBytes):
    """The operating system's generator; the only one that products use."""

    def bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def __repr__(self) -> str:
        return "SystemRng()"


def hedged(rng: Rng, *fields: bytes) -> Rng:
    """A stream from 32 fresh bytes and the fields, by SHAKE256: should `rng` ever repeat itself, other fields still
    give another stream."""
    shake = hashlib.shake_256(framed(b"pura hedged v2", rng.bytes(_FRESH_BYTES), *fields))
    return SeededRng(shake.digest(_FRESH_BYTES))


class SeededRng(_FromBytes):
    """A deterministic stream from a seed, by AES-256-CTR. Its repr does not show the seed."""

    def __init__(self, seed: bytes | str | int) -> None:
        if isinstance(seed, int):
            seed = str(seed)
        if isinstance(seed, str):
            seed = seed.encode()
        key = hashlib.sha256(b"pura seeded rng\x00" + seed).digest()
        self._stream = Cipher(AES(key), CTR(bytes(16))).encryptor()

    def bytes(self, count: int) -> bytes:
        return self._stream.update(bytes(count))

    def __repr__(self) -> str:
        return "SeededRng(…)"
