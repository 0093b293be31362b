"""The sizes that follow from D, S and |N|.

w   bits of a digit x_j + S, which lies in [0, 2^w) whatever a client encrypts:   bits(2 S)
W   the ring in which |x|^2 is an exact integer, with a bit to spare:             bits(D max(S, 2^w - 1 - S)^2) + 1
k   the ring of keys -<x, y>, any two of which differ by at most 2 S^2:           bits(2 S^2 + 1) + 1
m   pieces of a template, each one ciphertext whose plaintext wraps modulo N with probability at most 2^-80
"""

from __future__ import annotations

import dataclasses
from functools import cached_property

from pura.errors import OutOfRange
from pura.params import Params

HIDING_BITS = 80
"""2^(digits w) <= 2^-80 N: how rarely an honest plaintext plus a uniform mask wraps."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """D, S, |N| and what follows from them; the same at both servers and at clients."""

    dimension: int
    scale: int
    n_bits: int

    def __post_init__(self) -> None:
        if self.ring_bits > 62:
            raise OutOfRange("engine prepared does not take this dimension with this scale")

    @classmethod
    def of(cls, params: Params) -> Sizes:
        """Those of a collection."""
        return cls(params.dimension, params.scale, params.n_bits)

    @cached_property
    def digit_bits(self) -> int:
        """w: 9 at S = 128."""
        return (2 * self.scale).bit_length()

    @cached_property
    def ring_bits(self) -> int:
        """W: 26 at D = S = 128, 32 at D = S = 512."""
        largest = max(self.scale, (1 << self.digit_bits) - 1 - self.scale)
        return (self.dimension * largest**2).bit_length() + 1

    @cached_property
    def key_bits(self) -> int:
        """k: 17 at S = 128, 21 at S = 512."""
        return (2 * self.scale**2 + 1).bit_length() + 1

    @cached_property
    def per_piece(self) -> int:
        """The digits of one ciphertext at most; N has more than |N| - 1 bits."""
        return (self.n_bits - 1 - HIDING_BITS) // self.digit_bits

    @cached_property
    def pieces(self) -> int:
        """m: the ciphertexts of a template, 1 for D = 128 at 2048 bits."""
        return -(-self.dimension // self.per_piece)

    @property
    def template_bytes(self) -> int:
        """The length of an encrypted template."""
        return self.pieces * self.n_bits // 4

    @property
    def never(self) -> int:
        """A key that loses against all others: keys are at most S^2."""
        return self.scale**2 + 1
