"""The gallery as questions see it: E and this server's sharing of it, block by block, and where each entry lies.

Pictures are immutable and share what did not change. An entry in the store has E as its body, k bits a number, and as
`masking` how it is masked: S1's and S2's nonce, and the versions of their mask keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pura.crypto.masks import MaskKeys
from pura.errors import UnknownEntry
from pura.ids import BlockId, Handle, Party
from pura.protocols.prepared.blocks import Block, Matrix, Targets
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.sizes import Sizes
from pura.store.base import Gallery
from pura_server.expiry import NEVER, matched
from pura_server.prepared.assignments import Assignments, Names, Written
from pura_server.prepared.slots import MASKING


def dump_rows(rows: Matrix, bits: int) -> list[bytes]:
    """Each row of numbers below 2^bits, `bits` bits a number."""
    raw = np.ascontiguousarray(rows, "<u4").view(np.uint8).reshape(*rows.shape, 4)
    planes = np.unpackbits(raw, axis=2, bitorder="little", count=bits)
    packed = np.packbits(planes.reshape(len(rows), -1), axis=1, bitorder="little")
    return [row.tobytes() for row in packed]


def load_rows(raw: Sequence[bytes], dimension: int, bits: int) -> Matrix:
    """What `dump_rows` wrote, (n, D)."""
    octets = np.frombuffer(b"".join(raw), np.uint8).reshape(len(raw), -1)
    planes = np.unpackbits(octets, axis=1, bitorder="little", count=dimension * bits)
    wide = np.zeros((len(raw), dimension, 32), np.uint8)
    wide[:, :, :bits] = planes.reshape(len(raw), dimension, bits)
    out: Matrix = np.packbits(wide, axis=2, bitorder="little").view("<u4")[:, :, 0]
    return out


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class View:
    """The gallery, or some entries of it, at one moment.

    blocks: those that hold entries, by id; places (n,): block id times SLOTS and slot, ascending; handles (n,) uint64;
    masking (n,), of dtype MASKING; expires (n,), seconds since 1970, 0 for never; digest: the same at both servers for
    the same entries, E, nonces and versions; version: of the free slots' nonces.
    """

    generation: int
    digest: bytes
    version: int
    blocks: Mapping[BlockId, Block]
    places: NDArray[np.int64]
    handles: NDArray[np.uint64]
    masking: NDArray[np.void]
    expires: NDArray[np.int64]
    hashes: Mapping[BlockId, bytes]

    def __len__(self) -> int:
        return len(self.handles)

    @cached_property
    def targets(self) -> Targets:
        """The view as the protocols take it."""
        order = sorted(self.blocks)
        index = np.searchsorted(np.array(order, np.int64), self.places // SLOTS)
        return Targets([self.blocks[b] for b in order], index * SLOTS + self.places % SLOTS, self.handles)

    @cached_property
    def first_expiry(self) -> float:
        """When the first entry expires."""
        return float(self.expires[self.expires != 0].min(initial=NEVER))

    def only(self, wanted: Sequence[Handle]) -> Targets:
        """Some entries, and the blocks that hold them. Raises `UnknownEntry` if one is not there."""
        return self.at(0, wanted)

    def at(self, time: int, wanted: Sequence[Handle] | None = None) -> Targets:
        """The entries, or some of them, and the blocks that hold them, without what has expired at a time. Raises
        `UnknownEntry` if one of those wanted is not there, or nothing of them is left."""
        if wanted is None and time < self.first_expiry:
            return self.targets
        if wanted is None:
            chosen = np.flatnonzero(matched(self.expires, time))
        else:
            chosen = np.flatnonzero(np.isin(self.handles, np.array(wanted, dtype=np.uint64)))
            if len(chosen) != len(set(wanted)):
                raise UnknownEntry()
            chosen = chosen[matched(self.expires[chosen], time)]
            if not len(chosen):
                raise UnknownEntry()
        places = self.places[chosen]
        used = np.unique(places // SLOTS)
        return Targets(
            [self.blocks[BlockId(int(b))] for b in used],
            np.searchsorted(used, places // SLOTS) * SLOTS + places % SLOTS,
            self.handles[chosen],
        )

    def written(self) -> dict[BlockId, Written]:
        """The entries of each block."""
        found = {block: in_block(self.places, block) for block in self.blocks}
        return {b: Written(self.places[at] % SLOTS, self.masking[at], self.hashes[b]) for b, at in found.items()}


def in_block(places: NDArray[np.int64], block: int) -> slice:
    """Which of ascending places lie in a block; found without going through all of them."""
    first, end = np.searchsorted(places, (block * SLOTS, (block + 1) * SLOTS))
    return slice(int(first), int(end))


def empty() -> View:
    """A gallery without entries."""
    none = np.zeros(0, np.int64)
    return View(0, _digest({}), 0, {}, none, none.view(np.uint64), np.zeros(0, MASKING), none, {})


def view_of(
    gallery: Gallery,
    before: View,
    bodies: Callable[[Sequence[Handle]], list[bytes]],
    sizes: Sizes,
    party: Party,
    keys: MaskKeys,
    assignments: Assignments,
) -> View:
    """The picture of a gallery, if nobody has drawn other nonces since an earlier one. What it shares with that is not
    read again; `bodies` reads entries."""
    places = gallery.block_ids * SLOTS + gallery.slots
    handles = gallery.handles
    masking = np.ascontiguousarray(gallery.masking).reshape(-1).view(MASKING)
    blocks, hashes = dict(before.blocks), dict(before.hashes)
    for block in sorted(_touched(gallery, before, places)):
        name = BlockId(block)
        mine, old = in_block(places, block), in_block(before.places, block)
        if mine.start == mine.stop:
            blocks.pop(name, None)
            hashes.pop(name, None)
            continue
        stay, stayed = _same(places[mine], handles[mine], masking[mine], before, old)
        if stay.all() and stayed.all():
            continue
        blank = np.zeros((SLOTS, sizes.dimension), np.uint32)
        earlier = before.blocks.get(name)
        e, y = (blank, blank.copy()) if earlier is None else (earlier.e.copy(), earlier.y.copy())
        gone = before.places[old][~stayed] % SLOTS
        e[gone] = y[gone] = 0
        new = np.flatnonzero(~stay) + mine.start
        if len(new):
            where = places[new] % SLOTS
            e[where] = load_rows(bodies([Handle(int(h)) for h in handles[new]]), sizes.dimension, sizes.key_bits)
            own = entry_masks(keys, party, sizes, places[new], masking[new])
            y[where] = (e[where] + own) & np.uint32((1 << sizes.key_bits) - 1) if party is Party.S1 else own
        hashes[name] = _hash(e, places[mine], handles[mine], masking[mine], sizes)
        masked = assignments.name(name, Written(places[mine] % SLOTS, masking[mine], hashes[name]))
        blocks[name] = Block(masked, e, y)
    return View(
        gallery.generation, _digest(hashes), before.version, blocks, places, handles, masking, gallery.expires, hashes
    )


def _touched(gallery: Gallery, before: View, places: NDArray[np.int64]) -> Iterable[int]:
    """Which blocks may have other entries than before."""
    if gallery.touched is not None and gallery.touched[0] == before.generation:
        return gallery.touched[1]
    return {int(block) for block in np.unique(np.concatenate([places, before.places]) // SLOTS)}


def _same(
    places: NDArray[np.int64], handles: NDArray[np.uint64], masking: NDArray[np.void], before: View, old: slice
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries of a block were there before, as they are; and which of those before still are."""
    was = before.places[old]
    stayed = np.zeros(len(was), bool)
    if not len(was):
        return np.zeros(len(places), bool), stayed
    at = np.minimum(np.searchsorted(was, places), len(was) - 1)
    stay = (was[at] == places) & (before.handles[old][at] == handles) & (before.masking[old][at] == masking)
    stayed[at[stay]] = True
    return stay, stayed


def with_masks(view: View, version: int, names: Names) -> View:
    """The same picture when the free slots have other nonces."""
    blocks = {name: dataclasses.replace(block, masked=names[name]) for name, block in view.blocks.items()}
    return dataclasses.replace(view, blocks=blocks, version=version)


def entry_masks(
    keys: MaskKeys, party: Party, sizes: Sizes, places: NDArray[np.int64], masking: NDArray[np.void]
) -> Matrix:
    """This server's masks of some entries, (n, D)."""
    own = party - 1
    return keys.rows(sizes.dimension, sizes.key_bits, masking["versions"][:, own], masking["nonces"][:, own], places)


def _hash(
    e: Matrix, places: NDArray[np.int64], handles: NDArray[np.uint64], masking: NDArray[np.void], sizes: Sizes
) -> bytes:
    digest = hashlib.sha256(b"pura block")
    for part in (places.astype(">i8"), handles.astype(">u8"), masking, e[places % SLOTS].astype("<u4")):
        digest.update(part.tobytes())
    return digest.digest()


def _digest(hashes: Mapping[BlockId, bytes]) -> bytes:
    digest = hashlib.sha256(b"pura gallery")
    for block in sorted(hashes):
        digest.update(int(block).to_bytes(8, "big") + hashes[block])
    return digest.digest()
