"""Shares of <a, B> for every row and slot, whoever makes them."""

from __future__ import annotations

import numpy as np
import pytest

from pura.crypto.rlwe.parameters import LatticeParams
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError
from pura.ids import BlockId, Party
from pura.messages import Message
from pura.protocols.prepared import correlate
from pura.protocols.prepared.correlate import (
    Coin,
    CoinCommitment,
    Lacking,
    LatticeBlock,
    LatticeCorrelations,
    LatticeRows,
)
from pura.protocols.prepared.correlations import SLOTS, Correlations, MaskedBlock, Masks, ReadMasks
from pura.rounds import Rounds, Send, Tally, advance, run_pair
from pura_bench.told import ToldCorrelations

BLOCKS = [MaskedBlock(BlockId(1), 0), MaskedBlock(BlockId(2), 3)]


def masks_of(party: Party, dimension: int, bits: int) -> ReadMasks:
    def read(block: MaskedBlock) -> Masks:
        raw = SeededRng(f"{party} {block}").bytes(4 * SLOTS * dimension)
        return np.frombuffer(raw, np.uint32).reshape(SLOTS, dimension) & np.uint32((1 << bits) - 1)

    return read


def told(dimension: int, bits: int) -> tuple[Correlations, Correlations]:
    one, two = (ToldCorrelations(p, bits, masks_of(p, dimension, bits)) for p in Party)
    return one, two


def lattice(dimension: int, bits: int) -> tuple[Correlations, Correlations]:
    return run_pair(*(connect(p, dimension, bits) for p in Party))


def connect(party: Party, dimension: int, bits: int, seed: object = 0) -> Rounds[LatticeCorrelations]:
    rng = SeededRng(f"{party} {seed}")
    return LatticeCorrelations.connect(LatticeParams.of(bits, dimension), party, masks_of(party, dimension, bits), rng)


@pytest.mark.parametrize("make", [told, lattice])
@pytest.mark.parametrize(("dimension", "bits"), [(16, 11), (128, 17), (64, 21)])
def test_shares_add_up(make, dimension, bits):
    rows = [np.frombuffer(SeededRng(p).bytes(24 * dimension), np.uint64).reshape(3, dimension) >> 34 for p in Party]
    one, two = make(dimension, bits)
    f1, f2 = run_pair(one.products(rows[0], BLOCKS), two.products(rows[1], BLOCKS))
    assert f1.shape == f2.shape == (3, len(BLOCKS), SLOTS)
    assert f1.dtype == f2.dtype == np.uint32
    assert max(f1.max(), f2.max()) < 1 << bits
    for i, block in enumerate(BLOCKS):
        b = sum(masks_of(p, dimension, bits)(block).astype(np.uint64) for p in Party)
        want = (rows[0] + rows[1]) @ b.T
        np.testing.assert_array_equal((f1[:, i] + f2[:, i].astype(np.uint64) - want) & np.uint64((1 << bits) - 1), 0)


@pytest.mark.parametrize("make", [told, lattice])
def test_one_share_says_nothing(make):
    one, two = make(16, 11)
    rows = np.zeros((1, 16), np.uint64)
    f1, f2 = run_pair(one.products(rows, BLOCKS[:1]), two.products(rows, BLOCKS[:1]))
    for share in (f1, f2):
        assert np.bincount(share.reshape(-1) >> 8, minlength=8).min() > 300  # 512 expected of each


# --- by the lattice -----------------------------------------------------------------------------------


def rows_of(party: Party, count: int, dimension: int = 16) -> np.ndarray:
    return np.frombuffer(SeededRng(f"rows {party}").bytes(8 * count * dimension), np.uint64).reshape(count, dimension)


def wrong(f1: np.ndarray, f2: np.ndarray, count: int, blocks: list[MaskedBlock], bits: int = 11) -> int:
    a = sum(rows_of(p, count) for p in Party)
    b = np.stack([sum(masks_of(p, 16, bits)(block).astype(np.uint64) for p in Party).T for block in blocks])
    want = np.einsum("rd,bdn->rbn", a, b)
    return np.count_nonzero((f1 + f2.astype(np.uint64) - want) & np.uint64((1 << bits) - 1))


def ask(ends: tuple[Correlations, Correlations], count: int, blocks: list[MaskedBlock], tally: Tally | None = None):
    return run_pair(*(end.products(rows_of(p, count), blocks) for end, p in zip(ends, Party, strict=True)), tally)


def test_ciphertexts_are_sent_once_and_rows_take_17_bytes_a_slot() -> None:
    ends = lattice(16, 11)
    first, again, grown = Tally(), Tally(), Tally()
    assert wrong(*ask(ends, 3, BLOCKS[:1], first), 3, BLOCKS[:1]) == 0
    assert wrong(*ask(ends, 3, BLOCKS[:1], again), 3, BLOCKS[:1]) == 0
    assert wrong(*ask(ends, 3, BLOCKS, grown), 3, BLOCKS) == 0
    rows, block = 3 * 17 * SLOTS, 16 * 13 * SLOTS
    for tally, size in ((first, rows + block), (again, rows), (grown, 2 * rows + block)):
        assert size < tally.bytes_sent < size + 200
        assert tally.bytes_sent == tally.bytes_received


def test_of_many_blocks_only_half_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlate, "LEAN", 1)
    ends = lattice(16, 11)
    assert wrong(*ask(ends, 3, BLOCKS), 3, BLOCKS) == 0
    assert wrong(*ask(ends, 2, BLOCKS[:1]), 2, BLOCKS[:1]) == 0
    held = [ciphertexts.held for end in ends for _, ciphertexts in end._held.values()]
    assert held == [16 * 16 * SLOTS] * 4


def test_many_rows_go_in_messages_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlate, "ROWS", 4)
    monkeypatch.setattr(correlate, "COORDINATES", 7)
    one, two = lattice(16, 11)
    party, sizes = one.products(rows_of(Party.S1, 9), BLOCKS[:1]), []
    other = two.products(rows_of(Party.S2, 9), BLOCKS[:1])
    watched = watch(party, lambda m: sizes.append(len(m.rows)) if isinstance(m, LatticeRows) else None)
    f1, f2 = run_pair(watched, other)
    assert wrong(f1, f2, 9, BLOCKS[:1]) == 0
    assert sizes == [17 * SLOTS * n for n in (4, 4, 1)]


def test_another_version_of_a_block_is_told_anew() -> None:
    ends = lattice(16, 11)
    newer = [MaskedBlock(BLOCKS[0].block, BLOCKS[0].version + 1)]
    ask(ends, 1, BLOCKS[:1])
    tally = Tally()
    assert wrong(*ask(ends, 1, newer, tally), 1, newer) == 0
    assert tally.bytes_sent > 16 * 13 * SLOTS
    assert all(len(end._held) == 1 for end in ends)  # the older one is gone
    for end in ends:
        end.forget(newer[0].block)
    assert not any(end._held for end in ends)


def test_one_server_may_have_lost_what_the_other_still_has() -> None:
    """A session that was cut leaves ciphertexts at one of them only."""
    ends = lattice(16, 11)
    ask(ends, 1, BLOCKS)
    ends[0].forget(BLOCKS[0].block)
    assert wrong(*ask(ends, 2, BLOCKS), 2, BLOCKS) == 0


def test_no_blocks_and_no_rows() -> None:
    ends = lattice(16, 11)
    assert [f.shape for f in ask(ends, 2, [])] == [(2, 0, SLOTS)] * 2
    assert [f.shape for f in ask(ends, 0, BLOCKS)] == [(0, 2, SLOTS)] * 2
    with pytest.raises(ValueError):
        run_pair(*(end.products(rows_of(p, 1, 17), BLOCKS) for end, p in zip(ends, Party, strict=True)))


def test_every_connection_has_its_own_keys() -> None:
    made = [run_pair(connect(Party.S1, 16, 11, s), connect(Party.S2, 16, 11, "same")) for s in ("x", "y")]
    (one, _), (other, _) = made
    assert one._seeds != other._seeds  # the coin of one server alone changes all seeds
    assert one._keeper.public != other._keeper.public
    assert one._seeds == made[0][1]._seeds


def test_no_seed_serves_twice() -> None:
    numbers = []
    one, two = lattice(16, 11)
    for _ in range(2):
        party = watch(one.products(rows_of(Party.S1, 1), BLOCKS), lambda m: numbers.append(getattr(m, "number", None)))
        run_pair(party, two.products(rows_of(Party.S2, 1), BLOCKS))
        two._held.clear()
    numbers = [n for n in numbers if n is not None]
    assert numbers == [1, 2, 3, 4]
    seeds = {correlate._seed(one._seeds, p, n) for p in Party for n in range(5)}
    assert len(seeds) == 10


def watch(party: Rounds, see) -> Rounds:
    """The same party; `see` gets what it sends."""
    return replace(party, lambda m: (see(m) and None) or m)


def replace(party: Rounds, change) -> Rounds:
    """The same party with its messages changed on the way out."""
    value: Message | None = None
    while True:
        step = advance(party, value)
        if not hasattr(step, "message") and not hasattr(step, "kind"):
            return step.result
        value = yield Send(change(step.message)) if isinstance(step, Send) else step


def spoil(kind: type[Message], body: bytes | int):
    def change(m: Message) -> Message:
        if type(m) is not kind:
            return m
        return LatticeBlock(body, m.b) if isinstance(body, int) else kind(body)

    return change


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CoinCommitment, bytes(32)),
        (Coin, bytes(32)),
        (Coin, b""),
        (correlate.LatticeKey, bytes(13 * SLOTS - 1)),
        (correlate.LatticeKey, b"\xff" * (13 * SLOTS)),
    ],
)
def test_what_does_not_fit_is_refused_when_connecting(kind: type[Message], body: bytes) -> None:
    with pytest.raises(ProtocolError):
        run_pair(connect(Party.S1, 16, 11), replace(connect(Party.S2, 16, 11), spoil(kind, body)))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Lacking, b"\0"),
        (Lacking, np.array([0, 0], np.uint32).tobytes()),
        (Lacking, np.array([1, 0], np.uint32).tobytes()),
        (Lacking, np.array([2], np.uint32).tobytes()),
        (LatticeRows, b""),
        (LatticeRows, bytes(17 * SLOTS - 1)),
        (LatticeBlock, 0),
    ],
)
def test_what_does_not_fit_is_refused(kind: type[Message], body: bytes | int) -> None:
    one, two = lattice(16, 11)
    bad = replace(two.products(rows_of(Party.S2, 1), BLOCKS), spoil(kind, body))
    with pytest.raises(ProtocolError):
        run_pair(one.products(rows_of(Party.S1, 1), BLOCKS), bad)
    if kind is not LatticeRows:
        assert not one._held  # nothing half-taken


def test_nothing_secret_is_printed() -> None:
    one, _ = lattice(16, 11)
    assert repr(one) == "LatticeCorrelations(…)"
