"""A Dask cluster of two worker processes on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

MEMORY = "distributed.worker.memory"
OFF = {f"{MEMORY}.target": False, f"{MEMORY}.spill": False}
ON = {f"{MEMORY}.target": 0.6, f"{MEMORY}.spill": 0.7}


@contextlib.contextmanager
def local_cluster(settings: dict[str, Any] = OFF, *, processes: bool = True) -> Iterator[Any]:
    """A client of it. `settings`: of its workers, which write to the disk what does not fit unless told otherwise."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    import dask

    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=":0",
            host="127.0.0.1",
            protocol="tcp://",
        ) as cluster,
        distributed.Client(cluster, direct_to_workers=True) as client,
    ):
        yield client


def held(names: list[str], dask_worker: Any) -> dict[str, int]:
    """On a worker: how much of each kind these holders of it have."""
    total: dict[str, int] = {}
    for actor in (one for name, one in dask_worker.state.actors.items() if name in names):
        for kind in ("_keys", "_ciphertexts", "_masks", "_blocks", "_answers"):
            total[kind] = total.get(kind, 0) + len(getattr(actor, kind))
    return total
