"""`Correlations` by ring-LWE (`pura.crypto.rlwe`): server p keeps B_p and evaluates its rows on the other one's masks.

    once a connection   coins of both -> seeds of p_1 and all a_j;  p_0            one key for each direction
    once a block        b_j, j < D                                                  1.7 kB a slot at D = 128
    a batch of rows     c_0', c_1' of every row and block                            17 B a slot and row

    f_p = <a_p, B_p>  +  V's share of <a_p, B_p'>  +  K's share of <a_p', B_p>     mod 2^k,     p' the other server

A block is made whole: slots that are empty now serve entries to come, and a question about a small gallery pays for
4096 slots, 1.3 ms at D = 128. (Rows in slots, and a product for each entry, would take a quarter of that for 1,000
entries, and 4096 questions at a time: not worth its lines.)

Keys live as long as the object: one connection. A server that deviates can learn the other one's key from many answers
(docs/security/correlations.md), so no key outlives one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from pura.crypto.bits import Words
from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import SLOTS, LatticeParams
from pura.crypto.rlwe.ring import SEED_BYTES, tiles
from pura.crypto.rng import Rng
from pura.errors import ProtocolError
from pura.ids import BlockId, Party
from pura.messages import Message, message
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic, Task
from pura.protocols.prepared.correlations import MaskedBlock, Products, ReadMasks
from pura.rounds import Rounds, exchange, receive, send

ROWS = 64
"""Rows of a message: more cost no less, and need more memory (8 MB of sums and 4.5 MB of message for 64)."""
LEAN = 64
"""Of a gallery of more blocks, 262,144 entries, the seeds of a_j are kept in place of them: 2 KiB a slot at D = 128."""
AT_ONCE = 16
"""Answers that may be in the making elsewhere."""
COORDINATES = 128
"""Coordinates of a message of ciphertexts."""
_KEY = 0
"""The number of p_1's seed; those of a_j count from 1."""


@message
class CoinCommitment(Message):
    """Both ways: SHA-256 of the sender's coin, sent before it has seen the other one's."""

    digest: bytes


@message
class Coin(Message):
    """Both ways: 32 random bytes, as committed to."""

    coin: bytes


@message
class LatticeKey(Message):
    """Both ways: p_0 of the sender's key."""

    p0: bytes


@message
class Lacking(Message):
    """Both ways: which of the blocks the sender has no ciphertexts of, by their places (u32) in the list."""

    places: bytes


@message
class LatticeBlock(Message):
    """Both ways: b_j of some coordinates of a block; `number`: of the seed of their a_j, used once."""

    number: int
    b: bytes


@message
class LatticeRows(Message):
    """Both ways: c_0' and c_1' of some rows and one block."""

    rows: bytes


class LatticeCorrelations:
    """One server's end, for one connection. It holds the other server's ciphertexts: 4 KiB a slot at D = 128."""

    def __init__(
        self, party: Party, masks: ReadMasks, seeds: bytes, keeper: Keeper, evaluator: Evaluator, rng: Rng,
        arithmetic: Arithmetic,
    ) -> None:  # fmt: skip
        """Take `connect`."""
        self._party, self._masks, self._seeds, self._rng = party, masks, seeds, rng
        self._keeper, self._evaluator, self._arithmetic = keeper, evaluator, arithmetic
        self._numbers = itertools.count(_KEY + 1)
        self._held: dict[BlockId, tuple[MaskedBlock, Ciphertexts]] = {}

    @classmethod
    def connect(
        cls, params: LatticeParams, party: Party, masks: ReadMasks, rng: Rng, arithmetic: Arithmetic = NUMPY
    ) -> Rounds[LatticeCorrelations]:
        """Draw new keys with the other server. Three rounds, 53 kB."""
        coin = rng.bytes(SEED_BYTES)
        committed = yield from exchange(CoinCommitment(_commitment(party, coin)), CoinCommitment)
        told = yield from exchange(Coin(coin), Coin)
        if len(told.coin) != SEED_BYTES or _commitment(party.other, told.coin) != committed.digest:
            raise ProtocolError(detail="another coin than committed to")
        coins = coin + told.coin if party is Party.S1 else told.coin + coin
        seeds = _hash(b"seeds", coins)
        keeper = arithmetic.keeper(params, _seed(seeds, party, _KEY), rng)
        key = yield from exchange(LatticeKey(keeper.public), LatticeKey)
        evaluator = arithmetic.evaluator(params, _seed(seeds, party.other, _KEY), key.p0)
        return cls(party, masks, seeds, keeper, evaluator, rng, arithmetic)

    def __repr__(self) -> str:
        return "LatticeCorrelations(…)"

    def products(self, rows: Words, blocks: Sequence[MaskedBlock]) -> Rounds[Products]:
        """See `Correlations.products`. One round, and one more for each block and 64 rows, which do not wait."""
        p = self._keeper.params
        if rows.shape[1] != p.dimension:
            raise ValueError("rows of another dimension")
        held = yield from self._ciphertexts(blocks)
        places = [(i, some) for i in range(len(blocks)) for some in tiles(len(rows), ROWS)]
        tasks = (Task(rows[some], blocks[i], held[i], partial(self._masks, blocks[i])) for i, some in places)
        f = np.empty((len(rows), len(blocks), SLOTS), np.uint32)
        made: deque[tuple[int, slice, Callable[[], Products]]] = deque()
        for (i, some), answer in zip(
            places, self._arithmetic.answers(self._evaluator, self._keeper, tasks, self._rng), strict=True
        ):
            yield from send(LatticeRows(answer.body()))
            answer.own()
            got = yield from receive(LatticeRows)
            made.append((i, some, answer.open(got.rows)))
            if len(made) > AT_ONCE:
                _put(f, *made.popleft())
        for one in made:
            _put(f, *one)
        f &= np.uint32((1 << p.bits) - 1)
        return f

    def forget(self, block: BlockId) -> None:
        """A block that is no more: free the memory of its ciphertexts."""
        self._held.pop(block, None)

    def _ciphertexts(self, blocks: Sequence[MaskedBlock]) -> Rounds[list[Ciphertexts]]:
        """The other server's ciphertexts of these blocks, and ours to it: each server says which it lacks."""
        known = [self._held.get(b.block) for b in blocks]
        fitting = {i: k for i, k in enumerate(known) if k is not None and k[0] == blocks[i]}
        held = {i: ciphertexts for i, (_, ciphertexts) in fitting.items() if not ciphertexts.lost}
        lacking = np.array([i for i in range(len(blocks)) if i not in held], np.uint32)
        told = yield from exchange(Lacking(lacking.tobytes()), Lacking)
        wanted = _places(told.places, len(blocks))
        for i, block in enumerate(blocks):
            if i in wanted:
                yield from self._give(block)
            if i not in held:
                held[i] = yield from self._take(block.block, lean=len(blocks) > LEAN)
                self._held[block.block] = block, held[i]
        return [held[i] for i in range(len(blocks))]

    def _give(self, block: MaskedBlock) -> Rounds[None]:
        masks = self._masks(block).T
        for some in tiles(len(masks), COORDINATES):
            number = next(self._numbers)
            b = self._keeper.encrypt(_seed(self._seeds, self._party, number), masks[some], self._rng)
            yield from send(LatticeBlock(number, b))

    def _take(self, block: BlockId, *, lean: bool) -> Rounds[Ciphertexts]:
        p = self._evaluator.params
        out = self._arithmetic.ciphertexts(p, block, lean=lean)
        for some in tiles(p.dimension, COORDINATES):
            got = yield from receive(LatticeBlock)
            if got.number == _KEY:
                raise ProtocolError(detail="the seed of the key")
            out.load(some.start, _seed(self._seeds, self._party.other, got.number), got.b, some.stop - some.start)
        return out


def _put(f: Products, i: int, some: slice, ready: Callable[[], Products]) -> None:
    f[some, i] = ready()


def _places(raw: bytes, count: int) -> set[int]:
    if len(raw) % 4:
        raise ProtocolError(detail="length of places")
    places = np.frombuffer(raw, np.uint32).tolist()
    if any(a >= b for a, b in itertools.pairwise(places)) or (places and places[-1] >= count):
        raise ProtocolError(detail="places of blocks")
    return set(places)


def _hash(tag: bytes, *parts: bytes) -> bytes:
    """Parts of fixed lengths."""
    return hashlib.sha256(b"pura lattice " + tag + b"\x00" + b"".join(parts)).digest()


def _commitment(party: Party, coin: bytes) -> bytes:
    return _hash(b"coin", bytes([party]), coin)


def _seed(seeds: bytes, keeper: Party, number: int) -> bytes:
    """Of p_1 or of some a_j, under the key of `keeper`."""
    return _hash(b"seed", seeds, bytes([keeper]), number.to_bytes(8, "big"))
