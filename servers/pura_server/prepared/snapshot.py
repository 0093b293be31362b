"""Snapshots of both servers' galleries at one moment.

S1: nothing changes from here on; copy
S1 -> S2: the moment;    S2: is it mine? copy;    S2 -> S1: taken, so many entries
"""

from __future__ import annotations

from pura.errors import BadConfig, BadDataFolder
from pura.ids import TxnId
from pura.rounds import Rounds, receive, send
from pura.store.base import Store
from pura.store.moments import Moment
from pura.store.snapshots import Snapshots, Taken
from pura_server.prepared.wire import SnapshotOpen, SnapshotTaken

_NO_FOLDER = "keeps no snapshots: its operator sets snapshots.folder"


def snapshot_s1(store: Store, snapshots: Snapshots | None) -> Rounds[Taken]:
    """Both servers' snapshots. The caller lets nothing change meanwhile. Raises `BadConfig` for a server that keeps
    none, `BadDataFolder`, `StorageFull`."""
    if snapshots is None:
        raise BadConfig(f"S1 {_NO_FOLDER}")
    here = store.moment()
    mine = snapshots.take(here)
    yield from send(SnapshotOpen(here.generation, here.txn))
    theirs = yield from receive(SnapshotTaken)
    if theirs.entries != mine.entries:
        raise BadDataFolder("the two servers took snapshots of different galleries")
    return mine


def snapshot_s2(store: Store, snapshots: Snapshots | None, opening: SnapshotOpen) -> Rounds[None]:
    """S2's side of `snapshot_s1`."""
    if snapshots is None:
        raise BadConfig(f"S2 {_NO_FOLDER}")
    here = store.moment()
    if here != Moment(opening.generation, TxnId(opening.txn)):
        raise BadDataFolder("the two servers do not stand at the same moment; a snapshot would not fit")
    yield from send(SnapshotTaken(snapshots.take(here).entries))
