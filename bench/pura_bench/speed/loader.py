"""Puts many synthetic entries into both stores of a stopped deployment at once.

Enrolment would take minutes that say nothing about questions. The loader knows the plaintexts, the label key and the
keys of both servers' masks, and writes what enrolment would have left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pura.crypto.rng import SystemRng
from pura_bench import gallery
from pura_bench.speed.network import LOOPBACK
from pura_bench.workload import Workload
from pura_client.config import load as load_client
from pura_client.labels import LabelCipher
from pura_server import config as server_config
from pura_server import engines
from pura_server.deploy import DESK

if TYPE_CHECKING:
    from pura_bench.speed.deployment import Deployment


AT_ONCE = 65_536
"""Entries of one change: each one hashes the whole roster again."""


def load(deployment: Deployment, work: Workload, first: int, progress: Callable[[int], None]) -> None:
    """Add the entries from place `first` on. `progress` hears how many there are."""
    deployment.configure(1, LOOPBACK, (1, 2, 3, 4))
    seal = partial(LabelCipher(load_client(deployment.client).label_key_bytes()).seal, rng=SystemRng())
    with contextlib.ExitStack() as stack:
        parts = [engines.prepare(server_config.load(path)) for path in (deployment.s1, deployment.s2)]
        for part in parts:
            stack.callback(part.store.close)
        one, two = (engines.mask_keys(part) for part in parts)
        moved = parts[0].store.count() - first  # a gallery that was only enrolled fills its slots in order
        for start in range(first, len(work.gallery), AT_ONCE):
            rows = work.gallery[start : start + AT_ONCE]
            there = np.arange(start, start + len(rows))
            texts = [work.label(int(place)) for place in there]
            both = gallery.changes(
                parts[0].params, (one, two), rows, there + moved, texts, SystemRng(), seal=seal, client=DESK
            )
            for part, change in zip(parts, both, strict=True):
                part.store.apply(change)
            progress(start + len(rows))
