"""What both servers of engine `prepared` keep in memory about the gallery."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from pura.crypto.masks import MaskKeys
from pura.errors import NotReady
from pura.ids import Party
from pura.protocols.prepared.correlations import SLOTS, MaskedBlock, Masks
from pura.protocols.prepared.side import Side
from pura.store.base import Store
from pura_server.prepared.assignments import Assignments
from pura_server.prepared.gallery import View, empty, entry_masks, view_of, with_masks
from pura_server.prepared.slots import Slots

VIEWS_KEPT = 4
"""How many pictures S2 keeps, so that a question that S1 began before a change finds the gallery it began with. S1
keeps the latest: a question holds the picture it began with."""


class Pictures:
    """The latest views of the gallery, by digest, and the slots that are free. Thread-safe."""

    def __init__(self, side: Side, store: Store, keys: MaskKeys) -> None:
        self._side, self._store = side, store
        self.keys = keys
        self.slots = Slots()
        self._kept = 1 if side.first else VIEWS_KEPT
        self._lock = threading.Lock()
        self._views: OrderedDict[tuple[bytes, int], View] = OrderedDict()
        self._latest = empty()
        self._assignments = Assignments()
        self.refresh()

    def refresh(self) -> View:
        """Take a new picture; the one that questions use from now on."""
        view = view_of(
            self._store.snapshot(),
            self._latest,
            self._store.bodies,
            self._side.sizes,
            self.party,
            self.keys,
            self._assignments,
        )
        self._put(view)
        return view

    def renew(self, nonces: bytes, versions: tuple[int, int], *, fresh: bool = False) -> None:
        """Other masks for all free slots. fresh: see `Assignments`."""
        written = self._latest.written()
        self.slots.renew(nonces, versions, {block: one.slots for block, one in written.items()})
        names = self._assignments.renew(self.slots.masking(1), written, fresh=fresh)
        self._put(with_masks(self._latest, self.slots.version, names))

    def masks(self, block: MaskedBlock) -> Masks:
        """This server's masks of a block, for the correlations: those that the name stands for, whatever the gallery
        holds meanwhile. Raises `NotReady` for a name that is no more."""
        places = block.block * SLOTS + np.arange(SLOTS)
        return entry_masks(self.keys, self.party, self._side.sizes, places, self._assignments.find(block))

    @property
    def party(self) -> Party:
        """Which of the two servers this is."""
        return self._side.share.party

    def latest(self) -> View:
        """The picture that questions use."""
        return self._latest

    def forget_earlier(self) -> None:
        """Keep the latest only: what was erased goes with the last picture, or question, that has it."""
        with self._lock:
            while len(self._views) > 1:
                self._views.popitem(last=False)

    def current(self, digest: bytes) -> View:
        """The latest picture, for a change. Raises `NotReady` unless it has this digest."""
        view = self.latest()
        if view.digest != digest:
            raise NotReady("the two servers do not stand at the same gallery; try again")
        return view

    def find(self, digest: bytes, version: int) -> View:
        """The picture with this digest and with these masks of free slots. Raises `NotReady` if this server does not
        have that gallery (any more)."""
        with self._lock:
            if (digest, version) not in self._views:
                raise NotReady("the gallery is being changed; try again")
            return self._views[digest, version]

    def _put(self, view: View) -> None:
        with self._lock:
            self._latest = view
            name = view.digest, view.version
            self._views.pop(name, None)
            self._views[name] = view
            while len(self._views) > self._kept:
                self._views.popitem(last=False)
