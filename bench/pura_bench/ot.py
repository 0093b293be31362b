"""Times OT extension and AND triples: `python -m pura_bench.ot [--json FILE]`.

Nanoseconds of CPU for one OT at each end, in one thread, the least of several runs after an untimed one: `extend` up to
the rows, `pads` and `bits` the hashing of them; `triple` is both directions at one server. Every result is checked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from pura.crypto import bits, ot
from pura.crypto.rng import SeededRng
from pura.errors import ProtocolError
from pura.protocols.packed import extension
from pura.rounds import run_pair
from pura_bench.machine import describe

T = TypeVar("T")
Row = dict[str, float]

COLUMNS = ("receiver_extend", "receiver_pads", "receiver_bits", "sender_extend", "sender_pads", "sender_bits", "triple")
STAGES = ("prg_and_fold", "transpose", "hash")


class Clock:
    """The least CPU time of each named step, in nanoseconds for one OT."""

    def __init__(self, n: int) -> None:
        self._n = n
        self.least: Row = {}

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Do the work; keep its time if it is the least so far."""
        start = time.process_time()
        done = work()
        spent = (time.process_time() - start) / self._n * 1e9
        self.least[name] = min(spent, self.least.get(name, spent))
        return done


def measure(n: int, depth: int, runs: int, seed: int) -> Row:
    """One size: nanoseconds of CPU by column, and the bytes that an OT takes on the wire."""
    rng = SeededRng(seed)
    sender, receiver = ot.local_pair(rng, depth)
    back = ot.local_pair(rng, depth)
    one, two = extension.Ends(sender, back[1]), extension.Ends(back[0], receiver)
    run_pair(extension.triples(one, 128, rng), extension.triples(two, 128, rng))  # makes the ciphers
    clock, message = Clock(n), b""
    for _ in range(runs):
        for kind in ("pads", "bits"):
            ask = clock.run("receiver_extend", lambda: receiver.extend(n, rng))
            message, received = ask
            sent = clock.run("sender_extend", lambda message=message: sender.extend(n, message))  # type: ignore[misc]
            if kind == "pads":
                check_pads(
                    clock.run("sender_pads", sent.pads), clock.run("receiver_pads", received.pads), received.choices
                )
            else:
                check_bits(
                    clock.run("sender_bits", sent.bits), clock.run("receiver_bits", received.bits), received.choices
                )
        first, second = clock.run(
            "both", lambda: run_pair(extension.triples(one, n, rng), extension.triples(two, n, rng))
        )
        if ((first.a ^ second.a) & (first.b ^ second.b) != first.c ^ second.c).any():
            raise ProtocolError("a triple is wrong")
    row = {name: clock.least[name] for name in COLUMNS[:-1]}
    return {"n": n, "k": depth, **row, "triple": clock.least["both"] / 2, "bytes": len(message) / n}


def stages(n: int, depth: int, runs: int, seed: int) -> Row:
    """Where the time of one OT with a 16-byte pad goes at the receiver, nanoseconds of CPU."""
    rng = SeededRng(seed)
    forest = ot.local_pair(rng, depth)[1]._forest
    words = min(n // 64, ot._CHUNK)
    n = 64 * words
    planes, sums = np.empty((128, words), np.uint64), np.empty((128 // depth, words), np.uint64)
    rows = np.empty((n, 2), np.uint64)
    clock, hashing = Clock(n), bits.TweakedHash(bytes(16))
    for i in range(runs + 1):
        if i == 1:
            clock.least.clear()
        clock.run("prg_and_fold", lambda: forest.expand(0, 0, planes, sums))
        clock.run("transpose", lambda: bits.transpose(planes, rows))
        clock.run("hash", lambda: sum(1 for _ in hashing.tiles(0, rows)))
    return {"n": n, "k": depth, **{name: clock.least[name] for name in STAGES}}


def check_pads(sent: tuple[bits.Octets, bits.Octets], received: bits.Octets, choices: bits.Octets) -> None:
    """Raises `ProtocolError` unless the receiver has the pads that it chose."""
    which = np.unpackbits(choices, bitorder="little").astype(bool)
    if (received != np.where(which[:, None], sent[1], sent[0])).any():
        raise ProtocolError("a pad is wrong")


def check_bits(sent: tuple[bits.Words, bits.Words], received: bits.Words, choices: bits.Octets) -> None:
    """Raises `ProtocolError` unless the receiver has the bits that it chose."""
    if (received != sent[0] ^ choices.view(np.uint64) & (sent[0] ^ sent[1])).any():
        raise ProtocolError("a bit is wrong")


@click.command()
@click.option("--log2", "sizes", type=click.IntRange(7, 22), multiple=True, default=(12, 14, 16, 18, 20))
@click.option("--k", "depths", type=click.Choice(["1", "2", "4", "8"]), multiple=True, default=("1", "4"))
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(sizes: tuple[int, ...], depths: tuple[str, ...], runs: int, seed: int, file: Path | None) -> None:
    """Time OT extension: CPU nanoseconds an OT at each end; k = 1 is plain IKNP."""
    machine = describe(seed)
    report: dict[str, Any] = {"machine": machine, "runs": runs, "unit": "CPU ns an OT", "rows": [], "stages": []}
    click.echo(f"{'k':>2}{'OTs':>9}" + "".join(f"{name:>17}" for name in COLUMNS) + f"{'bytes':>8}")
    for k in (int(d) for d in depths):
        for n in (1 << size for size in sorted(sizes)):
            row = measure(n, k, runs, seed)
            report["rows"].append(row)
            click.echo(f"{k:2}{n:9}" + "".join(f"{row[name]:17.1f}" for name in COLUMNS) + f"{row['bytes']:8.1f}")
        stage = stages(1 << max(sizes), k, runs, seed)
        report["stages"].append(stage)
        click.echo("   of which " + ", ".join(f"{name} {stage[name]:.1f}" for name in STAGES))
    click.echo(f"CPU nanoseconds an OT, least of {runs} runs, seed {seed}; {machine['cpu']}, {machine['cores']} cores")
    click.echo(
        f"python {machine['python']}, " + ", ".join(f"{p} {machine['versions'][p]}" for p in ("numpy", "cryptography"))
    )
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
