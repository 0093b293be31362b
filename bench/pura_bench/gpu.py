"""Times what a server multiplies, with numpy and with torch: `pura bench gpu [--device cuda] [--json FILE]`.

For each size of the gallery, all its blocks, one direction, in one process with one thread of numpy's:

    evaluate   V's answer to the rows of R questions: c_0', c_1' and its own share
    open       K's share of that answer
    own        a server's product of its rows with its own masks
    sums       the online part of one question: <a, E_i> + <delta, Y_i>

The first three are seconds for R questions; both servers do each of them once. Times are elapsed, from numbers in this
machine's memory to numbers in it, the least of some runs; `cpu` is what the process spent meanwhile. Randomness is
drawn from one seed on the processor for both, so every byte that torch makes is compared with numpy's, and what K opens
with plain integers. All blocks hold the same masks, each in memory of its own.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: as a server has it

import click
import numpy as np

from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import SLOTS, LatticeParams
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError
from pura.ids import BlockId
from pura.protocols.prepared.arithmetic import NUMPY, OnNumpy
from pura.protocols.prepared.blocks import Block, Matrix
from pura.protocols.prepared.correlations import MaskedBlock
from pura_bench.machine import describe

if TYPE_CHECKING:
    from pura.protocols.prepared.on_torch import OnTorch

T = TypeVar("T")
STEPS = ("evaluate", "open", "own", "sums")


class Gallery:
    """What both implementations work on: rows, masks, E and Y, and a keeper's ciphertexts of the masks."""

    def __init__(self, params: LatticeParams, blocks: int, rows: int, seed: int) -> None:
        self.params, self.seed = params, seed
        rng = SeededRng(f"gpu {seed}")
        k, d = params.bits, params.dimension
        self.seeds = [rng.bytes(32) for _ in range(2)]
        self.keeper = Keeper(params, self.seeds[0], self._rng("key"))
        self.masks = self._numbers(rng, SLOTS, d).astype(np.uint32)
        self.body = self.keeper.encrypt(self.seeds[1], self.masks.T, rng)
        self.rows = self._numbers(rng, rows, d)
        self.a, self.delta = self._numbers(rng, 2, d)
        e, y = (self._numbers(rng, SLOTS, d).astype(np.uint32) for _ in range(2))
        self.blocks = [Block(MaskedBlock(BlockId(i), 0), np.roll(e, i, 0), np.roll(y, i, 1)) for i in range(blocks)]
        self.right: Matrix = (self.rows @ self.masks.T.astype(np.uint64) & np.uint64((1 << k) - 1)).astype(np.uint32)

    def _rng(self, tag: object) -> SeededRng:
        return SeededRng(f"gpu {self.seed} {tag}")

    def _numbers(self, rng: SeededRng, *shape: int) -> np.ndarray:
        return np.frombuffer(rng.bytes(8 * math.prod(shape)), np.uint64).reshape(shape) >> np.uint64(
            64 - self.params.bits
        )

    def measure(
        self, arithmetic: OnNumpy | OnTorch, runs: int, made: dict[str, list[Any]]
    ) -> dict[str, dict[str, float]]:
        """Seconds of each step. `made`: filled in the first time, compared with the next. Raises `ProtocolError`."""
        p = self.params
        keeper = arithmetic.keeper(p, self.seeds[0], self._rng("key"))
        evaluator = arithmetic.evaluator(p, self.seeds[0], keeper.public)
        began = time.perf_counter()
        held = []
        for block in self.blocks:
            held.append(arithmetic.ciphertexts(p, block.masked.block))
            held[-1].load(0, self.seeds[1], self.body, p.dimension)
        out = {"load": {"wall_s": time.perf_counter() - began}}
        out["evaluate"], rows = least(
            runs, lambda: [evaluator.rows(self.rows, one, self._rng(i)) for i, one in enumerate(held)]
        )
        out["open"], opened = least(runs, lambda: [keeper.open(body, len(self.rows)) for body, _ in rows])
        out["own"], own = least(
            runs, lambda: [arithmetic.own_products(self.rows, self.masks, p.bits) for _ in self.blocks]
        )
        began = time.perf_counter()
        arithmetic.sums(self.blocks, self.a, self.delta, p.bits)
        out["first_sums"] = {"wall_s": time.perf_counter() - began}
        out["sums"], sums = least(runs, lambda: arithmetic.sums(self.blocks, self.a, self.delta, p.bits))
        mask = np.uint32((1 << p.bits) - 1)
        right = all(((share + k & mask) == self.right).all() for (_, share), k in zip(rows, opened, strict=True))
        if not right or any((o != self.right).any() for o in own):
            raise ProtocolError("a product is wrong")
        mine = {"rows": [body for body, _ in rows], "sums": [sums.tobytes()]}
        for name, values in mine.items():
            if made.setdefault(name, values) != values:
                raise ProtocolError("torch and numpy differ")
        return out


def least(runs: int, work: Callable[[], T]) -> tuple[dict[str, float], T]:
    """The least elapsed and CPU seconds of some runs after an untimed one, and a result. What `work` gives is in this
    machine's memory, so a device has ended."""
    done = work()
    wall = cpu = math.inf
    for _ in range(runs):
        start, spent = time.perf_counter(), time.process_time()
        done = work()
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - spent)
    return {"wall_s": wall, "cpu_s": cpu}, done


@click.command()
@click.option("--device", default="cuda", show_default=True, help="As torch names it.")
@click.option("--entries", type=click.IntRange(1, 1 << 20), multiple=True, default=(10_000, 100_000, 1_000_000))
@click.option("--rows", default=64, show_default=True, type=click.IntRange(1, 1024), help="Questions at once.")
@click.option("--scale", default=128, show_default=True, type=click.IntRange(16, 1024))
@click.option("--dimension", default=128, show_default=True, type=click.IntRange(1, 1024))
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(
    device: str, entries: tuple[int, ...], rows: int, scale: int, dimension: int, runs: int, seed: int,
    file: Path | None,
) -> None:  # fmt: skip
    """Time the arithmetic of rows and questions, with numpy and with torch on a GPU."""
    import torch

    from pura.protocols.prepared.on_torch import OnTorch

    torch.set_num_threads(1)
    machine = describe(seed)
    machine["device"] = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    machine["versions"]["torch"] = torch.__version__  # a build names its CUDA
    params = LatticeParams.of((2 * scale**2 + 1).bit_length() + 1, dimension)
    on_torch = OnTorch(device)
    click.echo(f"{machine['cpu']}, one core; torch {torch.__version__} on {machine['device']}; seed {seed}")
    click.echo(f"S = {scale}, D = {dimension}, k = {params.bits}, {rows} rows, least of {runs}; milliseconds")
    click.echo(f"{'entries':>9}{'':>8}" + "".join(f"{step:>12}" for step in STEPS) + f"{'ns/slot/row':>13}{'equal':>7}")
    table: list[dict[str, Any]] = []
    for count in sorted(entries):
        blocks = -(-count // SLOTS)
        gallery = Gallery(params, blocks, rows, seed)
        made: dict[str, list[Any]] = {}
        row: dict[str, Any] = {"entries": count, "blocks": blocks, "rows": rows}
        for name, one in (("numpy", NUMPY), ("torch", on_torch)):
            row[name] = gallery.measure(one, runs, made)
            spent = [row[name][step]["wall_s"] for step in STEPS]
            per = sum(spent[:3]) / (blocks * SLOTS * rows) * 1e9
            line = "".join(f"{1e3 * s:12.2f}" for s in spent)
            click.echo(f"{count:9}{name:>8}{line}{per:13.1f}{'yes' if name == 'torch' else '':>7}")
        row["equal"] = True
        row["ratio"] = {step: row["numpy"][step]["wall_s"] / row["torch"][step]["wall_s"] for step in STEPS}
        if device.startswith("cuda"):
            row["device_peak_bytes"] = torch.cuda.max_memory_allocated(device)
        table.append(row)
        click.echo(" " * 17 + "".join(f"{row['ratio'][step]:11.1f}x" for step in STEPS))
        if file is not None:  # after every size, so that a run that is cut short leaves what it has
            what = {"machine": machine, "scale": scale, "dimension": dimension, "runs": runs}
            file.write_text(json.dumps({**what, "table": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
