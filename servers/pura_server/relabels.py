"""Other labels for entries: a signed wish, looked at by both servers as its client sent it, and committed on both.

A wish names for each entry the label that it is to replace (`pura.crypto.context.NewLabel`). What has its new label
already is done; so a client that heard nothing may send the same again. What has neither is refused, all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pura.crypto.context import NewLabel, label_hash
from pura.errors import LabelConflict, OutOfRange, ProtocolError, PuraError
from pura.ids import Commitment, Epoch, GroupId, Handle, RequestId, TxnId
from pura.messages import Message, message
from pura.rounds import Rounds, receive, send
from pura.store.base import Relabel, Store
from pura_server.backend import MAX_LABEL
from pura_server.claims import Gate, Order
from pura_server.verdicts import ruled, verdicts

MAX_RELABELS = 4096


@message
class RelabelOpen(Message):
    """S1 -> S2: so many entries are to get other labels; each follows as a `Renamed`. request to signature: as a client
    sent them; `client` is its commitment to a certificate, `group` names the key that it signed with."""

    txn: bytes
    digest: bytes
    entries: int
    request: bytes
    epoch: bytes
    client: bytes
    group: bytes
    signature: bytes


@message
class Renamed(Message):
    """S1 -> S2: one entry, the hash of the label that it is to have lost, and its new label."""

    handle: int
    before: bytes
    label: bytes


def planned(store: Store, labels: Sequence[NewLabel]) -> tuple[list[Relabel], int]:
    """What there is to change, and how many of the entries there are. Entries that are not there count as done.

    Raises `OutOfRange`, `LabelConflict`.
    """
    if len({one.handle for one in labels}) != len(labels):
        raise OutOfRange("an entry is named twice")
    if any(len(one.label) > MAX_LABEL for one in labels):
        raise OutOfRange(f"a label may have at most {MAX_LABEL} bytes")
    changes, there = [], 0
    for one in labels:
        entry = store.by_handle(one.handle)
        if entry is None:
            continue
        there += 1
        if entry.label == one.label:
            continue
        if label_hash(entry.label) != one.before:
            raise LabelConflict()
        changes.append(Relabel(one.handle, entry.enrolment_id, one.label, entry.expires))
    return changes, there


def ask_to_relabel(txn: TxnId, digest: bytes, labels: Sequence[NewLabel], order: Order) -> Rounds[PuraError | None]:
    """S1's side: why S2 refuses, or None. `digest`: of the gallery."""
    o = order
    yield from send(RelabelOpen(txn, digest, len(labels), o.request, o.epoch, o.client, o.group, o.signature))
    for one in labels:
        yield from send(Renamed(one.handle, one.before, one.label))
    (refusal,) = yield from verdicts(1)
    return refusal


def permit_labels(gate: Gate, store: Store, opening: RelabelOpen) -> Rounds[list[Relabel]]:
    """S2's side: what S1 found by `planned`; nothing if the client's group may not have it so. Raises
    `ProtocolError`."""
    if not 0 < opening.entries <= MAX_RELABELS:
        raise ProtocolError(detail="opening of new labels")
    labels = []
    for _ in range(opening.entries):
        one = yield from receive(Renamed)
        labels.append(NewLabel(Handle(one.handle), one.before, one.label))
    try:
        changes, _ = planned(store, labels)
    except (OutOfRange, LabelConflict) as error:  # S1 has looked at the same
        raise ProtocolError(detail="new labels") from error
    request, epoch, group = RequestId(opening.request), Epoch(opening.epoch), GroupId(opening.group)
    order = Order(request, epoch, Commitment(opening.client), group, opening.signature)
    passes = yield from ruled(lambda: gate.relabelling(labels, len(changes), order))
    return changes if passes else []
