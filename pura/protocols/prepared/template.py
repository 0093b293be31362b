"""A template as one ciphertext (or m), and how the servers open it under a mask.

    client:    P = sum_j (x_j + S) 2^(w j)  in pieces of at most `per_piece` digits,   c = Enc(P)
    S2:        R uniform in [0, N),  c' = c (1 + R N) H^rho,  rho of l + 82 bits;    S2 -> S1:  c', PDec2(c')
    S1:        v = P + R mod N, in [0, N)

The mask hides P perfectly, whatever a client encrypts. The digits of x then come from those of v and R (`digits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.bigint import Z
from pura.crypto.encoding import Template, pack_slots
from pura.crypto.paillier import PublicKey
from pura.crypto.proof import Sealed, encrypt
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare, combine_many, dump_partials, load_partials
from pura.errors import OutOfRange, ProtocolError
from pura.messages import Message, message
from pura.params import Params
from pura.protocols.prepared.sizes import Sizes

Digits = NDArray[np.uint64]
"""The low w-bit digits of numbers modulo N, (D,)."""


def pack(sizes: Sizes, template: Template) -> list[int]:
    """The m plaintexts P of a template. Raises `OutOfRange` unless it has D coordinates in [-S, S]."""
    digits = [int(v) + sizes.scale for v in template]
    if len(digits) != sizes.dimension or any(not 0 <= v <= 2 * sizes.scale for v in digits):
        raise OutOfRange("the template does not have the dimension or the scale of this collection")
    step = sizes.per_piece
    return [pack_slots(digits[at : at + step], sizes.digit_bits) for at in range(0, sizes.dimension, step)]


def digits_of(sizes: Sizes, pieces: Sequence[int]) -> Digits:
    """The digits that belong to coordinates, of m numbers in [0, N): (D,)."""
    w, left, out = sizes.digit_bits, sizes.dimension, []
    for piece in pieces:
        count = min(left, sizes.per_piece)
        left -= count
        low = (int(piece) & ((1 << (count * w)) - 1)).to_bytes(-(-count * w // 8), "little")
        bits = np.unpackbits(np.frombuffer(low, np.uint8), bitorder="little", count=count * w).reshape(count, w)
        out.append(bits.astype(np.uint64) @ (np.uint64(1) << np.arange(w, dtype=np.uint64)))
    return np.concatenate(out)


@dataclasses.dataclass(frozen=True, repr=False)
class Mask:
    """S2's mask for one template, drawn ahead of it and used once.

    digits: those of R, (D,); blinds: (1 + R N) H^rho of each piece, what c is multiplied by.
    """

    digits: Digits
    blinds: tuple[Z, ...]

    @classmethod
    def draw(cls, pk: PublicKey, sizes: Sizes, rng: Rng) -> Mask:
        """R uniform modulo N for each piece."""
        r = [rng.below(int(pk.n)) for _ in range(sizes.pieces)]
        return cls(digits_of(sizes, r), tuple(pk.rerandomise(pk.encode(value), rng) for value in r))


def stacked(masks: Sequence[Mask]) -> Digits:
    """The digits of many masks, (n, D)."""
    return np.stack([one.digits for one in masks])


@message
class MaskedTemplates(Message):
    """S2 -> S1: c' and PDec2(c') of every piece of every template."""

    ciphertexts: bytes
    partials: bytes


def mask(pk: PublicKey, share: KeyShare, templates: Sequence[Sequence[Z]], masks: Sequence[Mask]) -> MaskedTemplates:
    """At S2: the clients' own ciphertexts, masked, re-randomised, half opened."""
    cs = [
        pk.add(c, blind)
        for template, one in zip(templates, masks, strict=True)
        for c, blind in zip(template, one.blinds, strict=True)
    ]
    return MaskedTemplates(pk.dump_many(cs), dump_partials(pk, share.partial_decrypt_many(pk, cs)))


def open_masked(pk: PublicKey, share: KeyShare, sizes: Sizes, got: MaskedTemplates, count: int) -> NDArray[np.uint64]:
    """At S1: the digits of v of each template, (count, D). Raises `MalformedCiphertext`, `ProtocolError`."""
    m = sizes.pieces
    if len(got.ciphertexts) != count * m * pk.ciphertext_bytes:
        raise ProtocolError(detail="number of masked templates")
    cs = pk.load_many(got.ciphertexts, count * m)
    theirs = load_partials(pk, got.partials, count * m)
    opened = combine_many(pk, cs, share.partial_decrypt_many(pk, cs), theirs)
    v = [value % int(pk.n) for value in opened]
    return np.stack([digits_of(sizes, v[at : at + m]) for at in range(0, count * m, m)])


def seal_template(pk: PublicKey, params: Params, template: Template, rng: Rng) -> Sealed:
    """At the client: m ciphertexts, and what their proofs need; 512 bytes at D = 128 and 2048 bits. Raises
    `OutOfRange`."""
    return encrypt(pk, pack(Sizes.of(params), template), rng)


def encrypt_template(pk: PublicKey, params: Params, template: Template, rng: Rng) -> bytes:
    """The ciphertexts alone, of which nothing can be proved any more."""
    return seal_template(pk, params, template, rng).dump(pk)
