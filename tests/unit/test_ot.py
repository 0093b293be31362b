"""OT extension against its definition, computed bit by bit; what must fail; what must not be shown or used twice."""

from __future__ import annotations

import copy
import hashlib
import pickle
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from pura.crypto import bits, ot, trees
from pura.crypto.rng import SeededRng
from pura.errors import MaterialUsed, OutOfRange, ProtocolError

SESSION = 77


def aes(key, block):
    return int.from_bytes(Cipher(AES(key), ECB()).encryptor().update(block.to_bytes(16, "little")), "little")


def naive_ghash(key, data):
    """GHASH of SP 800-38D, 6.4, bit by bit, of associated data without a text."""
    h = int.from_bytes(Cipher(AES(key), ECB()).encryptor().update(bytes(16)), "big")
    y = 0
    for at in (*range(0, len(data), 16), None):
        block = data[at : at + 16] if at is not None else (8 * len(data)).to_bytes(8, "big") + bytes(8)
        x, v, y = y ^ int.from_bytes(block, "big"), h, 0
        for i in range(128):
            y ^= v if x >> (127 - i) & 1 else 0
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return y


def naive_tag(key, data):
    constant = Cipher(AES(key), ECB()).encryptor().update(bytes(15) + b"\1")
    return (naive_ghash(key, data) ^ int.from_bytes(constant, "big")).to_bytes(16, "big")


def naive_hash(key, i, x):
    once = aes(key, x)
    return aes(key, once ^ i) ^ once


def bits_of(packed):
    return np.unpackbits(packed.view(np.uint8), bitorder="little")


def chosen_of(choices, m_0, m_1):
    return np.where(bits_of(choices).astype(bool)[:, None], m_1, m_0)


@pytest.fixture
def ends():
    return ot.local_pair(SeededRng(5))


def extended(ends, n, seed=1, choices=None):
    sender, receiver = ends
    c, received = receiver.extend(n, SeededRng(seed), choices)
    return sender.extend(n, c), received


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_both_ends_follow_the_definition(depth):
    rng = SeededRng(b"definition")
    roots = [rng.bytes(16) for _ in range(128 // depth)]
    s = rng.bytes(16)
    delta = int.from_bytes(s, "little")
    receiver = ot.ExtensionReceiver(roots, SESSION)
    pairs = receiver.base_pairs()
    seeds = [pair[delta >> j & 1] for j, pair in enumerate(pairs)]
    sender = ot.ExtensionSender(s, seeds, SESSION, depth)
    n, total, first = 128, 256, 256
    receiver.extend(128, rng)  # the second extension is looked at
    sender.skip_to(first)
    c, received = receiver.extend(n, rng)
    sent = sender.extend(n, c)

    # r_x by AES of (session, number of the block), v and u bit by bit
    t, u = [0] * total, []
    for tree, root in enumerate(roots):
        leaves, _ = trees.grow(root, depth)
        blocks = [SESSION | (first // 128 + i) << 64 for i in range(2)]
        r = [aes(seed, blocks[0]) | aes(seed, blocks[1]) << 128 for seed in leaves]
        u.append(int(np.bitwise_xor.reduce([0, *r])))
        for b in range(depth):
            v = int(np.bitwise_xor.reduce([0, *(r[x] for x in range(len(r)) if x >> b & 1)]))
            for i in range(total):
                t[i] |= (v >> i & 1) << (tree * depth + b)
    choices = int.from_bytes(received.choices.tobytes(), "little")
    masked = choices | (int.from_bytes(c[16:32], "little") ^ u[0] >> 128) << 128  # with 128 choices that are dropped
    body, proof = c[:-48], c[-48:]
    assert body == b"".join((x ^ masked).to_bytes(32, "little") for x in u)

    # the proof: x, and the hash of R of every column
    start = b"pura ot check\0" + SESSION.to_bytes(8, "big") + first.to_bytes(8, "big")
    digest = hashlib.sha256(start + body).digest()
    columns = [sum((t[i] >> b & 1) << i for i in range(total)).to_bytes(32, "little") for b in range(128)]
    hashed = b"".join(naive_tag(digest[:16], column) for column in columns)
    x = naive_ghash(digest[:16], masked.to_bytes(32, "little")) ^ naive_ghash(digest[:16], bytes(32))
    assert proof == x.to_bytes(16, "big") + hashlib.sha256(b"pura ot columns\0" + digest + hashed).digest()

    key = hashlib.sha256(b"pura ot hash\0" + digest).digest()[:16]
    m_0, m_1 = sent.pads()
    m_c = received.pads()
    for i in range(n):
        choice = choices >> i & 1
        q = t[i] ^ (delta if choice else 0)
        assert int.from_bytes(m_0[i].tobytes(), "little") == naive_hash(key, first + i, q)
        assert int.from_bytes(m_1[i].tobytes(), "little") == naive_hash(key, first + i, q ^ delta)
        assert m_c[i].tobytes() == (m_1 if choice else m_0)[i].tobytes()


def test_vector(ends):
    """Fixed seeds give these bytes; a change here means that two versions of the servers disagree."""
    sender, receiver = ends
    c, received = receiver.extend(256, SeededRng(1))
    sent = sender.extend(256, c)
    digest = hashlib.sha256(c)
    for part in (*sent.pads(), received.pads(), received.choices):
        digest.update(part.tobytes())
    assert digest.hexdigest() == "0d0b9f34953042dfa0e1544ccb6c8691fc4fce0ba3b47072fa73c2246f16bed2"


@pytest.mark.parametrize("n", [128, 384, 64 * ot.CHUNK, 64 * ot.CHUNK + 128, 3 * 128 * 1024])
def test_the_receiver_has_the_pad_it_chose(ends, n):
    sent, received = extended(ends, n)
    m_0, m_1 = sent.pads()
    assert m_0.shape == m_1.shape == (n, 16)
    np.testing.assert_array_equal(received.pads(), chosen_of(received.choices, m_0, m_1))
    assert not (m_0 == m_1).all(axis=1).any()


def test_given_choices_are_used_and_copied(ends):
    choices = np.frombuffer(SeededRng(3).bytes(32), np.uint8).copy()
    given = choices.copy()
    sent, received = extended(ends, 256, choices=choices)
    choices[:] = 0
    np.testing.assert_array_equal(received.choices, given)
    np.testing.assert_array_equal(received.pads(), chosen_of(given, *sent.pads()))


def test_short_pads_are_the_head_of_long_ones_and_bits_their_lowest():
    made = [extended(ot.local_pair(SeededRng(5)), 256) for _ in range(3)]
    long, short, single = made[0][0].pads(), made[1][0].pads(8), made[2][0].bits()
    for a, b, c in zip(long, short, single, strict=True):
        np.testing.assert_array_equal(a[:, :8], b)
        np.testing.assert_array_equal(a[:, 0] & 1, bits_of(c))
    np.testing.assert_array_equal(made[0][1].pads()[:, :8], made[1][1].pads(8))


def test_split_parts_hash_like_the_whole():
    whole, parts = (extended(ot.local_pair(SeededRng(5)), 384) for _ in range(2))
    m_0, m_1 = whole[0].pads()
    sent, received = parts[0].split(64), parts[1].split(64)
    assert [len(p) for p in sent] == [len(p) for p in received] == [64, 320]
    np.testing.assert_array_equal(sent[1].pads()[1], m_1[64:])
    np.testing.assert_array_equal(received[1].pads(), chosen_of(received[1].choices, m_0[64:], m_1[64:]))
    b_0, b_1 = sent[0].bits()
    np.testing.assert_array_equal(bits_of(b_0), m_0[:64, 0] & 1)
    c = received[0].choices.view(np.uint64)
    np.testing.assert_array_equal(received[0].bits(), b_0 ^ (c & (b_0 ^ b_1)))
    with pytest.raises(MaterialUsed):
        parts[0].pads()
    with pytest.raises(MaterialUsed):
        parts[1].split(64)


# --- used once ---------------------------------------------------------------------------------------


def test_no_key_and_tweak_come_twice(ends, monkeypatch):
    seen = set()
    real = bits.TweakedHash.tiles

    class Noted(bits.TweakedHash):
        def __init__(self, key):
            super().__init__(key)
            self.key = key

        def tiles(self, first, x, shift=None):
            if shift is None:
                new = {(self.key, first + i) for i in range(len(x))}
                assert not seen & new
                seen.update(new)
            return real(self, first, x, shift)

    monkeypatch.setattr(ot, "TweakedHash", Noted)
    for pair in (ends, tuple(end.fork(b"a") for end in ends), tuple(end.fork(b"b") for end in ends)):
        for _ in range(3):
            sent, _ = extended(pair, 256)
            first, rest = sent.split(64)
            first.bits()
            rest.pads()
    assert len(seen) == 3 * 3 * 256
    assert len({key for key, _ in seen}) == 9


def test_ots_are_hashed_once(ends):
    sent, received = extended(ends, 128)
    sent.bits()
    received.pads()
    for again in (sent.bits, sent.pads, received.bits, received.pads):
        with pytest.raises(MaterialUsed):
            again()


def test_extensions_and_forks_are_independent(ends):
    pairs = [ends, *(tuple(end.fork(label) for end in ends) for label in (b"1", b"2"))]
    pairs.append(tuple(end.fork(b"1") for end in pairs[1]))
    pads = []
    for pair in pairs * 2:
        sent, received = extended(pair, 128)
        m_0, m_1 = sent.pads()
        np.testing.assert_array_equal(received.pads(), chosen_of(received.choices, m_0, m_1))
        pads += [row.tobytes() for row in (*m_0, *m_1)]
    assert len(set(pads)) == len(pads)


def test_a_fork_is_made_once(ends):
    for end in ends:
        fork = end.fork(b"query 1")
        with pytest.raises(MaterialUsed):
            end.fork(b"query 1")
        fork.fork(b"query 1")
    with pytest.raises(MaterialUsed):
        ends[1].fork(b"x").base_pairs()


def test_base_pairs_are_given_once():
    receiver = ot.ExtensionReceiver.draw(SeededRng(1))
    assert len(receiver.base_pairs()) == ot.BASE_OTS
    with pytest.raises(MaterialUsed):
        receiver.base_pairs()


def test_states_and_ots_are_not_copied_or_shown(ends):
    sent, received = extended(ends, 128)
    for thing in (*ends, sent, received):
        assert repr(thing) == f"{type(thing).__name__}(…)"
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)
        with pytest.raises(TypeError):
            copy.deepcopy(thing)


def test_the_sender_skips_what_it_never_heard_of(ends):
    sender, receiver = ends
    receiver.extend(256, SeededRng(1))
    c, received = receiver.extend(128, SeededRng(1))
    sender.skip_to(256 + 128)
    sent = sender.extend(128, c)
    np.testing.assert_array_equal(received.pads(), chosen_of(received.choices, *sent.pads()))
    assert sender.used == receiver.used == 640
    for place in (256, 0, 640 + 64, 640 + ot.MAX_OTS + 256):
        with pytest.raises(ProtocolError):
            sender.skip_to(place)
    assert sender.used == 640


# --- what must fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b"", lambda c: c * 2])
def test_a_message_of_another_length_is_refused_and_costs_nothing(ends, change):
    sender, receiver = ends
    c, received = receiver.extend(256, SeededRng(1))
    with pytest.raises(ProtocolError):
        sender.extend(256, change(c))
    assert sender.used == 0
    sent = sender.extend(256, c)
    np.testing.assert_array_equal(received.pads(), chosen_of(received.choices, *sent.pads()))


@pytest.mark.parametrize("n", [0, -128, 64, 130, ot.MAX_OTS + 128])
def test_a_number_that_cannot_be_made_is_refused(ends, n):
    sender, receiver = ends
    with pytest.raises(OutOfRange):
        receiver.extend(n, SeededRng(1))
    with pytest.raises((OutOfRange, ProtocolError)):
        sender.extend(n, bytes(max(0, sender.message_bytes(n))))
    assert sender.used == receiver.used == 0


def test_misuse_is_refused(ends):
    sender, receiver = ends
    with pytest.raises(ValueError):
        receiver.extend(256, SeededRng(1), np.zeros(31, np.uint8))
    with pytest.raises(ValueError):
        receiver.extend(256, SeededRng(1), np.zeros(32, np.int64))
    with pytest.raises(ValueError):
        ot.ExtensionReceiver([bytes(16)] * 31)
    with pytest.raises(ValueError):
        ot.ExtensionSender(bytes(16), [bytes(16)] * 127)
    with pytest.raises(ValueError):
        ot.ExtensionSender(bytes(15), [bytes(16)] * 128)
    sent, _ = extended((sender, receiver), 256)
    with pytest.raises(ValueError):
        sent.split(65)
    with pytest.raises(ValueError):
        sent.split(512)
    with pytest.raises(ValueError):
        sent.pads(12)


# --- what each end must not know ---------------------------------------------------------------------


def test_the_pad_not_chosen_looks_independent_of_all_that_the_receiver_has(ends):
    """A smoke test: catches a hash that keeps the correlation, or an s that shows."""
    n = 1 << 16
    sent, received = extended(ends, n)
    rows = received._rows.copy().view(np.uint8)
    m_0, m_1 = sent.pads()
    other = chosen_of(received.choices, m_1, m_0)
    for known in (received.pads(), rows, np.zeros_like(rows)):
        ones = np.unpackbits(other ^ known, axis=1).mean(axis=0)
        assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(n)
    steps = np.array([a ^ b for a, b in pairwise(other[:4096])])
    assert len(np.unique(steps, axis=0)) == len(steps)


def test_what_the_sender_gets_does_not_depend_on_the_choices(ends):
    """c of all-0 and all-1 choices, and its XOR with everything the sender can expand, look like coins."""
    n = 1 << 16
    _, receiver = ends
    for fill in (0, 255):
        c, _ = receiver.extend(n, SeededRng(1), np.full(n // 8, fill, np.uint8))
        columns = np.unpackbits(np.frombuffer(c[:-48], np.uint8).reshape(32, -1), axis=1)
        assert np.abs(columns.mean(axis=1) - 0.5).max() < 6 * 0.5 / np.sqrt(n)
        agree = (columns[:, None] == columns[None]).mean(axis=2)[~np.eye(32, dtype=bool)]
        assert np.abs(agree - 0.5).max() < 6 * 0.5 / np.sqrt(n)


# --- bits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 2, 3, 255, 416, 417, 1000])
def test_transposition_against_a_naive_one(words):
    planes = np.frombuffer(SeededRng(words).bytes(128 * 8 * words), np.uint64).reshape(128, words)
    before = planes.copy()
    rows = np.empty((64 * words, 2), np.uint64)
    bits.transpose(planes, rows)
    naive = np.packbits(bits_of(planes).reshape(128, -1).T, axis=1, bitorder="little")
    np.testing.assert_array_equal(rows.view(np.uint8), naive)
    np.testing.assert_array_equal(planes, before)


def test_fold_against_its_definition():
    leaves = np.frombuffer(SeededRng(1).bytes(2 * 16 * 8 * 5), np.uint64).reshape(2, 16, 5).copy()
    given, planes = leaves.copy(), np.empty((2, 4, 5), np.uint64)
    bits.fold(leaves, planes)
    for tree in range(2):
        for b in range(4):
            some = [given[tree, x] for x in range(16) if x >> b & 1]
            np.testing.assert_array_equal(planes[tree, b], np.bitwise_xor.reduce(some))
        np.testing.assert_array_equal(leaves[tree, 0], np.bitwise_xor.reduce(given[tree]))
