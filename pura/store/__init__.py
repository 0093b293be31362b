"""Where a server keeps what it must not lose."""

from pura.store.base import Change, Entry, Gallery, Relabel, Store
from pura.store.sqlite import SqliteStore

__all__ = ["Change", "Entry", "Gallery", "Relabel", "SqliteStore", "Store"]
