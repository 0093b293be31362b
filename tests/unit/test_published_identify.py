"""Identify with the published protocols against the plaintext integers, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pura.crypto.encoding import distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import MalformedMessage, OutOfRange
from pura.ids import Engine, Handle
from pura.params import Params
from pura.protocols.parallel import Workers
from pura.protocols.published import client
from pura.protocols.published.identify import Entry, answer_bytes, identify_s1, identify_s2, mask_bits
from pura.protocols.published.side import Side
from pura.rounds import run_pair

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
TAU = 200


@pytest.mark.parametrize(("entries", "count"), [(0, 1), (1, 1), (5, 1), (17, 2)])
def test_identify(entries: int, count: int) -> None:
    pk = load_public(KEYS / "public.key")
    rng = SeededRng(7)
    np_rng = np.random.default_rng(3)
    params = Params(pk.key_id, 2048, Engine.PUBLISHED, dimension=6, scale=16)
    workers = Workers(count)
    one, two = (Side.new(pk, load_share(KEYS / f"{s}.share", pk), params, rng, workers) for s in ("s1", "s2"))
    gallery = np_rng.integers(-16, 17, (entries, 6))
    held = [Entry(Handle(rng.bits(64) | 1), client.encrypt_template(pk, params, y, rng)) for y in gallery]
    for probe in [*gallery[:2], np_rng.integers(-16, 17, 6)]:
        rho, mask = client.make_mask(pk, params, rng)
        raw = client.encrypt_template(pk, params, probe, rng)
        query = pk.load_many(raw, 6)
        opened, _ = run_pair(identify_s1(one, query, held, pk.load(mask), TAU), identify_s2(two, entries))
        d = distance2(probe, gallery)
        want = [held[int(np.argmin(d))].handle] if entries and d.min() <= TAU else []
        assert client.open_answer(pk, params, rho, opened) == want
    workers.close()


def test_an_answer_opens_with_its_own_mask_only() -> None:
    pk = load_public(KEYS / "public.key")
    rng = SeededRng(8)
    params = Params(pk.key_id, 2048, Engine.PUBLISHED)
    rho, raw = client.make_mask(pk, params, rng)
    assert 0 <= rho < 1 << mask_bits(params) == 1 << 104
    assert len(raw) == pk.ciphertext_bytes
    opened = (rho + 77).to_bytes(answer_bytes(params), "big")
    assert client.open_answer(pk, params, rho, opened) == [77]
    assert client.open_answer(pk, params, rho + 77, opened) == []
    for other, answer in ((rho + 78, opened), (rho - (1 << 64), opened), (rho, opened[1:]), (rho, opened + b"\x00")):
        with pytest.raises(MalformedMessage):
            client.open_answer(pk, params, other, answer)


def test_the_largest_answer_fits() -> None:
    params = Params(load_public(KEYS / "public.key").key_id, 2048, Engine.PUBLISHED)
    assert (1 << mask_bits(params)) + (1 << 64) - 2 < 1 << 8 * answer_bytes(params)


def test_a_template_out_of_range_is_not_encrypted() -> None:
    pk = load_public(KEYS / "public.key")
    params = Params(pk.key_id, 2048, Engine.PUBLISHED, dimension=2, scale=16)
    for template in (np.array([18, 0]), np.array([0, -18]), np.array([1, 2, 3])):
        with pytest.raises(OutOfRange):
            client.encrypt_template(pk, params, template, SeededRng(1))
    raw = client.encrypt_template(pk, params, np.array([17, -17]), SeededRng(1))
    assert len(pk.load_many(raw, 2)) == 2


def test_more_than_one_candidate_is_refused() -> None:
    pk = load_public(KEYS / "public.key")
    params = Params(pk.key_id, 2048, Engine.PUBLISHED, top_k=2)
    side = Side.new(pk, load_share(KEYS / "s1.share", pk), params, SeededRng(1))
    with pytest.raises(OutOfRange):
        next(identify_s1(side, [], [], pk.encode(0), 0))
