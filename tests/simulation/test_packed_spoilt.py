"""Every message of the packed engine's steps, spoilt one at a time: a typed error on the spot, and no other exception.

A wrong length, another kind, a number that is no ciphertext. What is only masked bits may be anything (the servers are
taken to follow the protocol); what must not happen is a crash, or that a party goes on with too much or too little.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dealer import Dealer

from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import MalformedCiphertext, MalformedMessage, ProtocolError, PuraError
from pura.ids import BlockId, Party
from pura.messages import Message, decode, encode
from pura.params import Params
from pura.protocols.packed import blocks, convert, norm, score, tournament
from pura.protocols.packed.client import encrypt_template
from pura.protocols.packed.select import Candidates, select
from pura.protocols.packed.side import Side
from pura.rounds import Done, Rounds, Send, advance, receive, send

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
PK = load_public(KEYS / "public.key")
PARAMS = Params(PK.key_id, 2048, dimension=2, scale=16)
S1, S2 = (
    Side(PK, load_share(KEYS / f"{p.name.lower()}.share", PK, p), PARAMS, SeededRng(f"spoilt {p.name}")) for p in Party
)
RNG = SeededRng("spoilt")
TEMPLATE = np.array([16, 0])
ROWS = PK.load_many(encrypt_template(PK, PARAMS, TEMPLATE, RNG), S1.rows.ciphertexts)
MASKS = convert.Masks.draw(S1.rows, RNG)
V = [int(x) + PARAMS.scale + r for x, r in zip(TEMPLATE, MASKS.r, strict=True)]
WORDS = np.arange(1, 4, dtype=np.uint64)
ZERO = PK.zero(RNG)

Pair = tuple[Rounds[Any], Rounds[Any]]


def conversion() -> Pair:
    return convert.convert_s1(S1, [ROWS], [MASKS]), convert.convert_s2(S2, 1)


def writing() -> Pair:
    one, two = (blocks.Term(BlockId(3), 1, 1, shares) for shares in (MASKS.shares, V))
    return blocks.rewrite(S1, [one], {}), blocks.rewrite(S2, [two], {})


def norms() -> Pair:
    dealer = Dealer()
    k0, k1, c, k_c = dealer.chosen(norm.choices_of(S1, MASKS))
    return (
        norm.check_s1(S1, dealer.stocks[0], [MASKS], [norm.CrossReceiver(c, k_c)]),
        norm.check_s2(S2, dealer.stocks[1], [V], [norm.CrossSender(k0, k1)]),
    )


def scores() -> Pair:
    def one() -> Rounds[Any]:
        return score.open_s1(S1, (yield from receive(score.ScoreBlocks)), 1)

    def two() -> Rounds[Any]:
        yield from send(score.scores_s2(S2, [ZERO], [ZERO])[0])

    return one(), two()


def selection() -> Pair:
    stocks = Dealer().stocks
    bits = np.array([1, 0, 1], dtype=np.uint8)
    one, two = (select(stock, bits, Candidates(WORDS, WORDS), 20) for stock in stocks)
    return one, two


def contest() -> Pair:
    stocks = Dealer().stocks
    shape = tournament.Contest(3, 20, 1, 2)
    one, two = (
        tournament.nearest(stock, shape, Candidates(WORDS, WORDS), 2, first=first)
        for stock, first in zip(stocks, (True, False), strict=True)
    )
    return one, two


STEPS = [conversion, writing, norms, scores, selection, contest]
Spoil = Callable[[Message], Message]


def play(pair: Pair, at: int = -1, spoil: Spoil | None = None) -> list[Message]:
    """Play two parties; message number `at` is spoilt on its way. All messages as they were sent."""
    steps = [advance(party, None) for party in pair]
    inbox: tuple[deque[Message], deque[Message]] = (deque(), deque())
    sent: list[Message] = []
    while not all(isinstance(step, Done) for step in steps):
        before = len(sent), [len(box) for box in inbox]
        for i, party in enumerate(pair):
            while not isinstance(step := steps[i], Done):
                value = None
                if isinstance(step, Send):
                    m = decode(encode(step.message))
                    inbox[1 - i].append(spoil(m) if spoil and len(sent) == at else m)
                    sent.append(m)
                elif inbox[i]:
                    value = inbox[i].popleft()
                else:
                    break
                steps[i] = advance(party, value)
        if before == (len(sent), [len(box) for box in inbox]):
            raise ProtocolError(detail="both parties wait")
    return sent


LENGTHS = {step.__name__: len(play(step())) for step in STEPS}
PLACES = [pytest.param(step, at, id=f"{step.__name__}-{at}") for step in STEPS for at in range(LENGTHS[step.__name__])]


def fields(m: Message, of: type) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(m, name)) for name, kind in m.layout if kind is of)


def changed(m: Message, name: str, value: object) -> Message:
    return dataclasses.replace(m, **{name: value})  # type: ignore[type-var]


def test_the_steps_run_when_nothing_is_spoilt() -> None:
    assert LENGTHS["conversion"] == 2
    assert LENGTHS["writing"] == 4
    assert LENGTHS["scores"] == 1
    assert LENGTHS["selection"] == 4
    assert min(LENGTHS["norms"], LENGTHS["contest"]) > 10


@pytest.mark.parametrize(("step", "at"), PLACES)
def test_wrong_lengths(step: Callable[[], Pair], at: int) -> None:
    original = play(step())[at]
    for name, value in fields(original, bytes):
        for other in {b"", value[:-1], value + b"\x00", value + value} - {value}:
            with pytest.raises((ProtocolError, MalformedCiphertext)):
                play(step(), at, lambda m, name=name, other=other: changed(m, name, other))  # type: ignore[misc]


@pytest.mark.parametrize(("step", "at"), PLACES)
def test_another_kind(step: Callable[[], Pair], at: int) -> None:
    original = play(step())[at]
    other: Message = convert.Converted(b"") if not isinstance(original, convert.Converted) else blocks.BlockHash(b"")
    with pytest.raises(ProtocolError):
        play(step(), at, lambda _: other)


@pytest.mark.parametrize(("step", "at"), PLACES)
def test_numbers_that_are_none(step: Callable[[], Pair], at: int) -> None:
    original = play(step())[at]
    for name, value in fields(original, int):
        for other in {0, value + 1, (1 << 64) - 1} - {value}:
            with pytest.raises(PuraError):
                play(step(), at, lambda m, name=name, other=other: changed(m, name, other))  # type: ignore[misc]
    for name, value in fields(original, bytes):
        if name not in ("ciphertexts", "partials"):
            continue
        size = PK.ciphertext_bytes if name == "ciphertexts" else PK.n_bits // 8
        for bad in (bytes(size), b"\xff" * size, int(PK.n).to_bytes(size, "big")):
            for spoilt in (bad + value[size:], value[:-size] + bad):
                with pytest.raises(MalformedCiphertext):
                    play(step(), at, lambda m, name=name, spoilt=spoilt: changed(m, name, spoilt))  # type: ignore[misc]


@pytest.mark.parametrize(("step", "at"), PLACES)
def test_any_content_of_the_right_length_gives_a_result_or_a_typed_error(step: Callable[[], Pair], at: int) -> None:
    rng = SeededRng(f"content {step.__name__} {at}")
    original = play(step())[at]
    for name, value in fields(original, bytes):
        for other in (bytes(len(value)), b"\xff" * len(value), rng.bytes(len(value))):
            with contextlib.suppress(ProtocolError, MalformedCiphertext, MalformedMessage):
                play(step(), at, lambda m, name=name, other=other: changed(m, name, other))  # type: ignore[misc]


def test_blocks_that_differ_in_one_bit_are_noticed() -> None:
    """The hash of what both will store: a party that ends with other bytes does not store them."""
    for at in (2, 3):
        with pytest.raises(ProtocolError, match="same gallery"):
            play(writing(), at, lambda m: changed(m, "digest", bytes([m.digest[0] ^ 1]) + m.digest[1:]))  # type: ignore[attr-defined]


def test_a_slot_that_a_block_does_not_have() -> None:
    for slot in (-1, S1.columns.entries, 1 << 40):
        with pytest.raises(ProtocolError):
            play((blocks.rewrite(S1, [blocks.Term(BlockId(0), slot, 1, V)], {}), send(blocks.BlockHash(b""))))
