"""Products by ring-LWE: bit for bit what the specification says, right for sure, strict about bytes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from lattice_bench import Bench, Watched, formula, parts, times

from pura.crypto.rlwe import ring
from pura.crypto.rlwe.evaluator import B, Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import (
    CUT,
    DIGIT_BITS,
    DIGITS,
    LOSS,
    LOSS_SLOTS,
    MAX_WEIGHT,
    RESIDUE_BYTES,
    SLOTS,
    LatticeParams,
    fft_error,
)
from pura.crypto.rlwe.selftest import check_arithmetic
from pura.crypto.rng import SeededRng
from pura.errors import BadArithmetic, OutOfRange, ProtocolError


def key_bits(scale: int) -> int:
    return (2 * scale**2 + 1).bit_length() + 1


# --- parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "dimension", "pieces"),
    [(16, 16, 1), (128, 128, 1), (128, 1024, 1), (256, 128, 2), (512, 128, 2), (512, 1024, 2), (1024, 128, 2)],
)
def test_parameters(scale: int, dimension: int, pieces: int) -> None:
    p = LatticeParams.of(key_bits(scale), dimension)
    assert p.pieces == pieces
    assert p.piece_bits * (pieces - 1) < p.bits <= p.piece_bits * pieces


def test_every_collection_has_parameters_that_lose_little() -> None:
    for scale in range(16, 513):
        for dimension in (16, 17, 64, 100, 128, 192, 256, 512, 1000, 1024):
            p = LatticeParams.of(key_bits(scale), dimension)
            assert p.loss(LOSS_SLOTS) <= LOSS
            largest = 1 << DIGIT_BITS - 1
            assert dimension * p.pieces * largest * (1 << p.piece_bits - 1) + SLOTS * largest < 1 << 53


def test_loss_is_stated() -> None:
    """The figures of docs/security/correlations.md."""
    slots = 2 * 3 * SLOTS  # 10,000 entries
    for bits, dimension, one, question, largest, deviating in (
        (17, 128, -62.6, -48.0, -41.6, -43.0),
        (17, 512, -61.6, -47.0, -40.6, -43.0),
        (21, 512, -63.1, -48.5, -42.1, -39.0),
    ):
        p = LatticeParams.of(bits, dimension)
        losses = [math.log2(x) for x in (p.loss(1), p.loss(slots), p.loss(LOSS_SLOTS), p.deviating_loss(1))]
        assert losses == pytest.approx([one, question, largest, deviating], abs=0.05)


@pytest.mark.parametrize(
    ("bits", "dimension", "pieces", "bound"),
    [
        (18, 4096, 1, "a matrix product"),
        (26, 16, 3, "a product modulo 2^k"),
        (21, 128, 1, "the loss"),
        (18, 128, 1, "the loss"),
    ],
)
def test_bounds_are_checked(bits: int, dimension: int, pieces: int, bound: str) -> None:
    with pytest.raises(OutOfRange) as error:
        LatticeParams(bits, dimension, pieces)
    assert error.value.detail.startswith(bound)


@pytest.mark.parametrize(("bits", "dimension"), [(0, 128), (17, 0), (17, 5000), (33, 16), (28, 16)])
def test_no_parameters(bits: int, dimension: int) -> None:
    with pytest.raises(OutOfRange):
        LatticeParams.of(bits, dimension)


# --- the ring ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [25, 27, 32])
def test_ternary_products_are_exact(bits: int) -> None:
    """The largest norms, where the FFT errs most, against integers; its error is far below the bound."""
    fft, stream = ring.Negacyclic(), ring.Stream(bytes(32))
    u = np.where(stream.ternary((SLOTS,)) < 0, -1.0, 1.0)
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    for p in (stream.balanced(bits, (1, SLOTS)), np.full((1, SLOTS), least), np.full((1, SLOTS), most)):
        spectrum = fft.forward(u) * fft.forward(p.astype(np.int64))
        got = np.zeros((1, SLOTS))
        fft.add_to(got, spectrum)
        np.testing.assert_array_equal(got.astype(np.int64), times(u, p))
        z = np.fft.ifft(spectrum) * fft._back
        off = max(float(np.abs(x - np.rint(x)).max()) for x in (z.real, z.imag))
        assert off < fft_error(math.sqrt(SLOTS), math.sqrt(SLOTS) * 2.0 ** (bits - 1)) / 16


@pytest.mark.parametrize(("bits", "dimension"), [(17, 128), (17, 1024), (21, 512)])
def test_sums_are_exact_at_the_largest_digits(bits: int, dimension: int) -> None:
    """Ciphertexts that an honest keeper never makes, every digit at its bound, every number too."""
    p, largest = LatticeParams.of(bits, dimension), 1 << DIGIT_BITS - 1
    ciphertexts = Ciphertexts(p)
    for at in range(0, dimension, 128):
        ciphertexts.load(at, bytes(32), bytes(128 * p.pieces * SLOTS * RESIDUE_BYTES), 128)  # digits are -2^(beta - 1)
    sums = np.empty((DIGITS, 1, SLOTS))
    ciphertexts.times(np.full((1, p.ciphertexts), -(2.0 ** (p.piece_bits - 1))), B, sums)
    np.testing.assert_array_equal(sums.astype(np.int64), p.ciphertexts * (largest << p.piece_bits - 1))
    hostile = Evaluator(p, bytes(32), bytes(SLOTS * RESIDUE_BYTES))
    u = hostile._ring.forward(-np.ones((1, SLOTS)))
    hostile._with_zero(sums, u, B)  # the largest coefficient of u p_0 on top
    assert [int(d.max()) for d in sums] == [p.largest_sum] * 4


def test_drawn_polynomials_have_their_distributions() -> None:
    stream, n = ring.Stream(bytes(32)), 1 << 18
    u = stream.ternary((n,))
    assert {*np.unique(u)} == {-1, 0, 1}
    assert all(abs(float((u == v).mean()) - 1 / 3) < 0.006 for v in (-1, 0, 1))
    e = stream.errors((n,))
    assert np.abs(e).max() <= 21
    assert abs(float(e.mean())) < 0.04
    assert abs(float(e.var()) - 10.5) < 0.2
    d = stream.balanced(25, (n,))
    assert -(1 << 24) <= d.min() < -(1 << 24) + 4096
    assert (1 << 24) - 4096 < d.max() < 1 << 24


def test_polynomials_come_back_from_bytes() -> None:
    digits = ring.expand(bytes(32), 3)
    raw = ring.dump(*ring.join([d.astype(np.int64) + (1 << DIGIT_BITS - 1) for d in digits]))
    assert len(raw) == 3 * SLOTS * 13
    np.testing.assert_array_equal(np.stack(list(ring.load(raw, 3))), digits)
    top = bytearray(raw)
    top[-1] |= 0xF0  # above q
    for bad in (raw[:-1], raw + b"\0", b"", bytes(top)):
        with pytest.raises(ProtocolError):
            list(ring.load(bad, 3))


def test_numbers_come_in_pieces() -> None:
    for bits, dimension in ((17, 16), (19, 128), (21, 128), (23, 128)):
        p = LatticeParams.of(bits, dimension)
        bench = Evaluator(p, bytes(32), bytes(SLOTS * RESIDUE_BYTES))
        w = np.array([[0, 1, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1, 0x155555, 1 << 40]], np.uint64)
        pieces = bench._pieces(w).astype(np.int64).reshape(-1, p.pieces)
        assert np.abs(pieces).max() <= 1 << p.piece_bits - 1
        back = sum(pieces[:, i] << p.piece_bits * i for i in range(p.pieces))
        np.testing.assert_array_equal((back - w[0].astype(np.int64)) % (1 << bits), 0)


# --- rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "dimension"), [(11, 16), (17, 128), (21, 20), (23, 20)])
def test_rows_are_bit_for_bit_what_the_specification_says(bits: int, dimension: int) -> None:
    bench = Bench(bits, dimension, evaluator=Watched)
    body, w = bench.encrypted(), bench.numbers((2, dimension))
    w[1] = 1 << (bits - 1)
    rows, _ = bench.rows(w, body)
    for got, want in zip(parts(rows), formula(bench, w, body, bench.evaluator.drawn), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("bits", "dimension"), [(17, 128), (21, 128)])
def test_shares_are_right_at_the_very_edge_of_the_band(bits: int, dimension: int) -> None:
    """r as near to a rounding boundary as it may be, below and above, with noise that K cannot make larger."""

    class AtTheEdge(Watched):
        def _mask(self, stream, shape):
            high, low = super()._mask(stream, shape)
            k, band = self.params.bits, self.params.band
            half = 1 << (63 - k)
            edge = np.where(np.arange(SLOTS) % 2, half - band - 1, half + band).astype(np.uint64)
            high = high >> np.uint64(64 - k) << np.uint64(64 - k) | edge
            low = np.where(np.arange(SLOTS) % 2, (1 << CUT) - 1, 0) + np.zeros_like(low)
            return high, low

    bench = Bench(bits, dimension, evaluator=AtTheEdge)
    w = bench.numbers((2, dimension))
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()


def test_a_mask_in_the_band_is_drawn_again() -> None:
    bench = Bench(17, 16)
    p = bench.params
    edges = [(1 << 46) + o for o in (-p.band - 1, -p.band, -1, 0, p.band - 1, p.band)]

    class Once:
        """A stream whose first words are the edges."""

        def __init__(self) -> None:
            self._rest = ring.Stream(bytes(32))
            self.first = True

        def words(self, shape):
            out = self._rest.words(shape)
            if self.first:
                out[0, : len(edges)], self.first = edges, False
            return out

    high, _ = bench.evaluator._mask(Once(), (1, SLOTS))
    kept = [int(h) == e for h, e in zip(high[0], edges, strict=False)]
    assert kept == [True, False, False, False, False, True]


def test_noise_stays_below_its_bound() -> None:
    bench = Bench(17, 128, evaluator=Watched)
    p = bench.params
    w = np.full((1, 128), 1 << 16, np.uint64)
    rows, _ = bench.rows(w)
    high = bench.evaluator.drawn[1]
    product = (w @ bench.b.astype(np.uint64)) << np.uint64(64 - p.bits)
    off = (bench.keeper.phases(rows, 1) - product - high).view(np.int64)
    assert np.abs(off).max() < p.band
    assert np.abs(off).max() > 1


def test_one_batch_or_several() -> None:
    """Rows of any number, in tiles that are not full, and blocks taken in by coordinates."""
    bench = Bench(13, 20)
    body = bench.encrypted()
    split = Ciphertexts(bench.params)
    seeds = bench.a_seed, bytes(32)
    split.load(0, seeds[0], bench.keeper.encrypt(seeds[0], bench.b[:13], bench.rng), 13)
    split.load(13, seeds[1], bench.keeper.encrypt(seeds[1], bench.b[13:], bench.rng), 7)
    for n in (1, 7, 8, 19):
        w = bench.numbers((n, 20)) | np.uint64(1 << 40)  # of a wider ring: only the low bits count
        for ciphertexts in (bench.loaded(body), split):
            rows, share = bench.evaluator.rows(w, ciphertexts, bench.rng)
            assert not bench.wrong(w, rows, share).any()


def test_no_row_is_made_twice_the_same() -> None:
    bench = Bench(11, 16)
    w = np.repeat(bench.numbers((1, 16)), 2, axis=0)
    (one, _), (two, _) = bench.rows(w), bench.rows(w)
    made = [parts(body) for body in (one, two)]
    for part in (0, 1):
        rows = [row for both in made for row in both[part]]
        assert not any((x == y).any() for x, y in itertools.combinations(rows, 2))


def test_bytes_of_another_length_are_refused() -> None:
    bench = Bench(11, 16)
    body = bench.encrypted()
    rows, _ = bench.rows(bench.numbers((2, 16)), body)
    for bad in (rows[:-1], rows + b"\0", b""):
        with pytest.raises(ProtocolError):
            bench.keeper.open(bad, 2)
    with pytest.raises(ProtocolError):
        bench.loaded(body[:-1])
    with pytest.raises(ProtocolError):
        Evaluator(bench.params, bench.key_seed, bench.keeper.public[:-1])


def test_a_secret_key_is_light_and_not_printed() -> None:
    bench = Bench(11, 16)
    assert 2400 < np.count_nonzero(bench.s) <= MAX_WEIGHT
    assert repr(bench.keeper) == "Keeper(…)"


def test_a_heavy_secret_key_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the band would not cover what c_1' loses by rounding."""
    real, weights = ring.Stream.ternary, iter([SLOTS, MAX_WEIGHT + 1, MAX_WEIGHT])
    light = np.arange(SLOTS)
    monkeypatch.setattr(ring.Stream, "ternary", lambda self, shape: (light < next(weights)).astype(np.float64))
    keeper = Keeper(LatticeParams.of(11, 16), bytes(32), SeededRng(1))
    monkeypatch.setattr(ring.Stream, "ternary", real)
    z = np.fft.ifft(keeper._s) * keeper._ring._back
    assert round(float(z.real.sum() + z.imag.sum())) == MAX_WEIGHT


# --- the machine ------------------------------------------------------------------------------------


def test_this_machine_multiplies_right() -> None:
    check_arithmetic.__wrapped__()


def single(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64)


def one_off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = a @ b
    out[-1, -1] += 1
    return out


@pytest.mark.parametrize("product", [single, one_off])
def test_a_machine_that_multiplies_matrices_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch, product) -> None:
    monkeypatch.setattr(np, "matmul", product)
    with pytest.raises(BadArithmetic):
        check_arithmetic.__wrapped__()


def test_a_machine_that_multiplies_polynomials_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = np.fft.ifft
    monkeypatch.setattr(np.fft, "ifft", lambda z, axis: honest(z, axis=axis).astype(np.complex64))
    with pytest.raises(BadArithmetic):
        check_arithmetic.__wrapped__()


@pytest.mark.parametrize(("bits", "dimension"), [(17, 128), (21, 40)])
def test_lean_ciphertexts_give_the_same_rows_in_half_the_memory(bits: int, dimension: int) -> None:
    bench = Bench(bits, dimension)
    whole, lean = Ciphertexts(bench.params), Ciphertexts(bench.params, lean=True)
    half = dimension // 2
    for at in (0, half):
        seed = bench.rng.bytes(32)
        body = bench.keeper.encrypt(seed, bench.b[at : at + half], bench.rng)
        for held in (whole, lean):
            held.load(at, seed, body, half)
    w = bench.numbers((9, dimension))
    ours, theirs = (bench.evaluator.rows(w, held, SeededRng("rows")) for held in (whole, lean))
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert 2 * lean.held == whole.held
