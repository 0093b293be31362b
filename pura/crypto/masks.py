"""A server's masks of entries, by a PRF from keys that lie beside its share and not in its data folder.

    K = HMAC-SHA256(secret of a version, tag, nonce)
    B_p,i = D numbers of k bits: 4 bytes each of AES-256-CTR under K, from block place * ceil(D / 4) on, cut to k bits

`place` numbers a slot in the whole gallery. A nonce has 128 random bits; under one nonce a place serves one entry. The
secrets have versions, so that they can be changed: an entry keeps the version and the nonce it was written under, and
whoever throws a version away makes unreadable what was written under it, in backups too.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from pura.crypto.bits import BLOCK
from pura.crypto.rng import Rng
from pura.errors import BadKeyFile

SECRET_BYTES = 32
NONCE_BYTES = 16
_ENTRIES, _OTHER = b"pura entry masks\x00", b"pura other masks\x00"


class MaskKeys:
    """Secrets by version, counted from 1; the latest is for what is written from now on."""

    def __init__(self, secrets: Mapping[int, bytes]) -> None:
        if not secrets or any(not 0 < v < 1 << 32 or len(s) != SECRET_BYTES for v, s in secrets.items()):
            raise BadKeyFile("mask keys have versions from 1 on and 32 bytes each")
        self._secrets = dict(sorted(secrets.items()))
        self.version = max(self._secrets)

    @classmethod
    def draw(cls, rng: Rng) -> MaskKeys:
        """A first version."""
        return cls({1: rng.bytes(SECRET_BYTES)})

    def renewed(self, rng: Rng) -> MaskKeys:
        """With one version more."""
        return MaskKeys({**self._secrets, self.version + 1: rng.bytes(SECRET_BYTES)})

    def latest(self) -> MaskKeys:
        """Without the earlier versions: what is masked by them cannot be read any more."""
        return MaskKeys({self.version: self._secrets[self.version]})

    @property
    def versions(self) -> tuple[int, ...]:
        """Those that there are, in order."""
        return tuple(self._secrets)

    def secret(self, version: int) -> bytes:
        """For its file only. Raises `BadKeyFile` for a version that is not there."""
        if version not in self._secrets:
            raise BadKeyFile(f"the mask keys lack version {version}")
        return self._secrets[version]

    def __repr__(self) -> str:
        return "MaskKeys(…)"

    def stream(self, version: int, nonce: bytes, count: int) -> bytes:
        """`count` bytes that mask something else than an entry, written once under this nonce. Raises `BadKeyFile`."""
        return bytes(_from(self._key(version, _OTHER, nonce), 0, count))

    def rows(
        self,
        dimension: int,
        bits: int,
        versions: NDArray[np.integer],
        nonces: NDArray[np.uint8],
        places: NDArray[np.int64],
    ) -> NDArray[np.uint32]:
        """B of some slots, (n, D) below 2^bits. versions (n,), nonces (n, 16), places (n,). Raises `BadKeyFile`.

        Fast where places that follow each other have one nonce: those are one stream.
        """
        blocks = -(-4 * dimension // BLOCK)
        out = np.empty((len(places), dimension), np.uint32)
        mask = np.uint32((1 << bits) - 1)
        for run in _runs(versions, nonces, places):
            key = self._key(int(versions[run.start]), _ENTRIES, nonces[run.start].tobytes())
            raw = _from(key, int(places[run.start]) * blocks, (run.stop - run.start) * blocks * BLOCK)
            np.bitwise_and(raw.view("<u4").reshape(-1, 4 * blocks)[:, :dimension], mask, out=out[run])
        return out

    def _key(self, version: int, tag: bytes, nonce: bytes) -> bytes:
        return hmac.digest(self.secret(version), tag + nonce, "sha256")


def _from(key: bytes, block: int, count: int) -> NDArray[np.uint8]:
    """`count` bytes of AES-CTR under a key, from some block on."""
    stream = Cipher(AES(key), CTR(block.to_bytes(BLOCK, "big"))).encryptor()
    out = np.empty(count + BLOCK, np.uint8)  # a block more, which `update_into` asks for
    stream.update_into(bytes(count), out.data)
    return out[:count]


def _runs(versions: NDArray[np.integer], nonces: NDArray[np.uint8], places: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of places that follow each other under one nonce."""
    if not len(places):
        return
    new = (versions[1:] != versions[:-1]) | (nonces[1:] != nonces[:-1]).any(axis=1) | (places[1:] != places[:-1] + 1)
    ends = [0, *(np.flatnonzero(new) + 1).tolist(), len(places)]
    for start, stop in itertools.pairwise(ends):
        yield slice(start, stop)
