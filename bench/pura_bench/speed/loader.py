"""Puts many synthetic entries into both stores of a stopped deployment of engine packed at once.

A real enrolment costs both servers some 60 ms an entry, so a gallery of 10,000 takes ten minutes that say nothing about
questions. The loader knows the plaintexts and the label key, and writes what enrolment would have left: the same
blocks, encrypted afresh, on both servers, shares of the norms, labels, and the templates as a client sends them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pura.bigint import many_from_bytes
from pura.crypto.encoding import ColumnLayout
from pura.crypto.rng import SystemRng
from pura.store.segments import read_block
from pura_bench import gallery
from pura_bench.gallery import BLOCKS_AT_ONCE
from pura_bench.speed.network import LOOPBACK
from pura_bench.workload import Workload
from pura_client.config import load as load_client
from pura_client.labels import LabelCipher
from pura_server import config as server_config
from pura_server import engines
from pura_server.deploy import FIRST_CLIENT

if TYPE_CHECKING:
    from pura_bench.speed.deployment import Deployment


def load(deployment: Deployment, work: Workload, first: int, progress: Callable[[int], None]) -> None:
    """Add the entries from place `first` on. `progress` hears how many there are."""
    deployment.configure(1, LOOPBACK, (1, 2, 3))
    labels = LabelCipher(load_client(deployment.client).label_key_bytes())
    with contextlib.ExitStack() as stack:
        parts = [engines.prepare(server_config.load(path)) for path in (deployment.s1, deployment.s2)]
        for part in parts:
            stack.callback(part.store.close)
        s1 = parts[0]
        step = BLOCKS_AT_ONCE * (capacity := ColumnLayout.of(s1.params).entries)
        for start in range(first, len(work.gallery), step):
            rows = work.gallery[start : start + step]
            sealed = [labels.seal(work.label(start + k), SystemRng()) for k in range(len(rows))]
            places = s1.store.allocate(len(rows), capacity)
            blocks = s1.store.snapshot().blocks
            held = {
                block: many_from_bytes(bytes(read_block(blocks[block])), s1.pk.ciphertext_bytes)
                for block in {block for block, _ in places} & blocks.keys()
            }
            both = gallery.changes(
                s1.pk, s1.params, rows, places, sealed, SystemRng(), rows=True, client=FIRST_CLIENT, held=held
            )
            for part, change in zip(parts, both, strict=True):
                part.store.apply(change)
            progress(start + len(rows))
