"""Quantisation and slots: the extremes, and what is refused."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from pura.crypto.encoding import (
    distance2,
    pack_slots,
    quantise,
    quantise_many,
    unpack_slots,
)
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine_many
from pura.errors import BadEmbedding, MalformedMessage, OutOfRange
from pura.ids import Engine, KeyId
from pura.params import Params
from pura.protocols.prepared import template
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.published import client as published

KEYS = Path(__file__).parents[1] / "fixtures"
KEY_ID = KeyId(bytes(16))


def params(**how: object) -> Params:
    return Params(KEY_ID, **{"n_bits": 2048, **how})  # type: ignore[arg-type]


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

    sizes = Sizes.of(p)
    plain = opened(template.encrypt_template(pk, p, y, rng), sizes.pieces)
    assert [int(v) - p.scale for v in template.digits_of(sizes, plain)] == y.tolist()
    assert opened(published.encrypt_template(pk, p, y, rng), 60) == y.tolist()


def test_what_a_client_does_not_encrypt() -> None:
    pk = load_public(KEYS / "test-keys-2048" / "public.key")
    p = Params(pk.key_id, 2048, dimension=4)
    for y in ([0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 600], [-600, 0, 0, 0]):
        for encrypt in (template.encrypt_template, published.encrypt_template):
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
def test_embeddings_that_are_none(embedding: object) -> None:
    p = params(dimension=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadEmbedding):
            quantise(embedding, p)  # type: ignore[arg-type]


def test_a_vector_that_no_template_is_near() -> None:
    """512^2 is the sum of two squares in one way only."""
    with pytest.raises(BadEmbedding, match="near"):
        quantise([3.0, 4.0], params(dimension=2))


def test_a_unit_vector_along_an_axis_packs() -> None:
    for dimension in (1, 2, 128):
        p = params(dimension=dimension)
        e = np.zeros(dimension)
        for value in (1e-9, 1.0, -1.0, 1e150):
            e[-1] = value
            y = quantise(e, p)
            assert y[-1] == (512 if value > 0 else -512)
            template.pack(Sizes.of(p), y)


def test_the_length_of_a_cosine_vector_does_not_matter() -> None:
    e = np.random.default_rng(0).standard_normal(128)
    y = quantise(e, params())
    assert y.dtype == np.int64
    assert y.shape == (128,)
    for factor in (1e-6, 3.0, 1e6):
        assert (quantise(e * factor, params()) == y).all()
    assert (quantise(e.tolist(), params()) == y).all()
    assert int(y @ y) == 512**2
    assert np.abs(y - 512 * e / np.linalg.norm(e)).max() < 1
    rows = np.stack([e, -e, e[::-1]])
    assert np.array_equal(quantise_many(rows, params()), np.stack([quantise(row, params()) for row in rows]))
    assert quantise_many(rows[:0], params()).shape == (0, 128)


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
