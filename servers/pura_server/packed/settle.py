"""Two-phase commit between the two stores, and settling what a crash left open.

    S1, S2: prepare the change, each on its own disk
    S2 -> S1: ready;  S1: commit (this decides);  S1 -> S2: commit;  S2: commit;  S2 -> S1: committed
    S1 -> S2: switched: no question about the gallery before will come, and nothing is left of what was erased from it

Whatever S2 holds prepared after a crash, S1 knows the outcome of: committed if S1 has committed it, else void. What S1
itself holds prepared is void, since nobody can have committed it.
"""

from __future__ import annotations

from pura.errors import BadDataFolder, ProtocolError
from pura.ids import TxnId
from pura.rounds import Rounds, receive, send
from pura.store.base import TXN_BYTES, Change, Store
from pura_server.packed.state import Pictures
from pura_server.packed.wire import (
    Commit,
    Committed,
    Holding,
    Outcomes,
    Prepared,
    ReadyToCommit,
    SettleOpen,
    Switched,
)


def commit_s1(store: Store, pictures: Pictures, change: Change) -> Rounds[None]:
    """Carry out a change on both servers."""
    store.prepare(change)
    try:
        yield from receive(ReadyToCommit)
    except BaseException:
        store.abort(change.txn)  # nobody committed: S2 waits for us, and will be told at the next settling
        raise
    store.commit(change.txn)
    yield from send(Commit())
    done = yield from receive(Committed)
    if pictures.refresh().digest != done.digest:
        raise BadDataFolder("the two servers do not hold the same gallery")
    yield from send(Switched())


def commit_s2(store: Store, pictures: Pictures, change: Change) -> Rounds[None]:
    """S2's side of `commit_s1`."""
    store.prepare(change)
    yield from send(ReadyToCommit())
    yield from receive(Commit)
    store.commit(change.txn)
    yield from send(Committed(pictures.refresh().digest))
    yield from receive(Switched)
    pictures.forget_earlier()


def settle_s1(store: Store, pictures: Pictures, *, fresh: bool) -> Rounds[None]:
    """Bring both servers to the same gallery. Raises `BadDataFolder` when that does not do it."""
    for txn in store.prepared():
        store.abort(txn)
    yield from send(SettleOpen(int(fresh)))
    open_ = (yield from receive(Prepared)).txns
    if len(open_) % TXN_BYTES:
        raise ProtocolError(detail="transaction numbers")
    txns = [TxnId(open_[i : i + TXN_BYTES]) for i in range(0, len(open_), TXN_BYTES)]
    yield from send(Outcomes(bytes(store.outcome(txn) == "committed" for txn in txns)))
    holding = yield from receive(Holding)
    if pictures.refresh().digest != holding.digest:
        raise BadDataFolder("the two servers do not hold the same gallery; restore both from the same moment")
    yield from send(Switched())


def settle_s2(store: Store, pictures: Pictures) -> Rounds[None]:
    """S2's side of `settle_s1`, after its opening message."""
    txns = store.prepared()
    yield from send(Prepared(b"".join(txns)))
    outcomes = (yield from receive(Outcomes)).committed
    if len(outcomes) != len(txns):
        raise ProtocolError(detail="number of outcomes")
    for txn, committed in zip(txns, outcomes, strict=True):
        if committed:
            store.commit(txn)
        else:
            store.abort(txn)
    yield from send(Holding(pictures.refresh().digest))
    yield from receive(Switched)
    pictures.forget_earlier()
