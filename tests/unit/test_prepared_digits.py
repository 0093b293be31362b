"""Templates as one ciphertext, and their coordinates, norms and keys on shares: against plain integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dealer import Dealer

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.ids import Party
from pura.protocols.prepared import norm, template
from pura.protocols.prepared.digits import coordinates
from pura.protocols.prepared.ring import opened, reduced
from pura.protocols.prepared.sizes import Sizes
from pura.rounds import Rounds, run_pair

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


@pytest.mark.parametrize(
    ("dimension", "scale", "sizes"),
    [(128, 128, (9, 26, 17, 1)), (512, 128, (9, 28, 17, 3)), (128, 512, (11, 30, 21, 1)), (512, 512, (11, 32, 21, 3))],
)
def test_sizes_are_those_of_the_design(dimension: int, scale: int, sizes: tuple[int, ...]) -> None:
    s = Sizes(dimension, scale, 2048)
    assert (s.digit_bits, s.ring_bits, s.key_bits, s.pieces) == sizes


@pytest.mark.parametrize(("dimension", "scale"), [(1, 16), (16, 16), (128, 128), (300, 128), (512, 512), (1024, 512)])
def test_coordinates_are_the_digits_of_v_minus_r(dimension: int, scale: int) -> None:
    """Whatever P is, the shares are of a vector in [-S, 2^w - S), and of P itself unless it wraps."""
    sizes = Sizes(dimension, scale, 2048)
    rng, n = SeededRng(b"digits"), load_public(KEYS / "public.key").n
    random = np.random.default_rng(1)
    x = random.integers(-scale, scale + 1, (4, dimension))
    x[0], x[1] = -scale, scale
    rows = [template.pack(sizes, row) for row in x]
    rows += [[int(n) - 1 - i for i in range(sizes.pieces)], [rng.below(int(n)) for _ in range(sizes.pieces)]]
    r = [[rng.below(int(n)) for _ in row] for row in rows]
    r[2] = [int(n) - 1] * sizes.pieces if dimension == 1 else r[2]
    v = [[(p + q) % int(n) for p, q in zip(a, b, strict=True)] for a, b in zip(rows, r, strict=True)]
    one, two = (np.stack([template.digits_of(sizes, row) for row in side]) for side in (v, r))
    dealer = Dealer()

    def party(me: int, digits: np.ndarray) -> Rounds[Any]:
        share = yield from coordinates(dealer.stocks[me], sizes, digits, first=me == 0)
        return (yield from opened(share, sizes.ring_bits))

    got, same = run_pair(party(0, one), party(1, two))
    assert (got == same).all()
    signed = got.astype(np.int64)
    signed -= np.where(signed >> (sizes.ring_bits - 1), 1 << sizes.ring_bits, 0)
    assert (signed[[0, 1, 3]] == x[[0, 1, 3]]).all()
    assert ((signed >= -scale) & (signed < (1 << sizes.digit_bits) - scale)).all()


def test_a_template_is_opened_under_a_mask_and_only_its_length_passes() -> None:
    pk = load_public(KEYS / "public.key")
    shares = {party: load_share(KEYS / f"{party.name.lower()}.share", pk, party) for party in Party}
    sizes, rng, dealer = Sizes(128, 128, 2048), SeededRng(b"open"), Dealer()
    x = np.zeros((4, 128), np.int64)
    x[0, 5], x[1, :4], x[2, 0], x[3, :] = 128, 64, 127, 11
    x[3, 0] = -3
    cs = [[pk.encrypt(p, rng) for p in template.pack(sizes, row)] for row in x]
    masks = [template.Mask.draw(pk, sizes, rng) for _ in cs]
    sent = template.mask(pk, shares[Party.S2], cs, masks)
    v = template.open_masked(pk, shares[Party.S1], sizes, sent, len(cs))
    r = np.stack([m.digits for m in masks])
    a = np.random.default_rng(3).integers(0, 1 << 26, (2, 4, 128)).astype(np.uint64)
    whole = (a[0] * a[1]).sum(axis=1)
    blinds = norm.Blinds(a[0], whole - np.uint64(77)), norm.Blinds(a[1], np.full(4, 77, np.uint64))

    def party(me: int, digits: np.ndarray) -> Rounds[Any]:
        stock, first = dealer.stocks[me], me == 0
        share = yield from coordinates(stock, sizes, digits, first=first)
        delta = yield from opened(share - blinds[me].a, 26)
        own = norm.share_of_norm(sizes, delta, blinds[me], first=first)
        bit = yield from norm.has_length(stock, sizes, own, first=first)
        return share, own, bit

    (x1, n1, b1), (x2, n2, b2) = run_pair(party(0, v), party(1, r))
    assert (reduced(x1 + x2, 26) == reduced(x.astype(np.uint64), 26)).all()
    assert reduced(n1 + n2, 26).tolist() == (x * x).sum(axis=1).tolist()
    assert np.unpackbits(b1 ^ b2, bitorder="little", count=4).tolist() == [1, 1, 0, 0]
