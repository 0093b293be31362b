"""Homomorphisms and threshold decryption against plain integers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.bigint import Z
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine, combine_many
from pura.errors import MalformedCiphertext

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
S1, S2 = (load_share(KEYS / f"{name}.share", PK) for name in ("s1", "s2"))
N = int(PK.n)
HALF = N // 2
few = settings(max_examples=20, deadline=None, derandomize=True)
plaintexts = st.one_of(st.sampled_from([0, 1, -1, HALF, -HALF]), st.integers(-HALF, HALF), st.integers(-99, 99))
any_integer = st.one_of(plaintexts, st.integers(-(1 << 5000), 1 << 5000))
seeds = st.integers(0, 1 << 64)


def centred(m: int) -> int:
    return (m + HALF) % N - HALF


def opened(c: Z) -> int:
    return combine(PK, c, S1.partial_decrypt(PK, c), S2.partial_decrypt(PK, c))


@given(any_integer, seeds)
@few
def test_what_is_encrypted_is_opened(m: int, seed: int) -> None:
    c = PK.encrypt(m, SeededRng(seed))
    PK.validate([c])
    assert opened(PK.load(PK.dump(c))) == centred(m) == PK.signed(m)


@given(plaintexts, any_integer, any_integer, seeds)
@few
def test_arithmetic_is_that_of_integers_modulo_n(a: int, b: int, k: int, seed: int) -> None:
    rng = SeededRng(seed)
    ca, cb = PK.encrypt(a, rng), PK.encrypt(b, rng)
    results = [PK.add(ca, cb), PK.add_plain(ca, b), PK.scale(ca, k), PK.rerandomise(ca, rng), PK.add(ca, PK.encode(b))]
    u1, u2 = S1.partial_decrypt_many(PK, results), S2.partial_decrypt_many(PK, results)
    expected = [a + b, a + b, a * k, a, a + b]
    assert combine_many(PK, results, u1, u2) == [centred(m) for m in expected]


@given(plaintexts, seeds)
@few
def test_a_refresh_keeps_the_plaintext_and_nothing_else(m: int, seed: int) -> None:
    rng = SeededRng(seed)
    c = PK.encrypt(m, rng)
    fresh = PK.rerandomise(c, rng)
    assert fresh != c
    assert fresh % PK.n != c % PK.n
    assert opened(fresh) == m


@given(st.lists(st.tuples(plaintexts, st.integers(-(1 << 60), 1 << 60)), max_size=6), seeds)
@few
def test_linear_combinations(terms: list[tuple[int, int]], seed: int) -> None:
    rng = SeededRng(seed)
    out = PK.zero(rng)
    for m, k in terms:
        out = PK.add(out, PK.scale(PK.encrypt(m, rng), k))
    assert opened(out) == centred(sum(m * k for m, k in terms))


@given(st.integers(0, (1 << 4096) - 1))
@few
def test_random_numbers_do_not_open(x: int) -> None:
    """The subgroup is a fraction of 2^-1600 of all units: a random one is refused by the two shares together."""
    try:
        c = PK.load(x.to_bytes(512, "big"))
    except MalformedCiphertext:
        assert x >= PK.n2 or x == 0
        return
    with pytest.raises(MalformedCiphertext):
        opened(c)


@given(st.binary(max_size=1100), st.integers(0, 3))
@few
def test_any_bytes_are_ciphertexts_or_a_clear_error(raw: bytes, count: int) -> None:
    try:
        cs = PK.load_many(raw, count)
    except MalformedCiphertext:
        return
    assert PK.dump_many(cs) == raw
