"""Any template has a proof that holds in its context; no changed bit and no arithmetic on ciphertexts leaves one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto import proof
from pura.crypto.keys import load_public
from pura.crypto.rng import SeededRng
from pura.errors import BadProof, MalformedCiphertext
from pura.ids import ContextDigest

PK = load_public(Path(__file__).parents[1] / "fixtures" / "test-keys-2048" / "public.key")
N = int(PK.n)
plaintexts = st.lists(st.integers(0, N - 1) | st.sampled_from([0, 1, N // 2, N - 1]), min_size=1, max_size=3)
contexts = st.binary(min_size=32, max_size=32).map(ContextDigest)


def made(plain: list[int], context: ContextDigest, seed: int) -> tuple[bytes, bytes]:
    sealed = proof.encrypt(PK, plain, SeededRng(seed))
    return PK.dump_many(sealed.ciphertexts), proof.prove(PK, sealed, context, SeededRng(seed + 1))


@settings(max_examples=40)
@given(plaintexts, contexts, st.integers(0, 1 << 32))
def test_it_holds(plain: list[int], context: ContextDigest, seed: int) -> None:
    raw, shown = made(plain, context, seed)
    assert proof.check(PK, raw, len(plain), shown, context).challenge == shown[:16]


@settings(max_examples=60)
@given(plaintexts, contexts, st.integers(0, 1 << 32), st.data())
def test_no_bit_may_change(plain: list[int], context: ContextDigest, seed: int, data: st.DataObject) -> None:
    raw, shown = made(plain, context, seed)
    body = bytearray(raw + shown + context)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    one, two = len(raw), len(raw) + len(shown)
    with pytest.raises((BadProof, MalformedCiphertext)):
        proof.check(PK, bytes(body[:one]), len(plain), bytes(body[one:two]), ContextDigest(bytes(body[two:])))


@settings(max_examples=40)
@given(
    plaintexts,
    contexts,
    st.integers(0, 1 << 32),
    st.integers(-(1 << 64), 1 << 64).filter(lambda k: k != 1),
    st.integers(0, N - 1),
    st.integers(0, 1 << 128),
)
def test_no_function_of_a_ciphertext_has_its_proof(
    plain: list[int], context: ContextDigest, seed: int, factor: int, shift: int, fresh: int
) -> None:
    raw, shown = made(plain, context, seed)
    cs = PK.load_many(raw, len(plain))
    changed = PK.add_plain(PK.scale(cs[-1], factor) * PK.table.power(fresh), shift)
    with pytest.raises(BadProof):
        proof.check(PK, PK.dump_many([*cs[:-1], changed]), len(plain), shown, context)
