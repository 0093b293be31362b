"""A keeper and an evaluator in one process, what the tests know of both, and evaluators that leave something out."""

from __future__ import annotations

import numpy as np

from pura.crypto.rlwe import ring
from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import CUT, DIGIT_BITS, HIGH, RESIDUE_BYTES, ROW_BYTES, SLOTS, LatticeParams
from pura.crypto.rng import SeededRng


def uniform(rng: SeededRng, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """uint64 below 2^bits."""
    return np.frombuffer(rng.bytes(8 * int(np.prod(shape))), np.uint64).reshape(shape) >> np.uint64(64 - bits)


class Bench:
    """One direction. `b` (D, n): the keeper's numbers."""

    def __init__(self, bits: int, dimension: int, seed: object = 0, evaluator: type[Evaluator] = Evaluator) -> None:
        self.params = LatticeParams.of(bits, dimension)
        self.rng = SeededRng(f"{bits} {dimension} {seed}")
        self.key_seed, self.a_seed = self.rng.bytes(32), self.rng.bytes(32)
        self.keeper = Keeper(self.params, self.key_seed, self.rng)
        self.evaluator = evaluator(self.params, self.key_seed, self.keeper.public)
        self.b = self.numbers((dimension, SLOTS)).astype(np.uint32)

    def numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        return uniform(self.rng, self.params.bits, shape)

    def encrypted(self) -> bytes:
        return self.keeper.encrypt(self.a_seed, self.b, self.rng)

    def loaded(self, body: bytes) -> Ciphertexts:
        out = Ciphertexts(self.params)
        out.load(0, self.a_seed, body, self.params.dimension)
        return out

    def rows(self, w: np.ndarray, body: bytes | None = None) -> tuple[bytes, np.ndarray]:
        """What the keeper gets, and the evaluator's shares."""
        return self.evaluator.rows(w, self.loaded(self.encrypted() if body is None else body), self.rng)

    def wrong(self, w: np.ndarray, body: bytes, share: np.ndarray) -> np.ndarray:
        """Where the shares don't add up to <w, b>, (R, n)."""
        got = self.keeper.open(body, len(w)) + share.astype(np.uint64) - w @ self.b.astype(np.uint64)
        return got & np.uint64((1 << self.params.bits) - 1) != 0

    @property
    def s(self) -> np.ndarray:
        """The keeper's secret key."""
        z = np.fft.ifft(self.keeper._s) * self.keeper._ring._back
        return np.rint(np.concatenate([z.real, z.imag])).astype(np.int64)


def parts(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """c_0' and c_1' of rows as Python's integers, (R, n) each."""
    rows = len(body) // ROW_BYTES
    size = rows * SLOTS
    c0, high = np.frombuffer(body, np.uint64, 2 * size).reshape(2, rows, SLOTS).astype(object)
    low = np.frombuffer(body, np.uint8, offset=16 * size).reshape(rows, SLOTS).astype(object)
    return c0, high << 8 | low


def joined(digits: np.ndarray) -> np.ndarray:
    """The integers of digits (L, ..., n)."""
    return sum(d.astype(object) << (DIGIT_BITS * i) for i, d in enumerate(digits))


def times(u: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """u p modulo X^n + 1, digit by digit, in int64 without an FFT: u (n,), digits (L, n)."""
    out = []
    for d in digits:
        long = np.convolve(u.astype(np.int64), d.astype(np.int64))
        out.append(long[:SLOTS] - np.append(long[SLOTS:], 0))
    return np.stack(out)


def formula(bench: Bench, w: np.ndarray, body: bytes, drawn: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """c_0' and c_1' as the specification has them, for what the evaluator drew: u, r's two parts, e''."""
    p = bench.params
    u, high, low, e = drawn
    centred = bench.evaluator._pieces(w).astype(np.int64).astype(object)
    b = joined(np.stack(list(ring.load(body, p.ciphertexts))))
    a = joined(ring.expand(bench.a_seed, p.ciphertexts))
    p0 = np.stack([d[0] for d in ring.load(bench.keeper.public, 1)])
    p1 = ring.expand(bench.key_seed, 1)[:, 0]
    r = high.astype(object) * (1 << CUT) + low.astype(object)
    c0 = centred @ b + np.stack([joined(times(x, p0)) for x in u]) + r
    c1 = centred @ a + np.stack([joined(times(x, p1)) for x in u]) + e.astype(object)
    half = 1 << (CUT - 1)
    return (c0 + half >> CUT) % (1 << 64), (c1 + (half >> 8) >> (CUT - 8)) % (1 << 72)


class Watched(Evaluator):
    """Keeps what it draws; rows of one tile at a time."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.drawn: list[np.ndarray] = []

    def _ternary(self, stream, shape):
        self.drawn = [super()._ternary(stream, shape)]
        return self.drawn[0]

    def _mask(self, stream, shape):
        high, low = super()._mask(stream, shape)
        self.drawn += [high, low]
        return high, low

    def _errors(self, stream, shape):
        self.drawn.append(super()._errors(stream, shape))
        return self.drawn[-1]


class WithoutZero(Evaluator):
    """No fresh [0] at all."""

    def _ternary(self, stream, shape):
        return np.zeros(shape)

    def _errors(self, stream, shape):
        return np.zeros(shape, np.int64)


class WithoutU(Evaluator):
    """c_1 is masked by e'' alone, c_0 by r."""

    def _ternary(self, stream, shape):
        return np.zeros(shape)


class ScalarU(Evaluator):
    """u is a number, as if a given [0] were multiplied by one: [0] is then a ciphertext like the others."""

    def _ternary(self, stream, shape):
        u = super()._ternary(stream, shape)
        u[:, 0], u[:, 1:] = 1, 0
        return u


class WithoutFlood(Evaluator):
    """r is a multiple of q/t: it hides the product, not the noise."""

    def _mask(self, stream, shape):
        k = np.uint64(HIGH - self.params.bits)
        return super()._mask(stream, shape)[0] >> k << k, np.zeros(shape, np.int64)


class HalfFlood(Evaluator):
    """The flood of the note: r = (q/t) m + f, f uniform in a half of q/t."""

    def _mask(self, stream, shape):
        high, low = super()._mask(stream, shape)
        k = np.uint64(HIGH - self.params.bits)
        f = (high << (np.uint64(64) - k)).view(np.int64) >> np.int64(64 - int(k) + 1)  # in half of [-2^(k-1), 2^(k-1))
        return (stream.words(shape) >> k << k) + f.view(np.uint64), low


class SameMask(Evaluator):
    """The same r for all rows."""

    def _mask(self, stream, shape):
        high, low = super()._mask(stream, (1, *shape[1:]))
        return np.broadcast_to(high, shape), np.broadcast_to(low, shape)


class ZeroAfterRounding(Evaluator):
    """SPU's order: round first, add u p_0 and u p_1 + e'' in the bits that are sent."""

    def rows(self, w, ciphertexts, rng):
        bare = _Bare(self.params, bytes(32), bytes(SLOTS * RESIDUE_BYTES))
        body, share = bare.rows(w, ciphertexts, rng)
        n = len(w)
        c0, c1 = parts(body)
        stream = ring.Stream(rng.bytes(32))
        u, e = stream.ternary((n, SLOTS)), stream.errors((n, SLOTS)).astype(object)
        p0, p1 = (self._ring_digits(z) for z in self._p)
        c0 = (c0 + (np.stack([joined(times(x, p0)) for x in u]) >> CUT)) % (1 << 64)
        c1 = (c1 + (np.stack([joined(times(x, p1)) for x in u]) >> (CUT - 8)) + e) % (1 << 72)
        planes = c0.astype(np.uint64), (c1 >> 8).astype(np.uint64), (c1 & 255).astype(np.uint8)
        return b"".join(x.tobytes() for x in planes), share

    def _ring_digits(self, spectrum):
        z = np.fft.ifft(spectrum, axis=-1) * self._ring._back
        return np.rint(np.concatenate([z.real, z.imag], axis=-1)).astype(np.int64)


class _Bare(WithoutZero):
    """Everything but [0], rounded."""
