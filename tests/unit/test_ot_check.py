"""Receivers of an OT extension that deviate: noticed, unless they guess what they could guess anyway."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pura.crypto import ot
from pura.crypto.consistency import Checker, Prover
from pura.crypto.rng import SeededRng
from pura.errors import DeviatingServer
from pura.ids import Party
from pura.messages import decode, encode
from pura.protocols.shares import extension

N = 256
ROW = (N + 128) // 8
"""Bytes of a tree's row of c."""


class Deviant:
    """A receiver that adds errors to c, tree by tree, and proves as well as it can.

    It knows everything that an honest receiver knows. `guess`: tree -> what it takes Delta to be there; there it
    corrects R(v_b), which it sends a hash of, by Delta_b R(error).
    """

    def __init__(self, receiver, n=N):
        self.receiver, self.n, self.first, self.rng = receiver, n, receiver.used, SeededRng("deviant")
        self.v, self.u = np.empty((128, (n + 128) // 64), np.uint64), np.empty((32, (n + 128) // 64), np.uint64)
        receiver._forest.expand(receiver.session, self.first // 128, self.v, self.u)
        self.choices = np.frombuffer(self.rng.bytes((n + 128) // 8), np.uint64)

    def message(self, errors, guess=None):
        c = self.u ^ self.choices
        for tree, error in errors.items():
            c[tree] ^= error
        prover = Prover(self.receiver.session, self.first)
        prover.absorb(c, self.v, self.choices)
        for tree, delta in (guess or {}).items():
            other = Prover(self.receiver.session, self.first)
            other.absorb(c, self.v, self.choices ^ errors[tree])
            difference = other._x ^ prover._x  # R(error)
            for b in range(4):
                prover._sums[4 * tree + b] ^= difference * np.uint8(delta >> b & 1)
        return c.tobytes() + prover.proof()


def error_at(*places):
    bits = np.zeros(N + 128, np.uint8)
    bits[list(places)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint64)


def delta_of(sender, tree):
    return sender._deltas[tree]


@pytest.fixture
def ends():
    return ot.local_pair(SeededRng(5))


def test_the_deviant_without_errors_is_an_honest_receiver(ends):
    sender, receiver = ends
    sent = sender.extend(N, Deviant(receiver).message({}))
    assert len(sent) == N


@pytest.mark.parametrize(
    "errors",
    [
        {0: error_at(0)},
        {31: error_at(N - 1)},
        {7: error_at(N)},  # among the choices that are dropped
        {3: error_at(5), 4: error_at(5)},
        {tree: error_at(9) for tree in range(31)},
        {tree: error_at(tree) for tree in range(32)},
        {2: np.frombuffer(SeededRng(3).bytes(ROW), np.uint64)},
    ],
)
def test_an_error_in_any_tree_is_noticed(ends, errors):
    sender, receiver = ends
    with pytest.raises(DeviatingServer) as caught:
        sender.extend(N, Deviant(receiver).message(errors))
    assert caught.value.code == "deviating_server"


def test_the_same_error_in_all_trees_is_another_choice(ends):
    """What R does not tell apart from honesty is honest: other choices."""
    sender, receiver = ends
    deviant = Deviant(receiver)
    error = error_at(3, 77)
    deviant.choices = deviant.choices ^ error
    message = deviant.message({})
    deviant.choices = deviant.choices ^ error
    again = deviant.message({tree: error for tree in range(32)})
    assert again[: 32 * ROW] == message[: 32 * ROW]
    assert len(sender.extend(N, message)) == N


@pytest.mark.parametrize("errors", [{5: error_at(17)}, {5: error_at(*range(100))}])
def test_one_deviating_tree_passes_exactly_if_all_bits_of_its_delta_were_guessed(errors):
    taken = []
    for delta in range(16):
        sender, receiver = ot.local_pair(SeededRng(5))
        try:
            sender.extend(N, Deviant(receiver).message(errors, {5: delta}))
            taken.append(delta)
        except DeviatingServer:
            pass
    assert taken == [delta_of(sender, 5)]


def test_two_deviating_trees_need_both_guesses():
    errors = {0: error_at(1), 9: error_at(2)}
    for right in ((1, 1), (1, 0), (0, 1)):
        sender, receiver = ot.local_pair(SeededRng(5))
        guess = {t: delta_of(sender, t) ^ (0 if ok else 6) for t, ok in zip((0, 9), right, strict=True)}
        message = Deviant(receiver).message(errors, guess)
        if all(right):
            sender.extend(N, message)
        else:
            with pytest.raises(DeviatingServer):
                sender.extend(N, message)


def test_what_a_right_guess_gains_is_what_was_guessed():
    """After passing, the receiver has the other pad of a spoilt OT only with the rest of s, too."""
    sender, receiver = ot.local_pair(SeededRng(5))
    tree, place = 5, 17
    deviant = Deviant(receiver)
    message = deviant.message({tree: error_at(place)}, {tree: delta_of(sender, tree)})
    sent = sender.extend(N, message)
    rows = np.unpackbits(sent._rows.view(np.uint8), axis=1, bitorder="little")
    v = np.unpackbits(deviant.v.view(np.uint8), axis=1, bitorder="little")[:, place]
    c = np.unpackbits(deviant.choices.view(np.uint8), bitorder="little")[place]
    s = np.unpackbits(sent._s.view(np.uint8), bitorder="little")
    inside = np.arange(128) // 4 == tree
    np.testing.assert_array_equal(rows[place][~inside], (v ^ c * s)[~inside])  # unknown unless c = 0, as always
    np.testing.assert_array_equal(rows[place][inside], (v ^ (1 - c) * s)[inside])  # known: Delta was guessed


@pytest.mark.parametrize("at", [0, 15, 16, 47])
def test_a_proof_with_a_byte_changed_is_refused(ends, at):
    sender, receiver = ends
    message = bytearray(receiver.extend(N, SeededRng(1))[0])
    message[32 * ROW + at] ^= 0x40
    with pytest.raises(DeviatingServer):
        sender.extend(N, bytes(message))


def test_a_proof_is_for_its_place_and_session(ends):
    sender, receiver = ends
    forks = [[end.fork(label) for end in ends] for label in (b"a", b"b")]
    first, _ = receiver.extend(N, SeededRng(1))
    elsewhere, _ = forks[0][1].extend(N, SeededRng(1))
    with pytest.raises(DeviatingServer):
        forks[1][0].extend(N, elsewhere)
    with pytest.raises(DeviatingServer):
        sender.extend(N, first)  # void by now


def test_every_chunk_is_checked():
    n = 64 * ot.CHUNK * 2
    row = (n + 128) // 8
    for place in (0, 64 * ot.CHUNK + 5, n + 127):
        sender, receiver = ot.local_pair(SeededRng(5))
        message = bytearray(receiver.extend(n, SeededRng(1))[0])
        message[3 * row + place // 8] ^= 1 << place % 8
        with pytest.raises(DeviatingServer):
            sender.extend(n, bytes(message))


def test_errors_that_cancel_between_chunks_do_not_pass():
    """A chunk's key depends on all before it: R of a later chunk cannot be fitted to an earlier one's error."""
    chunk = np.zeros((32, 2), np.uint64)
    columns = np.frombuffer(SeededRng(1).bytes(128 * 16), np.uint64).reshape(128, 2)
    later = []
    for first in (0, 1):
        checker = Checker(0, 0)
        start = chunk.copy()
        start[0, 0] = first
        checker.absorb(start, columns)
        before = checker._sums.copy()
        checker.absorb(chunk, columns)
        later.append(before ^ checker._sums)
    assert (later[0] != later[1]).any(axis=1).all()


def test_a_failed_proof_is_the_end_of_these_base_ots(ends):
    sender, receiver = ends
    before = [end.fork(b"before") for end in ends]
    with pytest.raises(DeviatingServer):
        sender.extend(N, Deviant(receiver).message({0: error_at(0)}))
    after = [end.fork(b"after") for end in ends]
    for s, r in (before, after):
        message, _ = r.extend(N, SeededRng(1))
        with pytest.raises(DeviatingServer):
            s.extend(N, message)


def test_proofs_tell_nothing_about_the_choices():
    """x is uniform for any choices: 128 more are hashed with them."""
    runs = 400
    for fill in (0, 255):
        _, receiver = ot.local_pair(SeededRng(5))
        rng = SeededRng(fill)
        xs = [receiver.extend(128, rng, np.full(16, fill, np.uint8))[0][-48:-32] for _ in range(runs)]
        bits = np.unpackbits(np.frombuffer(b"".join(xs), np.uint8).reshape(runs, 16), axis=1)
        assert np.abs(bits.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(runs)
        assert len(set(xs)) == runs


def test_r_is_linear(ends):
    rng = SeededRng(1)
    c = np.frombuffer(rng.bytes(32 * 32), np.uint64).reshape(32, 4)
    columns = np.zeros((128, 4), np.uint64)
    a, b = (np.frombuffer(rng.bytes(32), np.uint64) for _ in range(2))
    xs = []
    for choices in (a, b, a ^ b, np.zeros(4, np.uint64)):
        prover = Prover(1, 0)
        prover.absorb(c, columns, choices)
        xs.append(prover._x)
    np.testing.assert_array_equal(xs[0] ^ xs[1], xs[2])
    assert not xs[3].any()


def test_vector_of_a_proof(ends):
    message, _ = ends[1].extend(128, SeededRng(1))
    assert hashlib.sha256(message).hexdigest() == "063c8e071c8687048407d79c00bc68ba980ed8badf90c638d0357514d9eaa6c5"


def test_servers_notice_over_the_codec():
    there, back = ot.local_pair(SeededRng(1)), ot.local_pair(SeededRng(2))
    one, two = extension.Ends(Party.S1, there[0], back[1]), extension.Ends(Party.S2, back[0], there[1])
    ask, _ = extension.ask_for(two.receiver, 128, SeededRng(1))
    bad = extension.Extension(ask.session, ask.first, ask.c[:-1] + bytes([ask.c[-1] ^ 1]))
    with pytest.raises(DeviatingServer):
        extension.answer_to(one.sender, 128, decode(encode(bad)))
