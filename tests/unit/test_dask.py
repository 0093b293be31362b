"""The same calls on a cluster: joblib's Dask backend with a real local scheduler and two worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packed_faults import deal_base_ots
from packed_pair import Pair, templates

from pura.errors import BadConfig
from pura.protocols.parallel import Workers
from pura_server.packed.gallery import Reader

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
    assert workers([lambda i=i: i * i for i in range(9)]) == [i * i for i in range(9)]
    workers.close()


def test_packed_answers_are_exact_on_a_cluster(cluster: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are read, and multiplied, by the workers."""
    deal_base_ots(monkeypatch)
    pair = Pair(tmp_path, dimension=4, tau=150_000, packs=1, light_packs=0, workers=Workers(cluster, "dask"))
    pair.connect()
    ys = templates(pair.params, 100)
    pair.enroll(ys)
    assert pair.s1.levels()["blocks"] == 2  # one for each worker; a batch of one would be worked on here
    read_here: list[object] = []
    original = Reader.__call__

    def read(reader: Reader) -> bytes:
        read_here.append(reader)
        return original(reader)

    monkeypatch.setattr(Reader, "__call__", read)  # in this process only
    for inline in (True, False):
        if not inline:
            pair.refill()
        for x in (ys[0], -ys[1], np.roll(ys[2], 1)):
            pair.check(x)
    assert read_here == []
    pair.check(ys[3], list(pair.model)[90:])
    pair.close()


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
