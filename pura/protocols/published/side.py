"""What a server brings to the published protocols, and the decryption by S2 that all of them share.

    S1:  PDec1(c) = c^t1 mod N  of a re-randomised c        S2:  m = (c w^N mod N^2 - 1) / N,  w = PDec1(c) PDec2(c)

Masks. The published protocols draw masks of sigma bits. Here a mask is longer than what it hides by sigma bits, so
that sigma is the statistical hiding whatever the size of the values: values |x| < 2^w are hidden by
r in [2^w, 2^w + 2^(w + sigma)). Then 0 <= x + r < 2^(w + sigma + 2), the slot width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

from pura.bigint import Z, power
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare, dump_partials, load_partials
from pura.errors import MalformedCiphertext
from pura.params import Params
from pura.protocols.parallel import Workers
from pura.protocols.published.tuples import Pool, SmulTuple, make_smul_tuple

SIGMA = 40
"""Bits of statistical hiding of every mask."""
VALUE_BITS = 64
"""SMUL and SMIN take |x| < 2^64: distances, entry handles and the differences of either."""

Observer = Callable[[str, Sequence[int]], None]
"""Called with the name of a protocol and the plaintexts that S2 decrypts in it: for measuring what they leak."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One server. `zeros` and `smul_tuples` are its offline material (S2 uses zeros only)."""

    pk: PublicKey
    share: KeyShare
    params: Params
    rng: Rng
    workers: Workers
    zeros: Pool[Z]
    smul_tuples: Pool[SmulTuple]
    observer: Observer | None = None

    @classmethod
    def new(
        cls,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        rng: Rng,
        workers: Workers | None = None,
        *,
        zeros: int = 0,
        smul_tuples: int = 0,
        observer: Observer | None = None,
    ) -> Side:
        """A server whose pools hold up to `zeros` and `smul_tuples` once they are refilled."""
        return cls(
            pk,
            share,
            params,
            rng,
            workers or Workers(),
            Pool(partial(pk.zero, rng), zeros),
            Pool(partial(make_smul_tuple, pk, 1 << VALUE_BITS, VALUE_BITS + SIGMA, rng), smul_tuples),
            observer,
        )

    @property
    def coordinate_bits(self) -> int:
        """w for BatchSquare: two coordinates of honest templates differ by at most 2 (S + 1) < 2^w."""
        return (2 * (self.params.scale + 1)).bit_length()

    def refill(self, most: int) -> int:
        """Make up to `most` pieces of offline material; how many were made, 0 when the pools are full."""
        return self.smul_tuples.refill(most) or self.zeros.refill(most)

    @property
    def is_full(self) -> bool:
        """Whether the pools are at their capacity."""
        return self.smul_tuples.is_full and self.zeros.is_full

    def levels(self) -> dict[str, float]:
        """Gauges: how much offline material is ready, by kind."""
        return {"zeros": float(self.zeros.level), "smul_tuples": float(self.smul_tuples.level)}

    def fresh(self, values: Sequence[int]) -> list[Z]:
        """Fresh encryptions of known values, from the pool of zeros."""
        return [self.pk.add_plain(zero, m) for zero, m in zip(self.zeros.take(len(values)), values, strict=True)]

    def ask(self, cs: Sequence[Z]) -> tuple[bytes, bytes]:
        """S1: ciphertexts, re-randomised by the caller, and PDec1 of each, for a message."""
        return self.pk.dump_many(cs), dump_partials(self.pk, self.share.partial_decrypt_many(self.pk, cs))

    def decrypt(self, protocol: str, ciphertexts: bytes, partials: bytes, count: int) -> list[int]:
        """S2: the plaintexts in (-N/2, N/2) of exactly `count` ciphertexts.

        Raises `MalformedCiphertext` when they are not ciphertexts of this key or a partial decryption is wrong.
        """
        pk = self.pk
        cs = pk.load_many(ciphertexts, count)
        u1s = load_partials(pk, partials, count)
        u2s = self.share.partial_decrypt_many(pk, cs)
        lifted = self.workers.map(lift, [(c, u1 * u2 % pk.n, pk.n) for c, u1, u2 in zip(cs, u1s, u2s, strict=True)])
        out = []
        for m in lifted:
            if m is None:
                raise MalformedCiphertext(detail="the partial decryptions do not open this ciphertext")
            out.append(pk.signed(m))
        if self.observer is not None:
            self.observer(protocol, out)
        return out


def lift(item: tuple[Z, Z, Z]) -> Z | None:
    """(c, w, N) -> (c w^N mod N^2 - 1) / N, or None when w does not open c."""
    c, w, n = item
    n2 = n * n
    lifted = c * power(w, n, n2) % n2
    return (lifted - 1) // n if lifted % n == 1 else None
