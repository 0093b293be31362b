"""What each part of a row is for: evaluators that leave one out answer right, and the keeper reads their numbers.

The last two tests keep what a server gains by deviating: a keeper nothing any more, an evaluator the keeper's key.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from lattice_bench import (
    Bench,
    HalfFlood,
    SameMask,
    ScalarU,
    Watched,
    WithoutFlood,
    WithoutU,
    WithoutZero,
    ZeroAfterRounding,
    formula,
    joined,
    parts,
)
from lll import lll

from pura.crypto.rlwe import ring
from pura.crypto.rlwe.evaluator import Evaluator
from pura.crypto.rlwe.parameters import CUT, LOG_Q, SLOTS


def solve_by_lattice(bench: Bench, c1: np.ndarray, equations: int = 7) -> list[int] | None:
    """w, centred, from c_1' alone if that is sum_j w_j a_j + v p_1 + small errors, rounded: the shortest vector of a
    lattice of few rows."""
    d = bench.params.dimension + 1
    cut, q = CUT - 8, 1 << LOG_Q
    a = [joined(ring.expand(seed, n))[:, :equations] for seed, n in ((bench.a_seed, d - 1), (bench.key_seed, 1))]
    a = np.concatenate(a)
    scale = 1 << (cut - bench.params.bits)
    basis = [[scale * (i == j) for i in range(d)] + [int(v) for v in a[j]] + [0] for j in range(d)]
    basis += [[0] * d + [q * (i == j) for i in range(equations)] + [0] for j in range(equations)]
    basis.append([0] * d + [-int(v) << cut for v in c1[:equations]] + [1 << cut])
    for row in lll(basis):
        if abs(row[-1]) == 1 << cut:
            sign = row[-1] >> cut
            return [sign * v // scale for v in row[: d - 1]]
    return None


def centred(w: np.ndarray, bits: int) -> list[int]:
    return ((w.astype(np.int64) + (1 << bits - 1) & (1 << bits) - 1) - (1 << bits - 1)).tolist()


@pytest.mark.parametrize("evaluator", [WithoutZero, WithoutU, ScalarU])
def test_the_keeper_solves_for_w_if_c1_is_not_masked(evaluator: type[Evaluator]) -> None:
    bench = Bench(11, 16, evaluator=evaluator)
    w = bench.numbers((1, 16))
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()
    assert solve_by_lattice(bench, parts(rows)[1][0]) == centred(w[0], 11)


def test_the_keeper_does_not_solve_for_w() -> None:
    bench = Bench(11, 16)
    w = bench.numbers((1, 16))
    rows, _ = bench.rows(w)
    found = solve_by_lattice(bench, parts(rows)[1][0])
    assert found is None or sum(a == b for a, b in zip(found, centred(w[0], 11), strict=True)) < 4


def solve(equations: np.ndarray, sums: np.ndarray, bits: int) -> np.ndarray | None:
    """The w with equations @ w = sums modulo 2^bits: (m, d), (m,). None if there is none."""
    mask, d = (1 << bits) - 1, equations.shape[1]
    eq = np.concatenate([equations, sums[:, None]], axis=1).astype(object)
    for j in range(d):
        at = j + int(np.flatnonzero(eq[j:, j] % 2)[0])  # an odd pivot
        eq[[j, at]] = eq[[at, j]]
        eq[j] = eq[j] * pow(int(eq[j, j]), -1, mask + 1) & mask
        others = np.arange(len(eq)) != j
        eq[others] = (eq[others] - eq[others, j : j + 1] * eq[j]) & mask
    return None if eq[d:, d].any() else eq[:d, d].astype(np.int64)


@pytest.mark.parametrize(("evaluator", "leaks"), [(SameMask, True), (Evaluator, False)])
def test_a_mask_used_twice_tells_the_difference_of_two_rows(evaluator: type[Evaluator], leaks: bool) -> None:
    bench = Bench(17, 32, evaluator=evaluator)
    w = bench.numbers((2, 32))
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()
    one, two = bench.keeper.open(rows, 2).astype(np.int64)
    found = solve(bench.b[:, :60].T, (one - two)[:60] % (1 << 17), 17)
    if leaks:
        np.testing.assert_array_equal(found, (w[0] - w[1]).astype(np.int64) % (1 << 17))
    else:
        assert found is None


@pytest.mark.parametrize(("evaluator", "leaks"), [(WithoutFlood, True), (Evaluator, False)])
def test_without_flood_the_phase_shows_the_noise(evaluator: type[Evaluator], leaks: bool) -> None:
    """The rest of the phase modulo q/t is then the noise and nothing else: sum_j w_j e_j is in it."""
    bench = Bench(17, 16, evaluator=evaluator)
    w = bench.numbers((1, 16))
    rows, share = bench.rows(w)
    assert not bench.wrong(w, rows, share).any()
    k = np.uint64(bench.params.bits)
    rest = (bench.keeper.phases(rows, 1) << k).view(np.int64) >> np.int64(k)
    assert (np.abs(rest).max() < bench.params.band) == leaks


@pytest.mark.parametrize(("evaluator", "same"), [(Watched, True), (ZeroAfterRounding, False)])
def test_zero_is_added_before_rounding(evaluator: type[Evaluator], same: bool) -> None:
    """The other order answers right too, but what rounding takes from sum_j w_j a_j comes into the phase, times s: a
    function of w some 2^11 times as large as the noise that the loss is counted for. No statistic of any length shows
    it; the bits do."""
    bench = Bench(11, 16, evaluator=evaluator)
    body, w = bench.encrypted(), bench.numbers((2, 16))
    rows, share = bench.rows(w, body)
    assert not bench.wrong(w, rows, share).any()
    if same:
        assert isinstance(bench.evaluator, Watched)
        drawn = bench.evaluator.drawn
    else:  # what the same stream would have drawn
        watched = Watched(bench.params, bench.key_seed, bench.keeper.public)
        watched.rows(w, bench.loaded(body), bench.rng)
        drawn = watched.drawn
    c1 = formula(bench, w, body, drawn)[1]
    assert bool((parts(rows)[1] == c1).all()) == same


# --- servers that deviate -----------------------------------------------------------------------------

LEVELS = 9
PER = 17
"""Free slots for each coordinate: enough for the nine lowest bits of w_j."""


def powers_of_two(bench: Bench) -> bytes:
    """Ciphertexts whose errors in slot 17 j + i, for coordinate j, are q / 2t over powers of two."""
    p = bench.params
    body = bench.encrypted()
    size = p.dimension * SLOTS
    low = np.frombuffer(body, np.uint64, size).copy()
    top = np.frombuffer(body, np.uint8, offset=8 * size).reshape(size, -1).copy()
    for j, i in _probes(p.dimension):
        at = j * SLOTS + j * PER + i
        value = int(low[at]) | int.from_bytes(top[at].tobytes(), "little") << 64
        value = (value + (1 << (LOG_Q - p.bits - 1 - i % LEVELS))) % (1 << LOG_Q)
        low[at] = value & (1 << 64) - 1
        top[at] = np.frombuffer((value >> 64).to_bytes(top.shape[1], "little"), np.uint8)
    return low.tobytes() + top.tobytes()


def _probes(dimension: int) -> Iterator[tuple[int, int]]:
    return ((j, i) for j in range(dimension) for i in range(PER))


def read_coordinates(bench: Bench, rows: bytes) -> list[list[int]]:
    """For each coordinate the values of w_j modulo 512 that fit all its phases, if r fills half of q/t."""
    p = bench.params
    rest = (bench.keeper.phases(rows, 1)[0] << np.uint64(p.bits)).astype(np.float64) / 2.0**64
    seen = rest[: PER * p.dimension].reshape(p.dimension, PER)
    shift = np.arange(512)[None, :] * 2.0 ** -(1 + np.arange(PER)[:, None] % LEVELS)
    out = []
    for phases in seen:
        off = np.abs((phases[:, None] - shift + 0.5) % 1 - 0.5)
        out.append(np.flatnonzero((off < 0.26).all(axis=0)).tolist())
    return out


@pytest.mark.parametrize(("evaluator", "leaks"), [(HalfFlood, True), (Evaluator, False)])
def test_a_keeper_reads_a_question_from_free_slots_unless_r_fills_everything(
    evaluator: type[Evaluator], leaks: bool
) -> None:
    """All slots with entries stay right, so nobody would notice. x is small, so w modulo 512 is x."""
    bench = Bench(17, 128, evaluator=evaluator)
    w = bench.numbers((1, 128))
    rows, share = bench.rows(w, powers_of_two(bench))
    assert not bench.wrong(w, rows, share)[:, PER * 128 :].any()
    found = read_coordinates(bench, rows)
    right = [int(w[0, j]) % 512 in fits for j, fits in enumerate(found)]
    if leaks:
        assert all(right)
        assert np.median([len(fits) for fits in found]) <= 2
        assert sum(len(fits) == 1 for fits in found) > 32
    else:
        assert sum(right) <= 2  # each phase is uniform: a value fits all 17 with probability 0.52^17


def test_an_evaluator_that_deviates_reads_the_key_from_answers() -> None:
    """Expected to succeed: c_1' constant makes the keeper's share of slot i a multiple of s_i, so whether entry i wins
    tells s_i to a client that works with the evaluator. Hence keys live for one connection at most."""
    bench = Bench(17, 16)
    row = np.zeros((3, SLOTS), np.uint64)
    row[1, 0] = 1 << 62
    sent = row[0].tobytes() + row[1].tobytes() + bytes(SLOTS)
    np.testing.assert_array_equal(bench.keeper.open(sent, 1)[0], (bench.s << 15) % (1 << 17))
