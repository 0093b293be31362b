"""Engine prepared when a server dies, a line breaks or a disk is full, at every message and every step of the
store.

After the dead server has come back and the two have connected, the galleries agree, everything that was confirmed is
there, nothing is half-done, and no mask of an entry and no a of a pack was used twice.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import Faulty, Uses, failed
from pair import templates

from pura.errors import NotReady, PuraError, StorageFull
from pura.ids import BlockId, Party
from pura.protocols.shares.extension import setup
from pura.rounds import Done, advance, run_pair
from pura.transport.memory import Cut, End, Kill, Spoil
from pura_server.expiry import DAY_S, Calendar
from pura_server.prepared import gateway, peer

OPERATIONS = ("enrol", "erase", "relabel", "expire", "compact")


@dataclasses.dataclass
class World:
    """A gallery of two blocks, of two entries and of one, and two templates that are not in it."""

    pair: Faulty
    saved: Path
    scratch: Path
    ys: np.ndarray

    def fresh(self) -> Faulty:
        """Both servers as they were saved, connected."""
        pair = self.pair.at(self.saved, self.scratch)
        pair.connect()
        return pair


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        Uses(patch)
        pair = Faulty(folder / "first", dimension=16, scale=16, tau=0, packs=2, light_packs=1)
        pair.connect()
        ys = np.unique(templates(pair.params, 40, seed=4), axis=0)[:5]
        pair.enroll(ys[:1])
        pair.enroll(ys[1:2], keep_days=1)
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr(pair.s1._pictures.slots, "take", lambda n: [(BlockId(5), 3)])
            pair.enroll(ys[2:3])
        pair.agree()
        pair.save(folder / "saved")
        yield World(pair, folder / "saved", folder, ys)


class Change:
    """One change of the gallery: how it begins, and what must hold however it ended."""

    def __init__(self, world: World, pair: Faulty, name: str) -> None:
        self.pair, self.name = pair, name
        self.new = world.ys[3:]
        self.items = [pair.entry(y) for y in self.new]
        self.gone = sorted(pair.model)[:1]
        self.labels = {handle: b"another %d" % i for i, handle in enumerate(sorted(pair.model)[:2])}
        self.visitor = next(handle for handle in sorted(pair.model) if pair.store1.by_handle(handle).expires)
        self.before = pair.labels()
        self.wish = pair.new_labels(self.labels)

    def late(self) -> None:
        """A day later at both servers."""
        for server in (self.pair.s1, self.pair.s2):
            server._calendar = Calendar(clock=lambda: time.time() + 2 * DAY_S)

    def begin(self) -> Any:
        match self.name:
            case "enrol":
                return self.pair.s1.enroll([self.pair.again(item) for item in self.items])
            case "relabel":
                return self.pair.s1.relabel(self.wish)
            case "expire":
                self.late()
                return self.pair.s1.expire()
            case "compact":
                return self.pair.s1.compact()
            case _:
                return self.pair.s1.forget(self.gone)

    def over(self, end: End[Any]) -> None:
        """Whether it was done or not, all of it was or none; and it can be done again."""
        pair = self.pair
        match self.name:
            case "enrol":
                pair.settle_enrolment(self.items, self.new, end.result if end.done else None)
            case "relabel":
                done = {**self.before, **self.labels}
                assert pair.labels_in(pair.store1) in ([done] if end.done else [self.before, done])
                assert pair.run(pair.s1.relabel(self.wish)) == 2
                assert pair.labels() == pair.labels_in(pair.store2) == done
            case "expire":
                there = pair.store1.by_handle(self.visitor) is not None
                assert not (end.done and there)
                self.late()
                assert pair.run(pair.s1.expire()) == int(there)
                del pair.model[self.visitor]
            case "compact":
                pair.run(pair.s1.compact())
                assert pair.s1.levels()["blocks"] == 1
            case _:
                there = pair.store1.by_handle(self.gone[0]) is not None
                assert not (end.done and there)
                assert pair.forget(self.gone) == int(there)


def count(world: World, name: str) -> tuple[int, int]:
    """How many messages each party sends."""
    pair = world.fresh()
    ends = pair.attempt(Change(world, pair, name).begin())
    assert all(end.done for end in ends)
    pair.close()
    return pair.sent[0], pair.sent[1]


@pytest.mark.parametrize("name", OPERATIONS)
def test_either_server_dies_at_every_message_of_a_change(world: World, name: str) -> None:
    done = 0
    for party, sent in zip(Party, count(world, name), strict=True):
        for number in range(1, sent + 1):
            # before the commit nothing is on the disk, and dying after a message is dying before the next
            for after in (False, True) if number > sent - 3 else (False,):
                pair = world.fresh()
                change = Change(world, pair, name)
                ends = pair.attempt(change.begin(), Kill(int(party), number, after))
                assert ends[party - 1].killed
                failed(ends[2 - party])
                done += ends[0].done
                pair.start(party)
                pair.connect()
                change.over(ends[0])
                pair.agree()
                pair.close()
    assert done == 1, "S2's last word was on its way"


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_line_breaks_at_every_message_of_a_change_and_the_next_one_settles_it(world: World, name: str) -> None:
    total = sum(count(world, name))
    for number in range(1, total + 1) if total < 12 else (1, 2, *range(4, total - 6, 4), *range(total - 6, total + 1)):
        pair = world.fresh()
        change = Change(world, pair, name)
        ends = pair.attempt(change.begin(), Cut(number))
        assert failed(ends[0])
        assert pair.ask(world.ys[0]) or name == "erase"
        change.over(ends[0])
        pair.agree()
        pair.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("party", list(Party))
def test_a_server_dies_at_every_step_of_its_store(world: World, name: str, party: Party) -> None:
    """Just before and just after it prepares, commits and keeps a signature."""
    pair = world.fresh()
    pair.store(party).calls.clear()  # of the connection
    assert all(end.done for end in pair.attempt(Change(world, pair, name).begin()))
    calls = len(pair.store(party).calls)
    assert calls >= 4
    pair.close()
    for number in range(1, calls + 1):
        pair = world.fresh()
        change = Change(world, pair, name)
        pair.store(party).calls.clear()
        pair.store(party).at, pair.store(party).die = number, pair.die(party)
        ends = pair.attempt(change.begin())
        assert ends[0].killed
        pair.start(party)
        pair.connect()
        change.over(ends[0])
        pair.agree()
        pair.close()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("party", list(Party))
def test_a_disk_is_full_at_the_commit(world: World, name: str, party: Party) -> None:
    """Questions go on, also while S2 cannot carry out what S1 has committed."""
    pair = world.fresh()
    change = Change(world, pair, name)
    pair.store(party).no_room = {"commit"}
    assert isinstance(pair.attempt(change.begin())[0].error, StorageFull)
    pair.check(world.ys[1]) if name not in ("erase", "expire") else pair.ask(world.ys[1])
    assert isinstance(pair.attempt(change.begin())[0].error, StorageFull)
    pair.store(party).no_room = set()
    if party is Party.S2:
        pair.run(pair.s1.tidy())  # the background settles it
        change.gone = []
        assert pair.s2.levels()["entries"] == {"enrol": 5, "erase": 2, "relabel": 3, "expire": 2, "compact": 3}[name]
        if name == "erase":
            pair.model.pop(min(pair.model))
            return
    change.over(End())
    pair.agree()
    pair.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_is_full_where_the_signature_is_kept(world: World, name: str) -> None:
    """The change is committed; until the servers have settled, no roster is handed out, and questions go on."""
    pair = world.fresh()
    change = Change(world, pair, name)
    before = pair.s1.roster().generation
    pair.store1.no_room = {"keep_signature"}
    ends = pair.attempt(change.begin())
    assert isinstance(ends[0].error, StorageFull)
    assert pair.store1.snapshot().generation == pair.store2.snapshot().generation == before + 1
    with pytest.raises(NotReady):
        pair.s1.roster()
    pair.store1.no_room = set()
    pair.run(pair.s1.tidy())  # the background settles it
    pair.vouched()
    change.over(ends[0])
    pair.agree()
    pair.close()


@pytest.mark.parametrize("verify", [False, True], ids=["identify", "verify"])
def test_a_question_ends_at_every_message_and_its_pack_with_it(world: World, verify: bool) -> None:
    pair = world.fresh()
    pair.refill()
    handles = sorted(pair.model)[:2] if verify else None
    x = next(iter(pair.model.values()))

    def begin() -> Any:
        query, _ = pair.query(x, handles)
        return pair.s1.identify(query) if handles is None else pair.s1.verify(query, handles)

    assert all(end.done for end in pair.attempt(begin()))
    for number in range(1, sum(pair.sent) + 1):
        pair.refill()
        before = pair.s1._shelf._numbers, len(pair.s1._shelf._packs)
        ends = pair.attempt(begin(), Cut(number))
        assert failed(ends[0])
        assert before[0] == pair.s1._shelf._numbers
    pair.check(x, handles)
    pair.close()


def test_a_message_that_was_changed_ends_in_a_typed_error_or_in_another_answer(world: World) -> None:
    pair = world.fresh()
    x = next(iter(pair.model.values()))
    query, _ = pair.query(x)
    assert all(end.done for end in pair.attempt(pair.s1.identify(query)))
    for number in range(1, sum(pair.sent) + 1):
        for change in (lambda body: body[:-1], lambda body: body + b"\0", lambda body: body[:1]):
            query, _ = pair.query(x)
            ends = pair.attempt(pair.s1.identify(query), Spoil(number, change))
            assert any(isinstance(end.error, PuraError) for end in ends)
    pair.check(x)
    pair.agree()
    pair.close()


def test_a_snapshot_of_a_machine_restored_on_one_side_repeats_no_mask(world: World) -> None:
    """A server that comes back with what it had in memory and on disk: the connection has new nonces."""
    pair = world.fresh()
    pair.refill()
    places = pair.s1._pictures.slots
    began = places.nonces
    ends = pair.attempt(pair.s1.enroll([pair.entry(world.ys[3])]), Cut(30))
    assert failed(ends[0])
    pair.connect()
    assert places.nonces != began
    pair.enroll(world.ys[4:5])
    pair.agree()
    pair.close()


@pytest.mark.parametrize("party", list(Party))
def test_either_server_dies_during_a_question_and_the_next_one_is_right(world: World, party: Party) -> None:
    pair = world.fresh()
    pair.refill()
    x = world.ys[0]
    assert all(end.done for end in pair.attempt(pair.s1.identify(pair.query(x)[0])))
    for number in range(1, pair.sent[party - 1] + 1, 3):
        ends = pair.attempt(pair.s1.identify(pair.query(x)[0]), Kill(int(party), number))
        assert ends[party - 1].killed
        assert failed(ends[2 - party])
        pair.start(party)
        pair.connect()
        assert pair.s1.levels()["packs"] == pair.s2.levels()["packs"] == 0
        pair.check(x)
        pair.refill()
    pair.agree()
    pair.close()


@pytest.mark.parametrize("party", [Party.S1, Party.S2, None])
@pytest.mark.parametrize("stale", [False, True])
def test_offline_work_breaks_at_every_message(world: World, party: Party | None, stale: bool) -> None:
    """New packs, and some that are completed after the gallery has changed: what is left of them is not used."""
    pair = world.fresh()
    number, whole = 1, 0
    while not whole:
        pair.refill()
        if stale:
            pair.enroll(world.ys[3:4])
        else:
            pair.ask(world.ys[0])  # uses one
        work = pair.s1.refill()
        ends = pair.attempt(work, Kill(int(party), number) if party else Cut(number))
        whole += not any(end.killed or failed(end) for end in ends)
        if party is not None and not whole:
            pair.start(party)
            pair.connect()
        elif number % 2:
            pair.check(world.ys[1])
        number += 1
    assert number > 2
    pair.refill()
    pair.check(world.ys[1])
    pair.agree()
    pair.close()


def test_either_server_dies_while_they_connect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real base OTs; an enrolment was cut off after S1's commit before."""
    for module in (gateway, peer):
        monkeypatch.setattr(module, "setup", setup)
    last = count(world, "enrol")[1]
    pair = world.fresh()
    change = Change(world, pair, "enrol")
    ends = pair.attempt(change.begin(), Kill(2, last))
    assert ends[1].killed
    pair.start(Party.S2)
    for party, number in [(1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3), (2, 4), (1, 4), (1, 5)]:
        pair.s2.connected()
        ends = pair.attempt(pair.s1.reconcile(), Kill(party, number))
        assert ends[party - 1].killed
        assert failed(ends[2 - party])
        pair.start(Party(party))
        with pytest.raises(PuraError):
            pair.ask(world.ys[0])
    pair.connect()
    change.over(End())
    pair.agree()
    pair.close()


def test_a_session_that_is_played_again(world: World) -> None:
    """Whoever records S1's messages of a change cannot have S2 carry it out twice."""
    pair = world.fresh()
    for name in ("enrol", "erase"):
        change = Change(world, pair, name)
        recorded: list[Any] = []
        run_pair(_recorded(change.begin(), recorded), pair.s2.session())
        change.over(End())
        held = pair.store2.count()
        ends = pair.attempt(_again(recorded))
        # the proofs of an enrolment are used up: S2 refuses it and goes no further
        assert ends[1].done if name == "enrol" else isinstance(ends[1].error, PuraError)
        assert pair.store2.count() == held
        assert pair.store2.prepared() == []
        pair.agree()
    pair.close()


def test_a_spoilt_message_of_a_change(world: World) -> None:
    """A typed error, and what was in flight is settled by the next operation."""
    total = sum(count(world, "enrol"))
    for number in (2, 3, 20, *range(total - 7, total)):
        pair = world.fresh()
        change = Change(world, pair, "enrol")
        ends = pair.attempt(change.begin(), Spoil(number, lambda body: body[:-1] + bytes([body[-1] ^ 1])))
        for end in ends:
            failed(end)
        change.over(ends[0])
        pair.agree()
        pair.close()


def test_a_question_does_not_wait_for_a_change(world: World) -> None:
    pair = world.fresh()
    change = Change(world, pair, "enrol")
    party = change.begin()
    next(party)  # it has begun, and its client is slow
    pair.check(world.ys[0])
    party.close()
    change.over(End())
    pair.agree()
    pair.close()


def test_a_question_that_began_before_the_servers_connected_again(world: World) -> None:
    """Its offline part is void: an error that a client answers by asking again."""
    pair = world.fresh()
    pair.refill()
    question = pair.s1.identify(pair.query(world.ys[0])[0])
    opening = next(question)
    pair.connect()
    with pytest.raises(NotReady):
        run_pair(_again([opening]), pair.s2.session())
    question.close()
    pair.check(world.ys[0])
    pair.close()


def _recorded(party: Any, out: list[Any]) -> Any:
    step = advance(party, None)
    while not isinstance(step, Done):
        out.append(step)
        step = advance(party, (yield step))
    return step.result


def _again(steps: list[Any]) -> Any:
    yield from steps
