"""A day in the life of two servers: operations and faults as they are drawn, at simulated times, against dictionaries.

`python tests/support/day.py --seeds 20` lives many days, each from its seed, and says what was done in them. After
every operation an answer is compared with plain integers; whatever failed is asked for again, as a client does; and
every hour both servers hold exactly what the dictionaries say.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from faults import Faulty, Uses, failed
from pair import templates

from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng
from pura.ids import BlockId, EnrolmentId, Handle, Party
from pura.store import snapshots
from pura.store.schema import Identity
from pura.store.snapshots import Snapshots, Taken
from pura.transport.memory import Cut, End, Kill
from pura_bench import results
from pura_server.backend import NewEntry
from pura_server.claims import Gate
from pura_server.epochs import Epochs
from pura_server.expiry import Calendar, expires_at

BEGINS = 1_800_000_000
HOUR_S = 3600
D, SCALE, NEAR, PEOPLE = 16, 16, 256, 12
PAUSE_S, LONGEST_S = 60.0, 1500.0
"""Between two operations, on average and at most."""
WEIGHTS = {
    "enrol": 20, "again": 6, "erase": 14, "rename": 8, "refill": 14, "ask": 14, "verify": 10, "restart": 4,
    "snapshot": 4, "restore": 2, "renew": 1, "prune": 1,
}  # fmt: skip


@dataclasses.dataclass
class Known:
    """Of an entry, beside its template."""

    label: bytes
    expires: int


class Servers(Faulty):
    """Two servers by one simulated clock, with snapshots and mask keys that may be renewed."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.now = float(BEGINS)
        self.known: dict[Handle, Known] = {}
        self._keys = {party: MaskKeys({1: party.name.encode() * 16}) for party in Party}
        super().__init__(folder, clock=self.steady, **how)

    def steady(self) -> float:
        """Seconds that nobody sets."""
        return self.now - BEGINS

    def mask_keys(self, party: Party) -> MaskKeys:
        return self._keys[party]

    def snapshots(self, party: Party) -> Path:
        """Where a server's own copies lie."""
        return self.folder / f"snapshots-{party.name}"

    def open_s1(self) -> None:
        super().open_s1()
        self._timed(self.s1, Party.S1)

    def open_s2(self) -> None:
        super().open_s2()
        self._timed(self.s2, Party.S2)
        self.s2._gate = Gate(self.s2._gate._examiner, Epochs(self.rng, self.steady), None)

    def _timed(self, server: Any, party: Party) -> None:
        server._calendar = Calendar(self.places[party], lambda: self.now, self.steady)
        server._snapshots = Snapshots(self.places[party], self.snapshots(party), 10_000, lambda: self.now)

    def again(self, item: NewEntry) -> NewEntry:
        return self.entry_of(self.sealed[item.enrolment_id], item.label, item.enrolment_id, keep_days=item.keep_days)

    def alive(self) -> list[Handle]:
        """Entries whose time is not over."""
        return [h for h in self.model if not 0 < self.known[h].expires <= int(self.now)]

    def expected(self, x: np.ndarray, handles: Any = None) -> list[int]:
        whole = self.model
        self.model = {handle: whole[handle] for handle in self.alive()}
        try:
            return super().expected(x, handles)
        finally:
            self.model = whole

    def restarted(self, *parties: Party) -> None:
        """Servers that end between two operations, and come back."""
        for party in parties:
            self.freeze(party)
            self.start(party)
        self.connect()

    def agree(self) -> None:
        """Everything is done that servers do by themselves, and then both hold exactly what is known."""
        self.refill()
        assert self.s1._pictures.latest().first_expiry > self.now
        for handle in set(self.model) - set(self.alive()):
            del self.model[handle]
        super().agree()
        there = {one.handle: Known(one.label, one.expires) for one in self.s1.roster().entries}
        self.known = {handle: self.known[handle] for handle in self.model}
        assert there == self.known


@dataclasses.dataclass
class Life:
    """What is asked for, and what its outcome must be."""

    pair: Servers
    draw: random.Random
    ys: np.ndarray
    sent: dict[EnrolmentId, tuple[NewEntry, np.ndarray]] = dataclasses.field(default_factory=dict)
    taken: list[tuple[Taken, dict[Handle, np.ndarray], dict[Handle, Known]]] = dataclasses.field(default_factory=list)
    log: list[str] = dataclasses.field(default_factory=list)
    operations: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def live(self, seconds: float) -> None:
        """So long, by the servers' clock."""
        ends, hour = self.pair.now + seconds, self.pair.now + HOUR_S
        while self.pair.now < ends:
            self.pair.now += min(self.draw.expovariate(1 / PAUSE_S), LONGEST_S)
            self.step(self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
            if self.pair.now >= hour:
                hour += HOUR_S
                self.agree()

    def step(self, name: str) -> None:
        """One operation, and a question."""
        self.log.append(f"{self.pair.now - BEGINS:.0f} s, {name}")
        self.operations[name] += 1
        getattr(self, name)()
        self.check()

    def check(self) -> None:
        """An answer is what plain integers say."""
        self.operations["answers compared"] += 1
        self.pair.check(self.ys[self.draw.randrange(len(self.ys))])

    def agree(self) -> None:
        """Both servers hold what is known."""
        self.operations["whole galleries compared"] += 1
        self.pair.agree()

    # --- faults -------------------------------------------------------------------------------------

    def attempt(self, party: Any) -> End[Any]:
        """One operation, into which something may come; whoever died comes back."""
        kind = self.draw.choices(["none", "killed", "cut", "died at its disk", "no room"], [50, 20, 15, 10, 5])[0]
        who, fault = self.draw.choice(list(Party)), None
        store = self.pair.store(who)
        if kind == "killed":
            fault = Kill(who, self.draw.randint(1, 24), self.draw.random() < 0.5)
        elif kind == "cut":
            fault = Cut(self.draw.randint(1, 40))
        elif kind == "died at its disk":
            store.calls, store.at, store.die = [], self.draw.randint(1, 6), self.pair.die(who)
        elif kind == "no room":
            store.no_room = {self.draw.choice(["prepare", "commit"])}
        ends = self.pair.attempt(party, fault)
        store.die, store.no_room = None, set()
        dead = [p for p, end in zip(Party, ends, strict=True) if end.killed]
        happened = not ends[0].done or bool(dead)
        self.log.append(f"{kind}, {who.name}: {ends[0].error or ('killed' if happened else 'done')}")
        if happened:
            assert kind != "none", ends[0].error
            self.faults[kind] += 1
        if len(dead) == 2:  # at a disk: both processes of this simulation ended, one of them in the middle
            self.pair.freeze(who.other)
        for p in dead:
            self.pair.start(p)
        if dead:
            self.pair.connect()
        failed(ends[0])
        return ends[0]

    # --- operations ---------------------------------------------------------------------------------

    def enrol(self) -> None:
        count = self.draw.randint(1, 3)
        new = [self.ys[self.draw.randrange(len(self.ys))] for _ in range(count)]
        items = [self.pair.entry(y, self.draw.randbytes(4), self.draw.choice([0, 0, 1])) for y in new]
        with pytest.MonkeyPatch.context() as patch:
            if self.draw.random() < 0.2:  # in a block of its own, so that there is something to compact
                block = max(self.pair.s1._pictures.latest().blocks, default=0) + 1
                slots = self.pair.s1._pictures.slots
                patch.setattr(slots, "take", partial(slots.take, among=[BlockId(block)]))
            end = self.attempt(self.pair.s1.enroll(items))
        self.pair.settle_enrolment(items, np.array(new), end.result if end.done else None)
        for item, y in zip(items, new, strict=True):
            self.sent[item.enrolment_id] = item, y
            self._there(item)

    def again(self) -> None:
        """An enrolment of long ago comes once more: the same handle while the entry is there."""
        if not self.sent:
            return
        item, y = self.draw.choice(list(self.sent.values()))
        known = self.pair.store1.by_enrolment_id(item.enrolment_id)
        if known is not None and known.handle not in self.pair.alive():
            return
        (handle,) = self.pair.run(self.pair.s1.enroll([self.pair.again(item)]))
        if known is None:
            self.pair.model[handle] = y
            self._there(item)
        else:
            assert handle == known.handle

    def _there(self, item: NewEntry) -> None:
        entry = self.pair.store1.by_enrolment_id(item.enrolment_id)
        assert entry is not None
        self.pair.known[entry.handle] = Known(item.label, expires_at(int(self.pair.now), item.keep_days))

    def erase(self) -> None:
        alive = self.pair.alive()
        handles = self.draw.sample(alive, min(len(alive), self.draw.randint(1, 3)))
        end = self.attempt(self.pair.s1.forget(handles))
        left = [h for h in handles if self.pair.store1.by_handle(h) is not None]
        assert left in ([], handles)
        assert not (end.done and left)
        assert self.pair.forget(handles) == len(left)

    def rename(self) -> None:
        alive = self.pair.alive()
        wanted = {h: self.draw.randbytes(4) for h in self.draw.sample(alive, min(len(alive), self.draw.randint(1, 3)))}
        end = self.attempt(self.pair.s1.relabel(self.pair.new_labels(wanted)))
        self.pair.run(self.pair.s1.enroll([]))  # what was cut off is settled before anything else
        done = [self.pair.labels()[handle] == label for handle, label in wanted.items()]
        assert all(done) or not (any(done) or end.done)
        assert self.pair.relabel(wanted) == len(wanted)
        for handle, label in wanted.items():
            self.pair.known[handle].label = label

    def refill(self) -> None:
        while (work := self.pair.s1.tidy() or self.pair.s1.refill()) is not None:
            if self.draw.random() < 0.3:
                self.attempt(work)
            else:
                self.pair.run(work)

    def ask(self) -> None:
        query, _ = self.pair.query(self.ys[0])
        self.attempt(self.pair.s1.identify(query))

    def verify(self) -> None:
        if alive := self.pair.alive():
            handles = self.draw.sample(alive, min(3, len(alive)))
            self.pair.check(self.ys[self.draw.randrange(len(self.ys))], handles)

    def restart(self) -> None:
        self.pair.restarted(*self.draw.sample(list(Party), self.draw.randint(1, 2)))

    def snapshot(self) -> None:
        self.pair.refill()
        end = self.attempt(self.pair.s1.snapshot())
        if end.done:
            known = {handle: dataclasses.replace(one) for handle, one in self.pair.known.items()}
            self.taken.append((end.result, dict(self.pair.model), known))

    def restore(self) -> None:
        """Both servers go back to the last snapshot."""
        if not self.taken:
            return
        taken, model, known = self.taken.pop()
        self.pair.close()
        for party, place in self.pair.places.items():
            identity = Identity(party, self.pair.params.storage, self.pair.pk.key_id)
            snapshots.restore(self.pair.snapshots(party) / str(taken.moment), place, identity, replace=True)
        self.pair.model, self.pair.known = model, known
        self.pair.open()
        self.pair.connect()

    def renew(self) -> None:
        """One server's masks come from a new key, to which the entries follow."""
        party = self.draw.choice(list(Party))
        self.pair._keys[party] = self.pair._keys[party].renewed(SeededRng(self.draw.randbytes(16)))
        self.pair.restarted(party)

    def prune(self) -> None:
        """Older keys go, and with them what older snapshots need."""
        self.pair.refill()
        self.taken.clear()
        self.pair._keys = {party: keys.latest() for party, keys in self.pair._keys.items()}
        self.pair.restarted(*Party)


@contextlib.contextmanager
def life(folder: Path, seed: int) -> Iterator[Life]:
    """Two servers that begin empty."""
    draw = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        Uses(patch)
        pair = Servers(folder, dimension=D, scale=SCALE, tau=NEAR, top_k=draw.choice([1, 3]), packs=2, light_packs=1)
        pair.connect()
        made = Life(pair, draw, templates(pair.params, PEOPLE, seed=seed))
        try:
            yield made
        except BaseException as error:
            error.add_note("\n  ".join([f"seed {seed}:", *made.log[-40:]]))
            raise
        finally:
            pair.close()


@click.command()
@click.option("--seeds", default=1, show_default=True, help="How many days.")
@click.option("--seed", default=1, show_default=True, help="Of the first.")
@click.option("--hours", default=24.0, show_default=True, help="Each, by the servers' clock.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the result file here.")
def main(seeds: int, seed: int, hours: float, file: Path | None) -> None:
    """Days of random operations and faults against a model. Exit status 1 if anything differed."""
    rows, differed = [], 0
    with results.watch_load() as load:
        for one in range(seed, seed + seeds):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    with life(Path(folder), one) as made:
                        made.live(hours * HOUR_S)
                        made.agree()
                except AssertionError as error:
                    differed += 1
                    click.echo(f"seed {one}: {error}\n{chr(10).join(error.__notes__)}", err=True)
            rows.append(
                {"seed": one, "hours": hours, **made.operations, **{f"{k}: fault": n for k, n in made.faults.items()}}
            )
            click.echo(f"seed {one}: {dict(made.operations)}, {dict(made.faults)}")
    if file is not None:
        results.write(file, results.body("day", seed, rows, load, differences=differed))
    click.get_current_context().exit(1 if differed else 0)


if __name__ == "__main__":
    main()
