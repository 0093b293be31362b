"""A published query that breaks at every message: the line is cut, or that message is spoilt.

The outcome is a typed error, and the next query is right.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import PuraError
from pura.ids import Engine, Handle
from pura.messages import Message
from pura.params import Params
from pura.protocols.published import client
from pura.protocols.published.identify import Entry, OpenReply, identify_s1, identify_s2
from pura.protocols.published.side import Side
from pura.rounds import Done, Send, advance

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
SHARES = [load_share(KEYS / f"{name}.share", PK) for name in ("s1", "s2")]
PARAMS = Params(PK.key_id, 2048, Engine.PUBLISHED, dimension=4, scale=16)
RNG = SeededRng("faults")
GALLERY = np.array([[1, 2, 3, 4], [-9, 0, 16, 5]])
ENTRIES = [Entry(Handle(10 + i), client.encrypt_template(PK, PARAMS, y, RNG)) for i, y in enumerate(GALLERY)]
MESSAGES = 12
"""S1 asks and S2 replies: BatchSquare, SCMP and SMUL of the minimum, SCMP, SMUL, the opening."""

Fault = Callable[[Message], Message | None]


class Cut(Exception):
    """The line went dead."""


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    one, two = (Side.new(PK, share, PARAMS, RNG, zeros=40, smul_tuples=20) for share in SHARES)
    yield one, two
    one.workers.close()


def ask(sides: tuple[Side, Side], fault: Fault | None = None, at: int = -1) -> tuple[list[Handle], int]:
    """The answer and how many messages it took; message number `at` goes through `fault`, and None cuts the line."""
    one, two = sides
    rho, mask = client.make_mask(PK, PARAMS, RNG)
    query = PK.load_many(client.encrypt_template(PK, PARAMS, GALLERY[1] + [1, 0, 0, -1], RNG), 4)
    parties = [identify_s1(one, query, ENTRIES, PK.load(mask), 100), identify_s2(two, len(ENTRIES))]
    inbox: tuple[deque[Message], deque[Message]] = (deque(), deque())
    steps = [advance(party, None) for party in parties]  # type: ignore[arg-type]
    sent = 0
    while not all(isinstance(step, Done) for step in steps):
        for i, party in enumerate(parties):
            step = steps[i]
            if isinstance(step, Send):
                message: Message | None = step.message
                if sent == at and fault is not None:
                    message = fault(step.message)
                sent += 1
                if message is None:
                    for open_party in parties:
                        open_party.close()
                    raise Cut
                inbox[1 - i].append(message)
                steps[i] = advance(party, None)  # type: ignore[arg-type]
            elif not isinstance(step, Done) and inbox[i]:
                steps[i] = advance(party, inbox[i].popleft())  # type: ignore[arg-type]
    assert isinstance(steps[0], Done)
    opened = steps[0].result
    assert isinstance(opened, bytes)
    return client.open_answer(PK, PARAMS, rho, opened), sent


def fields(message: Message) -> dict[str, bytes]:
    return {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}  # type: ignore[arg-type]


def truncated(message: Message) -> Message:
    return type(message)(**{name: value[:-1] for name, value in fields(message).items()})


def zeros(message: Message) -> Message:
    return type(message)(**{name: bytes(len(value)) for name, value in fields(message).items()})


def too_large(message: Message) -> Message:
    return type(message)(**{name: b"\xff" * len(value) for name, value in fields(message).items()})


def doubled(message: Message) -> Message:
    return type(message)(**{name: value * 2 for name, value in fields(message).items()})


def factor_of_n(message: Message) -> Message:
    name, value = next(iter(fields(message).items()))
    body = PK.n.to_bytes(PK.ciphertext_bytes, "big") + value[PK.ciphertext_bytes :]
    return dataclasses.replace(message, **{name: body})  # type: ignore[type-var]


def another_kind(message: Message) -> Message:
    return OpenReply(b"", b"") if not isinstance(message, OpenReply) else Message()


def test_without_a_fault(sides: tuple[Side, Side]) -> None:
    assert ask(sides) == ([Handle(11)], MESSAGES)


def test_cut_at_every_message(sides: tuple[Side, Side]) -> None:
    for at in range(MESSAGES):
        with pytest.raises(Cut):
            ask(sides, lambda _: None, at)
    assert ask(sides) == ([Handle(11)], MESSAGES)


@pytest.mark.parametrize(
    "fault", [truncated, zeros, too_large, doubled, factor_of_n, another_kind], ids=lambda fault: fault.__name__
)
def test_a_spoilt_message_is_a_typed_error(sides: tuple[Side, Side], fault: Fault) -> None:
    for at in range(MESSAGES):
        with pytest.raises(PuraError) as caught:
            ask(sides, fault, at)
        assert caught.value.code in {"malformed_ciphertext", "protocol"}
    assert ask(sides) == ([Handle(11)], MESSAGES)
