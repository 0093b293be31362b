"""S1 of engine `packed`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.seal import seal
from pura.crypto.threshold import KeyShare
from pura.errors import NotReady, PuraError
from pura.ids import Handle, PackId
from pura.params import Params
from pura.protocols.packed.extension import Ends, setup
from pura.protocols.packed.lockout import Ledger
from pura.protocols.packed.match import contest_for, match_s1, need_for
from pura.protocols.packed.material import complete
from pura.protocols.packed.pack import PackS1, give_products, make_s1, parts_of
from pura.protocols.packed.tournament import Need, best_fan_in
from pura.protocols.parallel import Workers
from pura.rounds import Done, Rounds, advance, exchange, nothing, receive, send
from pura.store.base import Store
from pura_server.backend import Answer, NewEntry, Query
from pura_server.packed import change, compact
from pura_server.packed.offline import Kind, ShelfS1
from pura_server.packed.settle import settle_s1
from pura_server.packed.state import LABEL_BYTES, Pictures, dump_handles, dump_versions, new_side
from pura_server.packed.wire import AskOpen, Echo, RefillOpen, Sealed

R = TypeVar("R")

ECHOES = 8
"""Rounds that are timed for the tournament's fan-in; an even number."""
MAX_FORKS = 1 << 18
"""New base OTs are made after so many operations."""
GROWTH = 1.1
"""Packs are made for a gallery that grows a little, so that a few enrolments do not make them all incomplete."""


class PackedGateway:
    """S1: keeps blocks, its norm shares, the row ciphertexts and the labels."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        store: Store,
        rng: Rng,
        workers: Workers | None = None,
        *,
        packs: int = 4,
        light_packs: int = 4,
        ledger: Ledger | None = None,
        lockout_window_s: float = 86_400.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`packs` and `light_packs`: how many offline parts of queries are kept ready for identify and verify;
        `ledger` and `lockout_window_s`: where and for how long questions near one entry are counted."""
        self._workers = workers or Workers()
        self._side = new_side(pk, share, params, rng, self._workers)
        self._store = store
        self._clock = clock
        self._pictures = Pictures(self._side, store)
        self._shelf = ShelfS1({Kind.FULL: packs, Kind.LIGHT: light_packs})
        self._ledger = ledger or Ledger()
        self._window_s, self._window_began = lockout_window_s, clock()
        self._ends: Ends | None = None
        self._round_s = 0.0
        self._changing = threading.Lock()
        self._unsettled = True

    # --- operations -----------------------------------------------------------------------------

    def reconcile(self) -> Rounds[None]:
        """Settle what was in flight, make new base OTs, measure the round trip."""
        self._shelf.clear()
        self._ends = None
        with self._changing:
            yield from settle_s1(self._store, self._pictures, fresh=True)
            self._unsettled = False
        ends = yield from setup(self._side)
        began = self._clock()
        for _ in range(ECHOES):
            yield from exchange(Echo(), Echo)
        # both send at once, and one of them first: single rounds take next to nothing and twice as long in turn
        self._round_s = (self._clock() - began) / ECHOES
        self._ends = ends

    def enroll(self, items: Sequence[NewEntry]) -> Rounds[list[Handle | PuraError]]:
        """Enrol a batch of templates; one outcome each."""
        ends = self._connected()
        return (yield from self._change(change.add_s1(self._side, self._store, self._pictures, ends, items)))

    def forget(self, handles: Sequence[Handle]) -> Rounds[int]:
        """Erase entries; how many there were."""
        return (yield from self._change(change.erase_s1(self._side, self._store, self._pictures, handles)))

    def identify(self, query: Query) -> Rounds[Answer]:
        """1:N over the whole gallery."""
        return self._ask(query, None)

    def verify(self, query: Query, handles: Sequence[Handle]) -> Rounds[Answer]:
        """The same over the entries named. Raises `UnknownEntry`."""
        return self._ask(query, handles)

    def refill(self) -> Rounds[None] | None:
        """The next piece of offline work: settling a change that was cut off, a new pack, one that lacks something, one
        block less, or new base OTs."""
        if self._ends is None:
            return None
        if self._ends.sender.forks > MAX_FORKS:
            return self.reconcile()
        if self._unsettled and not self._changing.locked():
            return self._change(nothing())
        kind = self._shelf.lacks()
        if kind is not None:
            return self._stock_up(kind, None)
        targets, need = self._pictures.latest().targets, self._whole_need()
        stale = self._shelf.take_stale(set(targets.versions), need)
        if stale is not None:
            return self._stock_up(Kind.FULL, stale)
        if compact.plan(self._pictures.latest(), self._side.columns.entries) is not None:
            return self._compact()
        return None

    def roster_version(self) -> bytes:
        """The change that was committed last."""
        return self._store.last_txn() or b"none"

    def roster(self) -> list[tuple[Handle, bytes]]:
        """Every entry's handle and opaque label, oldest first."""
        return self._store.roster()

    def levels(self) -> Mapping[str, float]:
        """Entries, blocks, and the packs on hand."""
        view = self._pictures.latest()
        return {"entries": float(len(view)), "blocks": float(len(view.blocks)), **self._shelf.levels()}

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    # --- questions ------------------------------------------------------------------------------

    def _ask(self, query: Query, handles: Sequence[Handle] | None) -> Rounds[Answer]:
        side, ends = self._side, self._connected()
        template = side.pk.load_many(query.ciphertexts, side.rows.ciphertexts)
        seal(query.seal_key, b"", b"", side.rng)  # raises for a key that S2 could not seal to
        # while a change is going on, or was cut off, this is the gallery that both servers agreed on last
        view = self._pictures.latest()
        if handles is not None:
            view = view.only(handles, side.columns.entries)
        targets = view.targets
        fan_in = best_fan_in(len(targets), side.columns.slot_bits, self._round_s) if len(targets) else 2
        need = need_for(side, contest_for(side, len(targets), fan_in))
        taken = self._shelf.take(Kind.FULL if handles is None else Kind.LIGHT)
        pack_id, pack = taken or (0, None)
        label = side.rng.bytes(LABEL_BYTES)
        named = b"" if handles is None else dump_handles(targets.handles.tolist())
        yield from send(AskOpen(view.digest, named, query.seal_key, query.request_id, pack_id, label, fan_in))
        pack = yield from self._complete(pack, ends, label, need)
        now = self._clock()
        new_window = now - self._window_began >= self._window_s
        share = yield from match_s1(side, template, pack, targets, fan_in, self._ledger, new_window=new_window)
        if new_window:
            self._window_began = now
        answer = yield from receive(Sealed)
        return Answer(share=share, sealed=answer.sealed)

    def _complete(self, pack: PackS1 | None, ends: Ends, label: bytes, need: Need) -> Rounds[PackS1]:
        """A pack with at least this stock: the one given, or a new one."""
        if pack is None:
            return (yield from make_s1(self._side, ends.fork(label), need))
        yield from complete(pack.stock, ends, label, need, self._side.rng)
        return pack

    # --- offline work ---------------------------------------------------------------------------

    def _stock_up(self, kind: Kind, stale: tuple[PackId, PackS1] | None) -> Rounds[None]:
        side, ends = self._side, self._connected()
        view = self._pictures.latest()
        need = self._whole_need() if kind is Kind.FULL else need_for(side, contest_for(side, 8, 2))
        targets = view.targets if kind is Kind.FULL else view.nothing
        pack_id = stale[0] if stale else self._shelf.new_id()
        pack = stale[1] if stale else None
        missing = pack.stock.lacks(need) if pack else need
        label = side.rng.bytes(LABEL_BYTES)
        versions = dump_versions(targets.versions)
        opening = RefillOpen(
            pack_id, int(pack is None), label, missing.triple_octets, missing.transfers, versions
        )  # fmt: skip
        yield from send(opening)
        pack = yield from self._complete(pack, ends, label, need)
        for part in parts_of(side, len(targets.versions)):
            yield from give_products(side, pack, targets, part)
        pack.sent &= set(targets.versions)
        yield from exchange(Echo(), Echo)  # S2 has it
        if self._ends is ends:
            self._shelf.put(kind, pack_id, pack)

    def _compact(self) -> Rounds[None]:
        return self._change(compact.compact_s1(self._side, self._store, self._pictures))

    def _whole_need(self) -> Need:
        n = len(self._pictures.latest())
        largest = int(np.ceil(n * GROWTH))
        fan_in = best_fan_in(n, self._side.columns.slot_bits, self._round_s) if n else 2
        return need_for(self._side, contest_for(self._side, largest, fan_in))

    def _change(self, party: Rounds[R]) -> Rounds[R]:
        """One change at a time, after both servers have agreed on what became of an earlier one that was cut off."""
        with self._changing, contextlib.closing(party):
            settles = self._unsettled
            if settles:
                yield from settle_s1(self._store, self._pictures, fresh=False)
            self._unsettled = True
            step = advance(party, None)
            if settles and isinstance(step, Done):
                yield from send(Echo())  # S2 waits for what comes after settling
            while not isinstance(step, Done):
                step = advance(party, (yield step))
            self._unsettled = False
        return cast(R, step.result)

    def _connected(self) -> Ends:
        if self._ends is None:
            raise NotReady()
        return self._ends
