"""Which cells a run measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pura.ids import Engine
from pura_bench.speed.measure import PLAINTEXT, Cell

PACKED, PUBLISHED = Engine.PACKED.value, Engine.PUBLISHED.value
OTHERS = ((512, 3072), (512, 2048), (128, 3072))
"""D and key lengths beside 128 and 2048."""


def quick() -> list[Cell]:
    """Under 3 minutes on 2 cores."""
    return [
        Cell(PLAINTEXT, 100),
        Cell(PUBLISHED, 1, probes=2),
        Cell(PUBLISHED, 8, probes=2, stages=True),
        Cell(PACKED, 1, probes=2),
        Cell(PACKED, 100, probes=2, stages=True),
        Cell(PACKED, 100, probes=2, workers=0, network="wan"),
    ]


def core() -> list[Cell]:
    """What README quotes, and what it is compared with; some 15 minutes."""
    cells = [Cell(PUBLISHED, m, probes=2, stages=m == 100) for m in (1, 10, 100)]
    cells += [Cell(PLAINTEXT, m, probes=8) for m in (1000, 10_000)]
    cells += [Cell(PACKED, 1000, 512, 2048, workers=1), Cell(PACKED, 1000, 128, 3072, workers=1)]
    cells += [Cell(PACKED, m, workers=1, stages=m >= 100) for m in (1, 100, 1000, 10_000)]
    return cells + [Cell(PACKED, 1000, workers=w, network=n) for w, n in ((0, "loopback"), (1, "lan"), (1, "wan"))]


def full() -> list[Cell]:
    """Everything: both lengths of keys and of templates, 1 to 10,000 entries, one worker and all, three networks.

    The published protocols are measured as far as they fit; the rest is extrapolated and marked. What README quotes
    comes last, so that a run that has to share its machine at first has it to itself then.
    """
    cells = [Cell(PUBLISHED, m, d, bits, probes=1) for d, bits in OTHERS for m in (1, 10)]
    for d, bits in OTHERS:
        for m in (1, 100, 1000):
            apart = m == 1000 and (d, bits) != (512, 3072)
            cells += [Cell(PACKED, m, d, bits, workers=1, stages=apart), Cell(PACKED, m, d, bits, workers=0)]
    cells += [Cell(PUBLISHED, m, probes=2, stages=m == 100) for m in (1, 10, 100)]
    cells += [Cell(PUBLISHED, m, probes=1, workers=0) for m in (100, 1000)]
    cells += [Cell(PLAINTEXT, m, d, probes=8) for d in (128, 512) for m in (1, 100, 1000, 10_000)]
    for m in (1, 100, 1000, 10_000):
        cells += [Cell(PACKED, m, workers=1, stages=m >= 100), Cell(PACKED, m, workers=0)]
    return cells + [Cell(PACKED, 1000, workers=0, network=name) for name in ("lan", "wan")]


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
    for engine in engines:
        for d in dimensions:
            if engine == PLAINTEXT:
                cells += [Cell(engine, m, d, probes=probes) for m in sorted(entries)]
                continue
            for b in bits:
                for m in sorted(entries):
                    for i, (w, network) in enumerate((w, network) for w in workers for network in networks):
                        cells.append(Cell(engine, m, d, b, w, network, probes, stages=i == 0))
    return cells
