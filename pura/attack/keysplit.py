"""The key split that SOCI, SOCI+ and TRUST publish, and how one server undoes it. Ours, attacked in the same way.

Published, for N with secret lambda (a multiple of the order of the message's cofactor) and mu = lambda^-1 mod N:

    sk = lambda mu mod lambda N:   sk = 0 mod lambda,  sk = 1 mod N;    Dec(c) = ((c^sk mod N^2) - 1) / N
    sk1 random of 128 bits,   sk2 = sk - sk1 (mod lambda N)

So sk1 + sk2 = 1 mod N. The code takes sk2 as an integer, which is larger than N; S2 reduces it and has

    sk1 = (1 - sk2) mod N

exactly, because sk1 is shorter than N: with both shares it decrypts everything alone.

Ours: t1 + t2 = -N^-1 mod 2 alpha, over the integers. Modulo N that says nothing, since 2 alpha is secret, and t1 is
128 bits longer than the modulus that it hides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Integer, Z, gcd, invert, is_prime, power
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare

SK1_BITS = 128


@dataclasses.dataclass(frozen=True, repr=False)
class PublishedKeys:
    """N, and what S1 and S2 hold by the published formula."""

    n: Z
    sk1: Z
    sk2: Z


def published_keys(n_bits: int, rng: Rng) -> PublishedKeys:
    """A key by the published KeyGen and split."""
    p, q = _prime(n_bits // 2, rng), _prime(n_bits // 2, rng)
    while q == p or gcd(p * q, (p - 1) * (q - 1)) != 1:
        q = _prime(n_bits // 2, rng)
    n = p * q
    lam = (p - 1) * (q - 1) // gcd(p - 1, q - 1)
    sk = lam * invert(lam, n)
    sk1 = Z(rng.bits(SK1_BITS))
    return PublishedKeys(n, sk1, (sk - sk1) % (lam * n))


def _prime(bits: int, rng: Rng) -> Z:
    while True:
        candidate = Z(rng.bits(bits) | 1 | 3 << (bits - 2))
        if is_prime(candidate):
            return candidate


def published_encrypt(n: Z, m: int, rng: Rng) -> Z:
    """(1 + m N) r^N mod N^2."""
    return (1 + m * n) * power(Z(1 + rng.below(int(n) - 1)), n, n * n) % (n * n)


def recover_sk1(n: Z, sk2: Z) -> Z:
    """What S2 computes from its own share and the public key."""
    return (1 - sk2) % n


def decrypt_alone(n: Z, sk2: Z, c: Z) -> int | None:
    """S2, alone: the plaintext of c in (-N/2, N/2), or None when the shares do not open it."""
    n2 = n * n
    lifted = power(c, recover_sk1(n, sk2), n2) * power(c, sk2, n2) % n2
    if lifted % n != 1:
        return None
    m = int((lifted - 1) // n)
    return m if m <= int(n) // 2 else m - int(n)


def decrypt_ours_alone(pk: PublicKey, share: KeyShare, ciphertexts: Sequence[Integer]) -> list[int | None]:
    """The same attack on this product's split: guess the other share as (1 - t) mod N, and as what would make the sum
    -1 / N modulo N or modulo an estimate of 2 alpha; None for each ciphertext that no guess opens."""
    n, n2 = pk.n, pk.n2
    guesses = [(1 - share.t) % n, -share.t % n, Z(0), 1 - share.t]
    out: list[int | None] = []
    for c in ciphertexts:
        opened: int | None = None
        for other in guesses:
            w = power(Z(c) % n, share.t, n) * _signed_power(Z(c) % n, other, n) % n
            lifted = Z(c) * power(w, n, n2) % n2
            if lifted % n == 1:
                opened = pk.signed((lifted - 1) // n)
            lifted = power(Z(c), share.t, n2) * _signed_power(Z(c), other, n2) % n2
            if lifted % n == 1 and lifted != 1:
                opened = pk.signed((lifted - 1) // n)
        out.append(opened)
    return out


def _signed_power(base: Z, exponent: Z, modulus: Z) -> Z:
    return power(base, exponent, modulus) if exponent >= 0 else invert(power(base, -exponent, modulus), modulus)
