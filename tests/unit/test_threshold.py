"""Key generation and the split of the decryption exponent: what both shares do, and what one alone cannot.

`test_the_published_split_is_broken` is a toy copy of the split in the code of SOCI, SOCI+ and TRUST.
"""

from __future__ import annotations

import copy
import functools
import math
import pickle
from pathlib import Path

import pytest
from joblib.externals.loky.backend.reduction import dumps

from pura.bigint import Z, is_prime
from pura.crypto.keys import load_public, load_share
from pura.crypto.paillier import STRENGTHS, PublicKey
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import (
    HIDING_BITS,
    KeySet,
    KeyShare,
    _structured_prime,
    combine,
    combine_many,
    dump_partials,
    generate,
    load_partials,
    split,
)
from pura.errors import MalformedCiphertext, OutOfRange, WrongKey
from pura.ids import Party

FIXTURES = Path(__file__).parents[1] / "fixtures"
RNG = SeededRng("threshold")
SETS = {
    bits: KeySet(
        pk := load_public(FIXTURES / f"test-keys-{bits}" / "public.key"),
        load_share(FIXTURES / f"test-keys-{bits}" / "s1.share", pk, Party.S1),
        load_share(FIXTURES / f"test-keys-{bits}" / "s2.share", pk, Party.S2),
    )
    for bits in STRENGTHS
}
KEYS = SETS[2048]
PK = KEYS.public
both = pytest.mark.parametrize("keys", SETS.values(), ids=map(str, SETS))


def opened(keys: KeySet, c: Z) -> int:
    pk = keys.public
    return combine(pk, c, keys.s1.partial_decrypt(pk, c), keys.s2.partial_decrypt(pk, c))


def generated(bits: int, seed: str) -> tuple[KeySet, Z, Z, Z, Z]:
    """A key set and its p, p', q, q', found by drawing the same primes from the same seed."""
    rng, half_l, half_n = SeededRng(seed), STRENGTHS[bits].l_bits // 2, bits // 2
    keys = generate(bits, SeededRng(seed))
    while True:
        p, p_prime, big_p = _structured_prime(half_l, half_n, rng)
        q, q_prime, big_q = _structured_prime(half_l, half_n, rng)
        if big_p * big_q == keys.public.n:
            return keys, p, p_prime, q, q_prime


# --- KeyGen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "seed"), [(2048, "a"), (2048, "b"), (2048, "c"), (3072, "d")])
def test_the_structure_of_a_key(bits: int, seed: str) -> None:
    keys, p, p_prime, q, q_prime = generated(bits, seed)
    pk, strength = keys.public, STRENGTHS[bits]
    n, alpha, beta = int(pk.n), int(p * q), int(p_prime * q_prime)
    big_p, big_q = 2 * p * p_prime + 1, 2 * q * q_prime + 1
    assert n == big_p * big_q
    assert n.bit_length() == bits
    assert {int(big_p).bit_length(), int(big_q).bit_length()} == {bits // 2}
    assert {int(p).bit_length(), int(q).bit_length()} == {strength.l_bits // 2}
    assert all(map(is_prime, (p, q, big_p, big_q)))
    assert p_prime % 2 == q_prime % 2 == 1
    parts = [int(v) for v in (p, q, p_prime, q_prime)]
    assert all(math.gcd(a, b) == 1 for i, a in enumerate(parts) for b in parts[i + 1 :])
    assert math.gcd(n, 4 * alpha * beta) == 1

    # h has an order of l bits or so and nothing smaller: its order divides 2 alpha, and p, q and 2 are all needed
    h = int(pk.h)
    assert pow(h, 2 * alpha, n) == 1
    for smaller in (alpha, 2 * int(p), 2 * int(q)):
        assert pow(h, smaller, n) != 1
    # h = -y^2 is -1 times a square in both fields
    for prime in (int(big_p), int(big_q)):
        assert pow(-h, (prime - 1) // 2, prime) == 1

    t = int(keys.s1.t + keys.s2.t)
    assert 0 <= t < 2 * alpha
    assert (1 + t * n) % (2 * alpha) == 0
    assert 0 <= keys.s1.t < 1 << (strength.l_bits + 1 + HIDING_BITS)
    assert (keys.s1.party, keys.s2.party) == (Party.S1, Party.S2)
    assert keys.s1.key_id == keys.s2.key_id == pk.key_id
    for m in (0, 5, -5, n // 2, -(n // 2)):
        assert opened(keys, pk.encrypt(m, RNG)) == m


@pytest.mark.parametrize("seed", range(6))
def test_structured_primes(seed: int) -> None:
    p, p_prime, big = _structured_prime(32, 128, SeededRng(seed))
    assert big == 2 * p * p_prime + 1
    assert is_prime(p)
    assert is_prime(big)
    assert p_prime % 2 == 1
    assert int(p).bit_length() == 32
    assert int(big) >> 126 == 3  # the two top bits, so that N has its full length


def test_two_ceremonies_differ_and_one_seed_repeats() -> None:
    one, two = generate(2048, SeededRng(1)), generate(2048, SeededRng(2))
    assert one.public != two.public
    assert generate(2048, SeededRng(1)).public == one.public
    assert one.s1.t != two.s1.t
    with pytest.raises(WrongKey):
        one.s1.check(two.public)


@pytest.mark.parametrize("bits", [512, 1024, 4096])
def test_no_other_key_lengths_are_made(bits: int) -> None:
    with pytest.raises(OutOfRange):
        generate(bits, RNG)


# --- decryption by two ------------------------------------------------------------------------------


@both
def test_both_shares_open_what_was_encrypted(keys: KeySet) -> None:
    pk = keys.public
    plain = [0, 1, -1, 1 << 300, -(1 << 300), int(pk.n) // 2, -(int(pk.n) // 2)]
    cs = [pk.encrypt(m, RNG) for m in plain]
    u1, u2 = keys.s1.partial_decrypt_many(pk, cs), keys.s2.partial_decrypt_many(pk, cs)
    assert combine_many(pk, cs, u1, u2) == plain
    assert combine_many(pk, cs, u2, u1) == plain
    assert u1 == [keys.s1.partial_decrypt(pk, c) for c in cs]
    assert load_partials(pk, dump_partials(pk, u1), len(cs)) == u1
    assert combine_many(pk, [], [], []) == []


@both
def test_neither_share_alone_opens_anything(keys: KeySet) -> None:
    """Whatever one server can compute from its own partial decryption stands in for the other's."""
    pk = keys.public
    c = pk.encrypt(42, RNG)
    for share in (keys.s1, keys.s2):
        u = share.partial_decrypt(pk, c)
        inverse = pow(int(u), -1, int(pk.n))
        for other in (1, u, inverse, u * u, pk.h, c % pk.n, 0, pow(int(c), int(share.t), int(pk.n2)) % pk.n):
            with pytest.raises(MalformedCiphertext):
                combine(pk, c, u, other)


@both
def test_a_fresh_split_of_the_same_exponent(keys: KeySet) -> None:
    """Two splits share nothing but their sum; half of one and half of another open nothing."""
    pk = keys.public
    t = keys.s1.t + keys.s2.t
    s1, s2 = split(t, pk, SeededRng("again"))
    assert s1.t + s2.t == t
    assert s1.t != keys.s1.t
    c = pk.encrypt(9, RNG)
    assert opened(KeySet(pk, s1, s2), c) == 9
    with pytest.raises(MalformedCiphertext):
        opened(KeySet(pk, s1, keys.s2), c)
    # the shares are longer than t by the hiding bits, and of both signs together
    assert abs(int(s1.t)).bit_length() > pk.strength.l_bits + HIDING_BITS - 20
    assert abs(int(s2.t)).bit_length() > pk.strength.l_bits + HIDING_BITS - 20


# --- the attack on the short-share split --------------------------------------------------------------


def short_share_attack(n: int, sk2: int) -> int:
    """sk1 as S2 finds it where sk1 + sk2 = 1 mod N and sk1 is shorter than N."""
    return (1 - sk2) % n


def test_the_published_split_is_broken() -> None:
    """SOCI, SOCI+, TRUST: d = 0 mod lambda and 1 mod N, sk1 uniform of 128 bits, sk2 = d - sk1."""
    p, q = (1 << 521) - 1, (1 << 607) - 1
    n, lam = p * q, math.lcm(p - 1, q - 1)
    n2, d = n * n, lam * pow(lam, -1, n)
    rng = SeededRng("soci")
    sk1 = rng.bits(128)
    sk2 = d - sk1
    m, r = 123456789, rng.below(n)
    c = (1 + m * n) * pow(r, n, n2) % n2
    assert (pow(c, sk1, n2) * pow(c, sk2, n2) % n2 - 1) // n == m  # what two servers do

    found = short_share_attack(n, sk2)  # what S2 does alone
    assert found == sk1
    assert (pow(c, found, n2) * pow(c, sk2, n2) % n2 - 1) // n == m
    # that sk2 were reduced modulo lambda N would not help: N divides that
    assert short_share_attack(n, sk2 % (lam * n)) == sk1


@both
def test_the_attack_fails_here(keys: KeySet) -> None:
    pk = keys.public
    n, n2, m = int(pk.n), int(pk.n2), 123456789
    c = int(pk.encrypt(m, RNG))
    for share, other in ((keys.s2, keys.s1), (keys.s1, keys.s2)):
        t = int(share.t)
        found = short_share_attack(n, t)
        assert found not in (int(other.t), int(other.t) % n)
        # as a share of ours ...
        guess = KeyShare(other.party, pk.key_id, Z(found))
        with pytest.raises(MalformedCiphertext):
            combine(pk, c, share.partial_decrypt(pk, c), guess.partial_decrypt(pk, c))
        # ... and with the published decryption, c^sk1 c^sk2 mod N^2
        assert pow(c, found, n2) * pow(c, t, n2) % n2 != 1 + m * n
        # the whole exponent is 1 modulo N only together with t N, which S2 cannot make from its half
        assert pow(c, 1 + t * n, n2) != 1 + m * n


# --- wrong input --------------------------------------------------------------------------------------


def test_wrong_partial_decryptions() -> None:
    c, d = PK.encrypt(1, RNG), PK.encrypt(2, RNG)
    u1, u2 = KEYS.s1.partial_decrypt(PK, c), KEYS.s2.partial_decrypt(PK, c)
    for x, y in [(u1 + 1, u2), (u1, u2 + 1), (u2, u2), (u1, u1), (0, u2), (u1, 0), (PK.n - u1, u2)]:
        with pytest.raises(MalformedCiphertext):
            combine(PK, c, x, y)
    with pytest.raises(MalformedCiphertext):
        combine(PK, d, u1, u2)
    # one bad one among good ones
    with pytest.raises(MalformedCiphertext):
        combine_many(PK, [c, d], [u1, u1], [u2, u2])
    with pytest.raises(ValueError, match="zip"):
        combine_many(PK, [c, d], [u1], [u2])


def test_the_sign_of_a_partial_decryption_is_seen() -> None:
    """-1 has order 2 and N is odd: a negated u gives -(1 + mN), which is not 1 modulo N."""
    c = PK.encrypt(1, RNG)
    u1, u2 = KEYS.s1.partial_decrypt(PK, c), KEYS.s2.partial_decrypt(PK, c)
    assert combine(PK, c, PK.n - u1, PK.n - u2) == 1  # the two signs cancel
    with pytest.raises(MalformedCiphertext):
        combine(PK, c, PK.n - u1, u2)


def test_what_is_no_ciphertext_does_not_open() -> None:
    for c in (Z(2), Z(3), PK.n - 2, PK.h + 1, Z(SeededRng(0).below(int(PK.n2)))):
        with pytest.raises(MalformedCiphertext):
            opened(KEYS, c)
    # what lies in the subgroup does, also without randomness that anybody drew: -1 is H^alpha
    assert opened(KEYS, PK.table.power(1)) == 0
    assert opened(KEYS, PK.n2 - 1) == 0
    assert opened(KEYS, PK.n - 1) == -1


@pytest.mark.parametrize("bad", [0, PK.n, PK.n + 1, (1 << 2048) - 1])
def test_partials_out_of_range(bad: int) -> None:
    with pytest.raises(MalformedCiphertext):
        load_partials(PK, dump_partials(PK, [1, bad]), 2)


@pytest.mark.parametrize("change", [-257, -256, -1, 1, 255, 256])
def test_lengths_of_partials(change: int) -> None:
    raw = dump_partials(PK, [3, 4])
    raw = raw[:change] if change < 0 else raw + bytes(change)
    with pytest.raises(MalformedCiphertext):
        load_partials(PK, raw, 2)
    assert load_partials(PK, b"", 0) == []


def test_shares_of_another_key() -> None:
    other = SETS[3072]
    for share in (other.s1, other.s2):
        with pytest.raises(WrongKey):
            share.check(PK)
    KEYS.s1.check(PK)
    c = PK.encrypt(1, RNG)
    with pytest.raises(MalformedCiphertext):
        opened(KeySet(PK, other.s1, KEYS.s2), c)


# --- what the combiner learns -------------------------------------------------------------------------


def test_the_combiner_learns_the_randomness_and_a_refresh_replaces_it() -> None:
    """w^-1 is h^r mod N: the reason why whoever asks for a decryption re-randomises first."""
    r = 0xC0FFEE
    c = PK.add_plain(PK.table.power(r), 5)
    w = KEYS.s1.partial_decrypt(PK, c) * KEYS.s2.partial_decrypt(PK, c) % PK.n
    learnt = pow(int(w), -1, int(PK.n))
    assert learnt == pow(int(PK.h), r, int(PK.n))
    fresh = PK.rerandomise(c, RNG)
    assert opened(KEYS, fresh) == 5
    again = KEYS.s1.partial_decrypt(PK, fresh) * KEYS.s2.partial_decrypt(PK, fresh) % PK.n
    assert pow(int(again), -1, int(PK.n)) != learnt


def test_shares_and_key_sets_do_not_print() -> None:
    for shown in (repr(KEYS.s1), str(KEYS.s1), f"{KEYS.s2!r}", repr(KEYS), f"{[KEYS.s1, KEYS]}"):
        for t in (KEYS.s1.t, KEYS.s2.t):
            assert f"{abs(int(t))}"[:20] not in shown
            assert f"{abs(int(t)):x}"[:20] not in shown
    assert repr(KEYS.s1) == "KeyShare(S1, …)"
    assert isinstance(PK, PublicKey)


def test_a_share_is_neither_pickled_nor_copied() -> None:
    """So no task for a worker process, and no cache, can take one along."""
    share = KEYS.s1
    for secret in (share, KEYS, [share], functools.partial(share.partial_decrypt, PK), lambda: share):
        with pytest.raises(Exception, match="cannot be pickled"):
            dumps(secret)  # as for a worker
    for dump in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            dump(share)
