"""Large galleries in seconds: both servers' data folders written by somebody who knows the templates.

The protocol enrols about a hundred templates a second; this writes 10,000 of 128 coordinates in some ten seconds, so
that a measurement of questions can begin with a large gallery. What the folders hold is what enrolment would have left:
the same blocks at both servers, norms in two random shares, row ciphertexts and labels at S1. The servers are started
on them afterwards, like on any folder:

    with open_store(folder1, Party.S1, pk, params) as one, open_store(folder2, Party.S2, pk, params) as two:
        handles = fill(one, two, pk, params, templates, SystemRng())
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pura.bigint import Z
from pura.crypto.encoding import ColumnLayout, pack_slots
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, Party, TxnId
from pura.params import Params
from pura.protocols.packed.client import encrypt_template
from pura.store import Change, Entry, SqliteStore, Store
from pura.store.base import DIGEST_BYTES, TXN_BYTES
from pura_server.packed.change import block_updates
from pura_server.packed.gallery import NORM_BYTES

BLOCKS_AT_ONCE = 16
"""Blocks of one change."""


def open_store(folder: Path, party: Party, pk: PublicKey, params: Params) -> SqliteStore:
    """The data folder of one server, made if it is not there."""
    return SqliteStore.open(
        folder, role=party, agreement=params.storage, key_id=pk.key_id, block_bytes=pk.ciphertext_bytes
    )


def fill(
    one: Store,
    two: Store,
    pk: PublicKey,
    params: Params,
    templates: NDArray[np.int64],
    rng: Rng,
    *,
    slots: Callable[[int], Sequence[int]] | None = None,
    rows: bool = False,
) -> list[Handle]:
    """Add templates (M, D) to two empty stores, of S1 and of S2; their handles, in order.

    slots: which slots of a block are used, given how many there are; all by default. rows: whether S1 gets the row
    ciphertexts, too, which erasure and compaction need and which take most of the time. Labels are "person 0",
    "person 1" and so on.
    """
    columns = ColumnLayout.of(params)
    places: list[tuple[BlockId, int]] = []
    block = 0
    while len(places) < len(templates):
        used = slots(columns.entries) if slots else range(columns.entries)
        places += [(BlockId(block), slot) for slot in used]
        block += 1
    places = places[: len(templates)]
    handles: list[Handle] = []
    at = 0
    for first in range(0, block, BLOCKS_AT_ONCE):
        stop = at
        while stop < len(places) and places[stop][0] < first + BLOCKS_AT_ONCE:
            stop += 1
        labels = [f"person {i}".encode() for i in range(at, stop)]
        both = changes(pk, params, templates[at:stop], places[at:stop], labels, rng, rows=rows)
        for store, change in zip((one, two), both, strict=True):
            store.apply(change)
        handles += [entry.handle for entry in both[0].adds]
        at = stop
    return handles


def changes(
    pk: PublicKey,
    params: Params,
    templates: NDArray[np.int64],
    places: Sequence[tuple[BlockId, int]],
    labels: Sequence[bytes],
    rng: Rng,
    *,
    rows: bool,
    client: str = "bench",
    held: Mapping[BlockId, Sequence[Z]] | None = None,
) -> tuple[Change, Change]:
    """The change of S1 and of S2 that puts templates (n, D) into these free places; `held`: blocks that have others."""
    columns = ColumnLayout.of(params)
    txn, now = TxnId(rng.bytes(TXN_BYTES)), int(time.time())
    by_block: dict[BlockId, list[int]] = {}
    for i, (block, _) in enumerate(places):
        by_block.setdefault(block, []).append(i)
    new: dict[BlockId, list[Z]] = {}
    for block, members in by_block.items():
        table = np.zeros((columns.entries, params.dimension), np.int64)
        table[[places[i][1] for i in members]] = templates[members]
        fresh = [pk.encrypt(pack_slots(column, columns.slot_bits), rng) for column in table.T.tolist()]
        others = (held or {}).get(block)
        new[block] = fresh if others is None else [pk.add(g, e) for g, e in zip(others, fresh, strict=True)]
    first, second = [], []
    for y, label, (block, slot) in zip(templates, labels, places, strict=True):
        handle, share = Handle(rng.bits(64) | 1), rng.bits(columns.slot_bits)
        other = (int(y @ y) - share) % (1 << columns.slot_bits)
        entry = Entry(
            handle=handle,
            enrolment_id=EnrolmentId(rng.bytes(16)),
            digest=rng.bytes(DIGEST_BYTES),
            label=label,
            body=encrypt_template(pk, params, y, rng) if rows else b"",
            client=ClientId(client),
            block=block,
            slot=slot,
            norm_share=share.to_bytes(NORM_BYTES, "big"),
            created=now,
        )
        first.append(entry)
        second.append(
            dataclasses.replace(
                entry,
                enrolment_id=EnrolmentId(handle.to_bytes(16, "big")),
                digest=bytes(DIGEST_BYTES),
                label=b"",
                body=b"",
                client=ClientId(""),
                norm_share=other.to_bytes(NORM_BYTES, "big"),
            )
        )
    one = Change(txn=txn, kind="enrol", adds=tuple(first), blocks=block_updates(pk, txn, new))
    return one, dataclasses.replace(one, adds=tuple(second))
