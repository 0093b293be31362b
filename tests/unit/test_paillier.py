"""The public key and what one can do with it: key checks, sizes, and every bad ciphertext refused at the door."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from pura.bigint import Z
from pura.crypto.keys import load_public, load_share
from pura.crypto.paillier import REFRESH_BITS, STRENGTHS, PublicKey, strength_for
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import combine
from pura.errors import BadKeyFile, MalformedCiphertext, OutOfRange
from pura.ids import CollectionId, Engine

FIXTURES = Path(__file__).parents[1] / "fixtures"
PK = load_public(FIXTURES / "test-keys-2048" / "public.key")
OTHER = load_public(FIXTURES / "test-keys-3072" / "public.key")
SHARES = [load_share(FIXTURES / "test-keys-2048" / f"{name}.share", PK) for name in ("s1", "s2")]
GOOD = PK.encrypt(5, SeededRng("paillier"))
# a key whose factors are known, for ciphertexts that share one with N: any two primes of 1024 bits will do
P = Z(2) ** 1024 - 105
Q = Z(2) ** 1024 - 179
WEAK = PublicKey(P * Q, Z(4), Engine.PREPARED, CollectionId(bytes(16)))


def opened(c: int) -> int:
    return combine(PK, c, *(share.partial_decrypt(PK, c) for share in SHARES))


class Recorder:
    """Gives out zeros and notes how many bits were asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def bits(self, count: int) -> int:
        self.asked.append(count)
        return 0

    def bytes(self, count: int) -> bytes:
        raise NotImplementedError

    def below(self, bound: int) -> int:
        raise NotImplementedError


# --- the key ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pk", "bits", "kappa", "l_bits"), [(PK, 2048, 112, 448), (OTHER, 3072, 128, 512)])
def test_the_sizes_of_a_key(pk: PublicKey, bits: int, kappa: int, l_bits: int) -> None:
    assert (pk.strength.kappa, pk.strength.n_bits, pk.strength.l_bits) == (kappa, bits, l_bits)
    assert pk.n_bits == bits
    assert pk.ciphertext_bytes == bits // 4
    assert pk.n2 == pk.n**2
    assert len(pk.key_id) == 16
    assert len(pk.dump(pk.encrypt(0, SeededRng(1)))) == bits // 4
    # the order of the hidden subgroup is found in 2^(l/4): a smaller l is a weaker key
    assert l_bits // 4 >= kappa


@pytest.mark.parametrize("bits", [0, 1024, 2047, 2049, 4096])
def test_other_key_lengths_are_refused(bits: int) -> None:
    with pytest.raises(OutOfRange):
        strength_for(bits)
    assert bits not in STRENGTHS


@pytest.mark.parametrize(
    ("n", "h"),
    [
        (PK.n + 1, PK.h),  # even
        (PK.n >> 1 | 1, PK.h),  # 2047 bits
        (PK.n << 1 | 1, PK.h),  # 2049 bits
        (-PK.n, PK.h),
        (Z(0), PK.h),
        (PK.n, Z(0)),
        (PK.n, Z(1)),  # every ciphertext would be in the clear
        (PK.n, PK.n - 1),
        (PK.n, PK.n),
        (PK.n, PK.n + 2),
        (PK.n, -PK.h),
        (P * Q, P),  # a factor of N
    ],
)
def test_public_keys_that_are_none(n: Z, h: Z) -> None:
    with pytest.raises(BadKeyFile):
        PublicKey(n, h, Engine.PREPARED, CollectionId(bytes(16)))
    with pytest.raises(BadKeyFile):
        PublicKey(PK.n, PK.h, Engine.PREPARED, CollectionId(bytes(15)))


def test_equality_is_by_key_id() -> None:
    again = PublicKey(PK.n, PK.h, PK.engine, PK.collection)
    assert again == PK
    assert hash(again) == hash(PK)
    for change in (
        {"h": PK.h**2 % PK.n},
        {"n": PK.n - 2},
        {"engine": Engine.PUBLISHED},
        {"collection": CollectionId(bytes(16))},
    ):
        assert dataclasses.replace(PK, **change) != PK
    assert PK != OTHER
    assert PK != "a key"
    assert repr(PK) == "PublicKey(2048 bits, 5593a472e0b7a3bd836a9403e83823f2)"


def test_a_key_crosses_processes_without_its_table() -> None:
    PK.table.prepare()
    raw = pickle.dumps(PK)
    assert len(raw) < 10_000
    again = pickle.loads(raw)
    assert again == PK
    assert opened(again.encrypt(-7, SeededRng(2))) == -7


# --- encryption -------------------------------------------------------------------------------------


def test_plaintexts_are_signed_and_wrap_at_half_of_n() -> None:
    half = int(PK.n) // 2
    for m in (0, 1, -1, half, -half, half - 1):
        assert opened(PK.encrypt(m, SeededRng(m))) == m
        assert opened(PK.encrypt(m + 3 * int(PK.n), SeededRng(m))) == m
    assert opened(PK.encrypt(half + 1, SeededRng(0))) == -half
    assert opened(PK.encrypt(-half - 1, SeededRng(0))) == half
    assert [PK.signed(m) for m in (0, half, half + 1, int(PK.n) - 1)] == [0, half, -half, -1]


def test_a_known_constant_as_a_ciphertext() -> None:
    for m in (0, 1, -1, 1 << 100, int(PK.n) // 2):
        c = PK.encode(m)
        assert c == (1 + m * PK.n) % PK.n2
        assert opened(c) == m


def test_equal_plaintexts_have_different_ciphertexts() -> None:
    rng = SeededRng("fresh")
    cs = [PK.encrypt(1, rng) for _ in range(8)] + [PK.rerandomise(GOOD, rng) for _ in range(8)]
    assert len(set(cs)) == 16


def test_fresh_exponents_have_l_bits_and_those_of_a_refresh_hide_them() -> None:
    """c H^r shows nothing of c's exponent only if r is much longer than it: l bits, and 1 more for the order of h."""
    rng = Recorder()
    PK.encrypt(1, rng)
    assert rng.asked == [448]
    rng.asked.clear()
    assert PK.rerandomise(GOOD, rng) == GOOD
    assert rng.asked == [448 + REFRESH_BITS]
    assert REFRESH_BITS >= 82


# --- the door ---------------------------------------------------------------------------------------


BAD = {
    "zero": 0,
    "N": PK.n,
    "a multiple of N": 3 * PK.n,
    "N^2": PK.n2,
    "N^2 and more": PK.n2 + GOOD if int(PK.n2 + GOOD).bit_length() <= 4096 else (1 << 4096) - 1,
    "the largest number": (1 << 4096) - 1,
}


@pytest.mark.parametrize("c", BAD.values(), ids=BAD)
@pytest.mark.parametrize("place", range(3))
def test_bad_numbers_among_good_ones(c: int, place: int) -> None:
    cs: list[int] = [int(GOOD)] * 3
    cs[place] = int(c)
    with pytest.raises(MalformedCiphertext):
        PK.load_many(b"".join(v.to_bytes(512, "big") for v in cs), 3)
    with pytest.raises(MalformedCiphertext):
        PK.validate(cs)


@pytest.mark.parametrize("factor", [P, Q, P * 12345, P * P, Q * P * 3])
def test_common_factors(factor: Z) -> None:
    good = WEAK.encode(3)
    for cs in ([factor], [good, factor], [factor, good]):
        with pytest.raises(MalformedCiphertext):
            WEAK.load_many(WEAK.dump_many(cs), len(cs))
    assert WEAK.load(WEAK.dump(good)) == good


@pytest.mark.parametrize("change", [-513, -512, -1, 1, 511, 512])
def test_lengths(change: int) -> None:
    raw = PK.dump(GOOD) * 3
    raw = raw[:change] if change < 0 else raw + bytes(change)
    with pytest.raises(MalformedCiphertext):
        PK.load_many(raw, 3)
    with pytest.raises(MalformedCiphertext):
        PK.load(PK.dump(GOOD)[:change] if change < 0 else PK.dump(GOOD) + bytes(change))


def test_every_truncation() -> None:
    raw = PK.dump(GOOD)
    for end in range(len(raw)):
        with pytest.raises(MalformedCiphertext):
            PK.load(raw[:end])


def test_a_ciphertext_of_another_key() -> None:
    with pytest.raises(MalformedCiphertext):  # by its length
        PK.load(OTHER.dump(OTHER.encrypt(1, SeededRng(3))))
    # of the same length it is a number like any other; only the two shares together can tell
    stranger = PK.load(WEAK.dump(WEAK.encrypt(1, SeededRng(4)) % PK.n2))
    with pytest.raises(MalformedCiphertext):
        opened(stranger)


def test_no_ciphertexts() -> None:
    assert PK.load_many(b"", 0) == []
    PK.validate([])
    with pytest.raises(MalformedCiphertext):
        PK.load_many(PK.dump(GOOD), 0)
    with pytest.raises(MalformedCiphertext):
        PK.load_many(b"", 1)


def test_what_does_not_fit_is_not_dumped() -> None:
    assert PK.load(PK.dump(GOOD)) == GOOD
    for c in (-1, 1 << 4096):
        with pytest.raises(OverflowError):
            PK.dump(c)
