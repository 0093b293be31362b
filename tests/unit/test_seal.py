"""Sealing to a one-time key: opens with the right key in the right context, and in no other case."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto.rng import SeededRng
from pura.crypto.seal import KEY_BYTES, OVERHEAD, SealKey, seal
from pura.crypto.sign import SigningKey
from pura.errors import DeviatingServer, MalformedMessage
from pura.ids import Handle, KeyId, RequestId
from pura.protocols.prepared.client import HANDLE_BYTES, SealedSession
from pura.statements import ANSWER_EXTRA, Signer, Verifier

RNG = SeededRng("seal")
KEY = SealKey(RNG)
CONTEXT = b"question 1"
TEXT = b"an answer of 24 bytes..."
SEALED = seal(KEY.public, TEXT, CONTEXT, RNG)
quick = settings(max_examples=50, deadline=None, derandomize=True)
P25519 = (1 << 255) - 19
# all points of small order on the curve and its twist, as they may come in (RFC 7748 section 7, and with p added)
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P25519 - 1,
    P25519,
    P25519 + 1,
]


@given(st.binary(max_size=200), st.binary(max_size=40), st.integers(0, 1 << 32))
@quick
def test_what_was_sealed_is_opened(text: bytes, context: bytes, seed: int) -> None:
    rng = SeededRng(seed)
    key = SealKey(rng)
    sealed = seal(key.public, text, context, rng)
    assert len(sealed) == len(text) + OVERHEAD
    assert key.open(sealed, context) == text


def test_the_same_text_is_never_sealed_the_same() -> None:
    assert len({seal(KEY.public, TEXT, CONTEXT, RNG) for _ in range(10)}) == 10


def test_another_key() -> None:
    for other in (SealKey(RNG), SealKey(SeededRng("other"))):
        with pytest.raises(MalformedMessage):
            other.open(SEALED, CONTEXT)


@pytest.mark.parametrize("context", [b"", b"question 2", CONTEXT + b"\x00", CONTEXT[:-1]])
def test_another_context(context: bytes) -> None:
    with pytest.raises(MalformedMessage):
        KEY.open(SEALED, context)


def test_one_bit_changed_anywhere() -> None:
    for at in range(len(SEALED)):
        for bit in (1, 0x80):
            changed = SEALED[:at] + bytes([SEALED[at] ^ bit]) + SEALED[at + 1 :]
            with pytest.raises(MalformedMessage):
                KEY.open(changed, CONTEXT)


def test_every_truncation_and_trailing_bytes() -> None:
    for end in range(len(SEALED)):
        with pytest.raises(MalformedMessage):
            KEY.open(SEALED[:end], CONTEXT)
    for tail in (b"\x00", SEALED):
        with pytest.raises(MalformedMessage):
            KEY.open(SEALED + tail, CONTEXT)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_keys_of_another_length(length: int) -> None:
    with pytest.raises(MalformedMessage):
        seal(bytes(range(length)), TEXT, CONTEXT, RNG)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order(point: int) -> None:
    """They would make the shared secret 0, whatever the other side's key is."""
    raw = point.to_bytes(KEY_BYTES, "little")
    for bad in (raw, raw[:-1] + bytes([raw[-1] | 0x80])):  # the top bit is ignored by X25519
        with pytest.raises(MalformedMessage):
            seal(bad, TEXT, CONTEXT, RNG)
        with pytest.raises(MalformedMessage):
            KEY.open(bad + SEALED[KEY_BYTES:], CONTEXT)


def test_nothing_prints() -> None:
    assert repr(KEY) == "SealKey(…)"
    session = SealedSession.new(RNG)
    assert session.public_key.hex() not in repr(session)


# --- the client's answer ------------------------------------------------------------------------------

KEY_ID = KeyId(b"k" * 16)
S2 = Signer(SigningKey.new(SeededRng("s2")), KEY_ID)
VERIFIER = Verifier(S2.key.public, KEY_ID)
QUESTION = b"q" * 32


def shares(handles: list[int]) -> tuple[bytes, bytes]:
    """S1's and S2's share of an answer."""
    plain = b"".join(h.to_bytes(HANDLE_BYTES, "big") for h in handles)
    share = RNG.bytes(len(plain))
    return share, bytes(a ^ b for a, b in zip(plain, share, strict=True))


def answered(session: SealedSession, handles: list[int], request: bytes, signer: Signer = S2) -> tuple[bytes, bytes]:
    """The two parts of an answer, as the servers make them."""
    share, other = shares(handles)
    return share, seal(session.public_key, signer.answer_text(QUESTION, other, 7), request, RNG)


@pytest.mark.parametrize("handles", [[0], [5], [(1 << 64) - 1], [7, 0, 0], [3, 9, 4], [0, 0, 6]])
def test_an_answer_is_joined_and_nobody_is_left_out(handles: list[int]) -> None:
    session, request = SealedSession.new(RNG), RequestId(RNG.bytes(16))
    share, sealed = answered(session, handles, request)
    found = session.open_answer(share, sealed, request, QUESTION, VERIFIER)
    assert (found.handles, found.generation) == ([Handle(h) for h in handles if h], 7)


def test_answers_that_belong_to_no_question() -> None:
    session, request = SealedSession.new(RNG), RequestId(RNG.bytes(16))
    share, sealed = answered(session, [5], request)
    elsewhere = SealedSession.new(RNG)
    for one, two, three in [
        (session, (share[:-1], sealed), request),
        (session, (share[:-1], sealed[:-1]), request),
        (session, (share + bytes(8), sealed), request),
        (session, (share, sealed + bytes(8)), request),
        (session, (b"", sealed), request),
        (session, (share, b""), request),
    ]:
        with pytest.raises(MalformedMessage):
            one.open_answer(*two, three, QUESTION, VERIFIER)
    for one, two, three in [
        (elsewhere, (share, sealed), request),
        (session, (share, sealed), RequestId(bytes(16))),
        (session, (share, sealed[:-1] + bytes([sealed[-1] ^ 1])), request),
    ]:
        with pytest.raises(DeviatingServer):
            one.open_answer(*two, three, QUESTION, VERIFIER)


def test_a_server_that_seals_an_answer_of_its_own_is_found_out() -> None:
    """S1 knows the one-time key, and so seals what it likes: S2's signature is what it cannot make."""
    session, request = SealedSession.new(RNG), RequestId(RNG.bytes(16))
    share, other = shares([5])
    s1 = Signer(SigningKey.new(SeededRng("s1")), KEY_ID)
    honest = S2.answer_text(QUESTION, other, 7)
    lies = {
        "unsigned, as 0.1 sealed it": other,
        "no signature": other + bytes(ANSWER_EXTRA),
        "signed by S1": s1.answer_text(QUESTION, other, 7),
        "another share": bytes([other[0] ^ 1]) + honest[1:],
        "another generation": other + (8).to_bytes(8, "big") + honest[16:],
        "of another question": S2.answer_text(b"r" * 32, other, 7),
        "of another collection": Signer(S2.key, KeyId(b"l" * 16)).answer_text(QUESTION, other, 7),
        "a roster's signature": other + (7).to_bytes(8, "big") + S2.roster(7, QUESTION),
    }
    for name, text in lies.items():
        sealed = seal(session.public_key, text, request, RNG)
        with pytest.raises(MalformedMessage if len(text) < len(honest) else DeviatingServer):
            pytest.fail(f"{name}: {session.open_answer(share, sealed, request, QUESTION, VERIFIER)}")
    # one that S2 did sign, sealed once more by S1, is what S2 said
    again = seal(session.public_key, honest, request, RNG)
    assert session.open_answer(share, again, request, QUESTION, VERIFIER).handles == [5]


def test_a_server_that_changes_its_own_share_is_not_found_out_by_the_signature() -> None:
    """What a deviating server can do: whoever guesses the answer makes it another, or nobody (SECURITY.md). A guess
    that is wrong hits no handle, which the client tells by the roster."""
    session, request = SealedSession.new(RNG), RequestId(RNG.bytes(16))
    for guess, becomes in ((5, 9), (5, 0), (0, 9)):
        share, sealed = answered(session, [guess], request)
        shifted = bytes(a ^ b for a, b in zip(share, (guess ^ becomes).to_bytes(8, "big"), strict=True))
        found = session.open_answer(shifted, sealed, request, QUESTION, VERIFIER)
        assert found.handles == [Handle(becomes)] * bool(becomes)
