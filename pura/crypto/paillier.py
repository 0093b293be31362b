"""Paillier encryption with short exponents in a subgroup (FastPai: Ma et al., "Optimized Paillier's cryptosystem with
fast encryption and decryption", 2021), as docs/architecture.md describes it under "Keys".

    N = P Q,  P = 2 p p' + 1,  Q = 2 q q' + 1,  alpha = p q,  beta = p' q'
    h = -y^(2 beta) mod N for a random y,  H = h^N mod N^2
    Enc(m; r) = (1 + m N) H^r mod N^2,  r uniform of l bits

A plaintext m stands for the signed number in (-N/2, N/2) that is congruent to it. Ciphertexts are integers modulo N^2;
what comes from outside goes through `load`, which refuses everything that is not a unit modulo N^2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property

from pura.bigint import FixedBase, Integer, Z, gcd, many_from_bytes, power, product, to_bytes
from pura.crypto.hashing import digest
from pura.crypto.rng import Rng
from pura.errors import BadKeyFile, MalformedCiphertext, OutOfRange
from pura.ids import CollectionId, Engine, KeyId


@dataclasses.dataclass(frozen=True)
class Strength:
    """(kappa, |N|, l): the security level, the bits of N and of the subgroup's order and of the exponents.

    The best known attack on the hidden subgroup costs about 2^(l/4), so l must not be made smaller.
    """

    kappa: int
    n_bits: int
    l_bits: int


STRENGTHS = {2048: Strength(112, 2048, 448), 3072: Strength(128, 3072, 512)}
DEFAULT_BITS = 3072
COLLECTION_BYTES = 16
REFRESH_BITS = 82
"""How many bits longer than l the exponent of a re-randomisation is: 2 for the order of h, at most 2^(l+1), and 80 of
statistical hiding, so that H^(r + anything) cannot be told from H^r."""
TABLE_BITS = 209
"""How many bits longer than l the longest exponent of H is: that of a proof's answer (`pura.crypto.proof`)."""


def strength_for(n_bits: int) -> Strength:
    """The parameters for a modulus of `n_bits`. Raises `OutOfRange` for any other size than 2048 and 3072."""
    if n_bits not in STRENGTHS:
        raise OutOfRange("the key length must be 2048 or 3072 bits")
    return STRENGTHS[n_bits]


@dataclasses.dataclass(frozen=True, eq=False)
class PublicKey:
    """(N, h, H) and everything that one can do with it, for one engine and one collection. Equality is by key id.

    Under one N no two engines or collections may run: what one of them decrypts on purpose would be the other's secret.
    """

    n: Z
    h: Z
    engine: Engine
    collection: CollectionId

    def __post_init__(self) -> None:
        if len(self.collection) != COLLECTION_BYTES:
            raise BadKeyFile("the id of the collection does not have 16 bytes")
        bits = int(self.n).bit_length()
        if bits not in STRENGTHS or self.n % 2 == 0:
            raise BadKeyFile("the modulus does not have 2048 or 3072 bits")
        if not 1 < self.h < self.n - 1 or gcd(self.h, self.n) != 1:
            raise BadKeyFile("the generator is not a unit")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.key_id == other.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __repr__(self) -> str:
        return f"PublicKey({self.n_bits} bits, {self.key_id.hex()})"

    # --- sizes and constants --------------------------------------------------------------------

    @cached_property
    def strength(self) -> Strength:
        """(kappa, |N|, l) of this key."""
        return strength_for(int(self.n).bit_length())

    @property
    def n_bits(self) -> int:
        """|N| in bits."""
        return self.strength.n_bits

    @property
    def plaintext_bits(self) -> int:
        """How many bits any non-negative plaintext below N/2 may have: |N| - 2."""
        return self.n_bits - 2

    @property
    def ciphertext_bytes(self) -> int:
        """The fixed length of a dumped ciphertext: 2 |N| / 8."""
        return self.n_bits // 4

    @cached_property
    def n2(self) -> Z:
        """N^2."""
        return self.n * self.n

    @cached_property
    def key_id(self) -> KeyId:
        """16 bytes that name this key, with the engine and the collection that it is for."""
        size = self.n_bits // 8
        fields = (self.engine.encode(), self.collection, to_bytes(self.n, size), to_bytes(self.h, size))
        return KeyId(digest(b"pura public key v2", *fields)[:16])

    @cached_property
    def table(self) -> FixedBase:
        """The comb table of H = h^N mod N^2, built at the first encryption."""
        return FixedBase(power(self.h, self.n, self.n2), self.n2, self.strength.l_bits + TABLE_BITS)

    # --- encryption -----------------------------------------------------------------------------

    def encrypt(self, m: Integer, rng: Rng) -> Z:
        """(1 + m N) H^r mod N^2 with fresh r; m is any integer, taken modulo N."""
        return self.add_plain(self.zero(rng), m)

    def zero(self, rng: Rng) -> Z:
        """A fresh encryption of 0: H^r mod N^2."""
        return self.table.power(rng.bits(self.strength.l_bits))

    def encode(self, m: Integer) -> Z:
        """(1 + m N) mod N^2: m as a ciphertext without randomness, for adding a known constant."""
        return (1 + Z(m) % self.n * self.n) % self.n2

    # --- homomorphisms --------------------------------------------------------------------------

    def add(self, c1: Integer, c2: Integer) -> Z:
        """[m1 + m2]."""
        return Z(c1) * c2 % self.n2

    def add_plain(self, c: Integer, m: Integer) -> Z:
        """[m1 + m] for a known m."""
        return Z(c) * (1 + Z(m) % self.n * self.n) % self.n2

    def scale(self, c: Integer, k: Integer) -> Z:
        """[k m] for a known k of any sign."""
        return power(c, k, self.n2)

    def rerandomise(self, c: Integer, rng: Rng) -> Z:
        """The same plaintext under randomness that is independent of c's to within 2^-80: c H^r, r of l + 82 bits.

        Needed before anybody helps to decrypt, for whoever combines learns the sum of both randomnesses.
        """
        return Z(c) * self.table.power(rng.bits(self.strength.l_bits + REFRESH_BITS)) % self.n2

    def signed(self, m: Integer) -> int:
        """The representative of m modulo N in (-N/2, N/2)."""
        value = int(Z(m) % self.n)
        return value - int(self.n) if value > self.n // 2 else value

    # --- bytes ----------------------------------------------------------------------------------

    def dump(self, c: Integer) -> bytes:
        """A ciphertext as `ciphertext_bytes` bytes."""
        return to_bytes(c, self.ciphertext_bytes)

    def dump_many(self, cs: Iterable[Integer]) -> bytes:
        """Ciphertexts one behind the other."""
        return b"".join(self.dump(c) for c in cs)

    def load(self, raw: bytes) -> Z:
        """A ciphertext from outside. Raises `MalformedCiphertext` unless it is exactly one unit modulo N^2."""
        return self.load_many(raw, 1)[0]

    def load_many(self, raw: bytes, count: int) -> list[Z]:
        """Exactly `count` ciphertexts, each with 0 < c < N^2 and gcd(c, N) = 1; else `MalformedCiphertext`."""
        size = self.ciphertext_bytes
        if len(raw) != count * size:
            raise MalformedCiphertext(detail=f"{len(raw)} bytes for {count} ciphertexts")
        cs = many_from_bytes(raw, size)
        self.validate(cs)
        return cs

    def validate(self, cs: Sequence[Integer]) -> None:
        """0 < c < N^2 and gcd(c, N) = 1 for all, else `MalformedCiphertext`; one gcd of the product for all."""
        if any(not 0 < c < self.n2 for c in cs):
            raise MalformedCiphertext(detail="out of range")
        if cs and gcd(product((Z(c) % self.n for c in cs), self.n), self.n) != 1:
            raise MalformedCiphertext(detail="shares a factor with N")
