"""Keeper and evaluator whose arithmetic torch does, on a GPU or on this machine's processor: the same bytes as numpy's.

What is drawn comes from AES on the processor, in the order in which numpy's `Evaluator` draws it, and is sent to the
device; so do a keeper's ciphertexts, which are made once a block. Everything that a row costs is done there:

    matrix products    float64, sums below 2^53: exact in any order (`LatticeParams`)
    words              int64, which wraps modulo 2^64 like numpy's uint64
    polynomials        float64 FFTs. The bounds are for numpy's FFT; here nothing is multiplied that is longer than 25
                       bits, so an FFT that errs 100 times as much is still right: fft_error is 0.0012, and 1/8 will do

`check_torch` compares the largest products with integers before a device is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe import ring, selftest
from pura.crypto.rlwe.evaluator import A, B, Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import CUT, DIGIT_BITS, DIGITS, HIGH, LOW, ROW_BYTES, SLOTS, LatticeParams
from pura.crypto.rlwe.ring import Floats, Ints, Stream, tiles
from pura.crypto.rng import Rng
from pura.errors import BadConfig, ProtocolError

_THIRD = 24
"""Bits of the three parts in which c_1' is multiplied by s: each product is exact, whatever the FFT."""


@cache
def check_torch(device: str) -> torch.device:
    """The device of this name, if it multiplies as the bounds take for granted. Raises `BadConfig`, `BadArithmetic`."""
    try:
        here = torch.device(device)
        torch.zeros(1, device=here)
    except (RuntimeError, AssertionError) as error:
        raise BadConfig(f"workers.device: torch cannot use {device} here", detail=str(error)) from error
    fft = TorchNegacyclic(here)

    def matmul(a: Floats, b: Floats) -> Floats:
        return to_numpy(send(a, here) @ send(b, here))

    def product(u: Ints, p: Ints) -> Floats:
        return to_numpy(fft.product(fft.forward(send(u, here)), fft.forward(send(p, here))))

    selftest.check(matmul, product)
    return here


def send(values: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """An array on the device; words as signed ones of the same bits."""
    signed = {np.dtype(np.uint64): np.int64, np.dtype(np.uint32): np.int32}.get(values.dtype)
    array = np.ascontiguousarray(values if signed is None else values.view(signed))
    return torch.from_numpy(array).to(device)


def to_numpy(values: torch.Tensor) -> NDArray[Any]:
    """The array here."""
    out: NDArray[Any] = values.cpu().numpy()
    return out


class TorchNegacyclic:
    """`ring.Negacyclic` on a device."""

    def __init__(self, device: torch.device) -> None:
        self._half = SLOTS // 2
        self._twist = torch.from_numpy(np.exp(1j * np.pi * np.arange(self._half) / SLOTS)).to(device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The spectrum of polynomials (..., n)."""
        x = x.to(torch.float64)
        z = torch.complex(x[..., : self._half], x[..., self._half :]) * self._twist
        out: torch.Tensor = torch.fft.fft(z)
        return out

    def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The polynomial of two spectra, rounded to integers: (..., n) doubles."""
        z = torch.fft.ifft(a * b) * self._twist.conj()
        return torch.round(torch.cat((z.real, z.imag), dim=-1))


class TorchCiphertexts(Ciphertexts):
    """K's ciphertexts of one block on the device."""

    def __init__(self, params: LatticeParams, device: torch.device) -> None:
        self._pieces = params.pieces
        self._on = torch.empty((2, DIGITS, params.ciphertexts, SLOTS), dtype=torch.int32, device=device)

    @property
    def held(self) -> int:
        """Bytes in the device's memory."""
        return self._on.nbytes

    def load(self, at: int, seed: bytes, body: bytes, count: int) -> None:
        """See `Ciphertexts.load`."""
        here, total = slice(at * self._pieces, (at + count) * self._pieces), count * self._pieces
        for part, digits in ((B, ring.load(body, total)), (A, ring.expand(seed, total))):
            for d, digit in enumerate(digits):
                self._on[part, d, here] = send(digit, self._on.device)

    def sums(self, w: torch.Tensor, part: int) -> torch.Tensor:
        """`times` on the device: (L, R, n) doubles."""
        return torch.matmul(w, self._on[part].to(torch.float64))


class TorchEvaluator(Evaluator):
    """V on a device; it takes `TorchCiphertexts`. Raises `BadConfig`, `BadArithmetic`, `ProtocolError`."""

    def __init__(self, params: LatticeParams, seed: bytes, public: bytes, device: str) -> None:
        self._device = check_torch(device)
        super().__init__(params, seed, public)
        self._fft = TorchNegacyclic(self._device)
        self._spectra = [send(p, self._device) for p in self._p]

    def rows(self, w: Words, ciphertexts: Ciphertexts, rng: Rng) -> tuple[bytes, NDArray[np.uint32]]:
        """See `Evaluator.rows`."""
        if not isinstance(ciphertexts, TorchCiphertexts):
            raise TypeError("ciphertexts on another device")
        n, k, here = len(w), self.params.bits, self._device
        stream = Stream(rng.bytes(ring.SEED_BYTES))
        pieces = send(self._pieces(w), here)
        u = self._fft.forward(send(self._ternary(stream, (n, SLOTS)).astype(np.int8), here))
        masks = [self._mask(stream, (len(range(n)[at]), SLOTS)) for at in tiles(n)]
        r_high, r_low = (send(np.concatenate(part), here) for part in zip(*masks, strict=True))

        x = self._sums(ciphertexts, pieces, u, B)
        c0 = _high_digits(x, _low_digits(x, r_low, CUT)) + r_high
        share = -_rounded(r_high, k) & ((1 << k) - 1)

        drawn = [self._errors(stream, (len(range(n)[at]), SLOTS)).astype(np.int8) for at in tiles(n)]
        x = self._sums(ciphertexts, pieces, u, A)
        value = _low_digits(x, send(np.concatenate(drawn), here), CUT - LOW)
        low = (value >> (CUT - LOW - DIGIT_BITS) & ((1 << LOW) - 1)).to(torch.uint8)
        body = b"".join(to_numpy(part).tobytes() for part in (c0, _high_digits(x, value), low))
        return body, to_numpy(share.to(torch.int32)).view(np.uint32)

    def _sums(self, ciphertexts: TorchCiphertexts, pieces: torch.Tensor, u: torch.Tensor, part: int) -> torch.Tensor:
        """sum_j w_j ct_j + u p, digit by digit: (L, R, n) integers. With `_with_zero`, for one part."""
        zero = self._fft.product(u, self._spectra[part][:, None])
        return (ciphertexts.sums(pieces, part) + zero).to(torch.int64)


class TorchKeeper(Keeper):
    """K on a device. Raises `BadConfig`, `BadArithmetic`."""

    def __init__(self, params: LatticeParams, seed: bytes, rng: Rng, device: str) -> None:
        self._device = check_torch(device)
        super().__init__(params, seed, rng)
        self._fft = TorchNegacyclic(self._device)
        self._spectrum = send(self._s, self._device)

    def open(self, body: bytes, rows: int) -> NDArray[np.uint32]:
        """See `Keeper.open`. phase = c_0' + round(c_1' s / 2^8), by c_1' = h_2 2^48 + h_1 2^24 + h_0."""
        if len(body) != rows * ROW_BYTES:
            raise ProtocolError(detail="length of rows")
        size = rows * SLOTS
        raw = np.frombuffer(body, np.int64, 2 * size).reshape(2, rows, SLOTS)
        c0, high = send(raw.copy(), self._device)
        low = send(np.frombuffer(body, np.uint8, size, offset=16 * size).reshape(rows, SLOTS).copy(), self._device)
        part, mask = _THIRD - LOW, (1 << _THIRD) - 1
        phases = c0 + (self._times_key(high >> (HIGH - _THIRD)) << (HIGH - _THIRD))
        phases += self._times_key(high >> part & mask) << part
        lowest = self._times_key((high & ((1 << part) - 1)) << LOW | low)
        phases += lowest + (1 << (LOW - 1)) >> LOW
        out = _rounded(phases, self.params.bits) & ((1 << self.params.bits) - 1)
        return to_numpy(out.to(torch.int32)).view(np.uint32)

    def _times_key(self, x: torch.Tensor) -> torch.Tensor:
        return self._fft.product(self._fft.forward(x), self._spectrum).to(torch.int64)


def _rounded(words: torch.Tensor, bits: int) -> torch.Tensor:
    """round(r t / q) from the top 64 bits of r; what lies above k bits is the sign's."""
    return words + (1 << (HIGH - bits - 1)) >> (HIGH - bits)


def _low_digits(x: torch.Tensor, more: torch.Tensor, cut: int) -> torch.Tensor:
    """See `evaluator`."""
    return (x[0] + more + (1 << (cut - 1)) >> DIGIT_BITS) + x[1]


def _high_digits(x: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """See `evaluator`."""
    value = low >> (CUT - DIGIT_BITS)
    for d in range(2, DIGITS):
        value = value + (x[d] << (DIGIT_BITS * d - CUT))
    return value
