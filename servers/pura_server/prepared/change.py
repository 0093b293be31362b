"""Enrolment, erasure, other labels: conversion to shares, the norm bit, E, and the commit on both servers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pura.crypto.context import NewLabel
from pura.errors import BadProof, EnrolmentConflict, InvalidTemplate, MalformedCiphertext, ProtocolError, PuraError
from pura.ids import ClientId, EnrolmentId, Epoch, Handle, TxnId
from pura.protocols.prepared import norm, pack
from pura.protocols.prepared.blocks import Matrix
from pura.protocols.prepared.convert import Converted, convert_s1, convert_s2
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.entries import masked_entries
from pura.protocols.prepared.material import Hand
from pura.protocols.prepared.side import Side
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.gmw import opened, unpack_bits
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, receive, send
from pura.statements import Signer, Verifier
from pura.store.base import TXN_BYTES, Change, Entry, Store
from pura_server.backend import MAX_LABEL, Begins, Kind, NewEntry
from pura_server.claims import Examiner, Gate, Order
from pura_server.erasures import EraseOpen, ask_to_erase, permit, present
from pura_server.expiry import ExpireOpen, expires_at, judge, near, over, propose
from pura_server.prepared.gallery import dump_rows, entry_masks
from pura_server.prepared.settle import commit_s1, commit_s2
from pura_server.prepared.slots import Place
from pura_server.prepared.state import Pictures
from pura_server.prepared.tables import dump_places, load_places
from pura_server.prepared.wire import EnrolOpen, Places
from pura_server.relabels import RelabelOpen, ask_to_relabel, permit_labels, planned
from pura_server.submissions import Accepted, admit, submit

Outcome = Handle | PuraError


def sift(examiner: Examiner, store: Store, items: Sequence[NewEntry]) -> tuple[list[Outcome | None], list[int]]:
    """What can be answered at once (enrolled already, malformed, no proof that holds), and which templates need the
    protocol."""
    outcomes: list[Outcome | None] = []
    fresh: list[int] = []
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
                examiner.enrolment(item.ciphertexts, item.enrolment_id, item.label, item.claim, item.keep_days)
                fresh.append(i)
            except (MalformedCiphertext, BadProof) as error:
                outcome = error
        ids.add(item.enrolment_id)
        outcomes.append(outcome)
    return outcomes, fresh


def add_s1(
    side: Side,
    store: Store,
    pictures: Pictures,
    verifier: Verifier,
    ends: Ends,
    examiner: Examiner,
    items: Sequence[NewEntry],
    at: int,
) -> Rounds[list[Outcome]]:
    """Enrol a batch of templates at a time, in seconds since 1970; one outcome each."""
    outcomes, order = sift(examiner, store, items)
    if order:
        txn = TxnId(side.rng.bytes(TXN_BYTES))
        yield from send(EnrolOpen(txn, len(order), items[order[0]].claim.epoch, at))
        refused = yield from submit([items[i] for i in order])
        for i, refusal in zip(order, refused, strict=True):
            outcomes[i] = refusal
        order = [i for i in order if outcomes[i] is None]
    if order:
        (made,) = yield from pack.make(side, ends.fork(txn), _need(side, len(order)), 1, len(order))
        made.use()
        converted = yield from convert_s1(side, made.hand, made.blinds)
        good = yield from _good(side, made.hand, converted)
        for k, i in enumerate(order):
            if k not in good:
                outcomes[i] = InvalidTemplate()
        handles = [_new_handle(side, store) for _ in good]
        places = pictures.slots.take(len(good))
        yield from send(
            Places(
                pictures.latest().digest, dump_places([(h, b, s) for h, (b, s) in zip(handles, places, strict=True)])
            )
        )
        if good:
            rows, masking = yield from _write(side, pictures, converted, good, places)
            adds = tuple(
                _entry(side, at, handle, place, row, how, items[order[k]], items[order[k]])
                for k, handle, place, row, how in zip(good, handles, places, rows, masking, strict=True)
            )
            yield from commit_s1(store, pictures, Change(txn=txn, kind="enrol", adds=adds), verifier)
            for k, handle in zip(good, handles, strict=True):
                outcomes[order[k]] = handle
    return [o if o is not None else InvalidTemplate() for o in outcomes]


def add_s2(
    side: Side, store: Store, pictures: Pictures, signer: Signer, ends: Ends, gate: Gate, opening: EnrolOpen, now: int
) -> Rounds[None]:
    """S2's side of `add_s1`; `now`: by this server's clock. Raises `NotReady` too, when S1 has another one and an entry
    would expire by it."""
    submitted = yield from admit(gate, Epoch(opening.epoch), opening.templates)
    if side.params.retention_days or any(one.keep_days for one in submitted):
        near(opening.at, now)
    if not submitted:
        return
    templates = [one.template for one in submitted]
    (made,) = yield from pack.make(side, ends.fork(opening.txn), _need(side, len(templates)), 1, len(templates))
    made.use()
    converted = yield from convert_s2(side, made.hand, made.blinds, made.masks, templates)
    good = yield from _good(side, made.hand, converted)
    got = yield from receive(Places)
    pictures.current(got.digest)
    table = load_places(got.places, len(good), SLOTS)
    places = [(block, slot) for _, block, slot in table]
    pictures.slots.spend(places)
    if good:
        rows, masking = yield from _write(side, pictures, converted, good, places)
        adds = tuple(
            _entry(side, opening.at, handle, place, row, how, submitted[k])
            for k, (handle, _, _), place, row, how in zip(good, table, places, rows, masking, strict=True)
        )
        yield from commit_s2(store, pictures, Change(txn=_txn(opening.txn), kind="enrol", adds=adds), signer)


def erase_s1(
    side: Side, store: Store, pictures: Pictures, verifier: Verifier, handles: Sequence[Handle], order: Order
) -> Rounds[int | PuraError]:
    """Erase entries: their E leaves both servers. How many there were, or why S2 refuses."""
    view = pictures.latest()
    wanted = present(view.handles, handles)
    if not wanted:
        return 0
    txn = TxnId(side.rng.bytes(TXN_BYTES))
    refusal = yield from ask_to_erase(txn, view.digest, handles, order)
    if refusal is not None:
        return refusal
    yield from commit_s1(store, pictures, Change(txn=txn, kind="erase", removes=tuple(wanted)), verifier)
    return len(wanted)


def erase_s2(store: Store, pictures: Pictures, signer: Signer, gate: Gate, opening: EraseOpen) -> Rounds[None]:
    """S2's side of `erase_s1`."""
    wanted = yield from permit(gate, pictures.current(opening.digest).handles, opening)
    if not wanted:
        return
    change = Change(txn=_txn(opening.txn), kind="erase", removes=tuple(wanted))
    yield from commit_s2(store, pictures, change, signer)


def expire_s1(
    side: Side, store: Store, pictures: Pictures, verifier: Verifier, sure: int, begins: Begins
) -> Rounds[int]:
    """Erase entries whose time is over by both calendars; how many. `sure`: this server's."""
    view = pictures.latest()
    chosen = over(view.expires, sure)
    if not len(chosen):
        return 0
    begins(Kind.EXPIRE)
    txn = TxnId(side.rng.bytes(TXN_BYTES))
    gone = yield from propose(txn, view.digest, view.handles[chosen])
    if gone:
        yield from commit_s1(store, pictures, Change(txn, "expire", removes=tuple(gone)), verifier)
    return len(gone)


def expire_s2(store: Store, pictures: Pictures, signer: Signer, opening: ExpireOpen, sure: int) -> Rounds[None]:
    """S2's side of `expire_s1`."""
    view = pictures.current(opening.digest)
    gone = yield from judge(opening, view.handles, view.expires, sure)
    if gone:
        yield from commit_s2(store, pictures, Change(_txn(opening.txn), "expire", removes=tuple(gone)), signer)


def relabel_s1(
    side: Side, store: Store, pictures: Pictures, verifier: Verifier, labels: Sequence[NewLabel], order: Order
) -> Rounds[int | PuraError]:
    """Give entries other labels: how many of them there are, or why S2 refuses. Raises what `planned` does."""
    changes, there = planned(store, labels)
    if changes:
        txn = TxnId(side.rng.bytes(TXN_BYTES))
        refusal = yield from ask_to_relabel(txn, pictures.latest().digest, labels, order)
        if refusal is not None:
            return refusal
        yield from commit_s1(store, pictures, Change(txn, "relabel", relabels=tuple(changes)), verifier)
    return there


def relabel_s2(store: Store, pictures: Pictures, signer: Signer, gate: Gate, opening: RelabelOpen) -> Rounds[None]:
    """S2's side of `relabel_s1`."""
    pictures.current(opening.digest)
    changes = yield from permit_labels(gate, store, opening)
    if changes:
        change = Change(_txn(opening.txn), "relabel", relabels=tuple(changes))
        yield from commit_s2(store, pictures, change, signer)


def _need(side: Side, templates: int) -> Need:
    return pack.need_for_templates(side, templates)


def _good(side: Side, hand: Hand, converted: Converted) -> Rounds[list[int]]:
    """Which templates have their length. Both servers learn it before anything of an entry is written."""
    good = yield from norm.has_length(hand, side.sizes, converted.norms, first=side.first)
    bits = unpack_bits((yield from opened(good)), len(converted.x))
    return np.flatnonzero(bits).tolist()


def _write(
    side: Side, pictures: Pictures, converted: Converted, good: Sequence[int], places: Sequence[Place]
) -> Rounds[tuple[list[bytes], NDArray[np.void]]]:
    """E of the accepted templates in slots that are spent, as it is stored, and how it is masked."""
    at = np.array([int(block) * SLOTS + slot for block, slot in places], np.int64)
    masking = pictures.slots.masking(len(good))
    own: Matrix = entry_masks(pictures.keys, pictures.party, side.sizes, at, masking)
    e = yield from masked_entries(side.sizes, converted.x[list(good)], own)
    return dump_rows(e, side.sizes.key_bits), masking


def _entry(
    side: Side,
    at: int,
    handle: Handle,
    place: Place,
    row: bytes,
    masking: np.void,
    sent: NewEntry | Accepted,
    item: NewEntry | None = None,
) -> Entry:
    """`item`: what S1 knows besides: whose it is."""
    return Entry(
        handle=handle,
        enrolment_id=sent.enrolment_id,
        digest=item.digest if item else bytes(32),
        label=sent.label,
        body=row,
        client=item.client if item else ClientId(""),
        block=place[0],
        slot=place[1],
        masking=masking.tobytes(),
        created=at,
        expires=expires_at(at, side.params.retention_days, sent.keep_days),
    )


def _txn(raw: bytes) -> TxnId:
    if len(raw) != TXN_BYTES:
        raise ProtocolError(detail="length of a change's number")
    return TxnId(raw)


def _new_handle(side: Side, store: Store) -> Handle:
    while True:
        handle = Handle(side.rng.bits(64))
        if handle and store.by_handle(handle) is None:
            return handle
