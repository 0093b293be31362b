"""`Arithmetic` by torch, on a GPU or on the processor. The extra `gpu` brings torch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch

from pura.crypto.bits import Words
from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.on_torch import TorchCiphertexts, TorchEvaluator, TorchKeeper, check_torch, send, to_numpy
from pura.crypto.rlwe.parameters import SLOTS, LatticeParams
from pura.crypto.rng import Rng
from pura.ids import BlockId
from pura.protocols.prepared.arithmetic import Answer, OneAnswer, Task, centred
from pura.protocols.prepared.blocks import Block, Matrix
from pura.protocols.prepared.correlations import Masks


class OnTorch:
    """One device. It holds what it was given of the gallery and of the other server's ciphertexts: at D = 128 and
    8 B a number 2 KiB a slot, and 4 KiB."""

    def __init__(self, device: str) -> None:
        """device: as torch names it. Raises `BadConfig`, `BadArithmetic`."""
        self._name, self._device = device, check_torch(device)
        self._held: WeakKeyDictionary[Block, torch.Tensor] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def keeper(self, params: LatticeParams, seed: bytes, rng: Rng) -> Keeper:
        """See `Arithmetic`."""
        return TorchKeeper(params, seed, rng, self._name)

    def evaluator(self, params: LatticeParams, seed: bytes, public: bytes) -> Evaluator:
        """See `Arithmetic`."""
        return TorchEvaluator(params, seed, public, self._name)

    def ciphertexts(self, params: LatticeParams, block: BlockId, *, lean: bool = False) -> Ciphertexts:
        """See `Arithmetic`. All of them are held."""
        return TorchCiphertexts(params, self._device)

    def answers(self, evaluator: Evaluator, keeper: Keeper, tasks: Iterable[Task], rng: Rng) -> Iterator[Answer]:
        """See `Arithmetic`."""
        return (OneAnswer(self.own_products, evaluator, keeper, task, rng) for task in tasks)

    def own_products(self, rows: Words, masks: Masks, bits: int) -> Matrix:
        """See `arithmetic.Own`. In float64, for |sum| <= D 2^(2 k - 1)."""
        w, b = send(centred(rows, bits), self._device), send(masks, self._device)
        products = torch.matmul(w.to(torch.float64), b.to(torch.float64).T)
        return _words(products, bits)

    def sums(self, blocks: Sequence[Block], a: Words, d: Words, bits: int) -> Matrix:
        """See `Arithmetic`. In float64, all numbers centred: |sum| <= 2 D 2^(2 k - 2)."""
        vector = send(np.concatenate([centred(a, bits), centred(d, bits)]), self._device).to(torch.float64)
        out = torch.empty((len(blocks), SLOTS), dtype=torch.float64, device=self._device)
        for row, block in zip(out, blocks, strict=True):
            torch.mv(self._matrix(block, bits), vector, out=row)
        return _words(out.flatten(), bits)

    def _matrix(self, block: Block, bits: int) -> torch.Tensor:
        """[E | Y] of a block, centred: (SLOTS, 2 D) doubles on the device, sent once."""
        with self._lock:
            held = self._held.get(block)
        if held is None:
            both = np.concatenate([centred(block.e, bits), centred(block.y, bits)], axis=1).astype(np.int32)
            held = send(both, self._device).to(torch.float64)
            with self._lock:
                self._held[block] = held
        return held


def _words(exact: torch.Tensor, bits: int) -> Matrix:
    out: Matrix = to_numpy((exact.to(torch.int64) & ((1 << bits) - 1)).to(torch.int32)).view(np.uint32)
    return out
