"""Where a server keeps what it must not lose."""

from pura.store.base import BlockRef, BlockUpdate, Change, Entry, Gallery, Store
from pura.store.segments import read_block
from pura.store.sqlite import SqliteStore

__all__ = ["BlockRef", "BlockUpdate", "Change", "Entry", "Gallery", "SqliteStore", "Store", "read_block"]
