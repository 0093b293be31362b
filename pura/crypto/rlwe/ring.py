"""Polynomials modulo X^n + 1: how they are drawn, multiplied by ternary ones, and written.

A polynomial modulo q is an array of digits (L, ..., n), int32: sum_d digit_d 2^(beta d), -2^(beta - 1) <= digit_d <
2^(beta - 1).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from pura.crypto.bits import BLOCK, Words
from pura.crypto.rlwe.parameters import COINS, DIGIT_BITS, DIGITS, LOG_Q, RESIDUE_BYTES, SLOTS
from pura.errors import ProtocolError

Digits = NDArray[np.int32]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
Shape = tuple[int, ...]

SEED_BYTES = 32
_WORD = np.uint64(64)


def tiles(count: int, size: int = 8) -> Iterator[slice]:
    """Slices of `size` rows: so few polynomials stay in the second-level cache."""
    for at in range(0, count, size):
        yield slice(at, min(at + size, count))


class Stream:
    """Numbers from a seed of 32 bytes, by AES-256-CTR."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("a stream's seed has 32 bytes")
        self._cipher = Cipher(AES(seed), CTR(bytes(BLOCK))).encryptor()

    def _octets(self, count: int) -> NDArray[np.uint8]:
        out = np.empty(count + BLOCK, np.uint8)  # a block more, which `update_into` asks for
        self._cipher.update_into(bytes(count), out.data)
        return out[:count]

    def words(self, shape: Shape) -> Words:
        """Uniform in [0, 2^64)."""
        out: Words = self._octets(8 * int(np.prod(shape))).view(np.uint64).reshape(shape)
        return out

    def balanced(self, bits: int, shape: Shape) -> Digits:
        """Uniform in [-2^(bits - 1), 2^(bits - 1)), bits <= 32."""
        raw = self._octets(4 * int(np.prod(shape))).view(np.int32).reshape(shape)
        return np.right_shift(raw, np.int32(32 - bits), out=raw)

    def ternary(self, shape: Shape) -> Floats:
        """-1, 0 or 1, each with probability 1/3 to within 2^-32."""
        raw = self._octets(4 * int(np.prod(shape))).view(np.uint32).reshape(shape)
        out: Floats = (raw.astype(np.uint64) * np.uint64(3) >> np.uint64(32)).astype(np.float64) - 1
        return out

    def errors(self, shape: Shape) -> Ints:
        """Centred binomials of 2 x `COINS` coins."""
        raw = self.words(shape)
        heads = np.bitwise_count(raw & np.uint64((1 << COINS) - 1))
        out: Ints = heads.astype(np.int64) - np.bitwise_count(raw >> np.uint64(64 - COINS))
        return out

    def __repr__(self) -> str:
        return "Stream(…)"


class Negacyclic:
    """Products modulo X^n + 1: n real coefficients are n / 2 complex ones, twisted. For the error see `fft_error`."""

    def __init__(self) -> None:
        self._half = SLOTS // 2
        self._twist = np.exp(1j * np.pi * np.arange(self._half) / SLOTS)
        self._back = self._twist.conj()

    def forward(self, x: NDArray[np.float64 | np.int32 | np.int64]) -> Spectrum:
        """The spectrum of polynomials (..., n)."""
        z = np.empty((*x.shape[:-1], self._half), np.complex128)
        z.real, z.imag = x[..., : self._half], x[..., self._half :]
        z *= self._twist
        return np.fft.fft(z, axis=-1)

    def add_to(self, x: Floats, spectrum: Spectrum) -> None:
        """x += the polynomials of a spectrum, rounded to integers; x (..., n) holds integers, and none leaves 2^53."""
        z = np.fft.ifft(spectrum, axis=-1)
        z *= self._back
        x[..., : self._half] += z.real
        x[..., self._half :] += z.imag
        np.rint(x, out=x)


def expand(seed: bytes, count: int) -> Digits:
    """Uniform polynomials from a public seed: (L, count, n)."""
    return Stream(seed).balanced(DIGIT_BITS, (DIGITS, count, SLOTS))


def join(digits: list[Ints]) -> tuple[Words, Words]:
    """Residues from their digits without sign (digit + 2^(beta - 1)): the low 64 bits, and those above."""
    low, high = np.zeros(digits[0].shape, np.uint64), np.zeros(digits[0].shape, np.uint64)
    for d, digit in enumerate(digits):
        at, u = DIGIT_BITS * d, digit.view(np.uint64)
        if at < 64:
            low |= u << np.uint64(at)
        if at + DIGIT_BITS > 64:
            high |= u >> np.uint64(64 - at) if at < 64 else u << np.uint64(at - 64)
    return low, high


def dump(low: Words, high: Words) -> bytes:
    """Residues in 13 bytes each: the low words, then what is above. Both C-contiguous."""
    return low.tobytes() + high.view(np.uint8).reshape(-1, 8)[:, : RESIDUE_BYTES - 8].tobytes()


def load(raw: bytes, count: int) -> Iterator[Digits]:
    """The digits, lowest first, of what `dump` wrote: (count, n) each. Raises `ProtocolError` for other bytes."""
    size = count * SLOTS
    if len(raw) != size * RESIDUE_BYTES:
        raise ProtocolError(detail="length of polynomials")
    low = np.frombuffer(raw, np.uint64, size)
    octets = np.zeros((size, 8), np.uint8)
    octets[:, : RESIDUE_BYTES - 8] = np.frombuffer(raw, np.uint8, offset=8 * size).reshape(size, -1)
    high = octets.view(np.uint64).reshape(-1)
    if (high >> np.uint64(LOG_Q - 64)).any():
        raise ProtocolError(detail="a coefficient is not below q")
    for at in range(0, LOG_Q, DIGIT_BITS):
        u = low >> np.uint64(at) if at < 64 else high >> np.uint64(at - 64)
        if at < 64 < at + DIGIT_BITS:
            u = u | high << np.uint64(64 - at)
        digit = (u & np.uint64((1 << DIGIT_BITS) - 1)).astype(np.int32) - np.int32(1 << (DIGIT_BITS - 1))
        yield digit.reshape(count, SLOTS)
