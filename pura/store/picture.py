"""The columns of a `Gallery`, and how a change carries them on: what it touches is read, and everything else copied.

At 1,000,000 entries reading all rows takes seconds at every commit; this takes milliseconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.store.base import NO_BLOCK

_KEY = 1 << 31
"""More than any slot, so that block and slot are one number."""

Row = tuple[int, int | None, int | None, bytes, int]
"""Of an entry: handle (as the index has it), block, slot, masking, expires."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """handles (n,) uint64, blocks, slots and expires (n,) int64, masking (n, width) uint8: by block and slot, entries
    without a block first."""

    handles: NDArray[np.uint64]
    blocks: NDArray[np.int64]
    slots: NDArray[np.int64]
    masking: NDArray[np.uint8]
    expires: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Columns:
        """Of rows in that order."""
        width = len(rows[0][3]) if rows else 0
        masking = np.frombuffer(b"".join(row[3] for row in rows), dtype=np.uint8).reshape(len(rows), width)
        plain = [(h, NO_BLOCK if b is None else b, NO_BLOCK if s is None else s, e) for h, b, s, _, e in rows]
        numbers = np.array(plain, dtype=np.int64).reshape(len(rows), 4)
        handles, blocks, slots, expires = (np.ascontiguousarray(numbers[:, i]) for i in range(4))
        return cls(handles.view(np.uint64), blocks, slots, masking, expires)._sealed()

    def changed(self, gone: Sequence[int], rows: Sequence[Row]) -> tuple[Columns, frozenset[int]]:
        """Without the entries with these handles, and with these rows, of which those without a block are younger than
        what there is; and the blocks that this touches."""
        left = ~np.isin(self.handles, np.array(gone, dtype=np.int64).view(np.uint64))
        new = Columns.of(sorted(rows, key=_place))
        touched = {*np.unique(self.blocks[~left]).tolist(), *np.unique(new.blocks).tolist()} - {NO_BLOCK}
        kept = self if left.all() else self._only(left)
        if not len(new.handles):
            return kept, frozenset(touched)
        if not len(kept.handles):
            return new, frozenset(touched)
        at = np.searchsorted(kept._keys(), new._keys(), side="right")
        pairs: list[NDArray[Any]] = [np.insert(a, at, b, axis=0) for a, b in zip(kept._all(), new._all(), strict=True)]
        return Columns(*pairs)._sealed(), frozenset(touched)

    def _only(self, left: NDArray[np.bool_]) -> Columns:
        return Columns(*(column[left] for column in self._all()))._sealed()

    def _keys(self) -> NDArray[np.int64]:
        out: NDArray[np.int64] = self.blocks * _KEY + self.slots
        return out

    def _all(self) -> tuple[NDArray[Any], ...]:
        return self.handles, self.blocks, self.slots, self.masking, self.expires

    def _sealed(self) -> Columns:
        for column in self._all():
            column.flags.writeable = False
        return self


def _place(row: Row) -> tuple[int, int]:
    return (NO_BLOCK, NO_BLOCK) if row[1] is None or row[2] is None else (row[1], row[2])
