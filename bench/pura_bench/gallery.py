"""Large galleries in seconds: both data folders written by somebody who has both mask files.

The protocol enrols some dozens of templates a second; this writes thousands, so that a measurement of questions can
begin with a large gallery. What the folders hold is what enrolment would have left. The servers are started on them
afterwards, like on any folder.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pura.crypto.masks import MaskKeys
from pura.crypto.rng import Rng
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, Party, TxnId
from pura.params import Params
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.sizes import Sizes
from pura.store import Change, Entry
from pura.store.base import DIGEST_BYTES, TXN_BYTES
from pura_server.prepared.gallery import dump_rows, entry_masks
from pura_server.prepared.slots import MASKING, NONCE_BYTES


def changes(
    params: Params,
    keys: tuple[MaskKeys, MaskKeys],
    templates: NDArray[np.int64],
    places: NDArray[np.int64],
    labels: Sequence[str],
    rng: Rng,
    *,
    seal: Callable[[str, EnrolmentId], bytes] = lambda label, _: label.encode(),
    client: str = "bench",
) -> tuple[Change, Change]:
    """The change of S1 and of S2 that puts templates (n, D) into free places (n,), block times SLOTS and slot: what
    enrolment would have left."""
    sizes = Sizes.of(params)
    masking = np.zeros(len(templates), MASKING)
    masking["nonces"] = np.frombuffer(rng.bytes(2 * NONCE_BYTES), np.uint8).reshape(2, NONCE_BYTES)
    masking["versions"] = [own.version for own in keys]
    e = templates.astype(np.uint32)
    for party, own in zip(Party, keys, strict=True):
        e = e - entry_masks(own, party, sizes, places, masking)
    rows = dump_rows(e & np.uint32((1 << sizes.key_bits) - 1), sizes.key_bits)
    now, adds = int(time.time()), []
    for place, row, how, label in zip(places.tolist(), rows, masking, labels, strict=True):
        enrolment_id = EnrolmentId(rng.bytes(16))
        adds.append(
            Entry(
                handle=Handle(rng.bits(64) | 1),
                enrolment_id=enrolment_id,
                digest=rng.bytes(DIGEST_BYTES),
                label=seal(label, enrolment_id),
                body=row,
                client=ClientId(client),
                block=BlockId(place // SLOTS),
                slot=place % SLOTS,
                masking=how.tobytes(),
                created=now,
            )
        )
    theirs = [dataclasses.replace(entry, digest=bytes(DIGEST_BYTES), client=ClientId("")) for entry in adds]
    change = Change(txn=TxnId(rng.bytes(TXN_BYTES)), kind="enrol", adds=tuple(adds))
    return change, dataclasses.replace(change, adds=tuple(theirs))
