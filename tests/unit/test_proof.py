"""Proofs of plaintext knowledge: what two answers give away, and what a repeated source must not. See also
tests/vectors/proof-2048.json, which has everything that must fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from pura.bigint import Z, invert, power
from pura.crypto import proof
from pura.crypto.context import NO_CERTIFICATE, SALT_BYTES, Scope, commit
from pura.crypto.keys import load_public
from pura.crypto.proof import CHALLENGE_BYTES, MASK_BITS, Sealed, Sizes
from pura.crypto.rng import Rng, SeededRng
from pura.crypto.threshold import _structured_prime, generate
from pura.errors import BadProof, OutOfRange
from pura.ids import CollectionId, ContextDigest, Engine, Epoch, KeyId, RequestId

FIXTURES = Path(__file__).parents[1] / "fixtures"
PK = load_public(FIXTURES / "test-keys-2048" / "public.key")
OTHER = load_public(FIXTURES / "test-keys-3072" / "public.key")
L = PK.strength.l_bits
SIZES = Sizes.of(PK)
CONTEXT, ELSEWHERE = ContextDigest(b"c" * 32), ContextDigest(b"d" * 32)
PLAIN = (123456789, int(PK.n) - 1, 0)


def rng(seed: str) -> Rng:
    return SeededRng(seed)


def parts(raw: bytes, count: int) -> tuple[int, list[int], list[int]]:
    split = CHALLENGE_BYTES + count * SIZES.z1
    z1 = [raw[i : i + SIZES.z1] for i in range(CHALLENGE_BYTES, split, SIZES.z1)]
    z2 = [raw[i : i + SIZES.z2] for i in range(split, len(raw), SIZES.z2)]
    number = lambda b: int.from_bytes(b, "big")  # noqa: E731
    return number(raw[:CHALLENGE_BYTES]), [number(z) for z in z1], [number(z) for z in z2]


@pytest.mark.parametrize("pk", [PK, OTHER], ids=["2048", "3072"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_proof_holds_and_has_the_size_that_is_stated(pk, count: int) -> None:
    plain = [0, int(pk.n) - 1, 7][:count]
    sealed = proof.encrypt(pk, plain, rng("seal"))
    raw = proof.prove(pk, sealed, CONTEXT, rng("proof"))
    assert len(raw) == Sizes.of(pk).proof(count) == count * {2048: 339, 3072: 475}[pk.n_bits] + 16
    seen = proof.check(pk, pk.dump_many(sealed.ciphertexts), count, raw, CONTEXT)
    assert seen.ciphertexts == list(sealed.ciphertexts)
    assert seen.challenge == raw[:16]
    with pytest.raises(BadProof):
        proof.check(pk, pk.dump_many(sealed.ciphertexts), count, raw, ELSEWHERE)


def test_a_new_proof_for_the_same_ciphertexts() -> None:
    """A retried enrolment: nothing of the first proof is used again."""
    sealed = proof.encrypt(PK, PLAIN, rng("seal"))
    first, second = (proof.prove(PK, sealed, CONTEXT, rng(seed)) for seed in ("one", "two"))
    assert {*parts(first, 3)[1]} & {*parts(second, 3)[1]} == set()
    challenges = {
        proof.check(PK, PK.dump_many(sealed.ciphertexts), 3, raw, CONTEXT).challenge for raw in (first, second)
    }
    assert len(challenges) == 2


def test_what_is_no_plaintext() -> None:
    for p in (-1, int(PK.n)):
        with pytest.raises(OutOfRange):
            proof.encrypt(PK, [p], rng("seal"))


class Stuck:
    """A source that gives the same bytes for ever: a virtual machine that was put back to a snapshot."""

    def bytes(self, count: int) -> bytes:
        return bytes(count)

    def bits(self, count: int) -> int:
        raise AssertionError("only bytes are asked for")

    below = bits


def test_a_source_that_repeats_itself_gives_no_two_answers_to_one_commitment() -> None:
    stuck = Stuck()
    sealed = proof.encrypt(PK, PLAIN, stuck)
    assert proof.encrypt(PK, PLAIN[::-1], stuck).randomness != sealed.randomness
    assert len(set(sealed.randomness)) == 3
    raws = [proof.prove(PK, sealed, context, stuck) for context in (CONTEXT, ELSEWHERE)]
    assert len({commitments(sealed, raw) for raw in raws}) == 2
    again = proof.encrypt(PK, [PLAIN[0] + 1, *PLAIN[1:]], stuck)
    assert commitments(again, proof.prove(PK, again, CONTEXT, stuck)) != commitments(sealed, raws[0])


def commitments(sealed: Sealed, raw: bytes) -> tuple[Z, ...]:
    """A_i = (1 + z1_i N) H^(z2_i) c_i^(-e)."""
    e, z1, z2 = parts(raw, len(sealed.ciphertexts))
    return tuple(
        PK.add_plain(PK.table.power(y) * power(invert(c, PK.n2), e, PK.n2), x)
        for c, x, y in zip(sealed.ciphertexts, z1, z2, strict=True)
    )


def by_hand(c: Z, p: int, r: int, a: int, b: int, context: ContextDigest) -> bytes:
    """An answer for chosen masks, in bytes."""
    big_a = PK.add_plain(PK.table.power(b), a)
    challenge = proof._challenge(PK, context, [c], [big_a])
    e = int.from_bytes(challenge, "big")
    return b"".join(
        (challenge, int((a + e * p) % PK.n).to_bytes(SIZES.z1, "big"), (b + e * r).to_bytes(SIZES.z2, "big"))
    )


def test_two_answers_to_one_commitment_give_the_plaintext() -> None:
    """The extractor of docs/security/proof.md: P = (z1 - z1') / (e - e') mod N."""
    p, r, a, b = 987654321, 12345, 777, 1 << (L + 100)
    c = PK.add_plain(PK.table.power(r), p)
    raws = [by_hand(c, p, r, a, b, context) for context in (CONTEXT, ELSEWHERE)]
    for raw, context in zip(raws, (CONTEXT, ELSEWHERE), strict=True):
        assert proof.check(PK, PK.dump(c), 1, raw, context)
    (e1, (x1,), _), (e2, (x2,), _) = (parts(raw, 1) for raw in raws)
    assert (x1 - x2) * invert(e1 - e2, PK.n) % PK.n == p


def test_a_ciphertext_outside_of_the_subgroup_has_no_proof_though_its_plaintext_is_known() -> None:
    """c rho^N has the same plaintext; its author would have to guess e modulo the order of rho."""
    p, r = 987654321, 12345
    c = PK.add_plain(PK.table.power(r), p) * power(Z(3), PK.n, PK.n2) % PK.n2
    with pytest.raises(BadProof):
        proof.check(PK, PK.dump(c), 1, by_hand(c, p, r, 777, 1 << (L + 100), CONTEXT), CONTEXT)


def test_masks_are_as_long_as_the_argument_needs() -> None:
    """b_i of l + 208 bits hides e r_i < 2^(l + 128) to within 2^-80."""
    longest = 0
    sealed = proof.encrypt(PK, PLAIN, rng("seal"))
    for i in range(8):
        _, _, z2 = parts(proof.prove(PK, sealed, CONTEXT, rng(str(i))), 3)
        longest = max(longest, *(z.bit_length() for z in z2))
    assert L + MASK_BITS - 4 <= longest <= L + MASK_BITS + 1
    assert MASK_BITS == 208


def test_who_knows_the_order_of_h_finds_another_proof_with_the_same_challenge_which_is_why_challenges_are_kept() -> (
    None
):
    """Nobody knows the order but the ceremony, for an instant; still `Epochs.accept` refuses the second one."""
    keys = generate(2048, SeededRng("order"))
    draw = SeededRng("order")
    while True:
        one, two = _structured_prime(224, 1024, draw), _structured_prime(224, 1024, draw)
        if one[2] * two[2] == keys.public.n:
            break
    pk, order = keys.public, int(2 * one[0] * two[0])
    assert power(pk.h, order, pk.n) == 1
    sealed = proof.encrypt(pk, [5], rng("seal"))
    raw = proof.prove(pk, sealed, CONTEXT, rng("proof"))
    z2 = int.from_bytes(raw[-SIZES.z2 :], "big") + order
    twin = raw[: -SIZES.z2] + z2.to_bytes(SIZES.z2, "big")
    assert proof.check(pk, pk.dump_many(sealed.ciphertexts), 1, twin, CONTEXT).challenge == raw[:16]


# --- contexts -----------------------------------------------------------------------------------------


SCOPE = Scope(Engine.PREPARED, CollectionId(b"1" * 16), KeyId(b"2" * 16), b"3" * 32)


def test_fields_that_run_into_each_other_give_different_contexts() -> None:
    client = commit(bytes(SALT_BYTES), NO_CERTIFICATE)
    seen = {
        SCOPE.question(RequestId(b"ab"), None, Epoch(b"c"), b"d", client),
        SCOPE.question(RequestId(b"a"), None, Epoch(b"bc"), b"d", client),
        SCOPE.question(RequestId(b"ab"), None, Epoch(b""), b"cd", client),
        SCOPE.question(RequestId(b"ab"), [], Epoch(b"c"), b"d", client),
        SCOPE.enrolment(RequestId(b"ab"), b"d", Epoch(b"c"), client),  # type: ignore[arg-type]
        SCOPE.forget(RequestId(b"ab"), [], Epoch(b"c"), client),
    }
    assert len(seen) == 6


def test_a_commitment_hides_the_certificate_from_who_lacks_the_salt() -> None:
    one, two = commit(b"s" * 16, b"f" * 32), commit(b"t" * 16, b"f" * 32)
    assert len(one) == 32
    assert one != two
    assert one != commit(b"s" * 16, b"g" * 32)
