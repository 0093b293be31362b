"""Randomness: a fixed stream for each seed, uniform integers in a range, and nothing shown."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto.rng import SeededRng, SystemRng

quick = settings(max_examples=100, deadline=None, derandomize=True)


def test_the_stream_is_aes_in_counter_mode() -> None:
    """Written out with single blocks; benchmarks and replays rely on it."""
    block = Cipher(AES(hashlib.sha256(b"pura seeded rng\x00" + b"42").digest()), ECB()).encryptor()
    stream = b"".join(block.update(i.to_bytes(16, "big")) for i in range(5))
    assert SeededRng(42).bytes(80) == stream


def test_seeds_of_every_type() -> None:
    assert SeededRng(7).bytes(16) == SeededRng("7").bytes(16) == SeededRng(b"7").bytes(16)
    assert len({SeededRng(seed).bytes(16) for seed in (0, 1, -1, "", b"\x00", "seed", b"Seed")}) == 7


@given(st.binary(), st.lists(st.integers(0, 50), max_size=8))
@quick
def test_the_stream_does_not_depend_on_how_it_is_cut(seed: bytes, cuts: list[int]) -> None:
    rng = SeededRng(seed)
    assert b"".join(rng.bytes(count) for count in cuts) == SeededRng(seed).bytes(sum(cuts))


@given(st.integers(0, 700), st.integers(0, 1 << 32))
@quick
def test_bits(count: int, seed: int) -> None:
    value = SeededRng(seed).bits(count)
    assert 0 <= value < 1 << count
    # the head of the stream, cut to length
    raw = SeededRng(seed).bytes((count + 7) // 8)
    assert value == int.from_bytes(raw, "big") >> (8 * len(raw) - count)


@given(st.one_of(st.integers(1, 300), st.integers(1, 1 << 600)), st.integers(0, 1 << 32))
@quick
def test_below(bound: int, seed: int) -> None:
    assert 0 <= SeededRng(seed).below(bound) < bound


@pytest.mark.parametrize("rng", [SeededRng(0), SystemRng()], ids=repr)
@pytest.mark.parametrize("bound", [0, -1, -(1 << 64)])
def test_a_bound_below_one_is_an_error_and_not_an_endless_loop(rng: SeededRng, bound: int) -> None:
    with pytest.raises(ValueError, match="bound"):
        rng.below(bound)


@pytest.mark.parametrize("bound", [2, 3, 5, 6, 7, 100, 129, 255])
def test_below_is_uniform(bound: int) -> None:
    """Chi-square over 200 draws a value; the seed is fixed, and 6 standard deviations are never seen by chance."""
    rng, draws = SeededRng(f"uniform {bound}"), 200 * bound
    counts = Counter(rng.below(bound) for _ in range(draws))
    chi2 = sum((counts[v] - 200) ** 2 / 200 for v in range(bound))
    assert abs(chi2 - (bound - 1)) < 6 * (2 * (bound - 1)) ** 0.5


def test_every_bit_is_even() -> None:
    rng, draws = SeededRng("bits"), 4000
    ones = [0] * 13
    for _ in range(draws):
        value = rng.bits(13)
        for i in range(13):
            ones[i] += value >> i & 1
    assert all(abs(count - draws / 2) < 5 * (draws / 4) ** 0.5 for count in ones)


def test_the_system_gives_something_new_each_time() -> None:
    rng = SystemRng()
    assert len({rng.bytes(16) for _ in range(50)} | {SystemRng().bytes(16) for _ in range(50)}) == 100
    assert rng.bytes(0) == b""
    assert rng.bits(0) == 0
    assert rng.below(1) == 0
    assert 0 <= rng.bits(449) < 1 << 449


def test_a_seed_does_not_print() -> None:
    assert repr(SeededRng("secret")) == str(SeededRng("secret")) == "SeededRng(…)"
    assert repr(SystemRng()) == "SystemRng()"
