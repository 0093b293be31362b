"""What holds for OT extensions and triples of every size, depth and seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pura.crypto import bits, ot
from pura.crypto.rng import SeededRng
from pura.ids import Party
from pura.protocols.shares import extension
from pura.rounds import run_pair

seeds = st.integers(0, 2**32)
counts = st.integers(1, 40).map(lambda k: 128 * k)
depths = st.sampled_from([1, 2, 4])


def bits_of(packed):
    return np.unpackbits(packed.view(np.uint8), bitorder="little").astype(bool)


@given(seeds, st.integers(1, 900))
@settings(max_examples=40, deadline=None)
def test_transposing_is_what_it_says(seed, words):
    planes = np.random.default_rng(seed).integers(0, 2**64, (128, words), np.uint64)
    rows = np.empty((64 * words, 2), np.uint64)
    bits.transpose(planes, rows)
    expected = np.packbits(bits_of(planes).reshape(128, -1).T, axis=1, bitorder="little")
    np.testing.assert_array_equal(rows.view(np.uint8), expected)


@given(seeds, depths, st.lists(counts, min_size=1, max_size=4), st.data())
@settings(max_examples=25, deadline=None)
def test_pads_agree_after_any_sequence(seed, depth, sizes, data):
    sender, receiver = ot.local_pair(SeededRng(seed), depth)
    for i, n in enumerate(sizes):
        first = receiver.used
        c, received = receiver.extend(n, SeededRng(i))
        if data.draw(st.booleans()):
            continue  # lost
        sender.skip_to(first)
        sent = sender.extend(n, c)
        cut = data.draw(st.integers(0, n // 64)) * 64
        (bit_s, pad_s), (bit_r, pad_r) = sent.split(cut), received.split(cut)
        chosen = bits_of(bit_r.choices)
        b_0, b_1 = bit_s.bits()
        np.testing.assert_array_equal(bits_of(bit_r.bits()), np.where(chosen, bits_of(b_1), bits_of(b_0)))
        width = data.draw(st.sampled_from([8, 16]))
        m_0, m_1 = pad_s.pads(width)
        np.testing.assert_array_equal(pad_r.pads(width), np.where(bits_of(pad_r.choices)[:, None], m_1, m_0))


@given(seeds, counts, st.binary(max_size=20))
@settings(max_examples=25, deadline=None)
def test_triples_multiply(seed, n, label):
    there, back = ot.local_pair(SeededRng(seed)), ot.local_pair(SeededRng(seed + 1))
    one = extension.Ends(Party.S1, there[0], back[1]).fork(label)
    two = extension.Ends(Party.S2, back[0], there[1]).fork(label)
    t1, t2 = run_pair(extension.triples(one, n, SeededRng(1)), extension.triples(two, n, SeededRng(2)))
    np.testing.assert_array_equal((t1.a ^ t2.a) & (t1.b ^ t2.b), t1.c ^ t2.c)
