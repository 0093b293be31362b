"""What S2 signs: each statement says one thing, under one key, of one kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey
from pura.ids import EnrolmentId, Handle, KeyId
from pura.statements import Signer, Verifier

KEY = SigningKey.new(SeededRng("s2"))
KEY_ID = KeyId(b"k" * 16)
S2 = Signer(KEY, KEY_ID)
CLIENT = Verifier(KEY.public, KEY_ID)
Q, E = b"q" * 32, EnrolmentId(b"e" * 16)


def test_what_was_signed_is_believed() -> None:
    assert CLIENT.answer(S2.answer(Q, b"share123", 4), Q, b"share123", 4)
    assert CLIENT.roster(S2.roster(4, bytes(32)), 4, bytes(32))
    assert CLIENT.enrolled(S2.enrolled(4, E, Handle(9)), 4, E, Handle(9))
    assert CLIENT.erased(S2.erased(4, [Handle(9), Handle(2)]), 4, [Handle(2), Handle(9), Handle(2)])


@pytest.mark.parametrize(
    "says",
    [
        lambda v, s: v.answer(s, Q, b"share124", 4),
        lambda v, s: v.answer(s, Q, b"share123", 5),
        lambda v, s: v.answer(s, b"r" * 32, b"share123", 4),
        lambda v, s: v.roster(s, 4, Q),
        lambda v, s: v.enrolled(s, 4, E, Handle(9)),
        lambda v, s: v.erased(s, 4, [Handle(9)]),
        lambda v, s: Verifier(KEY.public, KeyId(b"l" * 16)).answer(s, Q, b"share123", 4),
        lambda v, s: Verifier(SigningKey.new(SeededRng("s3")).public, KEY_ID).answer(s, Q, b"share123", 4),
    ],
)
def test_nothing_else_is(says: Callable[[Verifier, bytes], bool]) -> None:
    assert not says(CLIENT, S2.answer(Q, b"share123", 4))


def test_no_two_statements_are_the_same() -> None:
    made = [
        S2.answer(bytes(32), bytes(8), 1), S2.roster(1, bytes(32)), S2.roster(2, bytes(32)),
        S2.enrolled(1, EnrolmentId(bytes(16)), Handle(1)), S2.erased(1, []), S2.erased(1, [Handle(1)]),
        S2.erased(1, [Handle(1), Handle(2)]), Signer(KEY, KeyId(bytes(16))).roster(1, bytes(32)),
    ]  # fmt: skip
    assert all(a != b for a, b in itertools.combinations(made, 2))
