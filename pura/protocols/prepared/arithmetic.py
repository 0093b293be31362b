"""The heavy arithmetic of a server behind one interface: with numpy here, with torch in `on_torch`.

Both give the same numbers, so the two servers of a deployment may differ. What does not go through here stays on the
processor: OTs, which are AES by OpenSSL (a GPU has no instruction for it, and pads are used by the processor as soon as
they are made), comparisons, which wait for the network, and all randomness.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import LatticeParams
from pura.crypto.rng import Rng
from pura.ids import BlockId
from pura.protocols.prepared.blocks import Block, Matrix
from pura.protocols.prepared.correlations import MaskedBlock, Masks


@dataclasses.dataclass(frozen=True, repr=False)
class Task:
    """Some rows (R, D) on one block: the other server's ciphertexts of it, and this server's masks of it."""

    rows: Words
    block: MaskedBlock
    ciphertexts: Ciphertexts
    masks: Callable[[], Masks]


class Answer(Protocol):
    """What is made of one task, step by step as the two servers talk."""

    def body(self) -> bytes:
        """What the other server gets: V's answer."""
        ...

    def own(self) -> None:
        """This server's products with its own masks, while the other one's answer is on its way."""
        ...

    def open(self, got: bytes) -> Callable[[], Matrix]:
        """Take in the other server's answer; what is returned gives f_p, (R, SLOTS), of which the low k bits count.
        Raises `ProtocolError`, now or then."""
        ...


class Arithmetic(Protocol):
    """Where a server multiplies. Exact for everything that `LatticeParams` allows."""

    def keeper(self, params: LatticeParams, seed: bytes, rng: Rng) -> Keeper:
        """A new key. seed: of p_1."""
        ...

    def evaluator(self, params: LatticeParams, seed: bytes, public: bytes) -> Evaluator:
        """For the other server's key. seed: of p_1; public: p_0."""
        ...

    def ciphertexts(self, params: LatticeParams, block: BlockId, *, lean: bool = False) -> Ciphertexts:
        """Room for the other server's ciphertexts of one block, as `evaluator` takes them. lean: see `Ciphertexts`,
        where memory is what there is least of."""
        ...

    def answers(self, evaluator: Evaluator, keeper: Keeper, tasks: Iterable[Task], rng: Rng) -> Iterator[Answer]:
        """The answers to some tasks, in order, each begun when it is asked for or before."""
        ...

    def sums(self, blocks: Sequence[Block], a: Words, d: Words, bits: int) -> Matrix:
        """<a, E_i> + <d, Y_i> modulo 2^bits of every slot, one block behind the other; a and d (D,), below 2^bits."""
        ...


Own = Callable[[Words, Masks, int], Matrix]
"""<a_p, B_p,i> modulo 2^bits for rows (R, D), of which the low bits count, and masks (SLOTS, D): (R, SLOTS)."""


class OneAnswer:
    """Made in this thread, by an evaluator, a keeper and a function for the own products."""

    def __init__(self, own: Own, evaluator: Evaluator, keeper: Keeper, task: Task, rng: Rng) -> None:
        self._own, self._keeper, self._task = own, keeper, task
        self._body, self._share = evaluator.rows(task.rows, task.ciphertexts, rng)

    def body(self) -> bytes:
        """See `Answer`."""
        return self._body

    def own(self) -> None:
        """See `Answer`."""
        self._share += self._own(self._task.rows, self._task.masks(), self._keeper.params.bits)

    def open(self, got: bytes) -> Callable[[], Matrix]:
        """See `Answer`."""
        self._share += self._keeper.open(got, len(self._share))
        return lambda: self._share


class OnNumpy:
    """One core of this machine's processor."""

    def keeper(self, params: LatticeParams, seed: bytes, rng: Rng) -> Keeper:
        """See `Arithmetic`."""
        return Keeper(params, seed, rng)

    def evaluator(self, params: LatticeParams, seed: bytes, public: bytes) -> Evaluator:
        """See `Arithmetic`."""
        return Evaluator(params, seed, public)

    def ciphertexts(self, params: LatticeParams, block: BlockId, *, lean: bool = False) -> Ciphertexts:
        """See `Arithmetic`."""
        return Ciphertexts(params, lean=lean)

    def answers(self, evaluator: Evaluator, keeper: Keeper, tasks: Iterable[Task], rng: Rng) -> Iterator[Answer]:
        """See `Arithmetic`."""
        return (OneAnswer(self.own_products, evaluator, keeper, task, rng) for task in tasks)

    def own_products(self, rows: Words, masks: Masks, bits: int) -> Matrix:
        """See `Own`. In float64, for |sum| <= D 2^(2 k - 1) (`LatticeParams`)."""
        sums = centred(rows, bits).astype(np.float64) @ masks.T.astype(np.float64)
        out: Matrix = (sums.astype(np.int64) & ((1 << bits) - 1)).astype(np.uint32)
        return out

    def sums(self, blocks: Sequence[Block], a: Words, d: Words, bits: int) -> Matrix:
        """See `Arithmetic`. In uint32, which wraps modulo 2^32."""
        left, right = a.astype(np.uint32), d.astype(np.uint32)
        rows = [np.einsum("nd,d->n", b.e, left) + np.einsum("nd,d->n", b.y, right) for b in blocks]
        out: Matrix = np.concatenate(rows) & np.uint32((1 << bits) - 1)
        return out


NUMPY = OnNumpy()


def centred(values: NDArray[np.uint32 | np.uint64], bits: int) -> NDArray[np.int64]:
    """Numbers modulo 2^bits as integers in [-2^(bits - 1), 2^(bits - 1))."""
    shift = np.int64(64 - bits)
    out: NDArray[np.int64] = values.astype(np.uint64).view(np.int64) << shift >> shift
    return out
