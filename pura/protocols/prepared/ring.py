"""Numbers modulo 2^b, b at most 62, as uint64 arrays: how they are masked, opened and written.

uint64 arithmetic wraps modulo 2^64, of which 2^b is a divisor: sums and products may run over and are reduced last.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rng import Rng
from pura.errors import ProtocolError
from pura.messages import Message, message
from pura.rounds import Rounds, exchange


@message
class OpenedNumbers(Message):
    """Both ways: shares of numbers that both servers may know."""

    numbers: bytes


def reduced(values: NDArray[np.uint64], bits: int) -> Words:
    """The values modulo 2^bits."""
    out: Words = values & np.uint64((1 << bits) - 1)
    return out


def uniform(rng: Rng, shape: tuple[int, ...], bits: int) -> Words:
    """Uniform numbers modulo 2^bits."""
    count = int(np.prod(shape))
    return reduced(load(rng.bytes(count * width(bits)), shape, bits), bits)


def width(bits: int) -> int:
    """How many bytes a number is written in."""
    return 4 if bits <= 32 else 8


def dump(values: Words, bits: int) -> bytes:
    """Numbers below 2^bits, 4 or 8 bytes each."""
    return values.astype("<u4" if bits <= 32 else "<u8").tobytes()


def load(raw: bytes, shape: tuple[int, ...], bits: int) -> Words:
    """What `dump` wrote, not reduced. Raises `ProtocolError` for another length."""
    if len(raw) != int(np.prod(shape)) * width(bits):
        raise ProtocolError(detail="how many numbers")
    out: Words = np.frombuffer(raw, "<u4" if bits <= 32 else "<u8").astype(np.uint64).reshape(shape)
    return out


def opened(share: Words, bits: int) -> Rounds[Words]:
    """The numbers themselves, at both servers. One round."""
    got = yield from exchange(OpenedNumbers(dump(reduced(share, bits), bits)), OpenedNumbers)
    return reduced(share + load(got.numbers, share.shape, bits), bits)
