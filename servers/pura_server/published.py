"""Engine `published` in the two servers: the protocols of pura.protocols.published joined with a store and the pools.

Only S1 stores entries: each is the client's D ciphertexts, and a change is a commit on one server. S2 keeps nothing but
its share. These protocols have no check of a template's norm: whoever may enrol can plant a template of any size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pura.crypto.context import NewLabel
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare
from pura.errors import (
    BadConfig,
    EnrolmentConflict,
    InvalidTemplate,
    Overloaded,
    ProtocolError,
    PuraError,
    UnknownEntry,
)
from pura.ids import NOBODY, EnrolmentId, Handle, TxnId
from pura.messages import Message, message
from pura.params import Params
from pura.protocols.parallel import Workers
from pura.protocols.published.identify import Entry, identify_s1, identify_s2
from pura.protocols.published.side import VALUE_BITS, Observer, Side
from pura.roster import Changes
from pura.rounds import Rounds, nothing, receive, send
from pura.store import base
from pura.store.snapshots import Taken
from pura_server.backend import MAX_LABEL, Answer, Begins, Kind, NewEntry, Query
from pura_server.claims import NO_ORDER, Order
from pura_server.outcomes import Voucher, unsigned
from pura_server.relabels import planned

MAX_ENTRIES = 1 << 20
LEAKS = (
    "S2 sees every difference of two distances to within one or two bits; a client's ciphertexts carry no proof, so a "
    "server together with one client reads templates and questions"
)
"""What a server says at every start with this engine (docs/security/published.md)."""
REFILL_STEP = 8
"""Tuples made in one piece of offline work: 6 ms at 2048 bits."""

T = TypeVar("T")


@message
class MatchOpen(Message):
    """S1 -> S2: one template is to be matched with so many entries."""

    entries: int


class PublishedGateway:
    """S1. Keeps the gallery's ciphertexts in memory too: 64 KB an entry at |N| = 2048, D = 128."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        store: base.Store,
        rng: Rng,
        workers: Workers | None = None,
        *,
        zeros: int = 512,
        smul_tuples: int = 512,
    ) -> None:
        """`zeros` and `smul_tuples` are the capacities of the offline pools. Raises `BadConfig` for top_k above 1."""
        if params.top_k != 1:
            raise BadConfig("engine published returns one candidate: top_k must be 1")
        self._side = Side.new(pk, share, params, rng, workers, zeros=zeros, smul_tuples=smul_tuples)
        self._store = store
        self._settle()
        self._gallery = tuple(Entry(entry.handle, entry.body) for entry in store.entries())

    def reconcile(self) -> Rounds[None]:
        """Drop what was never confirmed; S2 holds no entries."""
        return _alone(self._settle)

    def enroll(self, items: Sequence[NewEntry]) -> Rounds[list[Handle | PuraError]]:
        """Validate a batch and store it in one commit; S2 takes no part. One outcome for each item."""
        return _alone(lambda: self._enroll(items))

    def identify(self, query: Query) -> Rounds[Answer]:
        """1:N over the whole gallery. Raises `MalformedCiphertext`, `InvalidTemplate`."""
        return self._match(query, None)

    def verify(self, query: Query, handles: Sequence[Handle]) -> Rounds[Answer]:
        """The same over the entries named. Raises `UnknownEntry` too."""
        return self._match(query, handles)

    def forget(self, handles: Sequence[Handle], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Erase entries; how many there were. S2 takes no part."""
        return _alone(lambda: self._forget(handles))

    def relabel(self, labels: Sequence[NewLabel], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Give entries other labels; how many of them there are. S2 takes no part."""
        return _alone(lambda: self._relabel(labels))

    def vouch_enrolled(self, handles: Sequence[Handle]) -> Rounds[list[Voucher | None]]:
        """S2 signs nothing."""
        return unsigned(len(handles))

    def vouch_erased(self, handles: Sequence[Handle]) -> Rounds[Voucher]:
        """S2 signs nothing."""
        yield from nothing()
        return Voucher()

    def snapshot(self) -> Rounds[Taken]:
        """See `GatewayBackend.snapshot`."""
        raise BadConfig("engine published has no snapshots: stop S1 and copy its data folder")

    def unlock(self, handles: Sequence[Handle]) -> Rounds[None]:
        """See `GatewayBackend.unlock`."""
        raise BadConfig("engine published counts no questions")

    def tidy(self, begins: Begins = lambda _: None) -> Rounds[object] | None:
        """Nothing but what clients ask for."""
        return None

    def refill(self) -> Rounds[None] | None:
        """A few offline tuples, or None when the pools are full. Needs no message."""
        if self._side.is_full:
            return None
        return _alone(self._refill)

    def roster(self, since: int = 0) -> Changes:
        """What has happened to the roster since a generation, or all of it; S2 takes no part, and signs nothing."""
        return self._store.roster(since)

    def levels(self) -> Mapping[str, float]:
        """Entries, and what the offline pools hold."""
        return {"entries": float(len(self._gallery)), **self._side.levels()}

    def close(self) -> None:
        """End the workers."""
        self._side.workers.close()

    def _match(self, query: Query, handles: Sequence[Handle] | None) -> Rounds[Answer]:
        entries: Sequence[Entry] = self._gallery
        if handles is not None:
            wanted = set(handles)
            entries = [entry for entry in entries if entry.handle in wanted]
            if not wanted or len(entries) != len(wanted):
                raise UnknownEntry()
        pk = self._side.pk
        template = pk.load_many(query.ciphertexts, self._side.params.dimension)
        mask = pk.load(query.mask)
        yield from send(MatchOpen(len(entries)))
        tau = self._side.params.tau_for(None if handles is None else len(entries))
        opened = yield from identify_s1(self._side, template, entries, mask, tau)
        return Answer(opened=opened)

    def _enroll(self, items: Sequence[NewEntry]) -> list[Handle | PuraError]:
        outcomes: list[Handle | PuraError] = []
        new: dict[EnrolmentId, base.Entry] = {}
        for item in items:
            try:
                outcomes.append(self._admit(item, new))
            except PuraError as error:
                outcomes.append(error)
        if new:
            self._commit(base.Change(self._new_txn(), "enrol", adds=tuple(new.values())))
            self._gallery += tuple(Entry(entry.handle, entry.body) for entry in new.values())
        return outcomes

    def _relabel(self, labels: Sequence[NewLabel]) -> int | PuraError:
        changes, there = planned(self._store, labels)
        if changes:
            self._commit(base.Change(self._new_txn(), "relabel", relabels=tuple(changes)))
        return there

    def _admit(self, item: NewEntry, new: dict[EnrolmentId, base.Entry]) -> Handle:
        """The handle of an enrolment, old or new; a new one is put into `new`."""
        digest = item.digest
        known = new.get(item.enrolment_id) or self._store.by_enrolment_id(item.enrolment_id)
        if known is not None:
            if known.digest != digest:
                raise EnrolmentConflict()
            return known.handle
        if len(item.label) > MAX_LABEL:
            raise InvalidTemplate(f"a label may have at most {MAX_LABEL} bytes")
        if len(self._gallery) + len(new) >= MAX_ENTRIES:
            raise Overloaded("the gallery is full")
        side = self._side
        side.pk.load_many(item.ciphertexts, side.params.dimension)
        while (handle := Handle(side.rng.bits(VALUE_BITS))) == NOBODY or self._store.by_handle(handle) is not None:
            pass
        new[item.enrolment_id] = base.Entry(
            handle=handle,
            enrolment_id=item.enrolment_id,
            digest=digest,
            label=item.label,
            body=item.ciphertexts,
            client=item.client,
            block=None,
            slot=None,
            masking=b"",
            created=int(time.time()),
        )
        return handle

    def _forget(self, handles: Sequence[Handle]) -> int:
        gone = {entry.handle for entry in self._gallery} & set(handles)
        if gone:
            self._commit(base.Change(self._new_txn(), "erase", removes=tuple(sorted(gone))))
            self._gallery = tuple(entry for entry in self._gallery if entry.handle not in gone)
        return len(gone)

    def _settle(self) -> None:
        for txn in self._store.prepared():
            self._store.abort(txn)

    def _commit(self, change: base.Change) -> None:
        try:
            self._store.apply(change)
        except PuraError:
            # a full disk can stop the commit after the preparation, which must not stand in the way of the next try
            self._settle()
            raise

    def _new_txn(self) -> TxnId:
        return TxnId(self._side.rng.bytes(base.TXN_BYTES))

    def _refill(self) -> None:
        self._side.refill(REFILL_STEP)


class PublishedPeer:
    """S2: answers each session, and refills its zeros between them in a thread of its own."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        rng: Rng,
        workers: Workers | None = None,
        *,
        zeros: int = 1024,
        observer: Observer | None = None,
    ) -> None:
        """`zeros` is the capacity of the pool. `observer` sees every plaintext that S2 decrypts: for measuring what the
        protocols leak, never set in a server."""
        self._side = Side.new(pk, share, params, rng, workers, zeros=zeros, observer=observer)
        self._work = threading.Event()
        self._stop = threading.Event()
        self._refiller = threading.Thread(target=self._keep_full, name="published-refill", daemon=True)
        self._work.set()
        self._refiller.start()

    def session(self, begins: Begins = lambda _: None) -> Rounds[None]:
        """S2's party of one match, of all entries or of those that somebody named."""
        asked = yield from receive(MatchOpen)
        begins(Kind.MATCH)
        if asked.entries > MAX_ENTRIES:
            raise ProtocolError(detail="number of entries")
        try:
            yield from identify_s2(self._side, asked.entries)
        finally:
            self._work.set()

    def levels(self) -> Mapping[str, float]:
        """What the offline pool holds."""
        return self._side.levels()

    def connected(self) -> None:
        """Nothing is shared with S1 in memory."""

    def epoch(self) -> bytes:
        """There are no proofs."""
        return b""

    def close(self) -> None:
        """Stop refilling and end the workers."""
        self._stop.set()
        self._work.set()
        self._refiller.join()
        self._side.workers.close()

    def _keep_full(self) -> None:
        while self._work.wait() and not self._stop.is_set():
            self._work.clear()
            while not self._stop.is_set() and self._side.refill(REFILL_STEP):
                pass


def _alone(work: Callable[[], T]) -> Rounds[T]:
    """A party that exchanges nothing."""
    yield from ()
    return work()
