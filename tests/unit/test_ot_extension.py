"""Base OTs, extensions and triples between two servers with real keys, over the codec."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pura.crypto.keys import load_public, load_share
from pura.crypto.ot import local_pair
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import load_partials
from pura.errors import MalformedCiphertext, MaterialUsed, ProtocolError
from pura.ids import Party
from pura.messages import decode, encode
from pura.params import Metric, Params
from pura.protocols.packed import base_ot, extension
from pura.protocols.packed.side import Side
from pura.rounds import Tally, receive, run_pair, send


@pytest.fixture(scope="module")
def sides(request):
    folder = request.config.rootpath / "tests/fixtures/test-keys-2048"
    pk = load_public(folder / "public.key")
    params = Params(pk.key_id, 2048, dimension=8, metric=Metric.EUCLIDEAN)
    share = {p: load_share(folder / f"{p.name.lower()}.share", pk) for p in Party}
    return tuple(Side(pk, share[p], params, SeededRng(p.name)) for p in Party)


@pytest.fixture(scope="module")
def connected(sides):
    return run_pair(extension.setup(sides[0]), extension.setup(sides[1]))


_label = iter(range(1 << 20))


@pytest.fixture
def ends(connected):
    """Fresh ends at both servers, without new base OTs."""
    label = str(next(_label)).encode()
    return tuple(end.fork(label) for end in connected)


def bits_of(packed):
    return np.unpackbits(packed.view(np.uint8), bitorder="little").astype(bool)


# --- base OTs ----------------------------------------------------------------------------------------


def pairs_for(count):
    rng = SeededRng(b"pairs")
    edge = [(bytes(16), b"\xff" * 16), (b"\xff" * 16, bytes(16)), (bytes(16), bytes(16)), (b"\xff" * 16, b"\xff" * 16)]
    return (edge + [(rng.bytes(16), rng.bytes(16)) for _ in range(count)])[:count]


@pytest.mark.parametrize("count", [1, 4, 15, 16, 33])
def test_base_ots_give_what_was_chosen(sides, count):
    pairs = pairs_for(count)
    choices = [SeededRng(count).bits(1) if i > 3 else i % 2 for i in range(count)]
    for s, r in (sides, sides[::-1]):
        done, got = run_pair(base_ot.base_send(s, pairs), base_ot.base_receive(r, choices))
        assert done is None
        assert got == [pair[b] for pair, b in zip(pairs, choices, strict=True)]


def test_the_sender_re_randomises(sides):
    """The same question answered twice: the receiver opens the same strings, from unrelated ciphertexts."""
    s1, s2 = sides
    ask = base_ot.choose(s1, [0, 1, 1])
    answers = [base_ot.answer(s2, ask, pairs_for(3)) for _ in range(2)]
    assert answers[0].ciphertexts != answers[1].ciphertexts
    assert base_ot.open_answers(s1, answers[0], 3) == base_ot.open_answers(s1, answers[1], 3)


def test_malformed_base_ots_are_refused(sides):
    s1, s2 = sides
    ask = base_ot.choose(s1, [0, 1])
    pairs = pairs_for(2)
    for bad in (ask.ciphertexts[:-1], ask.ciphertexts + b"\0", bytes(len(ask.ciphertexts))):
        with pytest.raises(MalformedCiphertext):
            base_ot.answer(s2, base_ot.BaseChoices(bad), pairs)
    with pytest.raises(MalformedCiphertext):
        base_ot.answer(s2, ask, pairs[:1])
    good = base_ot.answer(s2, ask, pairs)
    for bad in (
        dataclasses.replace(good, ciphertexts=good.ciphertexts[:-1]),
        dataclasses.replace(good, partials=good.partials + b"\0"),
        dataclasses.replace(good, partials=base_ot.answer(s2, ask, pairs).partials),
    ):
        with pytest.raises(MalformedCiphertext):
            base_ot.open_answers(s1, bad, 2)


def test_strings_out_of_range_are_refused(sides):
    s1, s2 = sides
    pk = s1.pk
    for plain in (-1, 1 << 256):
        c = pk.encrypt(plain, s2.rng)
        u = s2.share.partial_decrypt(pk, c)
        got = base_ot.BaseAnswers(pk.dump(c), int(u).to_bytes(256, "big"))
        load_partials(pk, got.partials, 1)
        with pytest.raises(ProtocolError):
            base_ot.open_answers(s1, got, 2)


def test_the_other_kind_of_message_is_refused(sides):
    s1, s2 = sides

    def confused():
        yield from send(base_ot.choose(s2, [0]))

    with pytest.raises(ProtocolError):
        run_pair(base_ot.base_receive(s1, [0]), confused())


# --- setup and extensions ----------------------------------------------------------------------------


def test_setup_in_two_rounds_names_both_directions(sides, connected):
    one, two = connected
    assert one.sender.session == two.receiver.session != one.receiver.session == two.sender.session
    assert one.sender.used == one.receiver.used == 0
    assert "Extension" not in repr(one)
    tally = Tally()
    run_pair(extension.setup(sides[0]), extension.setup(sides[1]), tally)
    assert tally.rounds == 2
    assert tally.bytes_sent == tally.bytes_received


@pytest.mark.parametrize("given", [False, True])
def test_extension_over_the_wire(ends, given):
    n = 1280
    choices = np.frombuffer(SeededRng(4).bytes(n // 8), np.uint8) if given else None
    for one, two in (ends, ends[::-1]):
        tally = Tally()
        sent, received = run_pair(
            extension.extend_send(one.sender, n),
            extension.extend_receive(two.receiver, n, SeededRng(1), choices),
            tally,
        )
        m_0, m_1 = sent.pads()
        np.testing.assert_array_equal(received.pads(), np.where(bits_of(received.choices)[:, None], m_1, m_0))
        if choices is not None:
            np.testing.assert_array_equal(received.choices, choices)
        assert tally.bytes_sent == 0
        assert tally.bytes_received < n * 4 + 64


def test_triples_multiply_in_one_round(ends):
    tally = Tally()
    parts = [extension.triples(end, 4096, SeededRng(i)) for i, end in enumerate(ends)]
    one, two = run_pair(*parts, tally)
    np.testing.assert_array_equal((one.a ^ two.a) & (one.b ^ two.b), one.c ^ two.c)
    for share in (*dataclasses.astuple(one), *dataclasses.astuple(two)):
        assert share.shape == (64,)
        assert share.dtype == np.uint64
        assert abs(bits_of(share).mean() - 0.5) < 0.05
    assert tally.rounds == 1
    assert tally.bytes_sent == tally.bytes_received < 4 * 4096 + 64
    assert "array" not in repr(one)


def test_forks_run_in_any_order(connected):
    one, two = connected
    first = [end.fork(b"any order 1") for end in (one, two)]
    second = [end.fork(b"any order 2") for end in (one, two)]
    for pair in (second, first, second):
        a, b = run_pair(extension.triples(pair[0], 128, SeededRng(1)), extension.triples(pair[1], 128, SeededRng(2)))
        np.testing.assert_array_equal((a.a ^ b.a) & (a.b ^ b.b), a.c ^ b.c)
    with pytest.raises(MaterialUsed):
        one.fork(b"any order 1")


def test_a_lost_message_is_skipped_and_an_old_one_refused(ends):
    one, two = ends
    lost, _ = extension.ask_for(two.receiver, 256, SeededRng(1))
    a, b = run_pair(extension.triples(one, 256, SeededRng(1)), extension.triples(two, 256, SeededRng(2)))
    np.testing.assert_array_equal((a.a ^ b.a) & (a.b ^ b.b), a.c ^ b.c)
    used = one.sender.used
    assert used == 512
    with pytest.raises(ProtocolError):
        extension.answer_to(one.sender, 256, lost)
    assert one.sender.used == used


def test_messages_that_do_not_fit_are_refused_and_cost_nothing(ends):
    one, two = ends
    ask, received = extension.ask_for(two.receiver, 256, SeededRng(1))
    assert decode(encode(ask)) == ask
    bad = [
        dataclasses.replace(ask, c=ask.c[:-1]),
        dataclasses.replace(ask, c=ask.c + b"\0"),
        dataclasses.replace(ask, c=b""),
        dataclasses.replace(ask, session=ask.session ^ 1),
        dataclasses.replace(ask, first=64),
        dataclasses.replace(ask, first=1 << 63),
    ]
    for wrong in bad:

        def wronged(wrong=wrong):
            yield from send(wrong)

        with pytest.raises(ProtocolError):
            run_pair(extension.extend_send(one.sender, 256), wronged())
        assert one.sender.used == 0
    with pytest.raises(ProtocolError):
        extension.answer_to(one.sender, 384, ask)
    m_0, m_1 = extension.answer_to(one.sender, 256, ask).pads()
    np.testing.assert_array_equal(received.pads(), np.where(bits_of(received.choices)[:, None], m_1, m_0))


def test_ends_from_different_base_ots_do_not_talk(ends):
    sender, receiver = local_pair(SeededRng(8))
    ask, _ = extension.ask_for(receiver, 128, SeededRng(1))
    with pytest.raises(ProtocolError):
        extension.answer_to(ends[0].sender, 128, ask)
    assert len(extension.answer_to(sender, 128, ask)) == 128


def test_an_extension_waits_for_its_message(ends):
    def confused():
        yield from receive(extension.Extension)

    with pytest.raises(ProtocolError, match="did not follow"):
        run_pair(extension.extend_send(ends[0].sender, 128), confused())
