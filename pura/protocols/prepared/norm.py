"""Whether a template has its length: |x|^2 = S^2 on shares, modulo 2^W, in which |x|^2 is exact.

With a = a1 + a2 drawn ahead, one part at each server, and delta = x - a opened,

    |x|^2 = |delta|^2 + 2 <delta, a1 + a2> + <a1, a1> + <a2, a2> + 2 <a1, a2>.

<a1, a2> is shared ahead of time by Gilboa products (Gilboa 1999): the bits of a1 are the choices of random OTs, with
k_0, k_1 at S2 and k_c at S1; for bit t of a1_j

    S2 -> S1:  M = k_0 - k_1 + a2_j 2^t;      S1 adds k_c + a1_j[t] M,   S2 adds -k_0.

[|x|^2 = S^2] is then an equality of a number at S1 and one at S2, by leaves. Nobody sees it in a question.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pura.crypto.bits import Words
from pura.crypto.rng import Rng
from pura.messages import Message, message
from pura.protocols.prepared import leaf
from pura.protocols.prepared.ring import dump, load, reduced, uniform
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.stock import Stock
from pura.protocols.shares.gmw import Bits
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, receive, send


@dataclasses.dataclass(frozen=True, repr=False)
class Blinds:
    """A server's part of the a of n templates, made ahead; for one use.

    a: (n, D) modulo 2^W; cross: its shares of <a1, a2>, (n,).
    """

    a: Words
    cross: Words

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, which: slice) -> Blinds:
        return Blinds(self.a[which], self.cross[which])


@message
class BlindTerms(Message):
    """S2 -> S1: M of every OT."""

    m: bytes


def transfers_for(sizes: Sizes) -> int:
    """How many OTs the blind of one template takes."""
    return sizes.dimension * sizes.ring_bits


def blinds_s1(sizes: Sizes, choices: Bits, k: Words) -> Rounds[Blinds]:
    """S1's blinds from n `transfers_for` OTs that it received: choices one in a byte, pads."""
    shape = (-1, sizes.dimension, sizes.ring_bits)
    got = yield from receive(BlindTerms)
    bits = choices.astype(np.uint64)
    terms = k + bits * load(got.m, k.shape, sizes.ring_bits)
    places = np.uint64(1) << np.arange(sizes.ring_bits, dtype=np.uint64)
    return Blinds(bits.reshape(shape) @ places, reduced(terms.reshape(shape).sum(axis=(1, 2)), sizes.ring_bits))


def blinds_s2(sizes: Sizes, k0: Words, k1: Words, rng: Rng) -> Rounds[Blinds]:
    """S2's side of `blinds_s1`."""
    shape = (-1, sizes.dimension, sizes.ring_bits)
    a = uniform(rng, (len(k0) // transfers_for(sizes), sizes.dimension), sizes.ring_bits)
    shifted = a[:, :, None] << np.arange(sizes.ring_bits, dtype=np.uint64)
    yield from send(BlindTerms(dump(reduced(k0 - k1 + shifted.reshape(-1), sizes.ring_bits), sizes.ring_bits)))
    return Blinds(a, reduced(np.uint64(0) - k0.reshape(shape).sum(axis=(1, 2)), sizes.ring_bits))


def share_of_norm(sizes: Sizes, delta: Words, blinds: Blinds, *, first: bool) -> Words:
    """A server's shares of |x|^2 modulo 2^W. delta: (n, D); -> (n,)."""
    two, a = np.uint64(2), blinds.a
    own = (a * a).sum(axis=1) + two * (delta * a).sum(axis=1) + two * blinds.cross
    return reduced(own + (delta * delta).sum(axis=1) if first else own, sizes.ring_bits)


def has_length(stock: Stock, sizes: Sizes, share: Words, *, first: bool) -> Rounds[Bits]:
    """Shares of [|x|^2 = S^2], packed. share: (n,), what `share_of_norm` gives."""
    own = reduced(np.uint64(sizes.scale**2) - share if first else share, sizes.ring_bits)
    return (yield from leaf.equal(stock, own, sizes.ring_bits, sends=first, first=first))


def need(sizes: Sizes, templates: int) -> Need:
    """The circuits of `has_length`."""
    return leaf.equal_need(templates, sizes.ring_bits, sends=True)
