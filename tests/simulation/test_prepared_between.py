"""A whole operation between any two messages of another one: what is answered then, and afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pair import LatticePair, Pair, templates

from pura.crypto.rng import SeededRng
from pura.errors import NotReady
from pura.ids import BlockId
from pura.rounds import Done, advance

MESSAGES = 40
"""Of no operation here has a party more steps that are looked at."""


def interrupted(party: Any, at: int, happens: Callable[[], None]) -> Iterator[Any]:
    """A party before whose step number `at` something else happens."""
    value = None
    for number in itertools.count():
        if number == at:
            happens()
        step = advance(party, value)
        if isinstance(step, Done):
            return step.result
        value = yield step


def play(pair: Pair, party: Any, side: int, at: int, happens: Callable[[], None]) -> Any:
    """S1's party against S2's, one of them interrupted."""
    if side == 1:
        return pair.run(interrupted(party, at, happens))
    real = pair.s2.session

    def session() -> Any:
        pair.s2.session = real
        return interrupted(real(), at, happens)

    pair.s2.session = session
    return pair.run(party)


def tried(happens: Callable[[], object], then: list[bool]) -> None:
    """Whether it went through; gateways try again while the servers agree on something."""
    try:
        happens()
        then.append(True)
    except NotReady:
        then.append(False)


def new_masks(pair: Pair, number: int) -> Any:
    """S1 has another key for its masks: the change that gives it to all entries."""
    pictures = pair.s1._pictures
    pictures.keys = pictures.keys.renewed(SeededRng(f"key {number}"))
    pair.connect()
    return pair.s1.tidy()


def a_block_too_many(pair: Pair, number: int) -> Any:
    """An entry in a block of its own goes to the others: the change that does it."""
    slots = pair.s1._pictures.slots
    slots.take = lambda count: [(BlockId(3 + number), 4000 + i) for i in range(count)]
    pair.enroll(templates(pair.params, 1, seed=100 + number))
    del slots.take
    return pair.s1.tidy()


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    made: Pair = getattr(request, "param", Pair)(tmp_path, dimension=16, scale=16, tau=100, packs=2, light_packs=0)
    made.connect()
    made.enroll(templates(made.params, 5, seed=2))
    return made


def everything_is_right(pair: Pair) -> None:
    for y in [*templates(pair.params, 5, seed=2)[:2], *templates(pair.params, 2, seed=77)]:
        pair.check(y)


def a_question(pair: Pair) -> None:
    pair.check(templates(pair.params, 5, seed=2)[0])


def a_pack(pair: Pair) -> None:
    pair.s1._shelf.clear()
    pair.run(pair.s1.refill())


@pytest.mark.parametrize(
    ("pair", "change"),
    [(Pair, new_masks), (LatticePair, new_masks), (Pair, a_block_too_many)],
    indirect=["pair"],
)
@pytest.mark.parametrize("happens", [a_question, a_pack])
@pytest.mark.parametrize("side", [1, 2])
def test_in_the_middle_of_a_change(
    pair: Pair, change: Callable[[Pair, int], Any], happens: Callable[[Pair], None], side: int
) -> None:
    """Before 0.2 was released, what was made while entries got other masks had the old ones under the name of the new
    ones: from then on strangers matched, and who knew both masks read templates out of the answers."""
    went: list[bool] = []
    for at in range(MESSAGES):
        party = change(pair, at)
        play(pair, party, side, at, lambda: tried(lambda: happens(pair), went))
        if len(went) == at:
            break
        everything_is_right(pair)
    assert 4 < at < MESSAGES
    assert sum(went) > at / 2


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("change", [new_masks, a_block_too_many])
def test_a_change_in_the_middle_of_a_question(pair: Pair, change: Callable[[Pair, int], Any], side: int) -> None:
    """It is answered by the gallery that it began with, or refused before S2 has used its proof up."""
    real, went = pair.run, []
    for at in range(0, MESSAGES * 4, 4):
        party, done = change(pair, at), []

        def run(question: Any, at: int = at, party: Any = party, done: list[Any] = done) -> Any:
            pair.run = real  # type: ignore[method-assign]
            return play(pair, question, side, at, lambda: done.append(pair.run(party)))

        pair.run = run  # type: ignore[method-assign]
        tried(lambda: a_question(pair), went)
        if not done:
            break
        everything_is_right(pair)
    assert 4 < len(went) < MESSAGES
    assert sum(went) > len(went) / 2
