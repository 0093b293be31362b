"""What both servers of engine `packed` keep in memory, and how lists are written into their session messages."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np

from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare
from pura.errors import NotReady, ProtocolError
from pura.ids import BlockId, Party
from pura.params import Params
from pura.protocols.packed.pack import BlockVersion
from pura.protocols.packed.side import Side
from pura.protocols.parallel import Workers
from pura.store.base import Store
from pura_server.packed.gallery import View, view_of

LABEL_BYTES = 16
"""A label names what is made of the base OTs for one operation; random, used once."""
VIEWS_KEPT = 4
"""How many pictures S2 keeps, so that a query that S1 began before a change finds the gallery it began with. S1 keeps
the latest: a query holds the picture it began with."""


class Pictures:
    """The latest views of the gallery, by digest. Thread-safe."""

    def __init__(self, side: Side, store: Store) -> None:
        self._side = side
        self._store = store
        self._kept = 1 if side.share.party is Party.S1 else VIEWS_KEPT
        self._lock = threading.Lock()
        self._views: OrderedDict[bytes, View] = OrderedDict()
        self.refresh()

    def refresh(self) -> View:
        """Take a new picture; the one that queries use from now on."""
        view = view_of(self._store.snapshot(), self._side.columns.entries)
        with self._lock:
            self._views.pop(view.digest, None)
            self._views[view.digest] = view
            while len(self._views) > self._kept:
                self._views.popitem(last=False)
        return view

    def latest(self) -> View:
        """The picture that queries use."""
        with self._lock:
            return next(reversed(self._views.values()))

    def forget_earlier(self) -> None:
        """Keep the latest only: files of blocks go with the last picture, or query, that needs them."""
        with self._lock:
            while len(self._views) > 1:
                self._views.popitem(last=False)

    def current(self, digest: bytes) -> View:
        """The latest picture, for a change. Raises `NotReady` unless it has this digest."""
        view = self.latest()
        if view.digest != digest:
            raise NotReady("the two servers do not stand at the same gallery; try again")
        return view

    def find(self, digest: bytes) -> View:
        """The picture with this digest. Raises `NotReady` if this server does not have that gallery (any more)."""
        with self._lock:
            if digest not in self._views:
                raise NotReady("the gallery is being changed; try again")
            return self._views[digest]


def new_side(pk: PublicKey, share: KeyShare, params: Params, rng: Rng, workers: Workers) -> Side:
    """A server's side, with groups that keep its workers busy. Raises `WrongKey`, `OutOfRange`."""
    share.check(pk)
    return Side(pk, share, params, rng, workers, group=max(2, workers.count))


def dump_handles(handles: Iterable[int]) -> bytes:
    """8 bytes each."""
    return b"".join(int(h).to_bytes(8, "big") for h in handles)


def load_handles(raw: bytes) -> list[int]:
    """The handles in `raw`. Raises `ProtocolError`."""
    if len(raw) % 8:
        raise ProtocolError(detail="length of a list of handles")
    return [int(h) for h in np.frombuffer(raw, dtype=">u8")]


def dump_versions(versions: Sequence[BlockVersion]) -> bytes:
    """16 bytes each, block and version."""
    return np.array(versions, dtype=">u8").reshape(-1, 2).tobytes()


def load_versions(raw: bytes) -> list[BlockVersion]:
    """The versions in `raw`. Raises `ProtocolError`."""
    if len(raw) % 16:
        raise ProtocolError(detail="length of a list of blocks")
    return [BlockVersion(BlockId(int(b)), int(v)) for b, v in np.frombuffer(raw, dtype=">u8").reshape(-1, 2)]
