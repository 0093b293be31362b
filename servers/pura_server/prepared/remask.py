"""Other masks for entries: compaction, which frees a block, and what a new key of either server's masks asks for.

    S1, S2: new nonces of all free slots (and, for another key, of the entries' own)
    S1 -> S2: where each entry goes;   S1, S2: open B_old - B_new, so E_new = E_old + B_old - B_new

One opening does for both. Handles and labels stay.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pura.errors import ProtocolError
from pura.ids import BlockId, Handle, TxnId
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.entries import moved_entries
from pura.protocols.prepared.side import Side
from pura.rounds import Rounds, receive, send
from pura.statements import Signer, Verifier
from pura.store.base import TXN_BYTES, Change, Move, Store
from pura_server.prepared.gallery import View, dump_rows, entry_masks
from pura_server.prepared.session import exchange_nonces
from pura_server.prepared.settle import commit_s1, commit_s2
from pura_server.prepared.slots import Place
from pura_server.prepared.state import Pictures
from pura_server.prepared.tables import dump_places, load_places
from pura_server.prepared.wire import Places, RemaskOpen

NO_DROP = (1 << 64) - 1
AT_ONCE = 4096
"""Entries whose masks are changed in one go."""
ROOM = SLOTS // 8
"""Free slots that must be left when a block goes, so that it is not begun again at once."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The entries, by their places in the view; the block that goes with them, if one does."""

    view: View
    chosen: np.ndarray
    drop: BlockId | None

    @property
    def targets(self) -> list[BlockId]:
        """Where entries of the block that goes find room, the fullest first."""
        blocks, counts = np.unique(self.view.places // SLOTS, return_counts=True)
        order = blocks[np.argsort(-counts, kind="stable")]
        return [BlockId(int(b)) for b in order if b != self.drop]


def plan(pictures: Pictures) -> Plan | None:
    """What there is to do: entries whose masks come from an older key than new ones do, or a block that others have
    room for."""
    view = pictures.latest()
    old = np.flatnonzero((view.masking["versions"] != pictures.slots.versions).any(axis=1))[:AT_ONCE]
    if len(old):
        return Plan(view, old, None)
    if not view.blocks or len(view) > (len(view.blocks) - 1) * SLOTS - ROOM:
        return None
    blocks, counts = np.unique(view.places // SLOTS, return_counts=True)
    source = int(blocks[counts.argmin()])
    return Plan(view, np.flatnonzero(view.places // SLOTS == source), BlockId(source))


def remask_s1(side: Side, store: Store, pictures: Pictures, verifier: Verifier, what: Plan) -> Rounds[None]:
    """Carry out a plan, if the gallery is still the one that it was made for."""
    view = pictures.latest()
    if view is not what.view:
        return
    txn = TxnId(side.rng.bytes(TXN_BYTES))
    drop = NO_DROP if what.drop is None else what.drop
    yield from send(RemaskOpen(txn, view.digest, drop))
    yield from exchange_nonces(side, pictures)
    handles = [Handle(int(h)) for h in view.handles[what.chosen]]
    places: list[Place] = [(BlockId(int(p // SLOTS)), int(p % SLOTS)) for p in view.places[what.chosen]]
    if what.drop is not None:
        places = pictures.slots.take(len(handles), what.targets)
    table = [(handle, block, slot) for handle, (block, slot) in zip(handles, places, strict=True)]
    yield from send(Places(view.digest, dump_places(table)))
    change = yield from _change(side, pictures, view, txn, what.chosen, places)
    yield from commit_s1(store, pictures, change, verifier)


def remask_s2(side: Side, store: Store, pictures: Pictures, signer: Signer, opening: RemaskOpen) -> Rounds[None]:
    """S2's side of `remask_s1`."""
    view = pictures.current(opening.digest)
    if len(opening.txn) != TXN_BYTES:
        raise ProtocolError(detail="opening of a change of masks")
    yield from exchange_nonces(side, pictures)
    got = yield from receive(Places)
    count = len(got.places) // 24
    table = load_places(got.places, count, SLOTS)
    order = np.argsort(view.handles)
    handles = np.array([h for h, _, _ in table], np.uint64)
    found = np.searchsorted(view.handles, handles, sorter=order)
    if not count or len(np.unique(handles)) != count or found.max() >= len(view):
        raise ProtocolError(detail="entries that get other masks")
    chosen = order[found]
    places: list[Place] = [(block, slot) for _, block, slot in table]
    if (view.handles[chosen] != handles).any():
        raise ProtocolError(detail="entries that get other masks")
    if opening.drop != NO_DROP:
        pictures.slots.spend(places)
    else:
        stay = np.array([int(b) * SLOTS + s for b, s in places])
        if (view.places[chosen] != stay).any():
            raise ProtocolError(detail="an entry that should stay")
    change = yield from _change(side, pictures, view, TxnId(opening.txn), chosen, places)
    yield from commit_s2(store, pictures, change, signer)


def _change(
    side: Side, pictures: Pictures, view: View, txn: TxnId, chosen: np.ndarray, places: list[Place]
) -> Rounds[Change]:
    sizes, keys, party = side.sizes, pictures.keys, pictures.party
    old_places, old_masking = view.places[chosen], view.masking[chosen]
    new_places = np.array([int(block) * SLOTS + slot for block, slot in places], np.int64)
    masking = pictures.slots.masking(len(places))
    blocks = view.targets.blocks
    index = {block.masked.block: block.e for block in blocks}
    e = np.stack([index[BlockId(int(p // SLOTS))][p % SLOTS] for p in old_places.tolist()])
    e = yield from moved_entries(
        sizes, e, entry_masks(keys, party, sizes, old_places, old_masking),
        entry_masks(keys, party, sizes, new_places, masking),
    )  # fmt: skip
    moves = tuple(
        Move(Handle(int(handle)), block, slot, row, how.tobytes())
        for handle, (block, slot), row, how in zip(
            view.handles[chosen], places, dump_rows(e, sizes.key_bits), masking, strict=True
        )
    )
    return Change(txn, "remask", moves=moves)
