"""Quantisation and the two packings: the numbers that the design states, the extremes, and what is refused."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from pura.crypto.encoding import (
    ColumnLayout,
    RowLayout,
    distance2,
    masked,
    pack_slots,
    quantise,
    unpack_slots,
)
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine_many
from pura.errors import BadEmbedding, MalformedMessage, OutOfRange
from pura.ids import Engine, KeyId
from pura.params import Metric, Params
from pura.protocols.packed.client import encrypt_template
from pura.protocols.published import client as published

KEYS = Path(__file__).parents[1] / "fixtures"
KEY_ID = KeyId(bytes(16))


def params(**how: object) -> Params:
    return Params(KEY_ID, **{"n_bits": 2048, **how})  # type: ignore[arg-type]


# --- layouts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_bits", "dimension", "per", "rows", "entries", "bytes_an_entry"),
    [
        (2048, 128, 39, 4, 83, 790),
        (2048, 192, 39, 5, 83, 1184),
        (2048, 512, 39, 14, 83, 3158),
        (3072, 128, 59, 3, 126, 780),
        (3072, 192, 59, 4, 126, 1170),
        (3072, 512, 59, 9, 126, 3121),
    ],
)
def test_layouts_of_the_design(
    n_bits: int, dimension: int, per: int, rows: int, entries: int, bytes_an_entry: int
) -> None:
    p = params(n_bits=n_bits, dimension=dimension)
    row, column = RowLayout.of(p), ColumnLayout.of(p)
    assert (row.slot_bits, row.mask_bits) == (52, 50)
    assert (row.per_ciphertext, row.ciphertexts) == (per, rows)
    assert (column.slot_bits, column.entries) == (24, entries)
    assert round(dimension * n_bits / 4 / entries) == bytes_an_entry
    pk = load_public(KEYS / f"test-keys-{n_bits}" / "public.key")
    raw = encrypt_template(pk, p, np.zeros(dimension, dtype=np.int64), SeededRng(0))
    assert len(raw) == rows * n_bits // 4


ALL = list(itertools.product((2048, 3072), (1, 2, 39, 40, 128, 512, 4096), (16, 100, 512, 4096), (40, 64, 80)))


@pytest.mark.parametrize(("n_bits", "dimension", "scale", "sigma"), ALL)
def test_every_layout_has_room_for_what_it_carries(n_bits: int, dimension: int, scale: int, sigma: int) -> None:
    p = params(n_bits=n_bits, dimension=dimension, scale=scale, sigma=sigma)
    row, column = RowLayout.of(p), ColumnLayout.of(p)
    half = 9 << (n_bits - 5)  # N has at least 9/16 of 2^n_bits, and this is N/2
    # the largest coordinate with the largest mask stays in its slot, and the hiding is sigma bits
    top = 2 * scale + (1 << row.mask_bits) - 1
    assert top < 1 << row.slot_bits
    assert (2 * scale + 1) << sigma <= 1 << row.mask_bits + 1
    # a full ciphertext of them stays below N/2
    assert pack_slots([top] * row.per_ciphertext, row.slot_bits) < half
    assert row.per_ciphertext * row.ciphertexts >= dimension > row.per_ciphertext * (row.ciphertexts - 1)
    # a key 4 d + c, of one beyond every d too, and its sign fit a slot; a block under a mask of sigma bits more stays
    # below N/2
    assert 4 * (4 * p.max_norm2 + 1) + 3 < 1 << (column.slot_bits - 1)
    assert column.bias == 8 * p.max_norm2
    assert (1 << column.entries * column.slot_bits) + (1 << column.entries * column.slot_bits + sigma) < half
    # not a slot less than there could be
    assert (column.entries + 1) * column.slot_bits > n_bits - 3 - sigma


# --- rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 38, 39, 40, 78, 79, 128])
def test_rows_around_full_ciphertexts(dimension: int) -> None:
    rows = RowLayout.of(params(dimension=dimension))
    template = np.array([rows.scale if j % 2 else -rows.scale for j in range(dimension)])
    plain = rows.pack(template)
    assert len(plain) == rows.ciphertexts
    assert [v - rows.scale for v in rows.unpack(plain)] == template.tolist()


@pytest.mark.parametrize("value", [-513, -(1 << 40), 515, 1 << 62])
@pytest.mark.parametrize("at", [0, 7])
def test_coordinates_out_of_range_are_not_packed(value: int, at: int) -> None:
    rows = RowLayout.of(params(dimension=8))
    template = np.zeros(8, dtype=np.int64)
    template[at] = value
    with pytest.raises(OutOfRange):
        rows.pack(template)


@pytest.mark.parametrize("length", [0, 7, 9])
def test_templates_of_another_length_are_not_packed(length: int) -> None:
    with pytest.raises(OutOfRange):
        RowLayout.of(params(dimension=8)).pack(np.zeros(length, dtype=np.int64))


def test_plaintexts_that_exceed_their_slots_are_refused() -> None:
    rows = RowLayout.of(params(dimension=40))  # 39 slots and 1
    good = rows.pack(np.zeros(40, dtype=np.int64))
    for bad in (
        [good[0], 1 << 52],  # the last ciphertext has one slot only
        [1 << 39 * 52, good[1]],
        [-1, good[1]],
        [good[0], -1],
        good[:1],
        [*good, 0],
        [],
    ):
        with pytest.raises(MalformedMessage):
            rows.unpack(bad)
    assert rows.unpack([(1 << 39 * 52) - 1, (1 << 52) - 1]) == [(1 << 52) - 1] * 40


# --- through encryption -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_bits", [2048, 3072])
def test_a_template_under_encryption(n_bits: int) -> None:
    folder = KEYS / f"test-keys-{n_bits}"
    pk = load_public(folder / "public.key")
    shares = [load_share(folder / f"{name}.share", pk) for name in ("s1", "s2")]
    p = Params(pk.key_id, n_bits, dimension=60)
    y = np.array([p.scale, -p.scale, 0, 1, -1] * 12)
    rng = SeededRng("rows")

    def opened(raw: bytes, count: int) -> list[int]:
        cs = pk.load_many(raw, count)
        return combine_many(pk, cs, *(share.partial_decrypt_many(pk, cs) for share in shares))

    rows = RowLayout.of(p)
    plain = opened(encrypt_template(pk, p, y, rng), rows.ciphertexts)
    assert [v - p.scale for v in rows.unpack(plain)] == y.tolist()
    assert opened(published.encrypt_template(pk, p, y, rng), 60) == y.tolist()


def test_what_a_client_does_not_encrypt() -> None:
    pk = load_public(KEYS / "test-keys-2048" / "public.key")
    p = Params(pk.key_id, 2048, dimension=4)
    for y in ([0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 600], [-600, 0, 0, 0]):
        for encrypt in (encrypt_template, published.encrypt_template):
            with pytest.raises(OutOfRange):
                encrypt(pk, p, np.array(y), SeededRng(0))


# --- the published client's answer --------------------------------------------------------------------


def test_the_masked_answer() -> None:
    pk = load_public(KEYS / "test-keys-2048" / "public.key")
    p = Params(pk.key_id, 2048, Engine.PUBLISHED)
    mask, _ = published.make_mask(pk, p, SeededRng("mask"))
    size = published.answer_bytes(p)
    top = (1 << 64) - 1
    for handle, found in ((0, []), (1, [1]), (top, [top])):
        assert published.open_answer(pk, p, mask, (mask + handle).to_bytes(size, "big")) == found
    for answer in (mask - 1, mask + top + 1, 0):
        with pytest.raises(MalformedMessage):
            published.open_answer(pk, p, mask, answer.to_bytes(size, "big"))
    for length in (0, size - 1, size + 1):
        with pytest.raises(MalformedMessage):
            published.open_answer(pk, p, mask, bytes(length))


# --- quantisation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "embedding",
    [
        [],
        [1.0],
        [1.0] * 3,
        [1.0] * 5,
        [[1.0] * 4],
        1.0,
        None,
        "abcd",
        ["a", "b", "c", "d"],
        [1, 2, [3], 4],
        [1j, 0, 0, 0],
        [object()] * 4,
        [math.nan, 0, 0, 1],
        [math.inf, 0, 0, 1],
        [0, 0, 0, -math.inf],
        [0.0] * 4,
        [1e-300] * 4,
        [1e200] * 4,
        [None, 1, 1, 1],
    ],
    ids=lambda e: repr(e)[:24].split(" at ")[0],
)
@pytest.mark.parametrize("metric", Metric)
def test_embeddings_that_are_none(embedding: object, metric: Metric) -> None:
    p = params(dimension=4, metric=metric)
    if metric is Metric.EUCLIDEAN and embedding in ([0.0] * 4, [1e-300] * 4):
        assert quantise(embedding, p).tolist() == [0] * 4  # type: ignore[arg-type]
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadEmbedding):
            quantise(embedding, p)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [2.0, 1.5, 513 / 512, 1e6, 2.0**32 / 512, 2.0**63, 1e30, 1e300, 1.7e308])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_vector_longer_than_the_radius(length: float, sign: int) -> None:
    """Also where its coordinates, or the sum of their squares, would wrap around 2^64."""
    for radius in (1.0, 7.0):
        p = params(dimension=4, metric=Metric.EUCLIDEAN, radius=radius)
        with pytest.raises(BadEmbedding):
            quantise([0, sign * min(length * radius, 1.7e308), 0, 0], p)


@pytest.mark.parametrize("radius", [1.0, 0.001, 35.5, 1e100])
def test_a_vector_as_long_as_the_radius(radius: float) -> None:
    p = params(dimension=4, metric=Metric.EUCLIDEAN, radius=radius)
    assert quantise([radius, 0, 0, 0], p).tolist() == [512, 0, 0, 0]
    assert quantise([0, -radius, 0, 0], p).tolist() == [0, -512, 0, 0]
    assert quantise(np.float32([0.5, 0.5, 0.5, 0.5]) * np.float64(radius), p).tolist() == [256] * 4


def test_a_unit_vector_along_an_axis_packs() -> None:
    for dimension in (1, 2, 128):
        p = params(dimension=dimension)
        e = np.zeros(dimension)
        for value in (1e-9, 1.0, -1.0, 1e150):
            e[-1] = value
            y = quantise(e, p)
            assert y[-1] == (512 if value > 0 else -512)
            RowLayout.of(p).pack(y)


def test_the_length_of_a_cosine_vector_does_not_matter() -> None:
    e = np.random.default_rng(0).standard_normal(128)
    y = quantise(e, params())
    assert y.dtype == np.int64
    assert y.shape == (128,)
    for factor in (1e-6, 3.0, 1e6):
        assert (quantise(e * factor, params()) == y).all()
    assert (quantise(e.tolist(), params()) == y).all()
    assert np.abs(y - 512 * e / np.linalg.norm(e)).max() <= 0.5


# --- slots, distances, words ----------------------------------------------------------------------------


def test_slots_of_nothing() -> None:
    assert pack_slots([], 10) == 0
    assert unpack_slots(0, 10, 0) == []
    assert unpack_slots((1 << 50) - 1, 10, 2) == [1023, 1023]  # what lies above is left out


def test_distances_are_exact_at_the_extremes() -> None:
    x = np.full(4096, 4096, dtype=np.int64)
    ys = np.stack([x, -x, np.zeros(4096, dtype=np.int64)])
    assert distance2(x, ys).tolist() == [0, 4096 * 8192**2, 4096 * 4096**2]
    assert distance2(x, ys[:0]).shape == (0,)


@pytest.mark.parametrize("bits", [1, 23, 63])
def test_masked(bits: int) -> None:
    values = [0, 1, -1, (1 << bits) - 1, 1 << bits, -(1 << 200), (1 << 200) + 5]
    got = masked(values, bits)
    assert got.dtype == np.uint64
    assert got.tolist() == [v % (1 << bits) for v in values]
    assert masked([], bits).tolist() == []
