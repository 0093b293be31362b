"""Two packed servers that die, are cut off and run out of space, on data folders that are left as a crash leaves them.

A crash is a copy of the folder at that moment, on which the server is opened again; with `power` also what was never
synced is lost. Base OTs are dealt in the clear (`deal_base_ots`), since making them takes most of a short run.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_pair import Pair

from pura.crypto.encoding import unpack_slots
from pura.crypto.ot import BASE_OTS, SEED_BYTES, ExtensionReceiver, ExtensionSender
from pura.crypto.threshold import combine_many
from pura.errors import PuraError, StorageFull
from pura.ids import Handle, Party
from pura.messages import Message, message
from pura.protocols.packed import match
from pura.protocols.packed.extension import Ends
from pura.rounds import Done, Rounds, Send, advance, exchange
from pura.store.segments import SystemFiles, read_block
from pura.store.sqlite import SqliteStore
from pura.transport.memory import End, Fault, Kill, play
from pura_server.backend import NewEntry
from pura_server.packed import change, gateway, peer


class Died(BaseException):
    """This process ends here: nothing that would handle an error may handle it."""


@message
class Dealt(Message):
    """For tests: a party's choices and both strings of every base OT, in the clear."""

    s: bytes
    pairs: bytes


def dealt_setup(side: Any) -> Rounds[Ends]:
    """`extension.setup` without Paillier."""
    receiver = ExtensionReceiver.draw(side.rng)
    mine = Dealt(side.rng.bytes(SEED_BYTES), b"".join(zero + one for zero, one in receiver.base_pairs()))
    theirs = yield from exchange(mine, Dealt)
    bits = int.from_bytes(mine.s, "little")
    at = [SEED_BYTES * (2 * i + (bits >> i & 1)) for i in range(BASE_OTS)]
    seeds = [theirs.pairs[a : a + SEED_BYTES] for a in at]
    receiver.session = int.from_bytes(mine.pairs[:8], "big")
    return Ends(receiver=receiver, sender=ExtensionSender(mine.s, seeds, int.from_bytes(theirs.pairs[:8], "big")))


def deal_base_ots(patch: pytest.MonkeyPatch) -> None:
    """Connections take milliseconds."""
    for module in (gateway, peer):
        patch.setattr(module, "setup", dealt_setup)


class Uses:
    """Every mask that went out and every label that was forked: none may come twice in the life of a test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.masks: set[tuple[int, ...]] = set()
        self.labels: set[tuple[str, int, bytes]] = set()
        original = match.convert_s1

        def convert_s1(side: Any, templates: Any, masks: Any) -> Any:
            for each in masks:
                assert each.r not in self.masks, "masks used twice"
                self.masks.add(each.r)
            return original(side, templates, masks)

        for module in (match, change):  # compaction converts by what `change` has
            patch.setattr(module, "convert_s1", convert_s1)
        for name, kind in (("sender", ExtensionSender), ("receiver", ExtensionReceiver)):
            patch.setattr(kind, "fork", self._watched(name, kind.fork))

    def _watched(self, name: str, fork: Any) -> Any:
        def watched(state: Any, label: bytes) -> Any:
            twin = fork(state, label)
            assert (name, state.session, label) not in self.labels, "OTs used twice"
            self.labels.add((name, state.session, label))
            return twin

        return watched


class Disk(SystemFiles):
    """A server's files; step `at` of those from now on fails, or is where the process dies (before or after it).

    synced: with `power`, what was not synced when the process dies is lost.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.at = 0
        self.fail: Callable[[], None] | None = None
        self.after = False
        self.unsynced: set[str] = set()
        self.renamed: list[tuple[str, str]] = []

    def arm(self, at: int, fail: Callable[[], None], *, after: bool = False) -> None:
        """Step `at`, counted from 1, fails."""
        self.steps, self.at, self.fail, self.after = [], at, fail, after

    def disarm(self) -> int:
        """How many steps there were since `arm`."""
        self.fail = None
        return len(self.steps)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.steps.append(name)
        hit = self.fail is not None and len(self.steps) == self.at
        if hit and not self.after:
            assert self.fail is not None
            self.fail()
        yield
        if hit and self.after:
            assert self.fail is not None
            self.fail()

    def write(self, path: str, data: bytes) -> None:
        with self._step("write"):
            self.unsynced.add(path)
            super().write(path, data)

    def fsync(self, path: str) -> None:
        with self._step("fsync"):
            super().fsync(path)
            self.unsynced.discard(path)
            self.renamed = [pair for pair in self.renamed if os.path.dirname(pair[1]) != path]

    def rename(self, old: str, new: str) -> None:
        with self._step("rename"):
            super().rename(old, new)
            self.renamed.append((old, new))
            if old in self.unsynced:
                self.unsynced.add(new)

    def unlink(self, path: str) -> None:
        with self._step("unlink"):
            super().unlink(path)

    def lose(self, moved: Callable[[str], Path]) -> None:
        """In a copy of the folder: what the disk had not got yet is gone; `moved` says where a file is there."""
        for path in self.unsynced:
            if moved(path).exists():
                with open(moved(path), "r+b") as file:
                    file.truncate(os.path.getsize(moved(path)) // 2)
        for old, new in self.renamed:
            if moved(new).exists():
                moved(new).rename(moved(old))


def full() -> None:
    """The disk is full."""
    raise OSError(errno.ENOSPC, "no space left on device")


def unreadable() -> None:
    """The disk is broken."""
    raise OSError(errno.EIO, "input/output error")


class Watched:
    """A store whose calls that change it can be where the process dies: before (at odd numbers) and after each."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.calls: list[str] = []
        self.at = 0
        self.die: Callable[[], None] | None = None
        self.no_room = False
        """Whether every commit finds the disk full."""

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in ("prepare", "commit", "abort"):
            return attribute

        def call(*args: Any) -> Any:
            self._moment(f"before {name}")
            out = attribute(*args)
            self._moment(f"after {name}")
            return out

        return call

    def _moment(self, what: str) -> None:
        self.calls.append(what)
        if self.no_room and what == "before commit":
            raise StorageFull
        if self.die is not None and len(self.calls) == self.at:
            self.die()


def watched_party(party: Rounds[Any]) -> Rounds[Any]:
    """Closes the party with its wrapper, as `drive` does."""
    try:
        step = advance(party, None)
        while not isinstance(step, Done):
            step = advance(party, (yield step))
        return step.result
    finally:
        party.close()


class Faulty(Pair):
    """A pair whose servers can die."""

    _numbers = itertools.count()

    def __init__(self, folder: Path, **how: Any) -> None:
        self.places = {party: folder / party.name for party in Party}
        self.disks = {party: Disk() for party in Party}
        self.sent = [0, 0]
        super().__init__(folder, **how)

    def _store(self, party: Party) -> Any:
        made = SqliteStore.open(
            self.places[party],
            role=party,
            agreement=self.params.storage,
            key_id=self.pk.key_id,
            block_bytes=self.pk.ciphertext_bytes,
            files=self.disks[party],
        )
        return Watched(made)

    def store(self, party: Party) -> Any:
        return self.store1 if party is Party.S1 else self.store2

    # --- saving and returning ---------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Keep both data folders; the servers are closed."""
        self.close()
        for party, place in self.places.items():
            shutil.copytree(place, folder / party.name)

    def at(self, folder: Path, scratch: Path) -> Faulty:
        """The same pair, at another moment that was saved, with servers that are not connected."""
        twin = object.__new__(Faulty)
        twin.__dict__.update(self.__dict__)
        target = scratch / f"run{next(self._numbers)}"
        twin.folder = target
        twin.places = {party: target / party.name for party in Party}
        twin.disks = {party: Disk() for party in Party}
        twin.model = dict(self.model)
        for party, place in twin.places.items():
            shutil.copytree(folder / party.name, place)
        twin.open()
        return twin

    # --- faults -------------------------------------------------------------------------------------

    def freeze(self, party: Party, *, power: bool = False) -> None:
        """The folder as it is now is what the server will find when it comes back."""
        old = self.places[party]
        new = old.with_name(f"{party.name}-{next(self._numbers)}")
        shutil.copytree(old, new)
        disk = self.disks[party]
        if power:
            disk.lose(lambda path: new / os.path.relpath(path, old.resolve()))
        self.places[party] = new
        disk.unsynced, disk.renamed = set(), []

    def die(self, party: Party, *, power: bool = False) -> Callable[[], None]:
        """For a hook: this process ends here."""

        def here() -> None:
            self.freeze(party, power=power)
            raise Died

        return here

    def start(self, party: Party) -> None:
        """Start a server that has died."""
        gone = self.store(party)
        self.disks[party] = Disk()
        if party is Party.S1:
            self.open_s1()
        else:
            self.open_s2()
        gone.close()

    def attempt(self, party: Rounds[Any], fault: Fault | None = None) -> tuple[End[Any], End[Any]]:
        """Play with a fault; the parties that died are left dead (`start`)."""
        one = watched_party(party)
        step = advance(one, None)
        if isinstance(step, Done):
            return End(done=True, result=step.result), End(done=True)
        two = watched_party(self.s2.session())
        self.sent = [0, 0]
        first = _counted(_resumed(step, one), self.sent, 0)
        second = _counted(two, self.sent, 1)
        try:
            ends = play(first, second, fault)
        except Died:
            first.close()
            second.close()
            return End(killed=True), End(killed=True)
        for end in ends:
            if end.error is not None:  # its frames hold the gallery, and that its files
                end.error.__traceback__ = end.error.__context__ = None
        if isinstance(fault, Kill) and ends[fault.party - 1].killed:
            self.freeze(Party.S1 if fault.party == 1 else Party.S2)
        return ends

    # --- what must be ------------------------------------------------------------------------------

    def agree(self) -> None:
        """Both servers hold exactly the model, nothing is half-done, and no file is left over."""
        assert self.store1.prepared() == self.store2.prepared() == []
        view1, view2 = self.s1._pictures.latest(), self.s2._pictures.latest()
        assert view1.digest == view2.digest
        assert {Handle(int(h)) for h in view1.handles} == set(self.model)
        for store in (self.store1, self.store2):
            names = {os.path.basename(ref.path) for ref in store.snapshot().blocks.values()}
            assert set(os.listdir(Path(store._folder) / "segments")) == names
        self._decrypt(view1, view2)

    def _decrypt(self, view1: Any, view2: Any) -> None:
        side, other = self.s1._side, self.s2._side
        b, size = side.columns.slot_bits, self.pk.ciphertext_bytes
        slots = []
        for block in view1.blocks:
            raw, again = (bytes(read_block(v.source.blocks[block])) for v in (view1, view2))
            assert raw == again
            cs = [self.pk.load(raw[i : i + size]) for i in range(0, len(raw), size)]
            u1, u2 = (s.share.partial_decrypt_many(self.pk, cs) for s in (side, other))
            plain = combine_many(self.pk, cs, u1, u2)
            slots.append(np.array([_signed_slots(p, b, side.columns.entries) for p in plain]).T)
        table = np.concatenate(slots) if slots else np.zeros((0, self.params.dimension), np.int64)
        norms = (view1.norms + view2.norms) % np.uint64(1 << b)
        used = np.zeros(len(table), bool)
        for handle, position, norm in zip(view1.handles, view1.positions, norms, strict=True):
            y = self.model[Handle(int(handle))]
            assert table[position].tolist() == y.tolist()
            assert int(norm) == int((y * y).sum())
            used[position] = True
        assert not table[~used].any()  # exactly 0 where nobody is

    def settle_enrolment(self, items: Sequence[NewEntry], ys: np.ndarray, outcomes: Any) -> None:
        """After an enrolment that may have failed: all or none of it is there, all if it was confirmed; then the client
        repeats it, and gets the handles that there are."""
        known = [self.store1.by_enrolment_id(item.enrolment_id) for item in items]
        there = [entry is not None for entry in known]
        if outcomes is None:
            assert all(there) or not any(there)
        else:
            refused = [isinstance(o, PuraError) for o in outcomes]
            assert [e.handle if e else None for e in known] == [
                None if bad else o for o, bad in zip(outcomes, refused, strict=True)
            ]
        again = self.run(self.s1.enroll(items))
        assert all(a == entry.handle for a, entry in zip(again, known, strict=True) if entry)
        assert not [o for o in again if isinstance(o, PuraError)]
        self.model.update(zip(again, ys, strict=True))


def _signed_slots(plain: int, bits: int, count: int) -> list[int]:
    """Slots of numbers of any sign."""
    half, full_range = 1 << (bits - 1), 1 << bits
    offset = sum(half << (bits * i) for i in range(count))
    lifted = plain + offset
    assert 0 <= lifted < 1 << (bits * count)
    return [v - half for v in unpack_slots(lifted, bits, count) if v < full_range]


def _resumed(step: Any, party: Rounds[Any]) -> Rounds[Any]:
    try:
        while not isinstance(step, Done):
            step = advance(party, (yield step))
        return step.result
    finally:
        party.close()


def _counted(party: Rounds[Any], sent: list[int], which: int) -> Rounds[Any]:
    try:
        step = advance(party, None)
        while not isinstance(step, Done):
            sent[which] += isinstance(step, Send)
            step = advance(party, (yield step))
        return step.result
    finally:
        party.close()


def failed(end: End[Any]) -> bool:
    """Whether a party ended otherwise than with a result; then with a typed error or by dying."""
    assert end.done or end.killed or isinstance(end.error, PuraError), end.error
    return not end.done


__all__ = ["Died", "Disk", "Faulty", "Uses", "Watched", "deal_base_ots", "failed", "full", "unreadable"]
