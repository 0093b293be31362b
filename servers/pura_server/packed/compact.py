"""Compaction: one block less for every query, when its entries fit into the free slots of the others.

The entries of the emptiest block are converted again from their row ciphertexts, under fresh masks, and added to free
slots; the block is dropped. Handles, labels and norm shares stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pura.bigint import Z
from pura.errors import ProtocolError
from pura.ids import BlockId, Handle, TxnId
from pura.protocols.packed.blocks import Term, rewrite
from pura.protocols.packed.side import Side
from pura.rounds import Rounds, send
from pura.store.base import TXN_BYTES, Change, Store
from pura_server.packed.change import block_updates, current_blocks, dump_places, load_places, stored_s1, stored_s2
from pura_server.packed.gallery import View
from pura_server.packed.settle import commit_s1, commit_s2
from pura_server.packed.state import Pictures
from pura_server.packed.wire import CompactOpen


@dataclasses.dataclass(frozen=True)
class Move:
    """The block to drop, and where its entries go."""

    block: BlockId
    places: tuple[tuple[Handle, BlockId, int], ...]


def plan(view: View, capacity: int) -> Move | None:
    """The cheapest move that frees a block, or None. `capacity` is L."""
    if len(view) > (len(view.blocks) - 1) * capacity:
        return None
    at = view.positions // capacity
    counts = np.bincount(at, minlength=len(view.blocks))
    source = int(counts.argmin())
    taken = np.zeros(len(view.blocks) * capacity, bool)
    taken[view.positions] = True
    taken[source * capacity : (source + 1) * capacity] = True
    # the fullest blocks first: as few as possible have to be rewritten
    order = np.argsort(-counts, kind="stable")
    free = [int(p) for i in order for p in np.flatnonzero(~taken[i * capacity : (i + 1) * capacity]) + i * capacity]
    moving = [Handle(int(h)) for h in view.handles[at == source]]
    return Move(
        view.blocks[source],
        tuple((h, view.blocks[p // capacity], p % capacity) for h, p in zip(moving, free, strict=False)),
    )


def compact_s1(side: Side, store: Store, pictures: Pictures) -> Rounds[None]:
    """Free one block, if there is one to free."""
    view = pictures.latest()
    move = plan(view, side.columns.entries)
    if move is None:
        return
    txn = TxnId(side.rng.bytes(TXN_BYTES))
    yield from send(CompactOpen(txn, view.digest, move.block, dump_places(move.places)))
    shares: Sequence[Sequence[int]] = []
    if move.places:
        shares = yield from stored_s1(side, store, [h for h, _, _ in move.places])
    change = yield from _change(side, view, txn, move, shares)
    yield from commit_s1(store, pictures, change)


def compact_s2(side: Side, store: Store, pictures: Pictures, opening: CompactOpen) -> Rounds[None]:
    """S2's side of `compact_s1`."""
    view, capacity = pictures.current(opening.digest), side.columns.entries
    move = plan(view, capacity)
    if (
        move is None
        or opening.block != move.block
        or tuple(load_places(opening.places, len(move.places), capacity)) != move.places
        or len(opening.txn) != TXN_BYTES
    ):
        raise ProtocolError(detail="plan of a compaction")
    shares: Sequence[Sequence[int]] = []
    if move.places:
        shares = yield from stored_s2(side, len(move.places))
    change = yield from _change(side, view, TxnId(opening.txn), move, shares)
    yield from commit_s2(store, pictures, change)


def _change(side: Side, view: View, txn: TxnId, move: Move, shares: Sequence[Sequence[int]]) -> Rounds[Change]:
    new: dict[BlockId, list[Z]] = {}
    if move.places:
        terms = [Term(block, slot, 1, share) for (_, block, slot), share in zip(move.places, shares, strict=True)]
        new = yield from rewrite(side, terms, current_blocks(side, view, {block for _, block, _ in move.places}))
    return Change(txn, "compact", moves=move.places, blocks=block_updates(side.pk, txn, new), drops=(move.block,))
