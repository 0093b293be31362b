"""2-of-2 threshold decryption with shares over the integers.

    t = -N^(-1) mod 2 alpha, so that c^(1 + t N) = 1 + m N mod N^2
    t = t1 + t2,  t1 uniform of l + 1 + 128 bits
    u_i = c^(t_i) mod N;   w = u_1 u_2 mod N;   m = (c w^N mod N^2 - 1) / N

Each share hides t to within 2^-128. (In the split that SOCI, SOCI+ and TRUST publish, sk1 + sk2 = 1 mod N with sk1 of
128 bits: S2 computes sk1 = (1 - sk2) mod N and decrypts alone. tests/unit/test_threshold.py shows both.)

Whoever combines learns w, an N-th root of c and so c's randomness: *re-randomise before asking for a decryption.*
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NoReturn

from pura.bigint import Integer, Z, gcd, invert, is_prime, many_from_bytes, power, power_many, to_bytes
from pura.crypto.paillier import COLLECTION_BYTES, PublicKey, strength_for
from pura.crypto.rng import Rng
from pura.errors import MalformedCiphertext, WrongKey
from pura.ids import CollectionId, Engine, KeyId, Party
from pura.lanes import in_lanes

HIDING_BITS = 128
"""How many bits longer than t the uniform share t1 is."""


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class KeyShare:
    """One server's share t_i of the decryption exponent. Never printed."""

    party: Party
    key_id: KeyId
    t: Z

    def __repr__(self) -> str:
        return f"KeyShare({self.party.name}, …)"

    def __reduce__(self) -> NoReturn:
        """No share leaves this process by accident: in a task for a worker, a cache, a message."""
        raise TypeError("a key share cannot be pickled or copied")

    def check(self, pk: PublicKey) -> None:
        """Raises `WrongKey` unless this share belongs to `pk`."""
        if self.key_id != pk.key_id:
            raise WrongKey("the share belongs to another public key")

    def partial_decrypt(self, pk: PublicKey, c: Integer) -> Z:
        """u_i = c^(t_i) mod N."""
        return power(Z(c) % pk.n, self.t, pk.n)

    def partial_decrypt_many(self, pk: PublicKey, cs: Sequence[Integer]) -> list[Z]:
        """u_i for each ciphertext."""
        return in_lanes(lambda bases: power_many(bases, self.t, pk.n), [Z(c) % pk.n for c in cs])


def combine(pk: PublicKey, c: Integer, u1: Integer, u2: Integer) -> int:
    """The plaintext of c in (-N/2, N/2) from both partial decryptions.

    Raises `MalformedCiphertext` when c w^N is not 1 modulo N: then c is no ciphertext of this key or a u is wrong.
    """
    return combine_many(pk, [c], [u1], [u2])[0]


def combine_many(pk: PublicKey, cs: Sequence[Integer], u1s: Sequence[Integer], u2s: Sequence[Integer]) -> list[int]:
    """The plaintexts of many ciphertexts; the costly w^N on all cores."""
    ws = [Z(u1) * u2 % pk.n for u1, u2 in zip(u1s, u2s, strict=True)]
    out = []
    for c, wn in zip(cs, in_lanes(lambda bases: power_many(bases, pk.n, pk.n2), ws), strict=True):
        lifted = Z(c) * wn % pk.n2
        if lifted % pk.n != 1:
            raise MalformedCiphertext(detail="the partial decryptions do not open this ciphertext")
        out.append(pk.signed((lifted - 1) // pk.n))
    return out


def dump_partials(pk: PublicKey, us: Sequence[Integer]) -> bytes:
    """Partial decryptions as |N|/8 bytes each."""
    return b"".join(to_bytes(u, pk.n_bits // 8) for u in us)


def load_partials(pk: PublicKey, raw: bytes, count: int) -> list[Z]:
    """Exactly `count` partial decryptions in [1, N), else `MalformedCiphertext`."""
    size = pk.n_bits // 8
    if len(raw) != size * count:
        raise MalformedCiphertext(detail=f"{len(raw)} bytes for {count} partial decryptions")
    us = many_from_bytes(raw, size)
    if any(not 0 < u < pk.n for u in us):
        raise MalformedCiphertext(detail="partial decryption out of range")
    return us


# --- key generation ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, repr=False)
class KeySet:
    """What the ceremony makes: a public key and a share for each server; the factors are gone."""

    public: PublicKey
    s1: KeyShare
    s2: KeyShare


def generate(n_bits: int, rng: Rng, engine: Engine = Engine.PREPARED, collection: CollectionId | None = None) -> KeySet:
    """KeyGen and the split of t, in some seconds, for a new collection, or for one that there is and that is to have
    other keys. The factors exist only inside this call."""
    strength = strength_for(n_bits)
    half_l, half_n = strength.l_bits // 2, n_bits // 2
    while True:
        p, p_prime, big_p = _structured_prime(half_l, half_n, rng)
        q, q_prime, big_q = _structured_prime(half_l, half_n, rng)
        n = big_p * big_q
        parts = (p, q, p_prime, q_prime)
        coprime = all(gcd(a, b) == 1 for i, a in enumerate(parts) for b in parts[i + 1 :])
        if int(n).bit_length() == n_bits and coprime and gcd(n, (big_p - 1) * (big_q - 1)) == 1:
            break
    alpha, beta = p * q, p_prime * q_prime
    while True:
        y = Z(rng.below(int(n)))
        if gcd(y, n) == 1 and (h := -power(y, 2 * beta, n) % n) not in (1, n - 1):
            break
    public = PublicKey(n, h, engine, collection or CollectionId(rng.bytes(COLLECTION_BYTES)))
    s1, s2 = split(-invert(n, 2 * alpha) % (2 * alpha), public, rng)
    return KeySet(public, s1, s2)


def split(t: Integer, pk: PublicKey, rng: Rng) -> tuple[KeyShare, KeyShare]:
    """t = t1 + t2 over the integers, t1 uniform of l + 1 + 128 bits."""
    t1 = Z(rng.bits(pk.strength.l_bits + 1 + HIDING_BITS))
    return KeyShare(Party.S1, pk.key_id, t1), KeyShare(Party.S2, pk.key_id, t - t1)


def _structured_prime(short: int, total: int, rng: Rng) -> tuple[Z, Z, Z]:
    """(p, p', 2 p p' + 1): p prime of `short` bits, the last prime of `total` bits with its two top bits set."""
    while True:
        p = Z(rng.bits(short) | (1 << (short - 1)) | 1)
        if is_prime(p):
            break
    top = Z(3) << (total - 2)
    low, span = -(-top // (2 * p)), (Z(1) << total) // (2 * p) - top // (2 * p)
    while True:
        p_prime = (low + rng.below(int(span))) | 1
        candidate = 2 * p * p_prime + 1
        if int(candidate).bit_length() == total and is_prime(candidate):
            return p, p_prime, candidate
