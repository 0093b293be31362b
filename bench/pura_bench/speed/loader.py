"""Puts many synthetic entries into both stores of a stopped deployment of engine packed at once.

A real enrolment costs both servers some 60 ms an entry, so a gallery of 10,000 takes ten minutes that say nothing about
questions. The loader knows the plaintexts and the label key, and writes what enrolment would have left: the same
blocks, encrypted afresh, on both servers, shares of the norms, labels, and the templates as a client sends them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.bigint import many_from_bytes
from pura.crypto.encoding import ColumnLayout
from pura.crypto.rng import Rng, SystemRng
from pura.ids import ClientId, EnrolmentId, Handle, TxnId
from pura.protocols.packed.client import encrypt_template
from pura.store.base import TXN_BYTES, BlockUpdate, Change, Entry
from pura.store.segments import read_block
from pura_bench.speed.network import LOOPBACK
from pura_bench.workload import Workload
from pura_client.config import load as load_client
from pura_client.labels import LabelCipher
from pura_server import config as server_config
from pura_server import engines
from pura_server.deploy import FIRST_CLIENT
from pura_server.engines import Parts
from pura_server.packed.gallery import NORM_BYTES

if TYPE_CHECKING:
    from pura_bench.speed.deployment import Deployment

BLOCKS_AT_ONCE = 16


def load(deployment: Deployment, work: Workload, first: int, progress: Callable[[int], None]) -> None:
    """Add the entries from place `first` on. `progress` hears how many there are."""
    deployment.configure(1, LOOPBACK, (1, 2, 3))
    labels = LabelCipher(load_client(deployment.client).label_key_bytes())
    with contextlib.ExitStack() as stack:
        parts = [engines.prepare(server_config.load(path)) for path in (deployment.s1, deployment.s2)]
        for part in parts:
            stack.callback(part.store.close)
        step = BLOCKS_AT_ONCE * ColumnLayout.of(parts[0].params).entries
        for start in range(first, len(work.gallery), step):
            rows = work.gallery[start : start + step]
            sealed = [labels.seal(work.label(start + k), SystemRng()) for k in range(len(rows))]
            for part, change in zip(parts, changes(parts[0], rows, sealed, SystemRng()), strict=True):
                part.store.apply(change)
            progress(start + len(rows))


def changes(s1: Parts, rows: NDArray[np.int64], labels: Sequence[bytes], rng: Rng) -> tuple[Change, Change]:
    """One change for each server: templates, shape (n, D), in the next free slots."""
    columns, size = ColumnLayout.of(s1.params), s1.pk.ciphertext_bytes
    places = s1.store.allocate(len(rows), columns.entries)
    txn, now = TxnId(rng.bytes(TXN_BYTES)), int(time.time())
    blocks = s1.store.snapshot().blocks
    updates = []
    for block in sorted({b for b, _ in places}):
        mine = [(slot, y) for y, (b, slot) in zip(rows.tolist(), places, strict=True) if b == block]
        sums = [sum(y[j] << columns.slot_bits * slot for slot, y in mine) for j in range(s1.params.dimension)]
        new = [s1.pk.encrypt(plain, rng) for plain in sums]
        if block in blocks:
            held = bytes(read_block(blocks[block]))
            old = many_from_bytes(held, size)
            new = [g * e % s1.pk.n2 for g, e in zip(old, new, strict=True)]
        updates.append(BlockUpdate(block, int.from_bytes(txn[:7], "big"), s1.pk.dump_many(new)))
    first, second = [], []
    for y, label, (block, slot) in zip(rows, labels, places, strict=True):
        handle, share = Handle(rng.bits(64) | 1), rng.bits(columns.slot_bits)
        other = (int(y @ y) - share) % (1 << columns.slot_bits)
        entry = Entry(
            handle=handle,
            enrolment_id=EnrolmentId(rng.bytes(16)),
            digest=rng.bytes(32),
            label=label,
            body=encrypt_template(s1.pk, s1.params, y, rng),
            client=ClientId(FIRST_CLIENT),
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
                digest=bytes(32),
                label=b"",
                body=b"",
                client=ClientId(""),
                norm_share=other.to_bytes(NORM_BYTES, "big"),
            )
        )
    one = Change(txn=txn, kind="enrol", adds=tuple(first), blocks=tuple(updates))
    return one, dataclasses.replace(one, adds=tuple(second))
