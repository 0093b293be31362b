"""Trees of seeds, and owners of trees that deviate."""

from __future__ import annotations

import pytest

from pura.crypto import ot, trees
from pura.crypto.rng import SeededRng
from pura.errors import DeviatingServer

DEPTH = 4


def test_the_tree_without_one_leaf():
    for depth in (1, 3, 4):
        leaves, sums = trees.grow(b"r" * 16, depth)
        for delta in range(1 << depth):
            siblings = [sums[level][1 - (delta >> level & 1)] for level in range(depth)]
            expected = [None if x == delta else leaf for x, leaf in enumerate(leaves)]
            assert trees.regrow(delta, siblings) == expected


def forest(count=3):
    rng = SeededRng("forest")
    return [trees.grow(rng.bytes(16), DEPTH) for _ in range(count)]


def regrown(sums, delta):
    return trees.regrow(delta, [sums[level][1 - (delta >> level & 1)] for level in range(DEPTH)])


def test_an_honest_owner_is_believed_wherever_the_holes_are():
    grown = forest()
    vouchers = trees.vouch([leaves for leaves, _ in grown])
    assert len(vouchers) == 32 * 4
    for delta in range(16):
        assert trees.vouched([regrown(sums, delta ^ i) for i, (_, sums) in enumerate(grown)], vouchers)


def test_another_forest_or_other_vouchers_are_not():
    grown = forest()
    vouchers = trees.vouch([leaves for leaves, _ in grown])
    held = [regrown(sums, 5) for _, sums in grown]
    for bad in (
        vouchers[:-1],
        vouchers + b"\0",
        b"",
        vouchers[32:],
        bytes(32) + vouchers[32:],
        vouchers[:-32] + bytes(32),
    ):
        assert not trees.vouched(held, bad)
    held[1][0] = bytes(16)
    assert not trees.vouched(held, vouchers)


@pytest.mark.parametrize("level", range(DEPTH))
@pytest.mark.parametrize("side", [0, 1])
def test_a_wrong_sum_passes_only_with_a_guess(level, side):
    """The owner spoils the sum of one side, and vouches for the leaves of either guess: half of all Deltas pass."""
    (leaves, sums), spoilt = forest(1)[0], [list(pair) for pair in forest(1)[0][1]]
    wrong = bytes(b ^ 1 for b in sums[level][side])
    spoilt[level][side] = wrong
    honest = trees.vouch([leaves])
    believed = {delta for delta in range(16) if trees.vouched([regrown(spoilt, delta)], honest)}
    assert believed == {delta for delta in range(16) if delta >> level & 1 == side}  # never used that sum
    # it can as well vouch for what an end with another Delta regrows: then that one passes, and at most half again
    for guess in set(range(16)) - believed:
        theirs = regrown(spoilt, guess)
        theirs[guess] = leaves[guess]
        taken = {d for d in range(16) if trees.vouched([regrown(spoilt, d)], trees.vouch([theirs]))}
        assert guess in taken
        assert len(taken) <= 8
        assert len(taken & believed) <= 1


def test_a_sender_that_does_not_believe_gives_up_all_forks():
    sender, receiver = ot.local_pair(SeededRng(1))
    vouchers = receiver.vouchers()
    sender.trust(vouchers)
    fork = sender.fork(b"a")
    with pytest.raises(DeviatingServer):
        sender.trust(vouchers[:-1] + bytes([vouchers[-1] ^ 1]))
    message, _ = receiver.fork(b"a").extend(128, SeededRng(2))
    with pytest.raises(DeviatingServer):
        fork.extend(128, message)
