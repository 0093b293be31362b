"""Engine packed when a server dies, a line breaks or a disk is full, at every message and every step on the disk.

After the dead server has come back and the two have connected, the galleries agree, everything that was confirmed is
there, nothing is half-done and no offline material was used twice; without a death the same holds at the next change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_faults import Faulty, Uses, deal_base_ots, failed, full, unreadable
from packed_pair import templates

from pura.errors import BadDataFolder, NotReady, PuraError, StorageFull
from pura.ids import BlockId, Party
from pura.protocols.packed.extension import setup
from pura.rounds import Done, advance, run_pair
from pura.transport.memory import Cut, End, Kill, Spoil
from pura_server.packed import gateway, peer

D = 2
NEAR = 40_000
OPERATIONS = ("enrol", "erase", "erase block", "compact")


@dataclasses.dataclass
class World:
    """A gallery of two blocks, of two entries and of one, and two templates that are not in it."""

    pair: Faulty
    saved: Path
    scratch: Path
    ys: np.ndarray
    uses: Uses

    def fresh(self) -> Faulty:
        """Both servers as they were saved, connected."""
        pair = self.pair.at(self.saved, self.scratch)
        pair.connect()
        return pair


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        deal_base_ots(patch)
        uses = Uses(patch)
        pair = Faulty(
            folder / "first", dimension=D, tau=NEAR, packs=1, light_packs=1, lockout_tau=NEAR, lockout_limit=10_000
        )
        pair.connect()
        ys = templates(pair.params, 5, seed=4)
        pair.enroll(ys[:2])
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr(pair.store1._store, "allocate", lambda *_: [(BlockId(5), 3)])
            pair.enroll(ys[2:3])
        pair.agree()
        pair.save(folder / "saved")
        yield World(pair, folder / "saved", folder, ys, uses)


class Change:
    """One change of the gallery: how it begins, and what must hold however it ended."""

    def __init__(self, world: World, pair: Faulty, name: str) -> None:
        self.pair, self.name = pair, name
        self.new = world.ys[3:]
        self.items = [pair.entry(y) for y in self.new]
        handles = sorted(pair.model, key=lambda h: pair.store1.by_handle(h).created)
        in_block = {h: pair.store1.by_handle(h).block for h in handles}
        self.gone = [h for h in handles if (in_block[h] == 5) == (name == "erase block")]
        self.gone = self.gone[:1]

    def begin(self) -> Any:
        s1 = self.pair.s1
        match self.name:
            case "enrol":
                return s1.enroll(self.items)
            case "compact":
                return s1._compact()
            case _:
                return s1.forget(self.gone)

    def over(self, end: End[Any]) -> None:
        """Whether it was done or not, all of it was or none; and it can be done again."""
        pair = self.pair
        match self.name:
            case "enrol":
                pair.settle_enrolment(self.items, self.new, end.result if end.done else None)
            case "compact":
                pair.run(pair.s1._compact())
                assert pair.s1.levels()["blocks"] == 1
            case _:
                there = pair.store1.by_handle(self.gone[0]) is not None
                assert not (end.done and there)
                assert pair.forget(self.gone) == int(there)


def moments(pair: Faulty, begin: Callable[[], Any]) -> tuple[int, int]:
    """How many messages each party sends."""
    ends = pair.attempt(begin())
    assert ends[0].done
    assert ends[1].done
    return pair.sent[0], pair.sent[1]


def recover(pair: Faulty, *dead: Party) -> None:
    for party in dead:
        pair.start(party)
    pair.connect()


@pytest.mark.parametrize("name", OPERATIONS)
def test_either_server_dies_at_every_message_of_a_change(world: World, name: str) -> None:
    counts = moments(pair := world.fresh(), Change(world, pair, name).begin)
    done = 0
    for party, count in zip(Party, counts, strict=True):
        for number in range(1, count + 1):
            # before the commit nothing is on the disk, and dying after a message is dying before the next
            for sent in (False, True) if number > count - 3 else (False,):
                pair = world.fresh()
                change = Change(world, pair, name)
                ends = pair.attempt(change.begin(), Kill(int(party), number, sent))
                assert ends[party - 1].killed
                failed(ends[2 - party])
                done += ends[0].done
                recover(pair, party)
                change.over(ends[0])
                pair.agree()
                pair.close()
    assert done == 1  # S2's last word was on its way


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_line_breaks_at_every_message_of_a_change(world: World, name: str) -> None:
    """No restart and no new connection: the next operation settles what was in flight."""
    count = sum(moments(pair := world.fresh(), Change(world, pair, name).begin))
    for number in range(1, count + 1) if count < 12 else (1, 2, *range(4, count - 6, 4), *range(count - 6, count + 1)):
        pair = world.fresh()
        change = Change(world, pair, name)
        ends = pair.attempt(change.begin(), Cut(number))
        assert failed(ends[0])
        if number % 2:
            pair.check(world.ys[1])  # what was agreed on last answers questions meanwhile, or the change does
        change.over(ends[0])
        pair.agree()
        pair.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("party", list(Party))
def test_a_server_dies_at_every_step_on_its_disk(world: World, name: str, party: Party) -> None:
    """The power fails: what was not synced is lost."""
    pair = world.fresh()
    pair.disks[party].arm(0, full)
    moments(pair, Change(world, pair, name).begin)
    steps, calls = pair.disks[party].disarm(), len(pair.store(party).calls)
    assert calls >= 4
    for step in [*range(-calls, 0), *range(1, steps + 1)]:
        pair = world.fresh()
        change = Change(world, pair, name)
        here = pair.die(party, power=True)
        if step < 0:
            pair.store(party).calls.clear()
            pair.store(party).at, pair.store(party).die = -step, here
        else:
            pair.disks[party].arm(step, here)
        ends = pair.attempt(change.begin())
        # where it died while a replaced file was removed, the other one finished with its ghost
        assert ends[0].killed or (ends[0].done and pair.disks[party].steps[step - 1] == "unlink")
        recover(pair, party)
        change.over(ends[0])
        pair.agree()
        pair.close()


@pytest.mark.parametrize("party", list(Party))
@pytest.mark.parametrize("name", ["enrol", "erase"])
@pytest.mark.parametrize("trouble", [full, unreadable])
def test_a_full_or_broken_disk(world: World, name: str, party: Party, trouble: Callable[[], None]) -> None:
    """A typed error, and the next attempt succeeds when there is room again, without a restart."""
    steps = ("write", "fsync", "rename", "fsync") if trouble is full else ("write",)
    for step in range(1, len(steps) + 1):
        pair = world.fresh()
        change = Change(world, pair, name)
        pair.disks[party].arm(step, trouble)
        ends = pair.attempt(change.begin())
        assert pair.disks[party].steps[step - 1] == steps[step - 1]
        pair.disks[party].disarm()
        assert isinstance(ends[0].error, StorageFull if trouble is full else BadDataFolder)
        pair.check(world.ys[1])
        change.over(ends[0])
        pair.agree()
        pair.close()


@pytest.mark.parametrize("party", list(Party))
def test_a_full_disk_at_the_commit(world: World, party: Party) -> None:
    """Questions go on while S2 cannot carry out what S1 has committed."""
    pair = world.fresh()
    change = Change(world, pair, "enrol")
    store = pair.store(party)
    store.no_room = True
    assert isinstance(pair.attempt(change.begin())[0].error, StorageFull)
    for x in world.ys[:2]:
        pair.check(x)
        assert isinstance(pair.attempt(change.begin())[0].error, StorageFull)
    store.no_room = False
    if party is Party.S2:
        work = pair.s1.refill()  # the background settles it
        pair.run(work)
        change.gone = []
        assert pair.s2.levels()["entries"] == 5
    change.over(End())
    pair.agree()
    pair.close()


@pytest.mark.parametrize("kind", ["identify", "verify", "without packs"])
def test_either_server_dies_at_every_message_of_a_question(world: World, kind: str) -> None:
    pair = world.fresh()
    x = world.ys[0]
    known = next(h for h, y in pair.model.items() if y.tolist() == x.tolist())

    def ask() -> Any:
        query, _ = pair.query(x)
        return pair.s1.verify(query, [known]) if kind == "verify" else pair.s1.identify(query)

    def ready() -> None:
        while kind != "without packs" and pair.s1._shelf.lacks() is not None:
            pair.run(pair.s1.refill())

    ready()
    counts = moments(pair, ask)
    for party, count in zip(Party, counts, strict=True):
        for number in range(1, count + 1) if kind != "without packs" else range(1, 7):
            ready()
            ends = pair.attempt(ask(), Kill(int(party), number))
            assert ends[party - 1].killed
            assert failed(ends[2 - party])
            recover(pair, party)
            assert pair.s1.levels()["packs"] == pair.s2.levels()["packs"] == 0
            if number % 5 == 0:
                pair.check(x)
    pair.check(x)
    pair.agree()
    pair.close()


def test_the_line_breaks_during_a_question(world: World) -> None:
    """The next question is right, with what offline material is left."""
    pair = world.fresh()
    x = world.ys[0]
    pair.s1._shelf.capacity = dict.fromkeys(pair.s1._shelf.capacity, 3)
    number, whole = 1, 0
    while not whole:
        while pair.s1._shelf.lacks() is not None:
            pair.run(pair.s1.refill())
        ends = pair.attempt(pair.s1.identify(pair.query(x)[0]), Cut(number))
        whole += not failed(ends[0])
        pair.check(x)
        number += 7
    assert number > 40
    pair.agree()
    pair.close()


@pytest.mark.parametrize("party", [Party.S1, Party.S2, None])
@pytest.mark.parametrize("stale", [False, True])
def test_offline_work_breaks_at_every_message(world: World, party: Party | None, stale: bool) -> None:
    """A new pack, and one that is completed after the gallery has changed: what is left of it is not used."""
    pair = world.fresh()
    number, whole = 1, 0
    while not whole:
        pair.refill()
        if stale:
            pair.enroll(world.ys[3:4])
        else:
            pair.ask(world.ys[0])  # uses the full one
        ends = pair.attempt(pair.s1.refill(), Kill(int(party), number) if party else Cut(number))
        whole += not any(end.killed or failed(end) for end in ends)
        if party is not None and not whole:
            recover(pair, party)
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
    pair = world.fresh()
    change = Change(world, pair, "enrol")
    ends = pair.attempt(change.begin(), Kill(2, 18))
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
        ends = pair.attempt(_again(recorded))
        assert isinstance(ends[1].error, PuraError)
        assert pair.store2.prepared() == []
        pair.agree()
    pair.close()


def test_a_spoilt_message_of_a_change(world: World) -> None:
    """A typed error on both sides, and what was in flight is settled by the next operation."""
    for number in (2, 3, 20, 30, 31, 32, 33, 34, 35, 36):
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
