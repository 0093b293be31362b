"""Extensions and triples between two servers, over the codec."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pura.crypto.ot import local_pair
from pura.crypto.rng import SeededRng
from pura.errors import MaterialUsed, ProtocolError
from pura.ids import Party
from pura.messages import decode, encode
from pura.protocols.shares import extension
from pura.rounds import Tally, receive, run_pair, send


def setups():
    return [extension.setup(party, b"key", SeededRng(party.name)) for party in Party]


@pytest.fixture(scope="module")
def connected():
    return run_pair(*setups())


_label = iter(range(1 << 20))


@pytest.fixture
def ends(connected):
    """Fresh ends at both servers, without new base OTs."""
    label = str(next(_label)).encode()
    return tuple(end.fork(label) for end in connected)


def bits_of(packed):
    return np.unpackbits(packed.view(np.uint8), bitorder="little").astype(bool)


# --- setup and extensions ----------------------------------------------------------------------------


def test_setup_in_three_rounds_names_both_directions(connected):
    one, two = connected
    assert one.sender.session == two.receiver.session != one.receiver.session == two.sender.session
    assert one.sender.used == one.receiver.used == 0
    assert "Extension" not in repr(one)
    tally = Tally()
    run_pair(*setups(), tally)
    assert tally.rounds == 3
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
        assert tally.bytes_received < (n + 128) * 4 + 48 + 64


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
    assert tally.bytes_sent == tally.bytes_received < 4 * (4096 + 128) + 48 + 64
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
    assert used == 2 * (256 + 128)
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
