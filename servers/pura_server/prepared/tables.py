"""Lists as session messages carry them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pura.errors import ProtocolError
from pura.ids import BlockId, Handle, PackId
from pura.protocols.prepared.correlations import MaskedBlock

PLACE = np.dtype([("handle", ">u8"), ("block", ">u8"), ("slot", ">u8")])


def dump_handles(handles: Iterable[int]) -> bytes:
    """8 bytes each."""
    return b"".join(int(h).to_bytes(8, "big") for h in handles)


def load_handles(raw: bytes) -> list[int]:
    """The handles in `raw`. Raises `ProtocolError`."""
    if len(raw) % 8:
        raise ProtocolError(detail="length of a list of handles")
    return [int(h) for h in np.frombuffer(raw, dtype=">u8")]


def dump_places(places: Sequence[tuple[Handle, BlockId, int]]) -> bytes:
    """24 bytes each."""
    return np.array(list(places), dtype=PLACE).tobytes()


def load_places(raw: bytes, count: int, capacity: int) -> list[tuple[Handle, BlockId, int]]:
    """Exactly `count` places. Raises `ProtocolError`."""
    if len(raw) != count * PLACE.itemsize:
        raise ProtocolError(detail="number of places")
    table = [(Handle(int(h)), BlockId(int(b)), int(s)) for h, b, s in np.frombuffer(raw, dtype=PLACE).tolist()]
    if any(h == 0 or not s < capacity for h, _, s in table):
        raise ProtocolError(detail="a place is out of range")
    return table


def dump_packs(numbers: Iterable[PackId]) -> bytes:
    """8 bytes each."""
    return b"".join(int(n).to_bytes(8, "big") for n in numbers)


def load_packs(raw: bytes) -> list[PackId]:
    """The numbers in `raw`. Raises `ProtocolError`."""
    if len(raw) % 8 or not raw:
        raise ProtocolError(detail="length of a list of packs")
    return [PackId(int(n)) for n in np.frombuffer(raw, dtype=">u8")]


def dump_blocks(blocks: Sequence[MaskedBlock]) -> bytes:
    """16 bytes each, block and version."""
    return np.array(blocks, dtype=">u8").reshape(-1, 2).tobytes()


def load_blocks(raw: bytes) -> list[MaskedBlock]:
    """The blocks in `raw`. Raises `ProtocolError`."""
    if len(raw) % 16:
        raise ProtocolError(detail="length of a list of blocks")
    return [MaskedBlock(BlockId(int(b)), int(v)) for b, v in np.frombuffer(raw, dtype=">u8").reshape(-1, 2)]
