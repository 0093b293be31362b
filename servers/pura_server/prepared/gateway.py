"""S1 of engine `prepared`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from pura.crypto.context import NewLabel
from pura.crypto.masks import MaskKeys
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.seal import seal
from pura.crypto.threshold import KeyShare
from pura.errors import BadConfig, NotReady, PuraError
from pura.ids import Handle, PackId
from pura.params import Params
from pura.protocols.prepared import lockout, pack
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic
from pura.protocols.prepared.correlations import MaskedBlock
from pura.protocols.prepared.match import contest_for, match_s1, need_for, rule_for
from pura.protocols.prepared.pack import Pack
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.tournament import FanIns, best_fan_ins, planned
from pura.protocols.shares.extension import setup
from pura.protocols.shares.ledger import EPOCH_BYTES, Ledger, Windows
from pura.protocols.shares.stock import Need
from pura.roster import Changes
from pura.rounds import Done, Rounds, advance, exchange, nothing, receive, send
from pura.statements import Verifier
from pura.store.base import Store
from pura.store.snapshots import Snapshots, Taken
from pura_server import outcomes
from pura_server.backend import Answer, Begins, NewEntry, Query
from pura_server.claims import NO_ORDER, Examiner, Order
from pura_server.expiry import Calendar
from pura_server.outcomes import Voucher
from pura_server.prepared import change, remask
from pura_server.prepared.gallery import View
from pura_server.prepared.offline import Kind, Numbered, ShelfS1
from pura_server.prepared.session import ECHOES, LABEL_BYTES, Correlate, Session, exchange_nonces
from pura_server.prepared.settle import settle_s1, signed_roster
from pura_server.prepared.snapshot import snapshot_s1
from pura_server.prepared.state import Pictures
from pura_server.prepared.tables import dump_blocks, dump_handles, dump_packs
from pura_server.prepared.wire import Echo, PacksOpen, QuestionOpen, Sealed, UnlockOpen

R = TypeVar("R")

MAX_FORKS = 1 << 18
"""New base OTs are made after so many operations."""
PIECE = 640_000
"""How many slots times packs are made at once, but for at least LEAST and at most MOST packs: a second or two."""
LEAST, MOST = 4, 64
ROWS = 16
"""Of a large gallery, for whose packs there is no memory, products are made for so many at once and kept: 4 B a slot,
where stock takes 100, and a row beside others costs half of one alone. Stock follows when a pack is wanted."""
EXPIRE_EVERY_S = 5
"""Between two rounds of erasing what has expired."""
LIGHT = 8
"""Entries for whose tournament a light pack has the stock."""


@dataclasses.dataclass(frozen=True)
class Shelves:
    """How many packs are kept ready for identify and verify, and in how much memory, in bytes."""

    packs: int = 64
    light_packs: int = 16
    memory: int = 512 << 20


def window_lengths(params: Params, window_s: float) -> tuple[float, ...]:
    """How long the windows of a collection's limits are, in seconds, in the order of a rule's limits."""
    return (math.inf, 30 * window_s, window_s) if any(params.tries) else (window_s,)


class PreparedGateway:
    """S1: keeps E, the nonces and the labels."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        store: Store,
        keys: MaskKeys,
        rng: Rng,
        correlate: Correlate,
        *,
        verifier: Verifier,
        shelves: Shelves | None = None,
        ledger: Ledger | None = None,
        windows: Windows | None = None,
        lockout_window_s: float = 86_400.0,
        clock: Callable[[], float] = time.perf_counter,
        calendar: Calendar | None = None,
        arithmetic: Arithmetic = NUMPY,
        snapshots: Snapshots | None = None,
    ) -> None:
        """`verifier`: knows S2's signatures; `ledger`, and `windows` or `lockout_window_s`: where and for how long
        questions about one entry are counted; `calendar`: by which entries expire; `arithmetic`: where this server
        multiplies; `snapshots`: where they go."""
        share.check(pk)
        self._side = Side(pk, share, params, rng, arithmetic)
        self._examiner = Examiner(pk, params, self._side.sizes.pieces)
        self._store = store
        self._verifier = verifier
        self._clock = clock
        self._calendar = calendar or Calendar()
        self._proposed = 0
        self._pictures = Pictures(self._side, store, keys)
        self._correlate = correlate
        self._snapshots = snapshots
        self._shelves = shelves or Shelves()
        self._shelf = ShelfS1()
        self._ledger = ledger or Ledger()
        self._windows = windows or Windows(window_lengths(params, lockout_window_s), clock)
        self._session: Session | None = None
        self._round_s = 0.0
        self._changing = threading.Lock()
        self._unsettled = True
        self._well_masked: tuple[View, tuple[int, int]] | None = None

    # --- operations -----------------------------------------------------------------------------

    def reconcile(self) -> Rounds[None]:
        """Settle what was in flight, draw new nonces, make new base OTs, measure the round trip."""
        self._shelf.clear()
        self._session = None
        with self._changing:
            yield from self._settle(fresh=True)
            self._unsettled = False
        ends = yield from setup(self._side.share.party, self._side.pk.key_id, self._side.rng)
        correlations = yield from self._correlate(self._side, self._pictures.masks)
        began = self._clock()
        for _ in range(ECHOES):
            yield from exchange(Echo(), Echo)
        # both send at once, and one of them first: single rounds take next to nothing and twice as long in turn
        self._round_s = (self._clock() - began) / ECHOES
        self._session = Session(ends, correlations)

    def enroll(self, items: Sequence[NewEntry]) -> Rounds[list[Handle | PuraError]]:
        """Enrol a batch of templates; one outcome each."""
        ends = self._connected().ends
        party = change.add_s1(
            self._side, self._store, self._pictures, self._verifier, ends, self._examiner, items, self._calendar.now
        )
        return (yield from self._change(party))

    def forget(self, handles: Sequence[Handle], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Erase entries; how many there were, or why S2 refuses."""
        party = change.erase_s1(self._side, self._store, self._pictures, self._verifier, handles, order)
        return (yield from self._change(party))

    def relabel(self, labels: Sequence[NewLabel], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Give entries other labels; how many of them there are, or why S2 refuses."""
        party = change.relabel_s1(self._side, self._store, self._pictures, self._verifier, labels, order)
        return (yield from self._change(party))

    def identify(self, query: Query) -> Rounds[Answer]:
        """1:N over the whole gallery."""
        return self._ask(query, None)

    def verify(self, query: Query, handles: Sequence[Handle]) -> Rounds[Answer]:
        """The same over the entries named. Raises `UnknownEntry`."""
        return self._ask(query, handles)

    def vouch_enrolled(self, handles: Sequence[Handle]) -> Rounds[list[Voucher | None]]:
        """See `GatewayBackend.vouch_enrolled`."""
        return outcomes.enrolled_s1(handles, lambda: self._pictures.latest().generation)

    def vouch_erased(self, handles: Sequence[Handle]) -> Rounds[Voucher]:
        """See `GatewayBackend.vouch_erased`."""
        return outcomes.erased_s1(handles, lambda: self._pictures.latest().generation)

    def refill(self) -> Rounds[None] | None:
        """The next piece of offline work: new packs, some that lack something, new base OTs."""
        if self._session is None:
            return None
        if self._session.ends.sender.forks > MAX_FORKS:
            return self.reconcile()
        blocks, need = self._blocks(), self._whole_need()
        most = max(LEAST, min(MOST, PIECE // max(1, len(blocks) << 12)))
        full = self._wanted(need, blocks)
        stale = self._shelf.take_stale(set(blocks), need, most, full)
        if stale:
            return self._make(Kind.FULL, stale, [], need, blocks)
        for kind, wanted in ((Kind.FULL, full), (Kind.LIGHT, self._shelves.light_packs)):
            missing = wanted - self._shelf.count(kind)
            if missing > 0 and 4 * missing >= wanted:  # packs come in batches, which are cheaper
                if kind is Kind.LIGHT:
                    blocks, need = [], need_for(self._side, contest_for(self._side, LIGHT, self._fan_ins(LIGHT)), LIGHT)
                elif most < ROWS:
                    most = missing = ROWS
                    need = Need()  # so far these packs are stale
                return self._make(kind, [], self._shelf.new_ids(min(most, missing)), need, blocks)
        return None

    def tidy(self, begins: Begins = lambda _: None) -> Rounds[object] | None:
        """The next change that nobody asked for: settling one that was cut off, erasing what has expired, one block
        less, or other masks for entries whose key was replaced."""
        if self._session is None:
            return None
        if self._unsettled and not self._changing.locked():
            return self._change(nothing())
        if self._expires():
            return self.expire(begins)
        masked = self._pictures.latest(), self._pictures.slots.versions
        if masked == self._well_masked:  # this is asked twice a second, and goes through all entries
            return None
        if remask.plan(self._pictures) is not None:
            return self.compact()
        self._well_masked = masked
        return None

    def expire(self, begins: Begins = lambda _: None) -> Rounds[int]:
        """Erase entries whose time is over; how many. `begins`: as `tidy` has it."""
        sure = self._calendar.sure()
        return self._change(change.expire_s1(self._side, self._store, self._pictures, self._verifier, sure, begins))

    def _expires(self) -> bool:
        """Whether there is something to erase. What S2 does not find expired is proposed again after a while."""
        sure = self._calendar.sure()
        due = self._pictures.latest().first_expiry <= sure and abs(sure - self._proposed) >= EXPIRE_EVERY_S
        if due:
            self._proposed = sure
        return due

    def compact(self) -> Rounds[None]:
        """Free a block that others have room for, or give entries masks from a newer key, if there is such a thing to
        do."""
        return self._change(self._remask())

    def snapshot(self) -> Rounds[Taken]:
        """See `GatewayBackend.snapshot`."""
        return self._change(snapshot_s1(self._store, self._snapshots))

    def roster(self, since: int = 0) -> Changes:
        """See `GatewayBackend.roster`."""
        return signed_roster(self._store, since)

    def levels(self) -> Mapping[str, float]:
        """Entries, blocks, and the packs that could be used as they are."""
        view = self._pictures.latest()
        usable = self._shelf.levels(set(self._blocks()), self._need(len(view)))
        doubt = {"clock_doubtful": 1.0} if self._calendar.doubtful else {}
        return {"entries": float(len(view)), "blocks": float(len(view.blocks)), **usable, **doubt}

    def close(self) -> None:
        """Nothing to release."""

    def unlock(self, handles: Sequence[Handle]) -> Rounds[None]:
        """See `GatewayBackend.unlock`."""
        rule = rule_for(self._side, len(handles))
        if rule is None:
            raise BadConfig("this collection has no limit on questions about so many entries")
        targets = self._pictures.latest().only(handles)
        yield from send(UnlockOpen(dump_handles(targets.handles.tolist())))
        epoch = self._side.rng.bytes(EPOCH_BYTES)
        yield from lockout.forgive_s1(rule, self._ledger, epoch, targets.handles, self._windows)

    # --- questions ------------------------------------------------------------------------------

    def _ask(self, query: Query, handles: Sequence[Handle] | None) -> Rounds[Answer]:
        side, session = self._side, self._connected()
        claim = query.claim
        seal(query.seal_key, b"", b"", side.rng)  # raises for a key that S2 could not seal to
        # while a change is going on, or was cut off, this is the gallery that both servers agreed on last
        view = self._pictures.latest()
        at = self._calendar.now
        targets = view.at(at, handles)
        fan_ins = self._fan_ins(len(targets))
        count = None if handles is None else len(targets)
        need = need_for(side, contest_for(side, len(targets), fan_ins), count)
        taken = self._shelf.take(Kind.FULL if handles is None else Kind.LIGHT)
        number, given = taken or (PackId(0), None)
        label = side.rng.bytes(LABEL_BYTES)
        named = b"" if handles is None else dump_handles(sorted(set(handles)))
        yield from send(
            QuestionOpen(
                view.digest,
                view.version,
                named,
                query.ciphertexts,
                claim.proof,
                claim.epoch,
                claim.client,
                claim.group,
                claim.signature,
                query.seal_key,
                query.request_id,
                number,
                label,
                bytes(fan_ins),
                at,
            )
        )
        # while S2 does the same: until both have, nothing is opened
        self._examiner.question(query.ciphertexts, query.request_id, handles, query.seal_key, claim)
        ready = yield from session.complete(side, given, label, need, targets.masked)
        tau = side.params.tau_for(count)
        share = yield from match_s1(
            side, ready, targets, fan_ins, self._ledger, tau, named=count, windows=self._windows
        )
        answer = yield from receive(Sealed)
        return Answer(share=share, sealed=answer.sealed)

    # --- offline work ---------------------------------------------------------------------------

    def _make(
        self, kind: Kind, stale: list[Numbered], fresh: list[PackId], need: Need, blocks: list[MaskedBlock]
    ) -> Rounds[None]:
        """New packs, or the same ones with what they lacked."""
        side, session = self._side, self._connected()
        label = side.rng.bytes(LABEL_BYTES)
        numbers = fresh or [number for number, _ in stale]
        packs = [one for _, one in stale]
        missing = packs[0].hand.lacks(need) if packs else need
        yield from send(
            PacksOpen(
                dump_packs(numbers), int(bool(fresh)), label, missing.dump(), dump_blocks(blocks)
            )
        )  # fmt: skip
        if fresh:
            ends = session.ends.fork(label)
            packs = yield from pack.make_with_products(side, ends, need, len(fresh), session.correlations, blocks)
        else:
            yield from session.replenish(side, packs, label, missing, blocks)
        for one in packs:
            one.keep_only(blocks)
        yield from exchange(Echo(), Echo)  # S2 has them
        if self._session is session:
            self._shelf.put(kind, zip(numbers, packs, strict=True))

    def _remask(self) -> Rounds[None]:
        plan = remask.plan(self._pictures)
        if plan is not None:
            yield from remask.remask_s1(self._side, self._store, self._pictures, self._verifier, plan)
            if plan.drop is not None and self._session is not None:
                self._session.correlations.forget(plan.drop)

    def _blocks(self) -> list[MaskedBlock]:
        return self._pictures.latest().targets.masked

    def _need(self, entries: int) -> Need:
        return need_for(self._side, contest_for(self._side, entries, self._fan_ins(entries)))

    def _whole_need(self) -> Need:
        n = len(self._pictures.latest())
        return need_for(self._side, contest_for(self._side, planned(n), self._fan_ins(n)))

    def _wanted(self, need: Need, blocks: list[MaskedBlock]) -> int:
        """How many full packs fit the memory that they may take, at least two."""
        each = Pack.bytes_for(self._side.sizes, need, len(blocks))
        return max(min(2, self._shelves.packs), min(self._shelves.packs, self._shelves.memory // each))

    def _fan_ins(self, entries: int) -> FanIns:
        return best_fan_ins(entries, self._side.sizes.key_bits, self._round_s)

    def _change(self, party: Rounds[R]) -> Rounds[R]:
        """One change at a time, after both servers have agreed on what became of an earlier one that was cut off."""
        with self._changing, contextlib.closing(party):
            settles = self._unsettled
            if settles:
                yield from self._settle(fresh=False)
            self._unsettled = True
            step = advance(party, None)
            if settles and isinstance(step, Done):
                yield from send(Echo())  # S2 waits for what comes after settling
            while not isinstance(step, Done):
                step = advance(party, (yield step))
            self._unsettled = False
        return cast(R, step.result)

    def _settle(self, *, fresh: bool) -> Rounds[None]:
        yield from settle_s1(self._store, self._pictures, self._verifier, fresh=fresh)
        yield from exchange_nonces(self._side, self._pictures, fresh=fresh)

    def _connected(self) -> Session:
        if self._session is None:
            raise NotReady()
        return self._session
