"""Times correlations by ring-LWE: `python -m pura_bench.lattice [--json FILE]`.

CPU nanoseconds for one slot and one row in one direction, one thread, the least of several runs: `evaluate` is V's
part, of which `product` are the matrix products; `open` is K's; `own` is a server's product of its rows with its own
masks. A question takes all of it in both directions. Every result is checked.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: as a server has it

import click
import numpy as np

from pura.crypto.masks import NONCE_BYTES, MaskKeys
from pura.crypto.rlwe.evaluator import A, B, Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import DIGITS, LOSS_SLOTS, SLOTS, LatticeParams
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError
from pura.protocols.prepared.arithmetic import NUMPY
from pura_bench.machine import describe

T = TypeVar("T")
COLUMNS = ("product", "evaluate", "open", "own")
SIZES = (1_000, 10_000, 1_000_000)
"""Entries for which the cost of a question is printed."""


class Bench:
    """One direction: a keeper's masks of one block, and its key."""

    def __init__(self, params: LatticeParams, seed: int) -> None:
        self.params, self.rng = params, SeededRng(seed)
        self.seeds = [self.rng.bytes(32) for _ in range(2)]
        self.keys = MaskKeys.draw(self.rng)
        self.keeper = Keeper(params, self.seeds[0], self.rng)
        self.evaluator = Evaluator(params, self.seeds[0], self.keeper.public)
        self.ciphertexts = Ciphertexts(params)

    def once(self, runs: int) -> dict[str, float]:
        """Milliseconds of CPU for what a block takes once, and bytes a slot."""
        p, nonces = self.params, np.zeros((SLOTS, NONCE_BYTES), np.uint8)
        versions, places = np.ones(SLOTS, np.int64), np.arange(SLOTS)
        masks, drawn = least(runs, lambda: self.keys.rows(p.dimension, p.bits, versions, nonces, places))
        self.masks = drawn
        encrypt, body = least(runs, lambda: self.keeper.encrypt(self.seeds[1], drawn.T, self.rng))
        load, _ = least(runs, lambda: self.ciphertexts.load(0, self.seeds[1], body, p.dimension))
        sizes = {"sent": len(body) / SLOTS, "held": self.ciphertexts.held / SLOTS}
        return {"masks_ms": masks * 1e3, "encrypt_ms": encrypt * 1e3, "load_ms": load * 1e3, **sizes}

    def rows(self, count: int, runs: int) -> dict[str, float]:
        """Nanoseconds of CPU a slot and row, and bytes."""
        k = self.params.bits
        w = np.frombuffer(self.rng.bytes(8 * count * self.params.dimension), np.uint64).reshape(count, -1)
        pieces = self.evaluator._pieces(w)
        sums = np.empty((DIGITS, count, SLOTS))
        product, _ = least(runs, lambda: [self.ciphertexts.times(pieces, part, sums) is None for part in (A, B)])
        evaluate, (body, share) = least(runs, lambda: self.evaluator.rows(w, self.ciphertexts, self.rng))
        opened, got = least(runs, lambda: self.keeper.open(body, count))
        own, right = least(runs, lambda: NUMPY.own_products(w, self.masks, k))
        if ((share + got.astype(np.int64) - right) & ((1 << k) - 1)).any():
            raise ProtocolError("a share is wrong")
        spent = dict(zip(COLUMNS, (product, evaluate, opened, own), strict=True))
        per = {name: seconds / (count * SLOTS) * 1e9 for name, seconds in spent.items()}
        both = 2 * (per["evaluate"] + per["open"] + per["own"])
        return {"rows": count, **per, "both_directions": both, "bytes": len(body) / (count * SLOTS)}


def least(runs: int, work: Callable[[], T]) -> tuple[float, T]:
    """The least CPU seconds of some runs after an untimed one, and a result."""
    done, spent = work(), math.inf
    for _ in range(runs):
        start = time.process_time()
        done = work()
        spent = min(spent, time.process_time() - start)
    return spent, done


@click.command()
@click.option("--scale", default=128, show_default=True, type=click.IntRange(16, 1024))
@click.option("--dimension", default=128, show_default=True, type=click.IntRange(1, 1024))
@click.option("--rows", "counts", type=click.IntRange(1, 4096), multiple=True, default=(1, 4, 16, 64))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(scale: int, dimension: int, counts: tuple[int, ...], runs: int, seed: int, file: Path | None) -> None:
    """Time correlations: CPU nanoseconds a slot and row, and what a question loses."""
    machine = describe(seed)
    params = LatticeParams.of((2 * scale**2 + 1).bit_length() + 1, dimension)
    bench = Bench(params, seed)
    once = bench.once(runs)
    click.echo(f"S = {scale}, D = {dimension}, k = {params.bits}, numbers in {params.pieces} pieces")
    click.echo("once a block: " + ", ".join(f"{name} {value:.1f}" for name, value in once.items()))
    click.echo(f"{'rows':>5}" + "".join(f"{name:>17}" for name in (*COLUMNS, "both_directions", "bytes")))
    table = []
    for count in sorted(counts):
        row = bench.rows(count, runs)
        table.append(row)
        click.echo(f"{count:5}" + "".join(f"{row[name]:17.1f}" for name in (*COLUMNS, "both_directions", "bytes")))
    losses = {str(m): loss_of(params, m) for m in SIZES}
    for m, (follows, deviates) in losses.items():
        ms = table[-1]["both_directions"] * _slots(int(m)) / 1e6
        click.echo(
            f"{m:>8} entries: {ms:.2f} ms a question, loses 2^{follows:.1f}, a keeper deviating 2^{deviates:.1f}"
        )
    click.echo(f"log2 of the loss at {LOSS_SLOTS} slots: {math.log2(params.loss(LOSS_SLOTS)):.1f}")
    click.echo(f"least of {runs} runs, seed {seed}; {machine['cpu']}, {machine['cores']} cores")
    if file is not None:
        report: dict[str, Any] = {"machine": machine, "runs": runs, "scale": scale, "dimension": dimension}
        report |= {"bits": params.bits, "pieces": params.pieces, "once": once, "rows": table, "log2_loss": losses}
        file.write_text(json.dumps(report, indent=1) + "\n")


def loss_of(params: LatticeParams, entries: int) -> tuple[float, float]:
    """log2 of what a question about so many entries loses, in both directions; and to one keeper that deviates."""
    slots = _slots(entries)
    return math.log2(params.loss(2 * slots)), math.log2(params.deviating_loss(slots))


def _slots(entries: int) -> int:
    return -(-entries // SLOTS) * SLOTS


if __name__ == "__main__":
    main()
