"""Which cells a run measures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from pura.ids import Engine
from pura_bench.speed.measure import PLAINTEXT, Cell

PREPARED, PUBLISHED = Engine.PREPARED.value, Engine.PUBLISHED.value
PROBES = 40
"""What is made ahead is made for many questions at once: enough of them that its cost shows."""
OTHERS = ((512, 3072), (512, 2048), (128, 3072))
"""D and key lengths beside 128 and 2048."""


def quick() -> list[Cell]:
    """Under 3 minutes on 2 cores."""
    return [
        Cell(PLAINTEXT, 100),
        Cell(PUBLISHED, 1, probes=2),
        Cell(PUBLISHED, 8, probes=2, stages=True),
        Cell(PREPARED, 1, probes=2),
        Cell(PREPARED, 100, probes=2, stages=True),
        Cell(PREPARED, 100, probes=2, network="wan"),
    ]


def core() -> list[Cell]:
    """What README quotes, and what it is compared with; some 15 minutes."""
    cells = [Cell(PUBLISHED, m, probes=2, stages=m == 100) for m in (1, 10, 100)]
    cells += [Cell(PLAINTEXT, m, probes=8) for m in (1000, 10_000)]
    cells += [Cell(PREPARED, m, probes=PROBES, stages=m >= 100) for m in (1, 100, 1000, 10_000)]
    cells += [Cell(PREPARED, 1000, key_bits=3072, probes=PROBES), Cell(PREPARED, 10_000, 512, probes=PROBES)]
    cells += [Cell(PREPARED, m, probes=PROBES, lockout=True) for m in (1000, 10_000)]
    cells += [Cell(PREPARED, 1000, network=name, probes=12) for name in ("lan", "wan")]
    return [*cells, Cell(PREPARED, 100_000, probes=12)]


def full() -> list[Cell]:
    """Everything: both lengths of keys and of templates, 1 to 10,000 entries, one worker and all, three networks.

    The published protocols are measured as far as they fit; the rest is extrapolated and marked. What README quotes
    comes last, so that a run that has to share its machine at first has it to itself then.
    """
    cells = [Cell(PUBLISHED, m, d, bits, probes=1) for d, bits in OTHERS for m in (1, 10)]
    cells += [Cell(PUBLISHED, m, probes=2, stages=m == 100) for m in (1, 10, 100)]
    cells += [Cell(PUBLISHED, m, probes=1, workers=0) for m in (100, 1000)]
    cells += [Cell(PLAINTEXT, m, d, probes=8) for d in (128, 512) for m in (1, 100, 1000, 10_000)]
    cells += [Cell(PREPARED, m, d, b, probes=12, stages=m == 1000) for d, b in OTHERS for m in (1, 100, 1000)]
    cells += [Cell(PREPARED, m, probes=12, stages=m >= 100) for m in (1, 100, 1000, 10_000)]
    return cells + [Cell(PREPARED, 1000, network=name) for name in ("lan", "wan")]


def custom(
    engines: Iterable[str],
    entries: Sequence[int],
    dimensions: Sequence[int],
    bits: Sequence[int],
    workers: Sequence[int],
    networks: Sequence[str],
    probes: int,
) -> list[Cell]:
    """All combinations of what was asked for; each size is taken apart once."""
    cells = []
    for engine, d in itertools.product(engines, dimensions):
        if engine == PLAINTEXT:
            cells += [Cell(engine, m, d, probes=probes) for m in sorted(entries)]
            continue
        for b, m in itertools.product(bits, sorted(entries)):
            ways = itertools.product(workers, networks)
            cells += [Cell(engine, m, d, b, w, net, probes, stages=i == 0) for i, (w, net) in enumerate(ways)]
    return cells
