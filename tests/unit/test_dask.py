"""The same calls on a cluster: joblib's Dask backend with a real local scheduler and two worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pura.errors import BadConfig
from pura.protocols.parallel import Workers

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[int]:
    """A client of a cluster is open; how many worker processes there are."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as made,
        distributed.Client(made),
    ):
        yield 2


def process(_: int) -> int:
    return os.getpid()


def test_tasks_run_in_the_cluster_in_order(cluster: int) -> None:
    workers = Workers(cluster, "dask")
    pids = workers.map(process, range(40))
    assert len(set(pids)) == cluster
    assert os.getpid() not in pids
    workers.close()


def test_a_server_connects_to_the_scheduler_that_it_is_told(cluster: int) -> None:
    address = distributed.default_client().scheduler.address
    workers = Workers(cluster, "dask", address)
    workers.start()
    assert os.getpid() not in workers.map(process, range(8))
    workers.close()
    assert distributed.default_client().status == "running"


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pura.protocols.parallel._CLUSTER_S", 1)
    with pytest.raises(BadConfig, match="scheduler"):
        Workers(2, "dask", "127.0.0.1:1").start()
