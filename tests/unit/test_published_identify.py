"""Identify with the published protocols against the plaintext integers, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pura.crypto.encoding import distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.ids import Engine, Handle
from pura.params import Params
from pura.protocols.published import client
from pura.protocols.published.identify import Entry, identify_s1, identify_s2
from pura.protocols.published.side import Side
from pura.rounds import run_pair

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


@pytest.mark.parametrize("entries", [0, 1, 5])
def test_identify(entries: int) -> None:
    pk = load_public(KEYS / "public.key")
    rng = SeededRng(7)
    np_rng = np.random.default_rng(3)
    params = Params(pk.key_id, 2048, Engine.PUBLISHED, dimension=6, scale=16, tau=200)
    one, two = (Side.new(pk, load_share(KEYS / f"{s}.share", pk), params, rng) for s in ("s1", "s2"))
    gallery = np_rng.integers(-16, 17, (entries, 6))
    held = [Entry(Handle(rng.bits(64) | 1), client.encrypt_template(pk, params, y, rng)) for y in gallery]
    for probe in [*gallery[:2], np_rng.integers(-16, 17, 6)]:
        rho, mask = client.make_mask(pk, params, rng)
        raw = client.encrypt_template(pk, params, probe, rng)
        query = pk.load_many(raw, 6)
        opened, _ = run_pair(identify_s1(one, query, held, pk.load(mask)), identify_s2(two, entries))
        d = distance2(probe, gallery)
        want = [held[int(np.argmin(d))].handle] if entries and d.min() <= params.tau else []
        assert client.open_answer(pk, params, rho, opened) == want
