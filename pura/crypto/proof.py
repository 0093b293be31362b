"""Proof that whoever sends ciphertexts knows what is in them, bound to one context (docs/security/proof.md).

For ciphertexts c_i = (1 + P_i N) H^(r_i), i = 1..m, of one template, under one challenge:

    A_i  = (1 + a_i N) H^(b_i)          a_i uniform modulo N, b_i of l + 208 bits
    e    = 128 bits of SHA-256(tag, context, all c_i, all A_i)
    z1_i = a_i + e P_i  mod N           z2_i = b_i + e r_i  over the integers
    sent: e, all z1_i, all z2_i

    check: 0 <= z1_i < N,  0 <= z2_i < 2^(l + 209),  each c_i a unit,
           A_i = (1 + z1_i N) H^(z2_i) c_i^(-e),  e = the hash of these

b_i hides e r_i to within 2^-80, a_i hides e P_i perfectly. Two accepting answers to one A give each P_i modulo N,
whatever the randomness of c_i is. All exponents and masks are hedged: from 32 fresh bytes *and* what they protect, so
that a source that repeats itself does not give two answers to one A.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Integer, Z, from_bytes, invert_many, many_from_bytes, power, to_bytes
from pura.crypto.hashing import digest
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng, hedged
from pura.errors import BadProof, OutOfRange
from pura.ids import ContextDigest

CHALLENGE_BYTES = 16
HIDING_BITS = 80
MASK_BITS = HIDING_BITS + 8 * CHALLENGE_BYTES
"""How many bits longer than l the mask b is."""
_TAG = b"pura proof v2"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How long the parts of a proof are under a key."""

    z1: int
    z2: int

    @classmethod
    def of(cls, pk: PublicKey) -> Sizes:
        """|N| / 8 and ceil((l + 209) / 8): 256 and 83 bytes at 2048 bits, 384 and 91 at 3072."""
        return cls(pk.n_bits // 8, -(-(pk.strength.l_bits + MASK_BITS + 1) // 8))

    def proof(self, count: int) -> int:
        """The bytes of a proof for `count` ciphertexts: 355 for one at 2048 bits, 1,372 for four."""
        return CHALLENGE_BYTES + count * (self.z1 + self.z2)


@dataclasses.dataclass(frozen=True, repr=False)
class Sealed:
    """Ciphertexts with what is in them; only their author has this. A new proof may be made for other contexts."""

    ciphertexts: tuple[Z, ...]
    plaintexts: tuple[int, ...]
    randomness: tuple[int, ...]

    def __repr__(self) -> str:
        return "Sealed(…)"

    def dump(self, pk: PublicKey) -> bytes:
        """The ciphertexts, one behind the other."""
        return pk.dump_many(self.ciphertexts)


@dataclasses.dataclass(frozen=True, repr=False)
class Proven:
    """Ciphertexts whose author knows what is in them, and the challenge, which is used once."""

    ciphertexts: list[Z]
    challenge: bytes


def encrypt(pk: PublicKey, plaintexts: Sequence[int], rng: Rng) -> Sealed:
    """c_i = Enc(P_i; r_i), r_i of l bits. Raises `OutOfRange` unless 0 <= P_i < N."""
    if any(not 0 <= p < pk.n for p in plaintexts):
        raise OutOfRange("a plaintext is outside [0, N)")
    draw = hedged(rng, b"pura encryption v2", *_octets(pk, plaintexts))
    exponents = tuple(draw.bits(pk.strength.l_bits) for _ in plaintexts)
    cs = tuple(pk.add_plain(pk.table.power(r), p) for p, r in zip(plaintexts, exponents, strict=True))
    return Sealed(cs, tuple(plaintexts), exponents)


def prove(pk: PublicKey, sealed: Sealed, context: ContextDigest, rng: Rng) -> bytes:
    """The proof for `sealed` in a context: e, all z1, all z2."""
    width = pk.strength.l_bits + MASK_BITS
    secret = (*_octets(pk, sealed.plaintexts), *(to_bytes(r, width // 8) for r in sealed.randomness))
    draw = hedged(rng, _TAG, context, pk.dump_many(sealed.ciphertexts), *secret)
    a = [draw.below(int(pk.n)) for _ in sealed.plaintexts]
    b = [draw.bits(width) for _ in sealed.plaintexts]
    commitments = [pk.add_plain(pk.table.power(bi), ai) for ai, bi in zip(a, b, strict=True)]
    challenge = _challenge(pk, context, sealed.ciphertexts, commitments)
    e, sizes = int.from_bytes(challenge, "big"), Sizes.of(pk)
    z1 = [(ai + e * p) % pk.n for ai, p in zip(a, sealed.plaintexts, strict=True)]
    z2 = [bi + e * r for bi, r in zip(b, sealed.randomness, strict=True)]
    return b"".join([challenge, *(to_bytes(z, sizes.z1) for z in z1), *(to_bytes(z, sizes.z2) for z in z2)])


def check(pk: PublicKey, ciphertexts: bytes, count: int, proof: bytes, context: ContextDigest) -> Proven:
    """`count` ciphertexts as they were sent, and their proof, if it holds. Cheapest first, the powers last.

    Raises `MalformedCiphertext` as `PublicKey.load_many` does, `BadProof` for whatever else.
    """
    sizes = Sizes.of(pk)
    if count < 1 or len(proof) != sizes.proof(count):
        raise BadProof(detail="length")
    challenge, split = proof[:CHALLENGE_BYTES], CHALLENGE_BYTES + count * sizes.z1
    z1 = many_from_bytes(proof[CHALLENGE_BYTES:split], sizes.z1)
    z2 = many_from_bytes(proof[split:], sizes.z2)
    if any(z >= pk.n for z in z1) or any(z >> (pk.strength.l_bits + MASK_BITS + 1) for z in z2):
        raise BadProof(detail="range")
    cs = pk.load_many(ciphertexts, count)
    e = from_bytes(challenge)
    commitments = [
        pk.add_plain(pk.table.power(y) * power(c, e, pk.n2), x)
        for x, y, c in zip(z1, z2, invert_many(cs, pk.n2), strict=True)
    ]
    if _challenge(pk, context, cs, commitments) != challenge:
        raise BadProof(detail="challenge")
    return Proven(cs, challenge)


def _challenge(
    pk: PublicKey, context: ContextDigest, ciphertexts: Sequence[Integer], commitments: Sequence[Integer]
) -> bytes:
    """e = 128 bits of SHA-256(tag, context, all c, all A)."""
    return digest(_TAG, context, pk.dump_many(ciphertexts), pk.dump_many(commitments))[:CHALLENGE_BYTES]


def _octets(pk: PublicKey, plaintexts: Sequence[int]) -> list[bytes]:
    return [to_bytes(p, pk.n_bits // 8) for p in plaintexts]
