"""V: multiplies K's ciphertexts by its own numbers, and sends what hides them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe import ring
from pura.crypto.rlwe.parameters import CUT, DIGIT_BITS, DIGITS, HIGH, LOW, SLOTS, LatticeParams
from pura.crypto.rlwe.ring import Digits, Floats, Ints, Negacyclic, Shape, Spectrum, Stream, tiles
from pura.crypto.rlwe.selftest import check_arithmetic
from pura.crypto.rng import Rng

B, A = 0, 1
"""The two parts of a ciphertext (b_j, a_j)."""
_TILE = 1 << 16
"""Digits that are made doubles at once."""


class Ciphertexts:
    """K's ciphertexts of one block: digits as int32, 32 B a slot and ciphertext, so 4 KiB a slot at D = 128."""

    def __init__(self, params: LatticeParams, *, lean: bool = False) -> None:
        """lean: keep the seeds of a_j in place of them, half of it all, and draw them again for every batch of rows, 5
        ms a block at D = 128."""
        self._pieces, self._total = params.pieces, params.ciphertexts
        self._seeds: list[tuple[slice, bytes]] | None = [] if lean else None
        self._columns = min(SLOTS, _TILE // (1 << (params.ciphertexts - 1).bit_length()))
        # a tile of columns lies together
        shape = (1 if lean else 2, DIGITS, SLOTS // self._columns, params.ciphertexts, self._columns)
        self._digits: Digits = np.empty(shape, np.int32)

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self._digits.nbytes

    @property
    def lost(self) -> bool:
        """Whether they are not there any more, where another machine holds them."""
        return False

    def load(self, at: int, seed: bytes, body: bytes, count: int) -> None:
        """Take in the ciphertexts of coordinates at .. at + count - 1. Raises `ProtocolError`."""
        here, total = slice(at * self._pieces, (at + count) * self._pieces), count * self._pieces
        for d, digit in enumerate(ring.load(body, total)):
            self._digits[B, d, :, here] = self._tiled(digit)
        if self._seeds is not None:
            self._seeds.append((here, seed))
            return
        for d, digit in enumerate(ring.expand(seed, total)):
            self._digits[A, d, :, here] = self._tiled(digit)

    def _tiled(self, digit: Digits) -> Digits:
        return digit.reshape(len(digit), -1, self._columns).swapaxes(0, 1)

    def _part(self, part: int) -> Iterable[Digits]:
        """A part's digits from the lowest, tile by tile: (tiles, ciphertexts, columns) each."""
        if part == B or self._seeds is None:
            held: Iterable[Digits] = self._digits[part]
            return held
        drawn: Digits = np.empty((DIGITS, self._total, SLOTS), np.int32)
        for here, seed in self._seeds:
            drawn[:, here] = ring.expand(seed, here.stop - here.start)
        return map(self._tiled, drawn)

    def times(self, w: Floats, part: int, out: Floats) -> Floats:
        """out = sum_j w_j times one part of ct_j, digit by digit without carries: (L, R, n), exact integers."""
        tile: Floats = np.empty(self._digits.shape[-2:])
        for d, digit in enumerate(self._part(part)):
            for i, numbers in enumerate(digit):
                np.copyto(tile, numbers)
                np.matmul(w, tile, out=out[d, :, i * self._columns : (i + 1) * self._columns])
        return out


class Evaluator:
    """What V knows of K: its public key. `seed`: of p_1, drawn by both servers.

    Raises `ProtocolError`, `BadArithmetic`.
    """

    def __init__(self, params: LatticeParams, seed: bytes, public: bytes) -> None:
        check_arithmetic()
        self.params = params
        self._ring = Negacyclic()
        p0, p1 = np.concatenate(list(ring.load(public, 1))), ring.expand(seed, 1)[:, 0]
        self._p = self._ring.forward(p0), self._ring.forward(p1)

    def rows(self, w: Words, ciphertexts: Ciphertexts, rng: Rng) -> tuple[bytes, NDArray[np.uint32]]:
        """For rows w (R, D), of which the low k bits count: what K gets, 17 bytes a slot, and V's shares (R, n)."""
        n, mask = len(w), np.uint64((1 << self.params.bits) - 1)
        stream = Stream(rng.bytes(ring.SEED_BYTES))
        pieces = self._pieces(w)
        u = self._ring.forward(self._ternary(stream, (n, SLOTS)))
        c0, high, low, share = (np.empty((n, SLOTS), t) for t in (np.uint64, np.uint64, np.uint8, np.uint32))
        x: Floats = np.empty((DIGITS, n, SLOTS))
        self._with_zero(ciphertexts.times(pieces, B, x), u, B)
        for at in tiles(n):
            r_high, r_low = self._mask(stream, c0[at].shape)
            value = _low_digits(x[:, at], r_low, CUT)
            np.add(_high_digits(x[:, at], value), r_high, out=c0[at])
            share[at] = -self._rounded(r_high) & mask
        self._with_zero(ciphertexts.times(pieces, A, x), u, A)
        for at in tiles(n):
            value = _low_digits(x[:, at], self._errors(stream, c0[at].shape), CUT - LOW)
            low[at] = (value >> (CUT - LOW - DIGIT_BITS)) & ((1 << LOW) - 1)
            high[at] = _high_digits(x[:, at], value)
        return b"".join((c0.tobytes(), high.tobytes(), low.tobytes())), share

    def _pieces(self, w: Words) -> Floats:
        """w_j = sum_i w_j,i 2^(h i) modulo 2^k, each piece centred: (R, D pieces), the pieces of a number together."""
        p = self.params
        rest = w.view(np.int64) & ((1 << p.bits) - 1)
        out: Floats = np.empty((*w.shape, p.pieces))
        for i in range(p.pieces):
            width = min(p.piece_bits, p.bits - i * p.piece_bits)
            piece = ((rest + (1 << (width - 1))) & ((1 << width) - 1)) - (1 << (width - 1))
            out[..., i] = piece
            rest = (rest - piece) >> width
        return out.reshape(len(w), -1)

    # --- what hides w: each is left out by a broken variant of the tests -----------------------------

    def _ternary(self, stream: Stream, shape: Shape) -> Floats:
        """u."""
        return stream.ternary(shape)

    def _errors(self, stream: Stream, shape: Shape) -> Ints:
        """e''."""
        return stream.errors(shape)

    def _mask(self, stream: Stream, shape: Shape) -> tuple[Words, Ints]:
        """r: its top 64 bits and those below, uniform but for the band around rounding boundaries."""
        k, band = self.params.bits, self.params.band
        edge, width = np.uint64((1 << (HIGH - k - 1)) + band), np.uint64(2 * band << k)
        high = stream.words(shape)
        while (near := (high + edge << np.uint64(k)) < width).any():
            high[near] = stream.words((int(near.sum()),))
        return high, (stream.words(shape) & np.uint64((1 << CUT) - 1)).view(np.int64)

    def _rounded(self, high: Words) -> Words:
        """round(r t / q), from the top 64 bits of r."""
        k = self.params.bits
        return high + np.uint64(1 << (HIGH - k - 1)) >> np.uint64(HIGH - k)

    def _with_zero(self, x: Floats, u: Spectrum, part: int) -> None:
        """x += u p_0 or u p_1, digit by digit."""
        for at in tiles(len(u)):
            for d, p in enumerate(self._p[part]):
                self._ring.add_to(x[d, at], u[at] * p)


# --- from digits to the bits that are sent --------------------------------------------------------------


def _low_digits(x: Floats, more: Ints, cut: int) -> Ints:
    """The two lowest digits plus `more` plus half of 2^cut (so that cutting rounds), in units of 2^beta."""
    value: Ints = x[0].astype(np.int64)
    value += more
    value += 1 << (cut - 1)
    value >>= DIGIT_BITS
    value += x[1].astype(np.int64)
    return value


def _high_digits(x: Floats, low: Ints) -> Words:
    """The top 64 bits modulo q: words wrap."""
    value: Words = (low >> (CUT - DIGIT_BITS)).view(np.uint64)
    for d in range(2, DIGITS):
        value += x[d].astype(np.int64).view(np.uint64) << np.uint64(DIGIT_BITS * d - CUT)
    return value
