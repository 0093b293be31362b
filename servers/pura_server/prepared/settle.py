"""Two-phase commit between the two stores, and settling what a crash left open.

    S1, S2: prepare the change, each on its own disk
    S2 -> S1: ready;  S1: commit (this decides);  S1 -> S2: commit;  S2: commit;  S2 -> S1: committed, and what it holds
    S1: compare, keep S2's signature of the roster
    S1 -> S2: switched: no question about the gallery before will come, and nothing is left of what was erased from it

Whatever S2 holds prepared after a crash, S1 knows the outcome of: committed if S1 has committed it, else void. What S1
itself holds prepared is void, since nobody can have committed it.

S2 signs a roster that it has committed, and no other. So a crash can leave S1 with a change and without its signature;
until both have settled, which gives it again, S1 hands out no roster.
"""

from __future__ import annotations

from pura.errors import BadDataFolder, NotReady, ProtocolError, WrongKey
from pura.ids import TxnId
from pura.roster import Changes
from pura.rounds import Rounds, receive, receive_any, send
from pura.statements import Signer, Verifier
from pura.store.base import TXN_BYTES, Change, Store
from pura.store.moments import Moment
from pura_server.prepared.state import Pictures
from pura_server.prepared.wire import (
    Apart,
    Commit,
    Committed,
    Holding,
    Outcomes,
    Prepared,
    ReadyToCommit,
    SettleOpen,
    Switched,
)


def commit_s1(store: Store, pictures: Pictures, change: Change, verifier: Verifier) -> Rounds[None]:
    """Carry out a change on both servers."""
    store.prepare(change)
    try:
        yield from receive(ReadyToCommit)
    except BaseException:
        store.abort(change.txn)  # nobody committed: S2 waits for us, and will be told at the next settling
        raise
    store.commit(change.txn)
    yield from send(Commit())
    if not _agree(store, pictures, verifier, (yield from receive(Committed))):
        raise BadDataFolder("the two servers do not hold the same gallery")
    yield from send(Switched())


def commit_s2(store: Store, pictures: Pictures, change: Change, signer: Signer) -> Rounds[None]:
    """S2's side of `commit_s1`."""
    store.prepare(change)
    yield from send(ReadyToCommit())
    yield from receive(Commit)
    store.commit(change.txn)
    yield from send(Committed(*_holding(store, pictures, signer)))
    yield from receive(Switched)
    pictures.forget_earlier()


def settle_s1(store: Store, pictures: Pictures, verifier: Verifier, *, fresh: bool) -> Rounds[None]:
    """Bring both servers to the same gallery. Raises `BadDataFolder` when that does not do it, and `WrongKey` when S2
    signs with another key than S1 was told."""
    for txn in store.prepared():
        store.abort(txn)
    yield from send(SettleOpen(int(fresh)))
    open_ = (yield from receive(Prepared)).txns
    if len(open_) % TXN_BYTES:
        raise ProtocolError(detail="transaction numbers")
    txns = [TxnId(open_[i : i + TXN_BYTES]) for i in range(0, len(open_), TXN_BYTES)]
    yield from send(Outcomes(bytes(store.outcome(txn) == "committed" for txn in txns)))
    if not _agree(store, pictures, verifier, (yield from receive(Holding))):
        yield from _apart(store, first=True)
    store.together()
    yield from send(Switched())


def settle_s2(store: Store, pictures: Pictures, signer: Signer) -> Rounds[None]:
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
    yield from send(Holding(*_holding(store, pictures, signer)))
    last = yield from receive_any()
    if isinstance(last, Apart):
        yield from _apart(store, first=False, theirs=last)
    if not isinstance(last, Switched):
        raise ProtocolError(detail="the end of a settling")
    store.together()
    pictures.forget_earlier()


def _apart(store: Store, *, first: bool, theirs: Apart | None = None) -> Rounds[None]:
    """Tell each other where one stands, S1 first, write it down, and raise `BadDataFolder`."""
    here = store.moment()
    yield from send(Apart(here.generation, here.txn))
    if theirs is None:
        theirs = yield from receive(Apart)
    if len(theirs.txn) > TXN_BYTES:
        raise ProtocolError(detail="a moment")
    there = Moment(theirs.generation, TxnId(theirs.txn))
    store.apart(there)
    one, two = (here, there) if first else (there, here)
    if here == there:
        raise BadDataFolder(
            "the two servers have other entries or labels after the same changes: something else than a server changed "
            "one of the data folders; restore both from backups of the same moment",
            detail=f"both at {one}",
        )
    raise BadDataFolder(
        "the two servers hold galleries of two different moments; restore both from backups of the same moment",
        detail=f"S1 at {one}, S2 at {two}",
    )


def signed_roster(store: Store, since: int) -> Changes:
    """What S1 hands out. Raises `NotReady` while the signature of the last change is on its way."""
    changes = store.roster(since)
    if not changes.signature:
        raise NotReady("a change is being settled between the two servers; try again")
    return changes


def _holding(store: Store, pictures: Pictures, signer: Signer) -> tuple[bytes, int, bytes, bytes]:
    """What S2 holds now: the digest of the gallery, its generation, the digest of its roster, the signature of both."""
    digest, gallery = pictures.refresh().digest, store.snapshot()
    return digest, gallery.generation, gallery.roster, signer.roster(gallery.generation, gallery.roster)


def _agree(store: Store, pictures: Pictures, verifier: Verifier, theirs: Committed | Holding) -> bool:
    """Whether S1 holds what S2 says that it holds; then S1 keeps S2's signature of it."""
    digest, gallery = pictures.refresh().digest, store.snapshot()
    if (digest, gallery.generation, gallery.roster) != (theirs.digest, theirs.generation, theirs.roster):
        return False
    if not verifier.roster(theirs.signature, gallery.generation, gallery.roster):
        raise WrongKey("the other server does not sign with the key that peer.sign_key names")
    store.keep_signature(gallery.generation, gallery.roster, theirs.signature)
    return True
