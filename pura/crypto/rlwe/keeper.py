"""K: encrypts its numbers once, and opens what V has made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe import ring
from pura.crypto.rlwe.parameters import (
    DIGIT_BITS,
    DIGITS,
    HIGH,
    LOG_Q,
    LOW,
    MAX_WEIGHT,
    ROW_BYTES,
    SLOTS,
    LatticeParams,
)
from pura.crypto.rlwe.ring import Floats, Ints, Negacyclic, Stream, tiles
from pura.crypto.rlwe.selftest import check_arithmetic
from pura.crypto.rng import Rng
from pura.errors import ProtocolError


class Keeper:
    """One secret key s. `seed`: of p_1, drawn by both servers. Raises `BadArithmetic`."""

    def __init__(self, params: LatticeParams, seed: bytes, rng: Rng) -> None:
        check_arithmetic()
        self.params = params
        self._ring = Negacyclic()
        stream = Stream(rng.bytes(ring.SEED_BYTES))
        while np.count_nonzero(s := stream.ternary((SLOTS,))) > MAX_WEIGHT:
            pass
        self._s = self._ring.forward(s)
        self.public = self._samples(seed, np.zeros((1, SLOTS), np.int64), rng)
        """p_0, as V takes it."""

    def __repr__(self) -> str:
        return "Keeper(…)"

    def encrypt(self, seed: bytes, numbers: NDArray[np.uint32], rng: Rng) -> bytes:
        """b_j for the rows of `numbers` (count, n), below 2^k, times 2^(h i) for each piece i. `seed`: of their a_j,
        new for this key."""
        p = self.params
        shifts = p.piece_bits * np.arange(p.pieces)[:, None]
        pieces = (numbers.astype(np.int64)[:, None] << shifts) & ((1 << p.bits) - 1)
        return self._samples(seed, pieces.reshape(-1, SLOTS), rng)

    def _samples(self, seed: bytes, plain: Ints, rng: Rng) -> bytes:
        """-a s + e + (q/t) plain for the a of a seed, digit by digit from the lowest."""
        stream = Stream(rng.bytes(ring.SEED_BYTES))
        a = ring.expand(seed, len(plain))
        low, high = np.empty((2, *plain.shape), np.uint64)
        place, shift = divmod(LOG_Q - self.params.bits, DIGIT_BITS)  # where q/t lies
        for rows in tiles(len(plain)):
            carry, digits = stream.errors(plain[rows].shape), []
            for d in range(DIGITS):
                carry -= self._times_s(a[d, rows]).astype(np.int64)
                if d == place:
                    carry += plain[rows] << shift
                carry += 1 << (DIGIT_BITS - 1)
                digits.append(carry & ((1 << DIGIT_BITS) - 1))
                carry >>= DIGIT_BITS
            low[rows], high[rows] = ring.join(digits)
        return ring.dump(low, high)

    def open(self, body: bytes, rows: int) -> NDArray[np.uint32]:
        """K's shares of what V's rows encrypt: (rows, n), below 2^k. Raises `ProtocolError`."""
        k = self.params.bits
        phases = self.phases(body, rows)
        phases += np.uint64(1 << (HIGH - k - 1))
        return (phases >> np.uint64(HIGH - k)).astype(np.uint32)

    def phases(self, body: bytes, rows: int) -> Words:
        """c_0' + c_1' s in units of q / 2^64: (rows, n). Raises `ProtocolError` when `body` has another length."""
        if len(body) != rows * ROW_BYTES:
            raise ProtocolError(detail="length of rows")
        size = rows * SLOTS
        c0, high = np.frombuffer(body, np.uint64, 2 * size).reshape(2, rows, SLOTS)
        low = np.frombuffer(body, np.uint8, offset=16 * size).reshape(rows, SLOTS)
        out = c0.copy()
        for at in tiles(rows):
            top = self._times_s(high[at].view(np.int64) >> 32)
            rest = self._times_s(((high[at] & np.uint64(0xFFFFFFFF)) << np.uint64(LOW) | low[at]).view(np.int64))
            out[at] += top.astype(np.int64).view(np.uint64) << np.uint64(32)
            out[at] += np.rint(rest * 2.0**-LOW).astype(np.int64).view(np.uint64)
        return out

    def _times_s(self, x: NDArray[np.int32 | np.int64]) -> Floats:
        out: Floats = np.zeros(x.shape)
        self._ring.add_to(out, self._ring.forward(x) * self._s)
        return out
