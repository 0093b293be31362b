"""Keys and ciphertexts of the `phe` library (`pip install 'pura-match[phe]'`). Both use the generator g = 1 + N.

What works, and why not everything does:

- *Ours to phe*: any of our ciphertexts is one of phe's for the same N. Whoever knows the factors decrypts it there.
- *phe's to ours, arithmetic*: a phe ciphertext is a unit modulo N^2, so it adds and scales here as ours do.
- *phe's to ours, threshold decryption*: does not work. The shares hold t = -N^(-1) mod 2 alpha, which removes
  randomness from the subgroup of order 2 alpha only; phe draws its randomness from all of Z_N*. The sum of such a
  ciphertext and one of ours is no better: `combine` refuses it with `MalformedCiphertext`. So a deployment takes none.
- *A phe public key here*: gives a key that encrypts. It has no shares; the holder of phe's private key decrypts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pura.bigint import Integer, Z, gcd, power
from pura.crypto.paillier import COLLECTION_BYTES, PublicKey
from pura.crypto.rng import Rng
from pura.errors import OutOfRange, WrongKey
from pura.ids import CollectionId, Engine

if TYPE_CHECKING:
    import phe


def to_phe_key(pk: PublicKey) -> phe.PaillierPublicKey:
    """The modulus as a phe public key. h is lost: phe encrypts with full-length randomness."""
    from phe import PaillierPublicKey

    return PaillierPublicKey(int(pk.n))


def from_phe_key(key: phe.PaillierPublicKey, rng: Rng) -> PublicKey:
    """A key that encrypts for the holder of phe's private key: h = -y^2 mod N for a random y.

    The exponents are short (448 or 512 bits) while h generates a group of unknown, large order: the scheme of Damgard,
    Jurik and Nielsen, secure if short exponents in that group cannot be told from long ones. The key id depends on y.
    Raises `BadKeyFile` for other sizes than 2048 and 3072 bits.
    """
    n = Z(key.n)
    while True:
        y = Z(rng.below(int(n)))
        if gcd(y, n) == 1 and (h := -power(y, 2, n) % n) not in (1, n - 1):
            return PublicKey(n, h, Engine.PUBLISHED, CollectionId(rng.bytes(COLLECTION_BYTES)))


def to_phe(pk: PublicKey, c: Integer) -> phe.EncryptedNumber:
    """One of our ciphertexts as a phe integer. phe reads values up to N/3 in size; ours may reach N/2."""
    from phe import EncryptedNumber

    return EncryptedNumber(to_phe_key(pk), int(c), exponent=0)


def from_phe(pk: PublicKey, number: phe.EncryptedNumber) -> Z:
    """A phe ciphertext as one of ours, for arithmetic (see above).

    Raises `WrongKey` for another modulus, `OutOfRange` for a number with an exponent (a float), `MalformedCiphertext`.
    """
    if number.public_key.n != pk.n:
        raise WrongKey("the ciphertext was made for another modulus")
    if number.exponent != 0:
        raise OutOfRange("only integers can be taken over, not phe's floats")
    c = Z(number.ciphertext(be_secure=True))
    pk.validate([c])
    return c
