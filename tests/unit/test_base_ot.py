"""Base OTs over P-256: what comes out, what each end must not learn, what is refused; and why not on X25519."""

from __future__ import annotations

import copy
import dataclasses
import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pura.crypto import p256
from pura.crypto.base_ot import BaseReceiver, BaseSender, session_name
from pura.crypto.p256 import ORDER, Scalar
from pura.crypto.rng import SeededRng
from pura.errors import DeviatingServer, MaterialUsed, ProtocolError
from pura.ids import Party
from pura.protocols.shares.base_ot import BaseChoices, BasePoint, BaseStrings, base_ots
from pura.rounds import Tally, run_pair

SESSION = bytes(range(32))
VECTOR = "eb1d65ed0454bd3980a2ef91f25099e18af1c6c95caaa3df98da7b9099f442f9"
SESSION_VECTOR = "41d82e7183bf434df00b0fce1d746e6d04a4fb47c94ae6e7385b6e48a482c1f0"


class Given(SeededRng):
    """Draws these scalars, then those of a seed."""

    def __init__(self, *scalars):
        super().__init__("given")
        self.scalars = list(scalars)

    def below(self, bound):
        return self.scalars.pop(0) - 1 if self.scalars and bound == ORDER - 1 else super().below(bound)


def pairs_for(count):
    rng = SeededRng(b"pairs")
    edge = [(bytes(16), b"\xff" * 16), (b"\xff" * 16, bytes(16)), (bytes(16), bytes(16)), (b"\xff" * 16, b"\xff" * 16)]
    return (edge + [(rng.bytes(16), rng.bytes(16)) for _ in range(count)])[:count]


def played(choices, pairs, seed=1, session=SESSION):
    sender, receiver = BaseSender(SeededRng(f"s{seed}")), BaseReceiver(choices)
    points = receiver.choose(session, sender.point, SeededRng(f"r{seed}"))
    return receiver.open(sender.answer(session, points, pairs))


@pytest.mark.parametrize("count", [0, 1, 4, 33])
def test_the_receiver_gets_what_it_chose(count):
    pairs = pairs_for(count)
    choices = [SeededRng(count).bits(1) if i > 3 else i % 2 for i in range(count)]
    assert played(choices, pairs) == [pair[c] for pair, c in zip(pairs, choices, strict=True)]


def test_both_keys_by_the_definition():
    a, b = 0xA11CE, 0xB0B
    for c in (0, 1):
        sender, receiver = BaseSender(Given(a)), BaseReceiver([c])
        points = receiver.choose(SESSION, sender.point, Given(b))
        where = Scalar((b + c * a) % ORDER).point
        assert points == p256.dump(where)
        zero = [(bytes(16), bytes(16))]
        strings = sender.answer(SESSION, points, zero)
        for i in (0, 1):
            x = Scalar(a * (b + (c - i) * a) % ORDER).point.x.to_bytes(32, "big")
            head = b"pura base ot\0" + SESSION + b"\0\0" + p256.dump(Scalar(a).point) + points
            assert strings[16 * i : 16 * i + 16] == hashlib.sha256(head + x).digest()[:16]
        assert receiver.open(strings) == [bytes(16)]


def test_vector():
    """Fixed seeds give these bytes; a change here means that two versions of the servers disagree."""
    sender, receiver = BaseSender(SeededRng("vector s")), BaseReceiver([0, 1, 1, 0])
    points = receiver.choose(SESSION, sender.point, SeededRng("vector r"))
    strings = sender.answer(SESSION, points, pairs_for(4))
    assert hashlib.sha256(sender.point + points + strings).hexdigest() == VECTOR
    assert session_name(b"k", Party.S1, b"a", b"b").hex() == SESSION_VECTOR


# --- what each end must not learn --------------------------------------------------------------------


def test_messages_do_not_depend_on_the_choices():
    """For the sender, who knows a, any point has an explanation by either choice: b G = (b - a) G + A. As b is uniform,
    so is b - a: the same message with the same probability."""
    a = 1 + SeededRng("a").below(ORDER - 1)
    sender = BaseSender(Given(a))
    bs = [1 + SeededRng(j).below(ORDER - 1) for j in range(8)]
    zeros = BaseReceiver([0] * 8).choose(SESSION, sender.point, Given(*bs))
    ones = BaseReceiver([1] * 8).choose(SESSION, sender.point, Given(*((b - a) % ORDER for b in bs)))
    assert zeros == ones


def test_messages_look_the_same_for_all_choices():
    """Bits of the points for choices of 0, of 1, and of both: all coins, and equal from world to world."""
    sender, count = BaseSender(SeededRng("sender")), 600
    worlds = {"0": [0] * count, "1": [1] * count, "mixed": [j % 2 for j in range(count)]}
    means = []
    for name, choices in worlds.items():
        points = BaseReceiver(choices).choose(SESSION, sender.point, SeededRng(name))
        rows = np.frombuffer(points, np.uint8).reshape(count, 65)
        assert (rows[:, 0] == 4).all()
        means.append(np.unpackbits(rows[:, 1:], axis=1).mean(axis=0))
    for one in means:
        assert np.abs(one[32:] - 0.5).max() < 6 * 0.5 / np.sqrt(count)  # the head of x follows p
    assert max(np.abs(one - two).max() for one in means for two in means) < 6 * np.sqrt(0.5 / count)


def test_on_x25519_a_random_key_shows_the_choice():
    """The toy that this is not: without addition of points, "the key I have no secret for" must be 32 random bytes.
    Half of those are no x of the curve, and honest keys always are."""
    q, a = 2**255 - 19, 486662

    def on_curve(u):
        return pow(u**3 + a * u * u + u, (q - 1) // 2, q) in (0, 1)

    def toy_message(choice, rng):
        """The pair of keys of a toy receiver, who knows the secret of the one it chooses."""
        known = X25519PrivateKey.from_private_bytes(rng.bytes(32)).public_key().public_bytes_raw()
        other = int.from_bytes(rng.bytes(32), "little") % 2**255
        pair = [other, other]
        pair[choice] = int.from_bytes(known, "little")
        return pair

    rng = SeededRng("toy")
    choices = [rng.bits(1) for _ in range(200)]
    told = 0
    for choice in choices:
        fits = [on_curve(u) for u in toy_message(choice, rng)]
        assert fits[choice]
        told += not all(fits)  # the one that fits is the choice
    assert 70 < told < 130

    sender = BaseSender(SeededRng("sender"))  # ours: every message is on the curve, whatever was chosen
    points = BaseReceiver(choices).choose(SESSION, sender.point, rng)
    assert all(p256.on_curve(p256.load(points[i : i + 65])) for i in range(0, len(points), 65))


def test_the_other_string_stays_hidden():
    """What the receiver can make of the string that it did not choose looks independent of it."""
    count = 256
    pairs = [(bytes(16), bytes(16))] * count
    sender, receiver = BaseSender(SeededRng(1)), BaseReceiver([j % 2 for j in range(count)])
    points = receiver.choose(SESSION, sender.point, SeededRng(2))
    strings = np.frombuffer(sender.answer(SESSION, points, pairs), np.uint8).reshape(count, 2, 16)
    keys = np.frombuffer(b"".join(receiver._keys), np.uint8).reshape(count, 16)
    j = np.arange(count)
    np.testing.assert_array_equal(strings[j, j % 2], keys)
    other = strings[j, 1 - j % 2]
    for known in (keys, np.zeros_like(keys), np.frombuffer(points, np.uint8).reshape(count, 65)[:, 1:17]):
        assert np.abs(np.unpackbits(other ^ known, axis=1).mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(count)


def test_keys_differ_by_index_session_and_direction():
    names = [
        session_name(b"k", Party.S1, b"a", b"b"),
        session_name(b"k", Party.S2, b"a", b"b"),
        session_name(b"k", Party.S1, b"b", b"a"),
        session_name(b"l", Party.S1, b"a", b"b"),
    ]
    assert len(set(names)) == 4
    strings = set()
    for session in names:
        sender, receiver = BaseSender(SeededRng(1)), BaseReceiver([0, 0])
        points = receiver.choose(session, sender.point, Given(5, 5))
        assert points[:65] == points[65:]  # the same point twice
        got = sender.answer(session, points, [(bytes(16), bytes(16))] * 2)
        strings |= {got[i : i + 16] for i in range(0, 64, 16)}
    assert len(strings) == 16


# --- what is refused ---------------------------------------------------------------------------------


def test_a_point_that_no_honest_receiver_sends_is_refused():
    sender = BaseSender(Given(7))
    for bad in (sender.point, bytes(65), b"\4" + bytes(64), sender.point[:-1] + b"\0"):
        with pytest.raises(ProtocolError):
            BaseSender(Given(7)).answer(SESSION, bad, [(bytes(16), bytes(16))])
    twice = p256.dump(Scalar(14).point)  # B - A = A: no addition of equal points goes wrong
    assert len(sender.answer(SESSION, twice, [(bytes(16), bytes(16))])) == 32


def test_the_opposite_of_a_is_answered_by_a_doubling():
    a = 7
    opposite = p256.dump(Scalar(ORDER - a).point)
    strings = BaseSender(Given(a)).answer(SESSION, opposite, [(bytes(16), bytes(16))])
    x = Scalar(a * (ORDER - 2 * a) % ORDER).point.x.to_bytes(32, "big")
    head = b"pura base ot\0" + SESSION + b"\0\0" + p256.dump(Scalar(a).point) + opposite
    assert strings[16:] == hashlib.sha256(head + x).digest()[:16]


def test_a_receiver_that_would_have_to_send_the_identity_draws_again():
    a = 7
    sender, receiver = BaseSender(Given(a)), BaseReceiver([1])
    points = receiver.choose(SESSION, sender.point, Given(ORDER - a, 5))
    assert points == p256.dump(Scalar(a + 5).point)
    again = BaseReceiver([1]).choose(SESSION, sender.point, Given(a))  # b G = A: doubled
    assert again == p256.dump(Scalar(2 * a).point)
    assert receiver.open(sender.answer(SESSION, points, [(b"0" * 16, b"1" * 16)])) == [b"1" * 16]


@pytest.mark.parametrize("point", [b"", bytes(65), b"\4" + bytes(64), b"\2" + bytes(32)])
def test_a_sender_that_sends_no_point_is_refused(point):
    with pytest.raises(ProtocolError):
        BaseReceiver([0]).choose(SESSION, point, SeededRng(1))


def test_other_numbers_are_refused_and_cost_nothing():
    sender, receiver = BaseSender(SeededRng(1)), BaseReceiver([0, 1])
    points = receiver.choose(SESSION, sender.point, SeededRng(2))
    pairs = pairs_for(2)
    for bad in (points[:-1], points[:65], points + points[:65], b""):
        with pytest.raises(ProtocolError):
            sender.answer(SESSION, bad, pairs)
    strings = sender.answer(SESSION, points, pairs)
    for wrong in (strings[:-1], strings[:32], strings + bytes(32)):
        with pytest.raises(ProtocolError):
            receiver.open(wrong)
    assert receiver.open(strings) == [pairs[0][0], pairs[1][1]]


def test_each_end_is_used_once_and_not_shown():
    sender, receiver = BaseSender(SeededRng(1)), BaseReceiver([0])
    with pytest.raises(MaterialUsed):
        BaseReceiver([0]).open(bytes(32))
    points = receiver.choose(SESSION, sender.point, SeededRng(2))
    receiver.open(sender.answer(SESSION, points, pairs_for(1)))
    with pytest.raises(MaterialUsed):
        receiver.open(bytes(32))
    with pytest.raises(MaterialUsed):
        sender.answer(SESSION, points, pairs_for(1))
    for end in (sender, receiver):
        assert repr(end) == f"{type(end).__name__}(…)"
        with pytest.raises(TypeError):
            copy.copy(end)


# --- both directions ---------------------------------------------------------------------------------


def test_three_rounds_make_both_directions():
    tally = Tally()
    (s1, r1), (s2, r2) = run_pair(
        base_ots(Party.S1, b"key", SeededRng(1)), base_ots(Party.S2, b"key", SeededRng(2)), tally
    )
    assert s1.session == r2.session != r1.session == s2.session
    assert tally.rounds == 3
    assert tally.bytes_sent == tally.bytes_received < 14_000
    for sender, receiver in ((s1, r2), (s2, r1)):
        message, received = receiver.extend(128, SeededRng(3))
        m_0, m_1 = sender.extend(128, message).pads()
        which = np.unpackbits(received.choices, bitorder="little").astype(bool)
        np.testing.assert_array_equal(received.pads(), np.where(which[:, None], m_1, m_0))


def altered(kind, change):
    """A party whose messages of one kind are changed."""
    party = base_ots(Party.S2, b"key", SeededRng(2))
    step = next(party)
    while True:
        if isinstance(getattr(step, "message", None), kind):
            step = dataclasses.replace(step, message=change(step.message))
        got = yield step
        try:
            step = party.send(got)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("kind", "change", "error"),
    [
        (BasePoint, lambda m: BasePoint(m.point[:-1]), ProtocolError),
        (BasePoint, lambda m: BasePoint(bytes(65)), ProtocolError),
        (BaseChoices, lambda m: BaseChoices(m.points[65:]), ProtocolError),
        (BaseChoices, lambda m: BaseChoices(m.points[:-65] + bytes(65)), ProtocolError),
        (BaseStrings, lambda m: BaseStrings(m.strings[32:], m.vouchers), ProtocolError),
        (BaseStrings, lambda m: BaseStrings(m.strings[:-32] + bytes(32), m.vouchers), DeviatingServer),
        (BaseStrings, lambda m: BaseStrings(m.strings, m.vouchers[:-1] + b"\0"), DeviatingServer),
        (BaseStrings, lambda m: BaseStrings(m.strings, m.vouchers[:-32]), DeviatingServer),
        (BaseStrings, lambda m: BaseStrings(m.strings, bytes(32) + m.vouchers[32:]), DeviatingServer),
    ],
)
def test_a_server_that_sends_something_else_is_refused(kind, change, error):
    with pytest.raises(error):
        run_pair(base_ots(Party.S1, b"key", SeededRng(1)), altered(kind, change))


def test_a_server_that_sends_back_what_it_gets_is_refused():
    one = base_ots(Party.S1, b"key", SeededRng(1))
    sent = next(one)
    one.send(None)
    with pytest.raises(DeviatingServer):
        one.send(sent.message)


def test_servers_of_different_keys_do_not_come_together():
    with pytest.raises(DeviatingServer):
        run_pair(base_ots(Party.S1, b"one key", SeededRng(1)), base_ots(Party.S2, b"another", SeededRng(2)))


def test_two_servers_that_take_the_same_part_do_not_come_together():
    with pytest.raises(DeviatingServer):
        run_pair(base_ots(Party.S1, b"key", SeededRng(1)), base_ots(Party.S1, b"key", SeededRng(2)))
