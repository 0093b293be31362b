"""Puts many synthetic entries into both stores of a stopped deployment at once.

Enrolment would take minutes that say nothing about questions. The loader knows the plaintexts, the label key and the
keys of both servers' masks, and writes what enrolment would have left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
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
from pura_server.engines import Parts

if TYPE_CHECKING:
    from pura_bench.speed.deployment import Deployment


def load(deployment: Deployment, work: Workload, first: int, progress: Callable[[int], None]) -> None:
    """Add the entries from place `first` on. `progress` hears how many there are."""
    deployment.configure(1, LOOPBACK, (1, 2, 3, 4))
    cipher = LabelCipher(load_client(deployment.client).label_key_bytes())
    with contextlib.ExitStack() as stack:
        parts = [engines.prepare(server_config.load(path)) for path in (deployment.s1, deployment.s2)]
        for part in parts:
            stack.callback(part.store.close)
        _load(parts, work, first, cipher, progress)


AT_ONCE = 65_536
"""Entries of one change: each one hashes the whole roster again."""


def _load(
    parts: Sequence[Parts], work: Workload, first: int, cipher: LabelCipher, progress: Callable[[int], None]
) -> None:
    s1 = parts[0]
    one, two = (engines.mask_keys(part) for part in parts)
    start_at = s1.store.count()  # a gallery that was only enrolled fills its slots in order
    for start in range(first, len(work.gallery), AT_ONCE):
        rows = work.gallery[start : start + AT_ONCE]
        places = np.arange(start_at, start_at + len(rows))
        start_at += len(rows)
        texts = [work.label(start + k) for k in range(len(rows))]
        both = gallery.changes(
            s1.params, (one, two), rows, places, texts, SystemRng(), seal=partial(cipher.seal, rng=SystemRng()),
            client=DESK,
        )  # fmt: skip
        for part, change in zip(parts, both, strict=True):
            part.store.apply(change)
        progress(start + len(rows))
