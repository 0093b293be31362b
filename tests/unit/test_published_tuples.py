"""Offline material is used once, and S2 sees what the modules say that it sees."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import InvalidTemplate, MalformedCiphertext, MaterialUsed, OutOfRange
from pura.ids import Engine
from pura.params import Params
from pura.protocols.published import scmp, smul
from pura.protocols.published.batch_square import batch_square_s1, batch_square_s2
from pura.protocols.published.side import SIGMA, Observer, Side
from pura.protocols.published.smin import batch_smin_s1
from pura.protocols.published.tuples import OneTime, Pool
from pura.rounds import run_pair

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
PARAMS = Params(PK.key_id, 2048, Engine.PUBLISHED)


def side(name: str, observer: Observer | None = None, zeros: int = 0, tuples: int = 0) -> Side:
    share = load_share(KEYS / f"{name}.share", PK)
    return Side.new(PK, share, PARAMS, SeededRng(name), zeros=zeros, smul_tuples=tuples, observer=observer)


def test_one_time_material_is_spent_once_and_not_copied() -> None:
    one = OneTime(5)
    assert one.spend() == 5
    with pytest.raises(MaterialUsed):
        one.spend()
    fresh = OneTime(5)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(fresh)
    assert "5" not in repr(fresh)


def test_a_pool_never_gives_the_same_twice() -> None:
    made = iter(range(10_000))
    lock = threading.Lock()

    def make() -> int:
        with lock:
            return next(made)

    pool = Pool(make, capacity=300)
    got: list[int] = []

    def work() -> None:
        for _ in range(40):
            pool.refill(3)
            taken = pool.take(7)
            with lock:
                got.extend(taken)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 4 * 40 * 7


def test_refilling_stops_at_the_capacity() -> None:
    one = side("s1", zeros=3, tuples=2)
    made = []
    while step := one.refill(2):
        made.append(step)
    assert sum(made) == 5
    assert (one.zeros.level, one.smul_tuples.level) == (3, 2)
    one.smul_tuples.take(1)
    assert one.refill(8) == 1


def test_tuples_from_the_pool_are_gone_after_a_product() -> None:
    one, two = side("s1", tuples=3), side("s2", zeros=1)
    while one.refill(8) or two.refill(8):
        pass
    rng = SeededRng(1)
    xs = [PK.encrypt(3, rng)] * 2
    run_pair(smul.smul_s1(one, xs, xs), smul.smul_s2(two, 2))
    assert (one.smul_tuples.level, two.zeros.level) == (1, 0)


def test_equal_inputs_look_different_to_s2() -> None:
    seen: list[int] = []

    def observer(_: str, plains: Sequence[int]) -> None:
        seen.extend(plains)

    one, two = side("s1"), side("s2", observer)
    x = PK.encrypt(3, SeededRng(1))
    run_pair(smul.smul_s1(one, [x] * 3, [x] * 3), smul.smul_s2(two, 3))
    run_pair(batch_square_s1(one, [[x, x]], 11), batch_square_s2(two, 1, 2, 11))
    bits = smul.lm_bits(one)
    masked = [part for plain in seen[:3] for part in (plain >> bits, plain & ((1 << bits) - 1))]
    masked += [seen[3] >> 53, seen[3] & ((1 << 53) - 1)]
    assert len(set(masked)) == 8
    assert 3 not in masked


def test_scmp_shows_s2_the_size_of_a_difference() -> None:
    """The published leak: D - N/2 is about r1 |x - y|, and the middle of many is within a factor of 2 of it."""
    seen: dict[str, list[int]] = {}

    def observer(protocol: str, plains: Sequence[int]) -> None:
        seen.setdefault(protocol, []).extend(plains)

    one, two = side("s1"), side("s2", observer)
    rng, difference = SeededRng(2), 1 << 20
    xs = [PK.encrypt(difference, rng)] * 9
    run_pair(scmp.scmp_s1(one, xs, [PK.encrypt(0, rng)] * 9), scmp.scmp_s2(two, 9))
    assert set(seen) == {"scmp"}
    half = int(PK.n) // 2
    sizes = sorted(abs(d % int(PK.n) - half) for d in seen["scmp"])
    guess = sizes[4] / 2 ** (SIGMA - 1)
    assert difference / 2 < guess < difference * 2


def test_a_coordinate_out_of_range_is_refused() -> None:
    one, two = side("s1"), side("s2")
    rng = SeededRng(3)
    for bad in (1 << 60, -(1 << 60), int(PK.n) // 3):
        with pytest.raises(InvalidTemplate):
            run_pair(batch_square_s1(one, [[PK.encrypt(bad, rng)]], 11), batch_square_s2(two, 1, 1, 11))
        factor = PK.encrypt(bad << 60, rng)
        with pytest.raises(InvalidTemplate):
            run_pair(smul.smul_s1(one, [factor], [factor]), smul.smul_s2(two, 1))


def test_s2_refuses_what_does_not_open() -> None:
    one, two = side("s1"), side("s2")
    c = PK.encrypt(3, SeededRng(4))
    asked = scmp.step_1(one, [0], [c], [c])
    other = scmp.step_1(one, [0], [c], [c])
    for bad in (
        scmp.ScmpAsk(asked.ciphertexts, other.partials),
        scmp.ScmpAsk(asked.ciphertexts[:-1], asked.partials),
        scmp.ScmpAsk(asked.ciphertexts, asked.partials + b"\x01"),
        scmp.ScmpAsk(bytes(len(asked.ciphertexts)), asked.partials),
    ):
        with pytest.raises(MalformedCiphertext):
            scmp.step_2(two, bad, 1)
    scmp.step_2(two, asked, 1)


def test_the_minimum_of_nothing() -> None:
    with pytest.raises(OutOfRange):
        next(batch_smin_s1(side("s1"), []))
