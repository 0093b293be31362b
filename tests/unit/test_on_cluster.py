"""Blocks on the workers of a Dask cluster give what one process gives, byte for byte; what travels is counted."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dask_cluster import ON, held, local_cluster
from waiting import until

from pura.crypto.rlwe.parameters import RESIDUE_BYTES, ROW_BYTES, SLOTS, LatticeParams
from pura.crypto.rng import SeededRng
from pura.errors import BadConfig, Overloaded, ProtocolError
from pura.ids import BlockId, Party
from pura.messages import encode
from pura.protocols.prepared import correlate
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic
from pura.protocols.prepared.blocks import Block
from pura.protocols.prepared.correlate import LatticeCorrelations, LatticeRows
from pura.protocols.prepared.correlations import MaskedBlock, Masks, Products
from pura.protocols.prepared.on_cluster import OnCluster, Traffic, check_addresses
from pura.rounds import Rounds, run_pair
from pura.transport.memory import Spoil, play

DIMENSION, BITS = 16, 11
BLOCKS = [MaskedBlock(BlockId(i), 7) for i in range(3)]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster() as made:
        yield made


@pytest.fixture
def on_cluster(client: Any) -> OnCluster:
    return OnCluster(client)


def masks_of(party: Party, block: MaskedBlock) -> Masks:
    raw = SeededRng(f"{party} {block}").bytes(4 * SLOTS * DIMENSION)
    return np.frombuffer(raw, np.uint32).reshape(SLOTS, DIMENSION) & np.uint32((1 << BITS) - 1)


def connect(party: Party, arithmetic: Arithmetic) -> Rounds[LatticeCorrelations]:
    params, rng = LatticeParams.of(BITS, DIMENSION), SeededRng(f"{party}")
    return LatticeCorrelations.connect(params, party, lambda block: masks_of(party, block), rng, arithmetic)


def rows_of(party: Party, count: int) -> np.ndarray:
    return np.frombuffer(SeededRng(f"rows {party}").bytes(8 * count * DIMENSION), np.uint64).reshape(count, DIMENSION)


def ask(ends: Any, count: int, blocks: list[MaskedBlock]) -> list[Products]:
    return list(run_pair(*(end.products(rows_of(p, count), blocks) for end, p in zip(ends, Party, strict=True))))


def by_worker(client: Any, arithmetic: OnCluster) -> list[dict[str, int]]:
    return list(client.run(held, [worker._actor.key for worker in arithmetic._workers]).values())


def counts(client: Any, arithmetic: OnCluster) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in by_worker(client, arithmetic):
        for kind, number in one.items():
            total[kind] = total.get(kind, 0) + number
    return total


def test_shares_are_those_of_one_process_and_every_byte_is_counted(
    client: Any, on_cluster: OnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlate, "ROWS", 4)
    ends = {a: run_pair(*(connect(p, a) for p in Party)) for a in (on_cluster, NUMPY)}
    for count in (3, 6):  # 6: two messages a block
        for ours, theirs in zip(*(ask(ends[a], count, BLOCKS) for a in (on_cluster, NUMPY)), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert {key: value for key, value in counts(client, on_cluster).items() if key != "_blocks"} == {
        "_keys": 2 * 2, "_ciphertexts": 2 * 3, "_masks": 2 * 3, "_answers": 0,
    }  # fmt: skip
    assert all(one["_ciphertexts"] for one in by_worker(client, on_cluster))  # both workers have some
    once = 2 * 3 * (32 + DIMENSION * SLOTS * RESIDUE_BYTES + 4 * DIMENSION * SLOTS)  # seed and b_j; masks
    answers = 2 * 3 * (3 + 6)
    tasks = 2 * 3 * (1 + 2)
    assert on_cluster.traffic.sent == once + answers * (8 * DIMENSION + ROW_BYTES) + 32 * tasks
    assert on_cluster.traffic.received == answers * (ROW_BYTES + 4 * SLOTS)


def test_sums_are_those_of_one_process(client: Any, on_cluster: OnCluster) -> None:
    rng = np.random.default_rng(1)
    e, y = rng.integers(0, 1 << 17, (2, 5, SLOTS, 32), np.uint32)
    blocks = [Block(MaskedBlock(BlockId(i), 0), e[i], y[i]) for i in range(5)]
    a, d = rng.integers(0, 1 << 17, (2, 32), np.uint64)
    for some in (blocks, blocks[3:1:-1], blocks[:1]):
        np.testing.assert_array_equal(on_cluster.sums(some, a, d, 17), NUMPY.sums(some, a, d, 17))
    assert on_cluster.traffic == Traffic(2 * e.nbytes + (2 + 2 + 1) * 2 * 8 * 32, (5 + 2 + 1) * 4 * SLOTS)


def test_workers_let_go_of_what_the_server_lets_go_of(client: Any) -> None:
    arithmetic = OnCluster(client)
    zero = np.zeros((SLOTS, DIMENSION), np.uint32)
    blocks = [Block(MaskedBlock(BlockId(i), 0), zero, zero) for i in range(2)]
    a = np.zeros(DIMENSION, np.uint64)
    arithmetic.sums(blocks, a, a, BITS)
    ends = run_pair(*(connect(p, arithmetic) for p in Party))
    ask(ends, 1, BLOCKS)
    gc.collect()
    before = counts(client, arithmetic)
    del ends, blocks[1]
    gc.collect()
    again = [Block(MaskedBlock(BlockId(i), 0), zero, zero) for i in range(2)]
    arithmetic.sums(again, a, a, BITS)  # the next call tells the workers
    after = counts(client, arithmetic)
    assert [before[kind] - after[kind] for kind in ("_keys", "_ciphertexts", "_masks")] == [4, 6, 6]
    assert after["_blocks"] == before["_blocks"] - 1 + 2


def test_an_answer_that_is_spoilt_on_the_way_is_an_error_and_leaves_nothing(client: Any, on_cluster: OnCluster) -> None:
    ends = run_pair(*(connect(p, on_cluster) for p in Party))
    ask(ends, 1, BLOCKS)

    def spoil(_: bytes) -> bytes:
        return encode(LatticeRows(bytes(5)))

    parties = [end.products(rows_of(p, 1), BLOCKS) for end, p in zip(ends, Party, strict=True)]
    outcome = play(*parties, Spoil(message=3, change=spoil))
    assert any(isinstance(end.error, ProtocolError) for end in outcome)
    del parties, outcome
    gc.collect()
    ask(ends, 1, BLOCKS)
    gc.collect()
    on_cluster.sums([], np.zeros(1, np.uint64), np.zeros(1, np.uint64), BITS)
    assert counts(client, on_cluster)["_answers"] <= 2  # those of the last call, which the next one takes away


def test_a_worker_that_is_lost_fails_one_call_and_no_later_one(client: Any) -> None:
    arithmetic = OnCluster(client)
    ends = run_pair(*(connect(p, arithmetic) for p in Party))
    want = ask(ends, 2, BLOCKS)
    victim, pid = next(iter(client.run(os.getpid).items()))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Overloaded):
        ask(ends, 2, BLOCKS)
    got = ask(ends, 2, BLOCKS)
    mask = np.uint32((1 << BITS) - 1)
    np.testing.assert_array_equal((got[0] + got[1]) & mask, (want[0] + want[1]) & mask)

    def two_again() -> bool:
        there = client.scheduler_info()["workers"]
        return len(there) >= 2 and victim not in there

    until(two_again)  # for the next test


def test_workers_elsewhere_need_tls() -> None:
    check_addresses(["tcp://127.0.0.1:1", "tcp://[::1]:1", "tls://10.0.0.5:1"])
    for address in ("tcp://10.0.0.5:1", "ucx://10.0.0.5:1", "tcp://[2001:db8::1]:1"):
        with pytest.raises(BadConfig, match="TLS"):
            check_addresses([address])


def test_workers_that_may_write_to_the_disk_are_refused() -> None:
    with local_cluster(ON, processes=False) as spilling, pytest.raises(BadConfig, match=r"memory\.spill"):
        OnCluster(spilling)
