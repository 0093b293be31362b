"""SMUL, BatchSquare, SCMP and SMIN against plain integers, over the whole range that they state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.bigint import Z
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine_many
from pura.ids import Engine
from pura.params import Params
from pura.protocols.published.batch_square import batch_square_s1, batch_square_s2, per_ciphertext
from pura.protocols.published.scmp import scmp_s1, scmp_s2
from pura.protocols.published.side import VALUE_BITS, Side
from pura.protocols.published.smin import Candidate, batch_smin_s1, batch_smin_s2, smin_s1, smin_s2
from pura.protocols.published.smul import smul_s1, smul_s2
from pura.rounds import Tally, run_pair

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
SHARES = [load_share(KEYS / f"{name}.share", PK) for name in ("s1", "s2")]
RNG = SeededRng("published")
TOP = (1 << VALUE_BITS) - 1
EDGES = (0, 1, -1, 2, TOP, -TOP, TOP - 1, 1 << 31, -(1 << 40))


def sides() -> tuple[Side, Side]:
    params = Params(PK.key_id, 2048, Engine.PUBLISHED)
    one, two = (Side.new(PK, share, params, RNG) for share in SHARES)
    return one, two


def encrypt(values: Sequence[int]) -> list[Z]:
    return [PK.encrypt(v, RNG) for v in values]


def decrypt(cs: Sequence[Z]) -> list[int]:
    u1, u2 = (share.partial_decrypt_many(PK, cs) for share in SHARES)
    return combine_many(PK, cs, u1, u2)


values = st.one_of(st.sampled_from(EDGES), st.integers(-TOP, TOP))
few = settings(max_examples=8, deadline=None, derandomize=True)


def check_smul(pairs: Sequence[tuple[int, int]]) -> None:
    one, two = sides()
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    tally = Tally()
    got, _ = run_pair(smul_s1(one, encrypt(xs), encrypt(ys)), smul_s2(two, len(pairs)), tally)
    assert decrypt(got) == [x * y for x, y in pairs]
    assert tally.rounds == min(1, len(pairs))


def check_scmp(pairs: Sequence[tuple[int, int]]) -> None:
    one, two = sides()
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    got, _ = run_pair(scmp_s1(one, encrypt(xs), encrypt(ys)), scmp_s2(two, len(pairs)))
    assert decrypt(got) == [int(x < y) for x, y in pairs]


@given(st.lists(st.tuples(values, values), min_size=0, max_size=4))
@few
def test_smul(pairs: list[tuple[int, int]]) -> None:
    check_smul(pairs)


@given(st.lists(st.tuples(values, values) | values.map(lambda v: (v, v)), min_size=0, max_size=4))
@few
def test_scmp(pairs: list[tuple[int, int]]) -> None:
    check_scmp(pairs)


def test_extremes() -> None:
    pairs = [(a, b) for a in (TOP, -TOP, 0) for b in (TOP, -TOP, 1)]
    check_smul(pairs)
    check_scmp(pairs)


@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_scmp_at_a_step_of_one_with_either_coin(difference: int) -> None:
    check_scmp([(v + difference, v) for v in (TOP, -TOP, 0) for _ in range(4)])


def test_scmp_at_the_end_of_its_range() -> None:
    far = (1 << (PK.n_bits - 40 - 3)) - 1
    check_scmp([(far, 0), (0, far), (-far, 0), (0, -far)])


@given(st.integers(1, 6), st.integers(1, 12), st.data())
@few
def test_batch_square(size: int, width: int, data: st.DataObject) -> None:
    top = (1 << width) - 1
    coordinate = st.one_of(st.sampled_from([0, top, -top]), st.integers(-top, top))
    groups = data.draw(st.lists(st.lists(coordinate, min_size=size, max_size=size), max_size=4))
    one, two = sides()
    got, _ = run_pair(
        batch_square_s1(one, [encrypt(g) for g in groups], width), batch_square_s2(two, len(groups), size, width)
    )
    assert decrypt(got) == [sum(v * v for v in g) for g in groups]


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_batch_square_around_full_ciphertexts(extra: int) -> None:
    one, two = sides()
    width = one.coordinate_bits
    top = (1 << width) - 1
    group = [top, -top] * per_ciphertext(one, width) + [0]
    group = group[: per_ciphertext(one, width) + extra]
    got, _ = run_pair(batch_square_s1(one, [encrypt(group)], width), batch_square_s2(two, 1, len(group), width))
    assert decrypt(got) == [sum(v * v for v in group)]


@given(st.lists(st.tuples(values, values), min_size=1, max_size=3))
@few
def test_smin(pairs: list[tuple[int, int]]) -> None:
    one, two = sides()
    # differences of what is compared and carried stay within the range of SMUL
    left = [Candidate(*encrypt([abs(a), TOP - i])) for i, (a, _) in enumerate(pairs)]
    right = [Candidate(*encrypt([abs(b), i])) for i, (_, b) in enumerate(pairs)]
    got, _ = run_pair(smin_s1(one, left, right), smin_s2(two, len(pairs)))
    assert decrypt([c.distance for c in got]) == [min(abs(a), abs(b)) for a, b in pairs]
    assert decrypt([c.handle for c in got]) == [TOP - i if abs(a) <= abs(b) else i for i, (a, b) in enumerate(pairs)]


@pytest.mark.parametrize(
    "distances",
    [[7], [3, 3], [5, 4, 4], [0, 0, 0, 0], [9, 8, 7, 6, 5], [TOP, 0], [2, TOP, 2, 1, 1, 3, 1]],
    ids=lambda d: f"{len(d)}",
)
def test_batch_smin_carries_the_first_smallest(distances: list[int]) -> None:
    one, two = sides()
    handles = [TOP - i if i % 2 else i + 1 for i in range(len(distances))]
    candidates = [Candidate(*encrypt(pair)) for pair in zip(distances, handles, strict=True)]
    tally = Tally()
    best, _ = run_pair(batch_smin_s1(one, candidates), batch_smin_s2(two, len(distances)), tally)
    first = distances.index(min(distances))
    assert decrypt([best.distance, best.handle]) == [distances[first], handles[first]]
    assert tally.rounds == 2 * (len(distances) - 1).bit_length()
