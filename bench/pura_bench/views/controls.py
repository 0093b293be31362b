"""Broken variants of the protocol, which the tests of views must catch: if they did not, they would prove nothing.

Each is a context in which the servers run broken; all still give right answers, so no other test would notice.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.crypto.encoding import RowLayout
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.ids import Party
from pura.protocols.packed import extension, norm, score
from pura.protocols.packed.convert import Masks
from pura.protocols.packed.material import Material
from pura.protocols.packed.side import Side

Context = contextlib.AbstractContextManager[Any]


@dataclasses.dataclass(frozen=True)
class Control:
    """What is broken, whose view must show it, in which operation, and where."""

    name: str
    victim: Party
    operation: str
    shows: str
    broken: Callable[[], Context]


def _masks(r: Callable[[RowLayout, Rng], tuple[int, ...]]) -> Context:
    def draw(_cls: type[Masks], rows: RowLayout, rng: Rng) -> Masks:
        drawn = r(rows, rng)
        return Masks(drawn, tuple(v + rows.scale for v in drawn))

    return patch.object(Masks, "draw", classmethod(draw))


def _no_mask() -> Context:
    return _masks(lambda rows, rng: (0,) * rows.dimension)


def _short_mask() -> Context:
    return _masks(lambda rows, rng: tuple(rng.bits(rows.mask_bits - 20) for _ in range(rows.dimension)))


def _one_mask_for_all_slots() -> Context:
    return _masks(lambda rows, rng: (rng.bits(rows.mask_bits),) * rows.dimension)


class _Twice:
    """Gives everything twice."""

    def __init__(self) -> None:
        self._left: list[Any] = []

    def __call__(self, fresh: Callable[[], Any]) -> Any:
        if self._left:
            return self._left.pop()
        self._left.append(value := fresh())
        return value


def _masks_twice() -> Context:
    twice = _Twice()
    return _masks(
        lambda rows, rng: twice(lambda: tuple(rng.bits(rows.mask_bits) for _ in range(rows.dimension)))
    )  # fmt: skip


class _OtherR:
    """A source that draws numbers of one length, which only R has, in another way."""

    def __init__(self, rng: Rng, length: int, r: Callable[[Rng], int]) -> None:
        self._rng, self._length, self._r = rng, length, r

    def bytes(self, count: int) -> bytes:
        return self._rng.bytes(count)

    def below(self, bound: int) -> int:
        return self._rng.below(bound)

    def bits(self, count: int) -> int:
        return self._r(self._rng) if count == self._length else self._rng.bits(count)


def _scores(r: Callable[[Side, Rng], int]) -> Context:
    whole = score.scores_s2

    def broken(side: Side, a: Any, b_inverse: Any) -> Any:
        length = side.columns.entries * side.columns.slot_bits + side.params.sigma
        rng = _OtherR(side.rng, length, lambda source: r(side, source))
        return whole(dataclasses.replace(side, rng=rng), a, b_inverse)

    return patch.object(score, "scores_s2", broken)


def _r_by_slots() -> Context:
    return _scores(lambda side, rng: rng.bits(side.columns.entries * side.columns.slot_bits))


def _r_without_carries() -> Context:
    def r(side: Side, rng: Rng) -> int:
        b, sigma = side.columns.slot_bits, side.params.sigma
        low = sum(rng.bits(b - 1) << (b * i) for i in range(side.columns.entries))
        return low + (rng.bits(sigma) << (b * side.columns.entries))

    return _scores(r)


def _r_twice() -> Context:
    twice = _Twice()
    return _scores(
        lambda side, rng: twice(lambda: rng.bits(side.columns.entries * side.columns.slot_bits + side.params.sigma))
    )


def _not_refreshed(module: Any, name: str) -> Context:
    """Re-randomisation left out in one function, which is no generator."""
    whole = getattr(module, name)

    def broken(*args: Any, **how: Any) -> Any:
        with patch.object(PublicKey, "rerandomise", lambda self, c, rng: c):
            return whole(*args, **how)

    return patch.object(module, name, broken)


def _scores_not_refreshed() -> Context:
    return _not_refreshed(score, "scores_s2")


@contextlib.contextmanager
def _rows_not_refreshed() -> Iterator[None]:
    refresh = PublicKey.rerandomise
    blind = patch.object(score, "blind_products", _blind(refresh))
    with blind, patch.object(PublicKey, "rerandomise", lambda self, c, rng: c):
        yield


def _blind(refresh: Callable[[PublicKey, Any, Rng], Any]) -> Callable[..., Any]:
    return lambda side, a: [refresh(side.pk, x, side.rng) for x in a]


def _zero_triples() -> Context:
    def triples(self: Material, octets: int) -> Any:
        return tuple(np.zeros(octets, np.uint8) for _ in range(3))

    return patch.object(Material, "triples", triples)


@contextlib.contextmanager
def _zero_pads() -> Iterator[None]:
    def sent(self: Material, count: int) -> Any:
        return np.zeros((count, 16), np.uint8), np.zeros((count, 16), np.uint8)

    def received(self: Material, count: int) -> Any:
        return np.zeros(count, np.uint8), np.zeros((count, 16), np.uint8)

    with patch.object(Material, "sent", sent), patch.object(Material, "received", received):
        yield


def _no_pads_in_cross_terms() -> Context:
    return patch.object(norm, "_wide", lambda pads, w: np.zeros((len(pads), w // 8), np.uint8))


@contextlib.contextmanager
def _stock_used_twice() -> Iterator[None]:
    """Every question takes the triples of the first one."""
    kept: dict[tuple[int, int], Any] = {}
    whole = extension.triples

    def triples(state: Any, n: int, rng: Rng) -> Any:
        made = yield from whole(state, n, rng)
        mine = kept.setdefault((id(rng), n), made)
        return extension.Triples(mine.a.copy(), mine.b.copy(), mine.c.copy())

    with patch.object(extension, "triples", triples):
        yield


CONTROLS = (
    Control("no mask in the conversion", Party.S2, "identify", "MaskedRows.0.v", _no_mask),
    Control("masks 20 bits too short", Party.S2, "identify", "MaskedRows.0.v", _short_mask),
    Control("one mask for all slots", Party.S2, "identify", "MaskedRows.0.v | next slot", _one_mask_for_all_slots),
    Control("masks used twice", Party.S2, "identify", "MaskedRows.0.v | next run", _masks_twice),
    Control("R as long as the slots only", Party.S1, "identify", "ScoreBlocks.0.top", _r_by_slots),
    Control("R slot by slot, a bit short", Party.S1, "identify", "ScoreBlocks.0.q", _r_without_carries),
    Control("R used twice", Party.S1, "identify", "ScoreBlocks.0.q | next run", _r_twice),
    Control("scores not re-randomised", Party.S1, "identify", "ScoreBlocks.residue", _scores_not_refreshed),
    Control("rows not re-randomised", Party.S2, "forget", "MaskedRows.root", _rows_not_refreshed),
    Control("triples of zeros", Party.S2, "identify", "MaskedBits", _zero_triples),
    Control("triples used twice", Party.S1, "identify", "MaskedBits", _stock_used_twice),
    Control("selection without pads", Party.S2, "identify", "Transferred", _zero_pads),
    Control("cross terms without pads", Party.S1, "identify", "CrossTerms.0.m", _no_pads_in_cross_terms),
)
