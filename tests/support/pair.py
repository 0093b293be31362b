"""`pura_bench.inprocess` with the test keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from views.world import Keys, exact

from pura.crypto.keys import load_public, load_share
from pura.params import Params
from pura_bench import inprocess
from pura_bench.inprocess import directions, opened_unchecked
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
    """With test keys of so many bits."""

    def __init__(self, folder: Path, *, n_bits: int = 2048, **how: Any) -> None:
        super().__init__(folder, FIXTURES / f"test-keys-{n_bits}", **how)


class LatticePair(Pair):
    """With correlations as servers make them."""

    correlate = staticmethod(lattice)
