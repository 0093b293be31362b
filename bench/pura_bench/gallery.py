"""Large galleries in seconds: both servers' data folders written by somebody who knows the templates.

The protocol enrols about a hundred templates a second; this writes 10,000 of 128 coordinates in some ten seconds, so
that a measurement of questions can begin with a large gallery. What the folders hold is what enrolment would have left:
the same blocks at both servers, norms in two random shares, row ciphertexts and labels at S1. The servers are started
on them afterwards, like on any folder:

    with open_store(folder1, Party.S1, pk, params) as one, open_store(folder2, Party.S2, pk, params) as two:
        handles = fill(one, two, pk, params, templates, SystemRng())
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import ColumnLayout, pack_slots
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, Party, TxnId
from pura.params import Params
from pura.protocols.packed.client import encrypt_template
from pura.store import BlockUpdate, Change, Entry, SqliteStore, Store
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
    places: list[tuple[int, int]] = []
    block = 0
    while len(places) < len(templates):
        used = slots(columns.entries) if slots else range(columns.entries)
        places += [(block, slot) for slot in used]
        block += 1
    places = places[: len(templates)]
    drawn: dict[Handle, None] = {}
    while len(drawn) < len(templates):
        if handle := rng.bits(64):
            drawn[Handle(handle)] = None
    handles = list(drawn)
    at = 0
    for first in range(0, block, BLOCKS_AT_ONCE):
        stop = at
        while stop < len(places) and places[stop][0] < first + BLOCKS_AT_ONCE:
            stop += 1
        part = slice(at, stop)
        labels = [f"person {i}".encode() for i in range(at, stop)]
        _add(one, two, pk, params, columns, templates[part], handles[part], places[part], labels, rng, rows)
        at = stop
    return handles


def _add(
    one: Store,
    two: Store,
    pk: PublicKey,
    params: Params,
    columns: ColumnLayout,
    templates: NDArray[np.int64],
    handles: Sequence[Handle],
    places: Sequence[tuple[int, int]],
    labels: Sequence[bytes],
    rng: Rng,
    rows: bool,
) -> None:
    txn = TxnId(rng.bytes(16))
    version = int.from_bytes(txn[:7], "big")
    by_block: dict[int, list[int]] = {}
    for i, (block, _) in enumerate(places):
        by_block.setdefault(block, []).append(i)
    updates = []
    for block, members in by_block.items():
        table = np.zeros((columns.entries, params.dimension), np.int64)
        table[[places[i][1] for i in members]] = templates[members]
        plain = [pack_slots(column, columns.slot_bits) for column in table.T.tolist()]
        updates.append(BlockUpdate(BlockId(block), version, pk.dump_many(pk.encrypt(p, rng) for p in plain)))
    now = int(time.time())
    sides: tuple[list[Entry], list[Entry]] = ([], [])
    for y, handle, (block, slot), label in zip(templates, handles, places, labels, strict=True):
        share = rng.bits(columns.slot_bits)
        other = (int(y @ y) - share) % (1 << columns.slot_bits)
        body = encrypt_template(pk, params, y, rng) if rows else b""
        named = (EnrolmentId(rng.bytes(16)), hashlib.sha256(label).digest(), label, body, ClientId("bench"))
        unnamed = (EnrolmentId(handle.to_bytes(16, "big")), bytes(32), b"", b"", ClientId(""))
        for entries, (id_, digest, name, raw, client), norm in zip(
            sides, (named, unnamed), (share, other), strict=True
        ):
            place = (BlockId(block), slot, norm.to_bytes(NORM_BYTES, "big"), now)
            entries.append(Entry(handle, id_, digest, name, raw, client, *place))
    for store, entries in zip((one, two), sides, strict=True):
        store.apply(Change(txn, "enrol", adds=tuple(entries), blocks=tuple(updates)))
