"""Inputs that are nearly right."""

from __future__ import annotations

import random
from collections.abc import Sequence

WORDS = (
    b"\x00",
    b"\xff",
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x80" + b"\x00" * 7,
    b"{",
    b'"',
    b"\n",
    b"-1",
    b"1e999",
    b"[" * 200,
)
"""Put in where something else was."""


def mutated(samples: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the samples with one to four things wrong; now and then nothing but noise."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.choice((0, 1, 8, 100)))
    out = bytearray(rng.choice(samples))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0 if out:
                out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:]
            case 2:
                del out[at : at + rng.randint(1, 16)]
            case 3:
                out[at:at] = rng.choice(WORDS)
            case 4:
                word = rng.choice(WORDS)
                out[at : at + len(word)] = word
            case 5:
                out[at:at] = out[at : at + rng.randint(1, 64)]
            case _:
                other = rng.choice(samples)
                cut = rng.randrange(len(other) + 1)
                out[at:] = other[cut:]
    return bytes(out)
