"""S2's epochs: an hour each, the previous one counts for another, and no proof is accepted twice while they last."""

from __future__ import annotations

import pytest

from pura.crypto.rng import SeededRng
from pura.errors import BadProof, StaleEpoch
from pura_server.epochs import EPOCH_BYTES, EPOCH_S, Epochs


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def epochs(clock: Clock) -> Epochs:
    return Epochs(SeededRng("epochs"), clock, most=4)


def test_an_epoch_lasts_an_hour_and_counts_for_two(epochs: Epochs, clock: Clock) -> None:
    first = epochs.current()
    assert len(first) == EPOCH_BYTES
    clock.now += EPOCH_S - 1
    assert epochs.current() == first
    clock.now += 1
    second = epochs.current()
    assert second != first
    for epoch in (first, second):
        epochs.check(epoch)
    clock.now += EPOCH_S
    third = epochs.current()
    epochs.check(third)
    epochs.check(second)
    with pytest.raises(StaleEpoch):
        epochs.check(first)
    with pytest.raises(StaleEpoch):
        epochs.accept(first, b"e")


def test_the_clock_counts_when_nobody_asks_for_the_epoch(epochs: Epochs, clock: Clock) -> None:
    first = epochs.current()
    clock.now += 2 * EPOCH_S
    with pytest.raises(StaleEpoch):
        epochs.accept(first, b"e")
    first = epochs.current()
    clock.now += 2 * EPOCH_S - 1
    epochs.check(first)


def test_each_challenge_is_accepted_once(epochs: Epochs, clock: Clock) -> None:
    first = epochs.current()
    epochs.accept(first, b"one")
    epochs.accept(first, b"two")
    for _ in range(2):
        with pytest.raises(BadProof):
            epochs.accept(first, b"one")
    clock.now += EPOCH_S
    epochs.accept(epochs.current(), b"three")
    with pytest.raises(BadProof):
        epochs.accept(first, b"two")


def test_a_connection_begins_an_epoch(epochs: Epochs) -> None:
    first = epochs.current()
    epochs.accept(first, b"one")
    epochs.renew()
    assert epochs.current() != first
    with pytest.raises(BadProof):
        epochs.accept(first, b"one")
    epochs.renew()
    with pytest.raises(StaleEpoch):
        epochs.accept(first, b"one")


def test_a_full_epoch_ends_early_and_forgets_nothing_that_counts(epochs: Epochs) -> None:
    first = epochs.current()
    for i in range(4):
        epochs.accept(first, bytes([i]))
    second = epochs.current()
    assert second != first
    with pytest.raises(BadProof):
        epochs.accept(first, bytes([0]))
    epochs.accept(first, b"more")  # which fills the older one again: then it is over
    with pytest.raises(StaleEpoch):
        epochs.accept(first, b"more")


def test_what_names_no_epoch(epochs: Epochs) -> None:
    for epoch in (b"", bytes(EPOCH_BYTES)):
        with pytest.raises(StaleEpoch):
            epochs.check(epoch)
