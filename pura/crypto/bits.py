"""Bits in bulk: transposing bit matrices, and AES over many blocks at once.

Bits are packed lowest first: bit i of an array is bit i % 8 of byte i // 8, or bit i % 64 of its little-endian word
i // 64. All of it runs in numpy and OpenSSL, on buffers that fit the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from numpy.typing import NDArray

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("pura needs a little-endian machine")

Octets = NDArray[np.uint8]
Words = NDArray[np.uint64]

BLOCK = 16
"""Bytes of an AES block."""
ROW_BITS = 128
"""How many planes are transposed at once; a row has two words."""

_TILE = 416
"""Words of a plane that are transposed at once: 128 of them stay in the second-level cache, and they do not lie a power
of two apart, where they would fight for the same lines."""
_BLOCKS = 4096
"""AES blocks that are hashed at once, for the same reason."""


def _stages() -> Iterator[tuple[int, np.uint64, np.uint64]]:
    for j in (32, 16, 8, 4, 2, 1):
        mask = sum(((1 << j) - 1) << at for at in range(0, 64, 2 * j))
        yield j, np.uint64(j), np.uint64(mask)


_STAGES = tuple(_stages())


def transpose(planes: Words, rows: Words) -> None:
    """Writes bit i of plane j to bit j of row i. planes: (128, w); rows: (64 w, 2), C-contiguous.

    64 x 64 bits at a time, by exchanging blocks of 32, 16, .. 1 bits (Warren, Hacker's Delight, 7-3), with the
    same step done on a whole tile by each numpy call.
    """
    width = planes.shape[1]
    tile = np.empty(ROW_BITS * min(_TILE, width), np.uint64)
    spare = np.empty(tile.size // 2, np.uint64)
    for at in range(0, width, _TILE):
        w = min(_TILE, width - at)
        x = tile[: ROW_BITS * w].reshape(ROW_BITS, w)
        _exchange(planes[:, at : at + w], x, spare[: ROW_BITS * w // 2])
        out = rows[64 * at : 64 * (at + w)].reshape(w, 64, 2)
        out[:, :, 0] = x[:64].T
        out[:, :, 1] = x[64:].T


def _exchange(source: Words, x: Words, spare: Words) -> None:
    """x = source with every 64 x 64 block of bits transposed; the first stage reads, the others work in place."""
    w = x.shape[1]
    given = source
    for j, shift, mask in _STAGES:
        shape = (ROW_BITS // (2 * j), 2, j, w)
        v, into, s = given.reshape(shape), x.reshape(shape), spare.reshape(shape[0], j, w)
        a, b = v[:, 0], v[:, 1]
        np.right_shift(a, shift, out=s)
        np.bitwise_xor(s, b, out=s)
        np.bitwise_and(s, mask, out=s)
        np.bitwise_xor(b, s, out=into[:, 1])
        np.left_shift(s, shift, out=s)
        np.bitwise_xor(a, s, out=into[:, 0])
        given = x


def fold(leaves: Words, planes: Words) -> None:
    """planes[i, b] = XOR of leaves[i, x] over all x with bit b set; afterwards leaves[i, 0] = XOR of all.

    leaves: (trees, 2^k, w), overwritten; planes: (trees, k, w). leaves[i, 0] plays no part in the planes.
    """
    half = leaves.shape[1] // 2
    for b in reversed(range(planes.shape[1])):
        upper = leaves[:, half : 2 * half]
        np.bitwise_xor.reduce(upper, axis=1, out=planes[:, b])
        leaves[:, :half] ^= upper
        half //= 2


def low_bits(blocks: Words) -> Octets:
    """The lowest bit of each block, packed. blocks: (n, 2), n a multiple of 8."""
    return np.packbits(blocks.view(np.uint8)[:, 0] & np.uint8(1), bitorder="little")


class TweakedHash:
    """H(i, x) = pi(pi(x) + i) + pi(x) on 128-bit blocks (+ is XOR), pi = AES under a public key.

    TMMO of Guo, Katz, Wang and Yu ("Efficient and secure multiparty computation from fixed-key block ciphers", IEEE
    S&P 2020): tweakable circular correlation robust when pi is a random permutation. Two AES calls a block.
    """

    def __init__(self, key: bytes) -> None:
        self._pi = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 (a permutation of blocks is what is wanted)

    def tiles(self, first: int, x: Words, shift: Words | None = None) -> Iterator[tuple[slice, Words]]:
        """H(first + i, x_i), or H(first + i, x_i + shift): a slice of the rows and its hashes at a time.

        x: (n, 2); shift: (2,). The hashes are in a buffer that the next step overwrites.
        """
        size = min(_BLOCKS, len(x))
        a, b, h = (np.empty((size + 1, 2), np.uint64) for _ in range(3))  # a block more, which `update_into` asks for
        tweaks = np.zeros((size, 2), np.uint64)
        tweaks[:, 0] = np.arange(first, first + size, dtype=np.uint64)
        shifts = None if shift is None else np.tile(shift, (size, 1))
        for at in range(0, len(x), _BLOCKS):
            part = x[at : at + _BLOCKS]
            n = len(part)
            y = part if shifts is None else np.bitwise_xor(part, shifts[:n], out=b[:n])
            self._permute(y, a)
            np.bitwise_xor(a[:n], tweaks[:n], out=b[:n])
            self._permute(b[:n], h)
            h[:n] ^= a[:n]
            yield slice(at, at + n), h[:n]
            tweaks[:, 0] += np.uint64(_BLOCKS)

    def _permute(self, x: Words, out: Words) -> None:
        self._pi.update_into(x.data.cast("B"), out.data.cast("B"))
