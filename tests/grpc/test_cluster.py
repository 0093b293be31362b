"""Two real servers, each with its blocks on the two worker processes of a Dask cluster of its own."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dask_cluster import local_cluster
from server_pair import Deployment, deploy

from pura.crypto.rng import SystemRng
from pura.ids import Engine
from pura.protocols.prepared.correlations import SLOTS
from pura_bench import gallery
from pura_bench.workload import THRESHOLD, Workload, make
from pura_client.config import load as load_client
from pura_client.labels import LabelCipher
from pura_server import config as server_config
from pura_server import engines

ENTRIES = SLOTS + 40


def fill(deployment: Deployment, work: Workload) -> None:
    """Write a gallery of two blocks into both data folders."""
    cipher = LabelCipher(load_client(deployment.client_toml).label_key_bytes())
    with contextlib.ExitStack() as stack:
        parts = [engines.prepare(server_config.load(server.config)) for server in deployment.servers]
        for part in parts:
            stack.callback(part.store.close)
        one, two = (engines.mask_keys(part) for part in parts)
        labels = [work.label(i) for i in range(ENTRIES)]
        both = gallery.changes(
            deployment.params, (one, two), work.gallery, np.arange(ENTRIES), labels, SystemRng(),
            seal=partial(cipher.seal, rng=SystemRng()),
        )  # fmt: skip
        for part, change in zip(parts, both, strict=True):
            part.store.apply(change)


def blocks(dask_worker: Any) -> tuple[int, int]:
    """On a worker: of how many blocks it has E and Y, and ciphertexts."""
    (holder,) = dask_worker.state.actors.values()
    return len(holder._blocks), len(holder._ciphertexts)


def test_each_worker_has_one_of_two_blocks_and_answers_are_exact(tmp_path: Path) -> None:
    work = make(ENTRIES, 16, 4, 1)
    deployment = deploy(tmp_path, Engine.PREPARED, threshold=THRESHOLD)
    fill(deployment, work)
    with local_cluster() as first, local_cluster() as second, contextlib.ExitStack() as stack:
        for name, client in (("s1", first), ("s2", second)):
            where = f'count = 2\nbackend = "dask"\nscheduler = "{client.scheduler.address.removeprefix("tcp://")}"'
            deployment.edit(name, lambda text, where=where: text.replace("count = 1", where))
        stack.callback(deployment.stop)
        deployment.start()
        with deployment.connect() as client:
            for i, probe in enumerate(work.probes):
                found = client.identify(probe)
                assert work.right(i, int(found.label.rpartition(" ")[2]) if found.label else None)
                assert found.match == (found.label is not None)
            (nearest, *_) = work.truth[0]
            assert client.verify(work.probes[0], work.label(nearest)).match
        for cluster in (first, second):
            assert set(cluster.run(blocks).values()) == {(1, 1)}
