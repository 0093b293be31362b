"""The offline mechanism: what a query needs and does not depend on it, made ahead and used once.

    SMUL tuple   r1, r2, [r1], [r2], [-r1 r2]
    fresh zero   [0] = H^r;  a fresh [b] is [0] (1 + b N), one product

A tuple used twice gives S2 the exact difference of two values. So a tuple leaves its pool when it is taken and can be
opened once; it cannot be copied or pickled.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from pura.bigint import Z
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.errors import MaterialUsed

T = TypeVar("T")


class OneTime(Generic[T]):
    """A value that can be spent once."""

    __slots__ = ("_held",)

    def __init__(self, value: T) -> None:
        self._held = [value]

    def spend(self) -> T:
        """The value, the first time. Raises `MaterialUsed` ever after."""
        try:
            return self._held.pop()
        except IndexError:
            raise MaterialUsed() from None

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("one-time material cannot be copied")

    def __repr__(self) -> str:
        return "OneTime(…)"


@dataclasses.dataclass(frozen=True, repr=False)
class SmulTuple:
    """r1, r2 and [r1], [r2], [-r1 r2] for one SMUL."""

    r1: int
    r2: int
    enc_r1: Z
    enc_r2: Z
    enc_minus_r1r2: Z


class Pool(Generic[T]):
    """One-time values of one kind, from any number of threads. What is missing is made on the spot."""

    def __init__(self, make: Callable[[], T], capacity: int) -> None:
        self._make = make
        self.capacity = capacity
        self._ready: deque[OneTime[T]] = deque()
        self._lock = threading.Lock()

    @property
    def level(self) -> int:
        """How many are ready."""
        return len(self._ready)

    @property
    def is_full(self) -> bool:
        """Whether there is nothing to refill."""
        return self.level >= self.capacity

    def take(self, count: int) -> list[T]:
        """`count` values, each never given out before or again."""
        with self._lock:
            got = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
        return [one.spend() for one in got] + [self._make() for _ in range(count - len(got))]

    def refill(self, most: int) -> int:
        """Make up to `most` of what is missing; how many were made. A short piece of work for the background."""
        made = [OneTime(self._make()) for _ in range(min(most, self.capacity - self.level))]
        with self._lock:
            self._ready.extend(made)
        return len(made)


def make_smul_tuple(pk: PublicKey, low: int, bits: int, rng: Rng) -> SmulTuple:
    """r1, r2 uniform in [low, low + 2^bits) and their encryptions."""
    r1, r2 = low + rng.bits(bits), low + rng.bits(bits)
    return SmulTuple(r1, r2, pk.encrypt(r1, rng), pk.encrypt(r2, rng), pk.encrypt(-r1 * r2, rng))
