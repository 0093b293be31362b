"""Our Paillier against the `phe` library as an oracle, under a modulus whose factors phe knows."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.bigint import Z
from pura.crypto import interop
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine
from pura.errors import BadKeyFile, MalformedCiphertext, OutOfRange, WrongKey

phe = pytest.importorskip("phe")

FOLDER = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
# a test key made once with phe.generate_paillier_keypair(n_length=2048)
P = int(
    "b47affad5ff9ac064d4140c937dd87f23340f39f72edf888e3490dc6e7ee33853c62291a8756d0b4c4f17a6b1cf0c53c0fc4"
    "6fad6e117c1af963394c4e6694f1f5c01f0a9d48dfaebd0acf96819185745a3a60216ece529297d241ab947514d67d1faf39"
    "f3a9f6a632a0ebae42414061374d241a3ecda4f9c8b277bd3939c70d",
    16,
)
Q = int(
    "c0e44a9c46910d341107cf329f1082e2a94b82d9575d1a3b86385383e7c11d5019a2d43b12c1e1bb8fac4e8ef9df623e3bfa"
    "152b0a08effa42bd4b572614b310db86ea8c22529c2812a611303fd63980e685ecd310a09a45ec303d88944cce3a93364e14"
    "882095a4f4b18758473da3cf7a10502b910355d15af594d8d9fc92ad",
    16,
)
THEIRS = phe.PaillierPublicKey(P * Q)
PRIVATE = phe.PaillierPrivateKey(THEIRS, P, Q)
OURS = interop.from_phe_key(THEIRS, SeededRng("phe"))
VALUES = st.integers(min_value=-(P * Q // 3 - 1), max_value=P * Q // 3 - 1)
SMALL = st.integers(min_value=-(1 << 900), max_value=1 << 900)


def opened(c: Z) -> int:
    return PRIVATE.decrypt(interop.to_phe(OURS, c))


@settings(max_examples=15, deadline=None)
@given(VALUES, st.integers())
def test_phe_decrypts_what_we_encrypt(m: int, seed: int) -> None:
    assert opened(OURS.encrypt(m, SeededRng(seed))) == m


@settings(max_examples=10, deadline=None)
@given(SMALL, SMALL, SMALL, st.integers())
def test_our_homomorphisms_equal_integer_arithmetic_by_phe(a: int, b: int, k: int, seed: int) -> None:
    rng = SeededRng(seed)
    ca, cb = OURS.encrypt(a, rng), OURS.encrypt(b, rng)
    assert opened(OURS.add(ca, cb)) == a + b
    assert opened(OURS.add_plain(ca, b)) == a + b
    assert opened(OURS.scale(ca, k)) == a * k
    assert opened(OURS.rerandomise(ca, rng)) == a


@settings(max_examples=5, deadline=None)
@given(SMALL, SMALL, st.integers())
def test_ciphertexts_of_both_libraries_mix(a: int, b: int, seed: int) -> None:
    theirs = interop.from_phe(OURS, THEIRS.encrypt(a))
    assert opened(OURS.add(theirs, OURS.encrypt(b, SeededRng(seed)))) == a + b


def test_the_modulus_survives_both_ways() -> None:
    assert interop.to_phe_key(OURS) == THEIRS
    assert OURS.n == THEIRS.n


def test_what_cannot_be_taken_over_is_refused() -> None:
    with pytest.raises(WrongKey):
        interop.from_phe(load_public(FOLDER / "public.key"), THEIRS.encrypt(1))
    with pytest.raises(OutOfRange):
        interop.from_phe(OURS, THEIRS.encrypt(0.5))
    with pytest.raises(MalformedCiphertext):
        interop.from_phe(OURS, phe.EncryptedNumber(THEIRS, P))
    with pytest.raises(BadKeyFile):
        interop.from_phe_key(phe.PaillierPublicKey(P), SeededRng(1))


def test_shares_do_not_open_the_randomness_of_phe() -> None:
    pk = load_public(FOLDER / "public.key")
    s1, s2 = (load_share(FOLDER / name, pk) for name in ("s1.share", "s2.share"))
    c = interop.from_phe(pk, interop.to_phe_key(pk).encrypt(7))
    with pytest.raises(MalformedCiphertext):
        combine(pk, c, s1.partial_decrypt(pk, c), s2.partial_decrypt(pk, c))
