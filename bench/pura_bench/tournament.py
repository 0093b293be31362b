"""Times the nearest entry on shares: `python -m pura_bench.tournament [--json FILE]`.

CPU microseconds an entry, both servers together in one thread, the least of several runs: `offline` is the material of
a question, made for several at once, `online` the question, of which no byte leaves the process. Every answer is
checked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from pura.crypto.ot import local_pair
from pura.crypto.rng import Rng, SeededRng
from pura.errors import ProtocolError
from pura.ids import Party
from pura.protocols.prepared import tournament
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.material import Material, provide
from pura.protocols.shares.select import Candidates, mask_of
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, Tally, run_pair
from pura_bench.machine import describe

T = TypeVar("T")
Row = dict[str, Any]
MOVE_S = 70e-6
"""What a move costs two servers on one machine, for which fan-ins are planned."""


class Bench:
    """Both servers' ends of the OTs."""

    def __init__(self, seed: int) -> None:
        self.rng: Rng = SeededRng(seed)
        there, back = local_pair(self.rng), local_pair(self.rng)
        self.ends = Ends(Party.S1, there[0], back[1]), Ends(Party.S2, back[0], there[1])
        self.draw = np.random.default_rng(seed)

    def material(self, need: Need, questions: int) -> tuple[float, float, list[list[Material]]]:
        """Seconds, bytes, and each server's material of so many questions."""
        tally, start = Tally(), time.process_time()
        one, two = (provide(end, need * questions, self.rng) for end in self.ends)
        whole = run_pair(one, two, tally)
        hands = [[made.part(need) for _ in range(questions)] for made in whole]
        return time.process_time() - start, tally.bytes_sent + tally.bytes_received, hands

    def prepared(self, entries: int, bits: int, questions: int, runs: int) -> Row:
        """One size."""
        top = ((1 << (bits - 1)) - 2) // 2
        fan_ins = tournament.best_fan_ins(entries, bits, MOVE_S)
        contest = tournament.Contest(entries, bits, top + 1, 1, fan_ins)
        need = tournament.need(contest)

        def ask(hands: list[Any], shares: tuple[Candidates, Candidates], tally: Tally) -> int:
            def party(me: int) -> Rounds[list[int]]:
                gate = np.array([1 - me], np.uint8)
                return tournament.nearest(hands[me], contest, shares[me], top + 1, gate, first=me == 0)

            (one,), (two,) = run_pair(party(0), party(1), tally)
            return one ^ two

        keys = self.draw.integers(-top, top, entries)
        row = self._timed(need, questions, runs, keys, bits, ask)
        moves = tournament.moves(contest)
        return {"entries": entries, "k": bits, "ots": need.ots / entries, "moves": moves, "fan_ins": fan_ins, **row}

    def _timed(
        self, need: Need, questions: int, runs: int, keys: np.ndarray, bits: int, ask: Callable[..., int],
    ) -> Row:  # fmt: skip
        entries, handles = len(keys), self.draw.integers(1, 1 << 62, len(keys)).astype(np.uint64)
        offline, online = [], []
        for _ in range(runs):
            spent, offline_bytes, hands = self.material(need, questions)
            offline.append(spent / questions)
            for pair in zip(*hands, strict=True):
                blind = self.draw.integers(0, 1 << 62, entries).astype(np.uint64)
                first = keys.astype(np.uint64) - blind & mask_of(bits)
                shares = Candidates(first, handles), Candidates(blind & mask_of(bits), np.zeros_like(handles))
                tally, start = Tally(), time.process_time()
                found = ask(list(pair), shares, tally)
                online.append(time.process_time() - start)
                if found != int(handles[np.argmin(keys)]):
                    raise ProtocolError("the nearest is another one")
        return {
            "offline_us": min(offline) / entries * 1e6,
            "online_us": min(online) / entries * 1e6,
            "offline_bytes": offline_bytes / questions / entries,
            "online_bytes": (tally.bytes_sent + tally.bytes_received) / entries,
        }


@click.command()
@click.option("--entries", "sizes", multiple=True, type=click.IntRange(1, 1 << 20), default=(1_000, 10_000, 100_000))
@click.option("--k", "widths", multiple=True, type=click.IntRange(5, 32), default=(17, 21))
@click.option("--questions", default=8, show_default=True, help="For so many at once material is made.")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(
    sizes: tuple[int, ...], widths: tuple[int, ...], questions: int, runs: int, seed: int, file: Path | None
) -> None:
    """Time the nearest entry on shares."""
    bench, machine, rows = Bench(seed), describe(seed), []
    click.echo(f"{'entries':>8}{'k':>4}{'OTs':>7}{'moves':>6}{'offline us':>12}{'online us':>11}{'B':>7}{'B':>6}")
    for entries in sizes:
        for bits in widths:
            row = bench.prepared(entries, bits, questions, runs)
            rows.append(row)
            click.echo(
                f"{entries:8d}{row['k']:4d}{row['ots']:7.1f}{row['moves']:6d}{row['offline_us']:12.2f}"
                f"{row['online_us']:11.2f}{row['offline_bytes']:7.0f}{row['online_bytes']:6.0f}"
            )
    click.echo(
        f"CPU microseconds and bytes an entry, both servers, seed {seed}; {machine['cpu']}, {machine['cores']} cores"
    )
    if file is not None:
        file.write_text(json.dumps({"machine": machine, "questions": questions, "runs": runs, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
