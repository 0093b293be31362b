"""What a server receives while tries are counted: the same whether a question counts, does not, or meets a lock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dealer import Dealer

from pura.messages import Message, encode
from pura.protocols.prepared import lockout
from pura.protocols.prepared.lockout import Rule
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.tournament import Contest
from pura.protocols.shares.select import Candidates
from pura.rounds import Done, advance, run_pair

SIZES = Sizes(16, 16, 2048)
RULE = Rule(-128, 100, near=False, sooner=(20, 5))
CONTEST = Contest(1, SIZES.key_bits, SIZES.never)
DEEP, SHALLOW = -200, -60
STATES = {"deep": (DEEP, 3, 1), "counts": (SHALLOW, 3, 1), "the last": (SHALLOW, 4, 1), "locked": (SHALLOW, 5, 1),
          "of another length": (SHALLOW, 3, 0)}  # fmt: skip
RUNS = 80


def watched(party: Any, seen: list[bytes]) -> Any:
    """A party, and everything that it receives."""
    step = advance(party, None)
    while not isinstance(step, Done):
        value = yield step
        if isinstance(value, Message):
            seen.append(encode(value))
        step = advance(party, value)
    return step.result


def received(state: str, side: int, seed: int) -> bytes:
    """The bytes that one server receives in a question about one entry in this state."""
    key, number, good = STATES[state]
    rng, dealer = np.random.default_rng([seed, 1]), Dealer(seed)
    ring = np.uint64((1 << SIZES.key_bits) - 1)
    blind, coins = rng.integers(0, 1 << 62, 5).astype(np.uint64), rng.integers(0, 2, 4)
    keys = (np.array([key]).astype(np.uint64) - blind[:1]) & ring, blind[:1] & ring
    low, words = np.uint64((1 << RULE.width) - 1), [np.zeros(1, np.uint64), np.zeros(1, np.uint64)]
    for i, limit in enumerate(RULE.limits):
        at, top = np.uint64(i * RULE.width), np.uint64(63 - i)
        for word, value, bit in (
            (words[0], (np.array([number], np.uint64) - blind[1 + i : 2 + i]) & low, int(number >= limit) ^ coins[i]),
            (words[1], blind[1 + i : 2 + i] & low, coins[i]),
        ):
            word |= value << at | np.uint64(bit) << top
    gates = [np.array([good ^ coins[3]], np.uint8), np.array([coins[3]], np.uint8)]

    def question(i: int) -> Any:
        stock = dealer.stocks[i]
        entries = Candidates(keys[i], blind[4:] * np.uint64(i == 0))
        yield from lockout.hide(stock, RULE, CONTEST, entries, words[i], first=i == 0)
        yield from lockout.counted(stock, RULE, CONTEST, keys[i], words[i], gates[i], first=i == 0)

    seen: list[bytes] = []
    parties = [question(0), question(1)]
    parties[side] = watched(parties[side], seen)
    run_pair(*parties)
    return b"".join(seen)


def bits(state: str, side: int, seeds: range) -> np.ndarray:
    """(runs, positions)."""
    return np.unpackbits(np.array([list(received(state, side, seed)) for seed in seeds], np.uint8), axis=1)


def apart(one: np.ndarray, two: np.ndarray) -> float:
    """The largest deviation of a bit's frequency between two sets of runs, in standard deviations."""
    p, q = one.mean(0), two.mean(0)
    both = (p + q) / 2
    spread = np.sqrt(np.maximum(both * (1 - both), 1e-9) * (1 / len(one) + 1 / len(two)))
    return float((np.abs(p - q) / spread).max())


@pytest.mark.parametrize("side", [0, 1])
def test_no_state_can_be_told_from_another(side: int) -> None:
    reference = bits("deep", side, range(RUNS))
    assert reference.shape[1] > 500
    for number, state in enumerate(STATES):
        again = bits(state, side, range((number + 1) * 1000, (number + 1) * 1000 + RUNS))
        assert apart(reference, again) < 6, state


def test_material_that_is_used_again_is_noticed() -> None:
    same = [np.repeat(bits(state, 0, range(7, 8)), RUNS, 0) for state in ("deep", "locked")]
    assert apart(*same) > 6
