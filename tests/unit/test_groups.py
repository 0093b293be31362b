"""Groups of clients: what their signatures bind, and what S2 takes of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pura import groups
from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey, VerifyKey
from pura.errors import BadConfig, BudgetSpent, NotAuthorised
from pura.groups import Right
from pura.ids import ContextDigest, GroupId
from pura_server.groups import GroupBook, add_group, read_groups, renew_group

RNG = SeededRng("groups")
RATES = {Right.ASK: 60, Right.ENROL: 30, Right.ERASE: 1000}
CONTEXT, OTHER = ContextDigest(b"c" * 32), ContextDigest(b"d" * 32)
E = b"e" * 16

Keys = Mapping[Right, SigningKey]


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def fresh() -> Keys:
    return {right: SigningKey.new(RNG) for right in Right}


def halves(keys: Keys) -> dict[Right, VerifyKey]:
    return {right: key.public for right, key in keys.items()}


def ids(keys: Keys) -> dict[Right, GroupId]:
    return {right: groups.group_id(key.public) for right, key in keys.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "groups.json"


def test_a_signature_is_of_one_right_one_context_and_one_proof(path: Path) -> None:
    keys, book = fresh(), GroupBook(path)
    add_group(path, "doors", halves(keys), RATES)
    for right in Right:
        book.check(ids(keys)[right], right, groups.sign(keys[right], right, CONTEXT, E), CONTEXT, E)
    good = groups.sign(keys[Right.ASK], Right.ASK, CONTEXT, E)
    assert len(good) == 64
    ask = ids(keys)[Right.ASK]
    for group, right, signature, context, challenge in (
        (ask, Right.ASK, good, OTHER, E),
        (ask, Right.ASK, good, CONTEXT, b"f" * 16),
        (ask, Right.ASK, good, CONTEXT, b""),
        (ask, Right.ENROL, good, CONTEXT, E),
        (ids(keys)[Right.ENROL], Right.ENROL, good, CONTEXT, E),
        (ids(keys)[Right.ENROL], Right.ASK, groups.sign(keys[Right.ENROL], Right.ASK, CONTEXT, E), CONTEXT, E),
        (ask, Right.ASK, groups.sign(keys[Right.ASK], Right.ERASE, CONTEXT, E), CONTEXT, E),
        (ask, Right.ASK, good[:-1] + bytes([good[-1] ^ 1]), CONTEXT, E),
        (ask, Right.ASK, good[:-1], CONTEXT, E),
        (ask, Right.ASK, b"", CONTEXT, E),
        (GroupId(bytes(8)), Right.ASK, good, CONTEXT, E),
        (GroupId(b""), Right.ASK, good, CONTEXT, E),
    ):
        with pytest.raises(NotAuthorised):
            book.check(group, right, signature, context, challenge)


def test_a_group_has_its_rate(path: Path) -> None:
    keys, others, clock = fresh(), fresh(), Clock()
    add_group(path, "doors", halves(keys), RATES)
    add_group(path, "desks", halves(others), RATES)
    book = GroupBook(path, clock)
    doors = ids(keys)
    for _ in range(60):
        book.take(doors[Right.ASK])
    with pytest.raises(BudgetSpent, match="ask again in 60 s"):
        book.take(doors[Right.ASK])
    book.take(doors[Right.ENROL])
    book.take(ids(others)[Right.ASK])
    clock.now += 61
    book.take(doors[Right.ASK])
    with pytest.raises(BudgetSpent):
        book.take(doors[Right.ASK])
    # more at once than in an hour: taken, and paid for afterwards
    book.take(doors[Right.ERASE], 4096)
    clock.now += 3600
    with pytest.raises(BudgetSpent, match="ask again in 2 h"):
        book.take(doors[Right.ERASE])
    clock.now += 3 * 3600
    book.take(doors[Right.ERASE])


def test_a_group_that_is_renewed(path: Path) -> None:
    old, new, other = fresh(), fresh(), fresh()
    add_group(path, "doors", halves(old), RATES)
    add_group(path, "desks", halves(other), RATES)
    book = GroupBook(path)

    def counts(keys: Keys) -> bool:
        signed = groups.sign(keys[Right.ASK], Right.ASK, CONTEXT, E)
        try:
            book.check(ids(keys)[Right.ASK], Right.ASK, signed, CONTEXT, E)
        except NotAuthorised:
            return False
        return True

    assert counts(old)
    assert not counts(new)
    add_group(path, "doors", halves(new), RATES)  # while the clients get their new keys
    assert counts(old)
    assert counts(new)
    assert renew_group(path, "doors", halves(new)) == 3
    assert renew_group(path, "doors", halves(new)) == 0
    assert not counts(old)
    assert counts(new)
    assert counts(other)
    assert {key.right: key.per_hour for key in read_groups(path) if key.name == "doors"} == RATES
    with pytest.raises(NotAuthorised):
        book.take(ids(old)[Right.ASK])
    for name, keys in (("nobody", new), ("doors", other)):
        with pytest.raises(BadConfig):
            renew_group(path, name, halves(keys))
    with pytest.raises(BadConfig, match="another group"):
        add_group(path, "doors", halves(other), RATES)
    with pytest.raises(BadConfig, match="every key is for one"):
        add_group(path, "doors", {Right.ASK: new[Right.ERASE].public}, RATES)
    add_group(path, "doors", {Right.ASK: new[Right.ASK].public}, {Right.ASK: 7})
    assert [key.per_hour for key in read_groups(path) if key.key == new[Right.ASK].public] == [7]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "../x"), ("name", 7), ("right", "all"), ("key", "00"), ("key", None), ("per_hour", 0), ("added", "soon"),
     ("per_hour", 10**9), (None, None)],
)  # fmt: skip
def test_a_list_that_is_damaged_knows_nobody(path: Path, field: str | None, value: object) -> None:
    keys = fresh()
    book = GroupBook(path)
    signed = groups.sign(keys[Right.ASK], Right.ASK, CONTEXT, E)
    ask = ids(keys)[Right.ASK]
    with pytest.raises(NotAuthorised):  # there is no list at all
        book.check(ask, Right.ASK, signed, CONTEXT, E)
    add_group(path, "doors", halves(keys), RATES)
    good = path.read_bytes()
    book.check(ask, Right.ASK, signed, CONTEXT, E)
    body = json.loads(good)
    if field is None:
        body["version"] = 9
    else:
        body["groups"][0][field] = value
    path.write_text(json.dumps(body))
    with pytest.raises(NotAuthorised):
        book.check(ask, Right.ASK, signed, CONTEXT, E)
    with pytest.raises(BadConfig):
        read_groups(path)
    os.replace(_written(path.with_name("other"), good), path)
    book.check(ask, Right.ASK, signed, CONTEXT, E)


def _written(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path
