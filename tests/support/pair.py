"""`pura_bench.inprocess` with the test keys, and a client that knows what the answers should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from views.world import Keys, exact

from pura.crypto.context import NewLabel, label_hash
from pura.crypto.encoding import distance2
from pura.crypto.keys import load_public, load_share
from pura.ids import Handle
from pura.params import Params
from pura_bench import inprocess
from pura_bench.inprocess import directions, opened_unchecked
from pura_server.backend import NewEntry
from pura_server.engines import lattice

__all__ = ["FIXTURES", "KEYS", "PK", "LatticePair", "Pair", "directions", "opened_unchecked", "templates"]

FIXTURES = Path(__file__).parents[1] / "fixtures"
PK = load_public(FIXTURES / "test-keys-2048" / "public.key")
KEYS = Keys(
    PK,
    (
        load_share(FIXTURES / "test-keys-2048" / "s1.share", PK),
        load_share(FIXTURES / "test-keys-2048" / "s2.share", PK),
    ),
)


def templates(params: Params, count: int, seed: int = 0) -> np.ndarray:
    """Random vectors of length S, with 1, 4 or 16 coordinates that are not 0: (count, D)."""
    return exact(count, params.dimension, params.scale, seed)


class Pair(inprocess.Pair):
    """With test keys of so many bits. `model`: what both servers should know."""

    def __init__(self, folder: Path, *, n_bits: int = 2048, **how: Any) -> None:
        super().__init__(folder, FIXTURES / f"test-keys-{n_bits}", **how)
        self.model: dict[Handle, np.ndarray] = {}

    def refill(self) -> int:
        """All offline work that there is; how many pieces it was."""
        count = 0
        while (party := self.s1.tidy() or self.s1.refill()) is not None:
            self.run(party)
            count += 1
        return count

    def again(self, item: NewEntry) -> NewEntry:
        """The same enrolment with a new proof, as a client sends it that heard nothing."""
        return self.entry_of(self.sealed[item.enrolment_id], item.label, item.enrolment_id)

    def enroll(self, ys: np.ndarray, keep_days: int = 0) -> list[Handle]:
        handles = super().enroll(ys, keep_days)
        self.model |= zip(handles, ys, strict=True)
        return handles

    def forget(self, handles: Sequence[Handle]) -> int:
        count: int = self.run(self.s1.forget(handles))
        for h in handles:
            self.model.pop(h, None)
        return count

    def relabel(self, labels: dict[Handle, bytes]) -> int:
        """As a client does that has just looked at the roster."""
        count: int = self.run(self.s1.relabel(self.new_labels(labels)))
        return count

    def new_labels(self, labels: dict[Handle, bytes]) -> list[NewLabel]:
        there = self.labels()
        return [NewLabel(handle, label_hash(there.get(handle, b"")), label) for handle, label in labels.items()]

    def labels(self) -> dict[Handle, bytes]:
        """What the roster says."""
        return {one.handle: one.label for one in self.s1.roster().entries}

    def expected(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[int]:
        """The distances of the entries that the answer should name, nearest first."""
        named = self.model if handles is None else {h: self.model[h] for h in handles}
        near = sorted(int(d) for d in distance2(x, np.array(list(named.values())))) if named else []
        tau = self.params.tau_for(None if handles is None else len(named))
        return [d for d in near if d <= tau][: self.params.top_k]

    def check(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[Handle]:
        """Ask, and compare with plain integers."""
        found = self.ask(x, handles)
        distances = [int(distance2(x, self.model[h][None])[0]) for h in found]
        assert distances == self.expected(x, handles)
        assert len(set(found)) == len(found)
        return found


class LatticePair(Pair):
    """With correlations as servers make them."""

    correlate = staticmethod(lattice)
