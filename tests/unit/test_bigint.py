"""Large integers against plain Python: the comb, signed digits, both multi-exponentiations, batched inversion."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura import bigint
from pura.bigint import FixedBase, Z

P = (1 << 127) - 1
Q = (1 << 89) - 1
N = P * Q
quick = settings(max_examples=60, deadline=None, derandomize=True)
units = st.integers(1, N - 1).filter(lambda x: math.gcd(x, N) == 1)
anything = st.integers(-(1 << 300), 1 << 300)
windows = st.integers(2, 9)


def product_of_powers(bases: list[int], exponents: list[int]) -> int:
    return math.prod(pow(b, e, N) for b, e in zip(bases, exponents, strict=True)) % N


# --- bytes ------------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
@quick
def test_bytes_and_integers(raw: bytes) -> None:
    x = bigint.from_bytes(raw)
    assert x == int.from_bytes(raw, "big")
    assert bigint.to_bytes(x, len(raw)) == raw
    with pytest.raises(OverflowError):
        bigint.to_bytes((1 << 8 * len(raw)) + x, len(raw))
    with pytest.raises(OverflowError):
        bigint.to_bytes(-1 - x, len(raw))


# --- single powers ----------------------------------------------------------------------------------


@given(units, anything)
@quick
def test_power(base: int, exponent: int) -> None:
    assert bigint.power(base, exponent, N) == pow(base, exponent, N)


@given(st.lists(units, max_size=6), anything)
@quick
def test_power_many(bases: list[int], exponent: int) -> None:
    assert bigint.power_many(bases, exponent, N) == [pow(b, exponent, N) for b in bases]


@given(st.lists(units, max_size=8))
@quick
def test_invert_many(xs: list[int]) -> None:
    assert bigint.invert_many(xs, N) == [pow(x, -1, N) for x in xs]
    assert bigint.invert_many([x + 3 * N for x in xs], N) == [pow(x, -1, N) for x in xs]


@pytest.mark.parametrize("at", range(3))
def test_one_bad_base_fails_the_whole_batch(at: int) -> None:
    xs = [2, 3, 5]
    xs[at] = P * 7
    with pytest.raises(ZeroDivisionError):
        bigint.invert_many(xs, N)
    with pytest.raises(ZeroDivisionError):
        bigint.power_many(xs, -1, N)
    with pytest.raises(ZeroDivisionError):
        bigint.invert(xs[at], N)
    with pytest.raises(ZeroDivisionError):
        bigint.power(xs[at], -2, N)


@given(st.lists(anything, max_size=6))
@quick
def test_product(xs: list[int]) -> None:
    assert bigint.product(xs, N) == math.prod(xs) % N


def test_primes_and_their_likes() -> None:
    assert bigint.is_prime(P)
    assert bigint.is_prime(2)
    # Carmichael numbers, a strong pseudoprime to the first 12 prime bases, products, and what is no candidate at all
    for n in (561, 41041, 825265, 318665857834031151167461, N, P * P, 1, 0, 4):
        assert not bigint.is_prime(n)
    assert bigint.gcd(P * 6, P * 4) == 2 * P
    assert bigint.gcd(0, 5) == 5


def test_the_library_is_named() -> None:
    assert "gmpy2" in bigint.library()
    assert "GMP" in bigint.library()


# --- the comb ---------------------------------------------------------------------------------------


@given(st.integers(0, N), st.integers(1, 100), st.integers(1, 9), st.booleans(), st.data())
@quick
def test_fixed_base(base: int, bits: int, window: int, built: bool, data: st.DataObject) -> None:
    table = FixedBase(base, N, bits, window)
    if built:
        table.prepare()
    top = (1 << bits) - 1
    for exponent in (0, 1, top, data.draw(st.integers(0, top))):
        assert table.power(exponent) == pow(base, exponent, N)
        assert table.power(Z(exponent)) == pow(base, exponent, N)


@pytest.mark.parametrize("exponent", [-1, 1 << 20, Z(1) << 64])
def test_exponents_outside_the_comb_are_refused(exponent: int) -> None:
    with pytest.raises(OverflowError):
        FixedBase(3, N, 20).power(exponent)


def test_the_comb_is_not_pickled_and_is_built_again_after_some_uses() -> None:
    table = FixedBase(3, N, 256)
    table.prepare()
    raw = pickle.dumps(table)
    assert len(raw) < 1000
    again = pickle.loads(raw)
    for i in range(FixedBase.WITHOUT + 2):
        assert len(pickle.dumps(again)) < 1000
        assert again.power(12345 + i) == pow(3, 12345 + i, N)
        assert (again._rows is not None) == (i >= FixedBase.WITHOUT)


def test_the_comb_is_built_once_by_many_threads() -> None:
    table = FixedBase(3, N, 256)
    with ThreadPoolExecutor(8) as pool:
        built = list(pool.map(lambda _: table.prepare(), range(16)))
    assert all(rows is built[0] for rows in built)


# --- signed digits and products of powers -----------------------------------------------------------


@given(st.lists(anything, max_size=6), windows)
@quick
def test_signed_digits(exponents: list[int], window: int) -> None:
    rows = bigint.signed_digits(exponents, window)
    half = 1 << (window - 1)
    assert [sum(d << (window * i) for i, d in enumerate(row)) for row in rows] == exponents
    assert all(-half <= d < half for row in rows for d in row)
    longest = max((abs(e).bit_length() for e in exponents), default=0)
    assert {len(row) for row in rows} <= {bigint.digits_for(longest, window)}


@pytest.mark.parametrize("window", range(2, 10))
def test_digits_suffice_at_every_length(window: int) -> None:
    """Exponents at the ends of each bit length: their number of digits is a promise that tables rely on."""
    for bits in range(0, 40):
        for e in {(1 << bits) - 1, 1 - (1 << bits), 1 << max(bits - 1, 0), -(1 << max(bits - 1, 0))}:
            (row,) = bigint.signed_digits([e], window)
            assert sum(d << (window * i) for i, d in enumerate(row)) == e


@given(st.lists(st.tuples(units, anything), max_size=8), windows)
@quick
def test_multi_power(pairs: list[tuple[int, int]], window: int) -> None:
    bases, exponents = [b for b, _ in pairs], [e for _, e in pairs]
    digits = bigint.signed_digits(exponents, window)
    assert bigint.multi_power([Z(b) for b in bases], digits, window, N) == product_of_powers(bases, exponents)


def test_products_of_nothing_and_of_zero_exponents() -> None:
    assert bigint.multi_power([], [], 5, N) == 1
    zeros = bigint.signed_digits([0, 0], 5)
    assert bigint.multi_power([Z(3), Z(5)], zeros, 5, N) == 1


def test_what_does_not_fit_the_bases_is_refused() -> None:
    for exponents in ([1], [1, 1, 1]):
        with pytest.raises(ValueError, match="zip"):
            bigint.multi_power([Z(3), Z(5)], bigint.signed_digits(exponents, 5), 5, N)


def test_a_base_without_an_inverse_is_no_silent_error() -> None:
    digits = bigint.signed_digits([-3], 5)
    with pytest.raises(ZeroDivisionError):
        bigint.multi_power([Z(P)], digits, 5, N)
