"""Two servers that die, are cut off and run out of space, on data folders that are left as a crash leaves them.

A crash is a copy of the folder at that moment, on which the server is opened again. Base OTs are dealt in the clear
(`deal_base_ots`), since making them takes most of a short run.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair import Pair

from pura.crypto.ot import BASE_OTS, ExtensionReceiver, ExtensionSender
from pura.crypto.rng import Rng
from pura.crypto.trees import SEED_BYTES
from pura.errors import PuraError, StorageFull
from pura.ids import Handle, Party
from pura.messages import Message, message
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.shares.extension import Ends
from pura.roster import Roster
from pura.rounds import Done, Rounds, Send, advance, exchange
from pura.store.sqlite import SqliteStore
from pura.transport.memory import End, Fault, Kill, play
from pura_server.backend import NewEntry
from pura_server.prepared import change, gateway, peer, remask
from pura_server.prepared.gallery import entry_masks


class Died(BaseException):
    """This process ends here: nothing that would handle an error may handle it."""


@message
class Dealt(Message):
    """For tests: a party's choices and both strings of every base OT, in the clear."""

    s: bytes
    pairs: bytes


def dealt_setup(party: Party, binding: bytes, rng: Rng) -> Rounds[Ends]:
    """`extension.setup` without multiplying points."""
    receiver = ExtensionReceiver.draw(rng)
    mine = Dealt(rng.bytes(SEED_BYTES), b"".join(zero + one for zero, one in receiver.base_pairs()))
    theirs = yield from exchange(mine, Dealt)
    bits = int.from_bytes(mine.s, "little")
    at = [SEED_BYTES * (2 * i + (bits >> i & 1)) for i in range(BASE_OTS)]
    seeds = [theirs.pairs[a : a + SEED_BYTES] for a in at]
    receiver.session = int.from_bytes(mine.pairs[:8], "big")
    sender = ExtensionSender(mine.s, seeds, int.from_bytes(theirs.pairs[:8], "big"))
    return Ends(party, sender, receiver)


def deal_base_ots(patch: pytest.MonkeyPatch) -> None:
    """Connections take milliseconds."""
    for module in (gateway, peer):
        patch.setattr(module, "setup", dealt_setup)


class Uses:
    """Every mask of an entry, every a that something was opened under, and every label that was forked: none may come
    twice in the life of a test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.masks: set[bytes] = set()
        self.blinds: set[bytes] = set()
        self.labels: set[tuple[str, int, bytes]] = set()
        deal_base_ots(patch)
        written, moved = change.masked_entries, remask.moved_entries

        def masked_entries(sizes: Any, x: Any, masks: Any) -> Any:
            self._once(self.masks, masks, "a mask of an entry")
            return written(sizes, x, masks)

        def moved_entries(sizes: Any, e: Any, old: Any, new: Any) -> Any:
            self._once(self.masks, new, "a mask of an entry")
            return moved(sizes, e, old, new)

        patch.setattr(change, "masked_entries", masked_entries)
        patch.setattr(remask, "moved_entries", moved_entries)
        for module, name in ((gateway, "match_s1"), (peer, "match_s2")):
            patch.setattr(module, name, self._matching(getattr(module, name)))
        for name, kind in (("sender", ExtensionSender), ("receiver", ExtensionReceiver)):
            patch.setattr(kind, "fork", self._forking(name, kind.fork))

    def _matching(self, match: Any) -> Any:
        def watched(side: Any, pack: Any, *rest: Any, **more: Any) -> Any:
            self._once(self.blinds, pack.blinds.a, "the a of a pack")
            return match(side, pack, *rest, **more)

        return watched

    def _forking(self, name: str, fork: Any) -> Any:
        def watched(state: Any, label: bytes) -> Any:
            twin = fork(state, label)
            assert (name, state.session, label) not in self.labels, "OTs used twice"
            self.labels.add((name, state.session, label))
            return twin

        return watched

    @staticmethod
    def _once(seen: set[bytes], rows: Any, what: str) -> None:
        for row in rows:
            assert row.tobytes() not in seen, f"{what} twice"
            seen.add(row.tobytes())


class Watched:
    """A store whose calls that change it can be where the process dies: before (at odd numbers) and after each."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.calls: list[str] = []
        self.at = 0
        self.die: Callable[[], None] | None = None
        self.no_room: set[str] = set()
        """Calls that find the disk full."""

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in ("prepare", "commit", "abort", "keep_signature"):
            return attribute

        def call(*args: Any) -> Any:
            self._moment(f"before {name}")
            out = attribute(*args)
            self._moment(f"after {name}")
            return out

        return call

    def _moment(self, what: str) -> None:
        self.calls.append(what)
        if what.removeprefix("before ") in self.no_room:
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
        self.sent = [0, 0]
        super().__init__(folder, **how)

    def _store(self, party: Party) -> Any:
        made = SqliteStore.open(
            self.places[party],
            role=party,
            agreement=self.params.storage,
            key_id=self.pk.key_id,
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
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        target = scratch / f"run{next(self._numbers)}"
        twin.folder = target
        twin.places = {party: target / party.name for party in Party}
        twin.model = dict(self.model)
        for party, place in twin.places.items():
            shutil.copytree(folder / party.name, place)
        twin.open()
        return twin

    # --- faults -------------------------------------------------------------------------------------

    def freeze(self, party: Party) -> None:
        """The folder as it is now is what the server will find when it comes back."""
        old = self.places[party]
        self.places[party] = old.with_name(f"{party.name}-{next(self._numbers)}")
        shutil.copytree(old, self.places[party])

    def die(self, party: Party) -> Callable[[], None]:
        """For a hook: this process ends here."""

        def here() -> None:
            self.freeze(party)
            raise Died

        return here

    def start(self, party: Party) -> None:
        """Start a server that has died."""
        gone = self.store(party)
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

    @staticmethod
    def labels_in(store: Any) -> dict[Handle, bytes]:
        """What a server has on its disk."""
        return {entry.handle: entry.label for entry in store.entries()}

    def agree(self) -> None:
        """Both servers hold exactly the model, under masks of both, and nothing is half-done."""
        assert self.store1.prepared() == self.store2.prepared() == []
        views = [server._pictures.latest() for server in (self.s1, self.s2)]
        assert views[0].digest == views[1].digest
        assert {Handle(int(h)) for h in views[0].handles} == set(self.model)
        self.vouched()
        sizes, mask = self.s1._side.sizes, np.uint32((1 << self.s1._side.sizes.key_bits) - 1)
        for party, view in zip(Party, views, strict=True):
            own = entry_masks(self.mask_keys(party), party, sizes, view.places, view.masking)
            for place, row in zip(view.places, own, strict=True):
                block = view.blocks[int(place) // SLOTS]
                at = int(place) % SLOTS
                y = block.y[at] - (0 if party is Party.S2 else block.e[at])
                assert (y & mask == row).all()
            where = view.targets.positions
            e = np.concatenate([b.e for b in view.targets.blocks]) if len(view) else np.zeros((0, sizes.dimension))
            empty = np.ones(len(e), bool)
            empty[where] = False
            assert not e[empty].any(), "what was erased is gone"
        if len(views[0]):
            total = sum(np.concatenate([b.y for b in view.targets.blocks])[view.targets.positions] for view in views)
            for handle, row in zip(views[0].handles, total & mask, strict=True):
                assert (row == self.model[Handle(int(handle))].astype(np.uint32) & mask).all()

    def vouched(self) -> None:
        """Both count alike, and S1 hands out the roster that both hold, with S2's signature of it."""
        one, two = self.store1.snapshot(), self.store2.snapshot()
        assert (one.generation, one.roster) == (two.generation, two.roster)
        handed = self.s1.roster()
        assert (handed.generation, handed.digest) == (one.generation, one.roster)
        assert self.verifier.roster(handed.signature, handed.generation, handed.digest)
        made = Roster()
        made.add(handed.entries)
        assert made.digest() == handed.digest

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
        again = self.run(self.s1.enroll([self.again(item) for item in items]))
        assert all(a == entry.handle for a, entry in zip(again, known, strict=True) if entry)
        assert not [o for o in again if isinstance(o, PuraError)]
        self.model.update(zip(again, ys, strict=True))


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
