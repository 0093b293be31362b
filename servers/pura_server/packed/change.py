"""Enrolment and erasure: conversion to shares, the norm check, new blocks, and the commit on both servers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from pura.bigint import Z, many_from_bytes
from pura.crypto.paillier import PublicKey
from pura.errors import EnrolmentConflict, InvalidTemplate, MalformedCiphertext, ProtocolError, PuraError
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, TxnId
from pura.protocols.packed.blocks import Term, rewrite
from pura.protocols.packed.convert import Masks, convert_s1, convert_s2
from pura.protocols.packed.extension import Ends
from pura.protocols.packed.norm import NormShare
from pura.protocols.packed.pack import norms_s1, norms_s2
from pura.protocols.packed.side import Side
from pura.rounds import Rounds, receive, send
from pura.store.base import TXN_BYTES, BlockUpdate, Change, Entry, Store
from pura_server.backend import MAX_LABEL, NewEntry
from pura_server.packed.gallery import NORM_BYTES, View
from pura_server.packed.settle import commit_s1, commit_s2
from pura_server.packed.state import Pictures, dump_handles, load_handles
from pura_server.packed.wire import AddOpen, EraseOpen, Places

PLACE = np.dtype([("handle", ">u8"), ("block", ">u8"), ("slot", ">u8")])
Outcome = Handle | PuraError


def sift(side: Side, store: Store, items: Sequence[NewEntry]) -> tuple[list[Outcome | None], dict[int, list[Z]]]:
    """What can be answered at once (enrolled already, malformed), and the templates that need the protocol."""
    outcomes: list[Outcome | None] = []
    fresh: dict[int, list[Z]] = {}
    ids: set[EnrolmentId] = set()
    for i, item in enumerate(items):
        known = store.by_enrolment_id(item.enrolment_id)
        outcome: Outcome | None = None
        if known is not None:
            outcome = known.handle if known.digest == item.digest else EnrolmentConflict()
        elif item.enrolment_id in ids:
            outcome = EnrolmentConflict("the same enrolment id appears twice in one request")
        elif len(item.label) > MAX_LABEL:
            outcome = InvalidTemplate(f"a label may have at most {MAX_LABEL} bytes")
        else:
            try:
                fresh[i] = side.pk.load_many(item.ciphertexts, side.rows.ciphertexts)
            except MalformedCiphertext as error:
                outcome = error
        ids.add(item.enrolment_id)
        outcomes.append(outcome)
    return outcomes, fresh


def add_s1(
    side: Side, store: Store, pictures: Pictures, ends: Ends, items: Sequence[NewEntry]
) -> Rounds[list[Outcome]]:
    """Enrol a batch of templates; one outcome each."""
    outcomes, fresh = sift(side, store, items)
    order = list(fresh)
    if order:
        txn = TxnId(side.rng.bytes(TXN_BYTES))
        yield from send(AddOpen(txn, len(order)))
        masks = [Masks.draw(side.rows, side.rng) for _ in order]
        fits = yield from convert_s1(side, [fresh[i] for i in order], masks)
        norms = yield from norms_s1(side, ends.fork(txn), masks, fits)
        good = [k for k, norm in enumerate(norms) if norm is not None]
        for k, i in enumerate(order):
            if norms[k] is None:
                outcomes[i] = InvalidTemplate()
        view = pictures.latest()
        handles = [_new_handle(side, store) for _ in good]
        places = store.allocate(len(good), side.columns.entries)
        yield from send(
            Places(view.digest, dump_places([(h, b, s) for h, (b, s) in zip(handles, places, strict=True)]))
        )
        if good:
            terms = [Term(b, s, 1, masks[k].shares) for k, (b, s) in zip(good, places, strict=True)]
            new = yield from rewrite(side, terms, current_blocks(side, view, {b for b, _ in places}))
            entries = [
                Entry(
                    handle=h,
                    enrolment_id=items[order[k]].enrolment_id,
                    digest=items[order[k]].digest,
                    label=items[order[k]].label,
                    body=items[order[k]].ciphertexts,
                    client=items[order[k]].client,
                    block=b,
                    slot=s,
                    norm_share=_norm_bytes(norms[k]),
                    created=int(time.time()),
                )
                for k, h, (b, s) in zip(good, handles, places, strict=True)
            ]
            updates = block_updates(side.pk, txn, new)
            yield from commit_s1(store, pictures, Change(txn=txn, kind="enrol", adds=tuple(entries), blocks=updates))
            for k, h in zip(good, handles, strict=True):
                outcomes[order[k]] = h
    return [o if o is not None else InvalidTemplate() for o in outcomes]


def add_s2(side: Side, store: Store, pictures: Pictures, ends: Ends, opening: AddOpen) -> Rounds[None]:
    """S2's side of `add_s1`."""
    vs = yield from convert_s2(side, opening.templates)
    norms = yield from norms_s2(side, ends.fork(opening.txn), vs)
    good = [k for k, norm in enumerate(norms) if norm is not None]
    got = yield from receive(Places)
    view = pictures.current(got.digest)
    places = load_places(got.places, len(good), side.columns.entries)
    taken = {(int(p // side.columns.entries), int(p % side.columns.entries)) for p in view.positions}
    index = {b: i for i, b in enumerate(view.blocks)}
    if any((index.get(b), s) in taken for _, b, s in places) or len({(b, s) for _, b, s in places}) != len(places):
        raise ProtocolError(detail="a slot is taken")
    if not good:
        return
    terms = [Term(b, s, 1, vs[k] or []) for k, (_, b, s) in zip(good, places, strict=True)]
    new = yield from rewrite(side, terms, current_blocks(side, view, {b for _, b, _ in places}))
    entries = [
        Entry(
            handle=h,
            enrolment_id=EnrolmentId(h.to_bytes(16, "big")),  # S2 has no use for the client's
            digest=bytes(32),
            label=b"",
            body=b"",
            client=ClientId(""),
            block=b,
            slot=s,
            norm_share=_norm_bytes(norms[k]),
            created=int(time.time()),
        )
        for k, (h, b, s) in zip(good, places, strict=True)
    ]
    change = Change(
        txn=_txn(opening.txn), kind="enrol", adds=tuple(entries), blocks=block_updates(side.pk, _txn(opening.txn), new)
    )
    yield from commit_s2(store, pictures, change)


def erase_s1(side: Side, store: Store, pictures: Pictures, handles: Sequence[Handle]) -> Rounds[int]:
    """Erase entries: their slots become exactly 0 in the blocks, their rows leave the store. How many there were."""
    view = pictures.latest()
    known = {int(h) for h in view.handles}
    wanted = [h for h in dict.fromkeys(handles) if int(h) in known]
    if not wanted:
        return 0
    txn = TxnId(side.rng.bytes(TXN_BYTES))
    yield from send(EraseOpen(txn, view.digest, dump_handles(wanted)))
    places, drops = _erasure(side, view, wanted)
    left = [h for h in wanted if places[h][0] not in drops]
    new: dict[BlockId, list[Z]] = {}
    if left:
        shares = yield from stored_s1(side, store, left)
        terms = [Term(*places[h], -1, share) for h, share in zip(left, shares, strict=True)]
        new = yield from rewrite(side, terms, current_blocks(side, view, {places[h][0] for h in left}))
    change = Change(
        txn=txn,
        kind="erase",
        removes=tuple(wanted),
        blocks=block_updates(side.pk, txn, new),
        drops=tuple(sorted(drops)),
    )
    yield from commit_s1(store, pictures, change)
    return len(wanted)


def erase_s2(side: Side, store: Store, pictures: Pictures, opening: EraseOpen) -> Rounds[None]:
    """S2's side of `erase_s1`."""
    view = pictures.current(opening.digest)
    wanted = [Handle(h) for h in load_handles(opening.handles)]
    view.only(wanted, side.columns.entries)
    places, drops = _erasure(side, view, wanted)
    left = [h for h in wanted if places[h][0] not in drops]
    new: dict[BlockId, list[Z]] = {}
    if left:
        shares = yield from stored_s2(side, len(left))
        terms = [Term(*places[h], -1, share) for h, share in zip(left, shares, strict=True)]
        new = yield from rewrite(side, terms, current_blocks(side, view, {places[h][0] for h in left}))
    change = Change(
        txn=_txn(opening.txn),
        kind="erase",
        removes=tuple(wanted),
        blocks=block_updates(side.pk, _txn(opening.txn), new),
        drops=tuple(sorted(drops)),
    )
    yield from commit_s2(store, pictures, change)


def stored_s1(side: Side, store: Store, handles: Sequence[Handle]) -> Rounds[list[tuple[int, ...]]]:
    """S1's shares of the templates of some entries, from their rows and under fresh masks. At least one entry."""
    rows = [side.pk.load_many(raw, side.rows.ciphertexts) for raw in store.bodies(handles)]
    masks = [Masks.draw(side.rows, side.rng) for _ in handles]
    if not all((yield from convert_s1(side, rows, masks))):
        raise ProtocolError("a stored template does not convert")
    return [m.shares for m in masks]


def stored_s2(side: Side, count: int) -> Rounds[list[list[int]]]:
    """S2's side of `stored_s1`."""
    out = []
    for v in (yield from convert_s2(side, count)):
        if v is None:
            raise ProtocolError("a stored template does not convert")
        out.append(v)
    return out


def _erasure(
    side: Side, view: View, wanted: Sequence[Handle]
) -> tuple[dict[Handle, tuple[BlockId, int]], set[BlockId]]:
    """Where the entries lie, and the blocks that have no others: those are dropped, not rewritten."""
    capacity = side.columns.entries
    places: dict[Handle, tuple[BlockId, int]] = {}
    left: dict[BlockId, int] = {}
    gone = set(wanted)
    for handle, position in zip(view.handles.tolist(), view.positions.tolist(), strict=True):
        block = view.blocks[position // capacity]
        if Handle(handle) in gone:
            places[Handle(handle)] = (block, position % capacity)
            left.setdefault(block, 0)
        else:
            left[block] = left.get(block, 0) + 1
    return places, {b for b, _ in places.values() if left[b] == 0}


def current_blocks(side: Side, view: View, wanted: set[BlockId]) -> Mapping[BlockId, Sequence[Z]]:
    """The ciphertexts of the blocks among `wanted` that exist."""
    size = side.pk.ciphertext_bytes
    out: dict[BlockId, Sequence[Z]] = {}
    for block, reader in zip(view.blocks, view.readers, strict=True):
        if block in wanted:
            raw = reader()
            out[block] = many_from_bytes(raw, size)
    return out


def block_updates(pk: PublicKey, txn: TxnId, new: Mapping[BlockId, Sequence[Z]]) -> tuple[BlockUpdate, ...]:
    """The rewritten blocks, under a version that no block ever had: what was made from an older one is told by it."""
    version = int.from_bytes(txn[:7], "big")
    return tuple(BlockUpdate(id=b, version=version, data=pk.dump_many(cs)) for b, cs in sorted(new.items()))


def dump_places(places: Sequence[tuple[Handle, BlockId, int]]) -> bytes:
    """24 bytes each."""
    return np.array(list(places), dtype=PLACE).tobytes()


def load_places(raw: bytes, count: int, capacity: int) -> list[tuple[Handle, BlockId, int]]:
    """Exactly `count` places. Raises `ProtocolError`."""
    if len(raw) != count * PLACE.itemsize:
        raise ProtocolError(detail="number of places")
    table = [(Handle(int(h)), BlockId(int(b)), int(s)) for h, b, s in np.frombuffer(raw, dtype=PLACE).tolist()]
    if any(h == 0 or not s < capacity for h, _, s in table):
        raise ProtocolError(detail="a place is out of range")
    return table


def _txn(raw: bytes) -> TxnId:
    if len(raw) != TXN_BYTES:
        raise ProtocolError(detail="length of a change's number")
    return TxnId(raw)


def _new_handle(side: Side, store: Store) -> Handle:
    while True:
        handle = Handle(side.rng.bits(64))
        if handle and store.by_handle(handle) is None:
            return handle


def _norm_bytes(norm: NormShare | None) -> bytes:
    return (norm.value if norm is not None else 0).to_bytes(NORM_BYTES, "big")
