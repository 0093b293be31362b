"""What a store keeps, what it can be asked, and how the gallery looks at one moment.

A change of the gallery is prepared durably on both servers, then committed on S1 (whose record decides), then on S2. A
store knows nothing of the other server: it keeps prepared changes across restarts until it is told their outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pura.errors import OutOfRange, UnknownEntry
from pura.ids import BlockId, ClientId, EnrolmentId, Handle, TxnId

TXN_BYTES = 16
DIGEST_BYTES = 32
NO_BLOCK = -1
"""Stands in `Gallery.block_ids` and `Gallery.slots` for entries that lie in no block."""

Outcome: TypeAlias = Literal["committed", "prepared", "unknown"]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One enrolled entry.

    digest: 32 bytes, what its enrolment id stands for; label: opaque bytes; body: the ciphertexts that the client sent;
    block and slot: where the packed gallery has it, both None in engine `published`; norm_share: this server's share of
    ||y||^2, of the same length in all entries of a store; created: seconds since 1970.
    """

    handle: Handle
    enrolment_id: EnrolmentId
    digest: bytes
    label: bytes
    body: bytes
    client: ClientId
    block: BlockId | None
    slot: int | None
    norm_share: bytes
    created: int

    def __repr__(self) -> str:
        return "Entry(…)"


@dataclasses.dataclass(frozen=True, slots=True)
class BlockUpdate:
    """A new version of a block: its ciphertexts one behind the other. No block has the same version twice."""

    id: BlockId
    version: int
    data: bytes

    def __repr__(self) -> str:
        return f"BlockUpdate(id={self.id}, version={self.version}, …)"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What one transaction does to the gallery: all of it or nothing.

    txn: 16 bytes, used once; kind: a word for the audit log; removes: entries to erase; moves: entries that go to
    another block and slot; blocks: new versions, replacing older ones; drops: blocks that go with their last entry.
    """

    txn: TxnId
    kind: str
    adds: tuple[Entry, ...] = ()
    removes: tuple[Handle, ...] = ()
    moves: tuple[tuple[Handle, BlockId, int], ...] = ()
    blocks: tuple[BlockUpdate, ...] = ()
    drops: tuple[BlockId, ...] = ()

    def __repr__(self) -> str:
        return f"Change({self.txn.hex()}, {self.kind!r}, …)"


@dataclasses.dataclass(frozen=True, slots=True)
class AuditRow:
    """What the audit log tells of a committed change: its place in the order, and how much it did; names no entry."""

    generation: int
    txn: TxnId
    kind: str
    adds: int
    removes: int
    moves: int
    blocks: int
    drops: int
    at: int
    """Seconds since 1970."""


@dataclasses.dataclass(frozen=True, slots=True)
class BlockRef:
    """Where one version of a block lies: `count` elements of `size` bytes from `offset` on in the file `path`.

    A few hundred bytes when pickled; `pura.store.segments.read_block` opens it in whatever process it is called.
    """

    id: BlockId
    version: int
    path: str
    count: int
    size: int
    offset: int


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Gallery:
    """The active entries and blocks at one moment; immutable, and its files stay as long as it is referred to.

    generation: how many changes were committed; blocks: the current version of each; handles (n,) uint64, block_ids and
    slots (n,) int64, norm_shares (n, width) uint8, all in the same order: by block and slot, entries without a block
    first, oldest first among those. `files` is what keeps the files of the blocks from being removed.
    """

    generation: int
    blocks: Mapping[BlockId, BlockRef]
    handles: NDArray[np.uint64]
    block_ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    norm_shares: NDArray[np.uint8]
    files: tuple[object, ...] = ()

    def __len__(self) -> int:
        return len(self.handles)

    @cached_property
    def _by_handle(self) -> NDArray[np.intp]:
        return np.argsort(self.handles)

    def positions(self, handles: Sequence[Handle]) -> NDArray[np.intp]:
        """Where entries lie in the arrays, (len(handles),). Raises `UnknownEntry` when one is not there."""
        wanted = np.array(handles, dtype=np.uint64)
        order = self._by_handle
        found = np.searchsorted(self.handles, wanted, sorter=order)
        if len(wanted) and (found.max(initial=0) >= len(order) or (self.handles[order[found]] != wanted).any()):
            raise UnknownEntry()
        return order[found]


def allocate(gallery: Gallery, count: int, capacity: int) -> list[tuple[BlockId, int]]:
    """Where the next entries go: free slots of the blocks that exist, then new blocks of `capacity` slots each.

    Blocks with the most room come first, so that as few as possible have to be rewritten; a new block is begun only
    when no slot is free, so that a query never combines more blocks than it must. Raises `OutOfRange`.
    """
    if count < 0 or capacity < 1:
        raise OutOfRange("a block has at least one slot")
    taken: dict[int, set[int]] = {int(block): set() for block in gallery.blocks}
    for block, slot in zip(gallery.block_ids.tolist(), gallery.slots.tolist(), strict=True):
        if block != NO_BLOCK:
            taken[block].add(slot)
    places: list[tuple[BlockId, int]] = []
    for block in sorted(taken, key=lambda block: (len(taken[block]), block)):
        if len(places) >= count:
            break
        places += [(BlockId(block), slot) for slot in range(capacity) if slot not in taken[block]]
    first_new = max(taken, default=-1) + 1
    missing = max(0, count - len(places))
    places += [(BlockId(first_new + i // capacity), i % capacity) for i in range(missing)]
    return places[:count]


class Store(Protocol):
    """Where a server keeps its gallery. Thread-safe; what a call has changed is durable when it returns.

    A change fits the gallery that it was prepared on and no other: once a second change is committed in between, it can
    only be aborted.
    """

    def prepare(self, change: Change) -> None:
        """Keep a change until its outcome is known. Preparing an equal one again does nothing.

        Raises `EnrolmentConflict` (enrolment id taken), `UnknownEntry` (an entry to remove or move is not there),
        `OutOfRange`, `ProtocolError` (whatever else does not fit the gallery), `StorageFull`; nothing is kept then.
        """
        ...

    def commit(self, txn: TxnId) -> None:
        """Carry out a prepared change. Does nothing if that was done. Raises `ProtocolError`, `StorageFull`."""
        ...

    def abort(self, txn: TxnId) -> None:
        """Forget a prepared change. Does nothing for an unknown one. Raises `ProtocolError` when it is committed."""
        ...

    def apply(self, change: Change) -> None:
        """Prepare and commit a change that no other server takes part in. Raises what `prepare` does."""
        ...

    def prepared(self) -> list[TxnId]:
        """The changes whose outcome is not known yet, oldest first."""
        ...

    def outcome(self, txn: TxnId) -> Outcome:
        """What became of a change."""
        ...

    def last_txn(self) -> TxnId | None:
        """The change that was committed last."""
        ...

    def audit(self) -> Iterator[AuditRow]:
        """Every committed change, oldest first, in bounded memory."""
        ...

    def snapshot(self) -> Gallery:
        """The gallery as it is now; the same object until the next commit."""
        ...

    def allocate(self, count: int, capacity: int) -> list[tuple[BlockId, int]]:
        """`allocate` over the gallery as it is now."""
        ...

    def by_handle(self, handle: Handle) -> Entry | None:
        """One entry, or None."""
        ...

    def by_enrolment_id(self, enrolment_id: EnrolmentId) -> Entry | None:
        """The entry that was made under an enrolment id, or None."""
        ...

    def bodies(self, handles: Sequence[Handle]) -> list[bytes]:
        """The bodies of some entries, in the order asked for. Raises `UnknownEntry`."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first, in bounded memory; entries added meanwhile may or may not be among them."""
        ...

    def roster(self) -> list[tuple[Handle, bytes]]:
        """Every entry's handle and label, oldest first."""
        ...

    def count(self) -> int:
        """How many entries there are."""
        ...

    def close(self) -> None:
        """Release files and locks; snapshots must not be read afterwards."""
        ...
