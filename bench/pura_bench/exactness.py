"""The long run of exactness: encrypted answers against plain integers, on random and on adversarial galleries.

    python -m pura_bench.exactness --out docs/results/exactness.json

Both servers in one process, on real stores, with a real lattice between them. The galleries are written by
`pura_bench.gallery`; every answer comes from the protocol. An answer is right when the distances of the entries it
names are, in order, those of the nearest entries within tau, no entry named twice; which of several entries at the same
distance is named, is free.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import distance2, quantise, quantise_many
from pura.crypto.rng import SystemRng
from pura.ids import Engine, Handle, Party
from pura.params import DEFAULT_SCALE, Params
from pura.protocols.prepared.correlations import SLOTS
from pura_bench import gallery as galleries
from pura_bench.inprocess import Pair
from pura_bench.results import body, watch_load, write
from pura_bench.speed.deployment import key_folder
from pura_server.engines import lattice

Table = NDArray[np.int64]
NEAREST = 0.25
"""Of the largest squared distance: tau of a case, unless it is put exactly on a distance."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One gallery and its questions. `kind` names a function of GALLERIES; `filled` is the share of slots in use up to
    the last one that is."""

    kind: str
    dimension: int
    entries: int
    top_k: int = 1
    filled: float = 1.0
    questions: int = 4
    scale: int = DEFAULT_SCALE
    slow_line: bool = False
    """Whether the tournament is shaped for a line of 20 ms."""


class Servers(Pair):
    """Both, in this process, on a gallery that somebody wrote, with correlations as real servers make them."""

    correlate = staticmethod(lattice)

    def restart(self, tau: int, *, slow_line: bool) -> None:
        """Both again, on what the stores hold, with one threshold for questions of both kinds."""
        self.close()
        self.params = dataclasses.replace(self.params, tau_verify=tau, tau_identify=tau)
        ticks = iter(range(1 << 62))
        self.options["clock"] = (lambda: 0.02 * next(ticks)) if slow_line else time.perf_counter
        self.open()
        self.connect()


# --- galleries ------------------------------------------------------------------------------------------------------


def random_vectors(case: Case, params: Params, draw: np.random.Generator) -> Table:
    """Random directions."""
    return quantise_many(draw.standard_normal((case.entries, case.dimension)), params)


def ties(case: Case, params: Params, draw: np.random.Generator) -> Table:
    """Few different vectors, many times each."""
    few = quantise_many(draw.standard_normal((max(1, case.entries // 20), case.dimension)), params)
    return few[draw.integers(0, len(few), case.entries)]


def extremes(case: Case, params: Params, draw: np.random.Generator) -> Table:
    """All length in one coordinate, of either sign."""
    out = np.zeros((case.entries, case.dimension), np.int64)
    out[np.arange(case.entries), draw.integers(0, case.dimension, case.entries)] = params.scale
    out *= draw.choice([-1, 1], (case.entries, 1))
    return out


def close_together(case: Case, params: Params, draw: np.random.Generator) -> Table:
    """Distances that differ by a few units from one another."""
    centre = np.repeat(draw.standard_normal((1, case.dimension)), case.entries, axis=0)
    return quantise_many(centre + 0.02 * draw.standard_normal(centre.shape), params)


def sparse(case: Case, params: Params, draw: np.random.Generator) -> Table:
    """Few coordinates that are not zero, large and alike."""
    out = np.zeros((case.entries, case.dimension))
    for row in out:
        row[draw.choice(case.dimension, 3, replace=False)] = draw.choice([-1, 1], 3)
    return quantise_many(out, params)


GALLERIES = {f.__name__: f for f in (random_vectors, ties, extremes, close_together, sparse)}

CASES = (
    Case("random_vectors", 128, 10_000, questions=2),
    Case("ties", 128, 10_000, questions=1, top_k=10),
    Case("random_vectors", 512, 500, questions=2, scale=512),
    *(Case(kind, d, 200, top_k=k) for kind in ("ties", "extremes", "close_together") for d, k in ((128, 10), (192, 1))),
    *(Case("sparse", d, 150, top_k=k) for d, k in ((128, 3), (192, 1))),
    *(Case("random_vectors", 128, 250, filled=f, slow_line=s) for f, s in ((0.01, True), (0.5, False))),
    Case("ties", 128, 500, slow_line=True, top_k=4),
    *(Case("random_vectors", d, m, questions=2) for d in (16, 128, 192, 512) for m in (1, 2, SLOTS - 1, SLOTS + 1)),
    *(Case("random_vectors", 16, 300, questions=2, scale=s) for s in (16, 64, 512)),
    *(Case("random_vectors", d, 300, questions=2, scale=512) for d in (128, 1024)),
    *(Case(kind, 512, 100, top_k=k, questions=2) for kind in ("ties", "extremes") for k in (1, 10)),
    Case("sparse", 512, 100, questions=2),
    Case("close_together", 192, 1000),
    Case("random_vectors", 512, 2000, questions=2),
)
"""The largest first: a run that is cut short has them."""
SMALL = (
    Case("ties", 16, 90, questions=2, scale=16),
    Case("sparse", 16, 30, top_k=3, filled=0.3, questions=2, slow_line=True),
)


def questions(case: Case, params: Params, gallery: Table, draw: np.random.Generator) -> Iterator[Table]:
    """Entries themselves, their neighbours, the opposite of one, and strangers."""
    for i in range(case.questions):
        y = gallery[draw.integers(0, len(gallery))]
        match i % 4:
            case 0:
                yield y
            case 1:
                near = y.copy()  # two coordinates change places: the length stays
                i, j = draw.choice(params.dimension, 2, replace=False)
                near[[i, j]] = near[[j, i]]
                yield near
            case 2:
                yield -y
            case _:
                yield quantise(draw.standard_normal(params.dimension), params)


def wrong(servers: Servers, gallery: Mapping[Handle, Table], x: Table, named: Sequence[Handle] | None) -> str:
    """What is wrong with the answer to one question; empty when nothing is."""
    found, params = servers.ask(x, named), servers.params
    of = gallery if named is None else {h: gallery[h] for h in named}
    got = [int(distance2(x, of[h][None])[0]) for h in found if h in of]
    tau = params.tau_for(None if named is None else len(named))
    expected = [d for d in sorted(distance2(x, np.array(list(of.values()))).tolist()) if d <= tau][: params.top_k]
    return "" if got == expected and len(set(found)) == len(found) else f"{got} instead of {expected}"


def examine(case: Case, keys: Path, seed: Sequence[int]) -> dict[str, Any]:
    """One case: a row of the result. Raises `ClickException` at the first wrong answer."""
    draw = np.random.default_rng(list(seed))
    with tempfile.TemporaryDirectory() as folder:
        how = {"dimension": case.dimension, "scale": case.scale, "top_k": case.top_k}
        servers = Servers(Path(folder), keys, SystemRng(), **how)
        params = servers.params
        gallery = GALLERIES[case.kind](case, params, draw)
        asked = list(questions(case, params, gallery, draw))
        # on a distance that occurs, so that "at most" is not "less than": the same question is asked with one less
        exact = int(np.median(np.sort(distance2(asked[-1], gallery))[: max(2, case.top_k)]))
        tau = exact if draw.integers(0, 2) else int(NEAREST * 4 * params.scale**2)
        began, count = time.perf_counter(), 0
        slots = max(case.entries, round(case.entries / case.filled))
        places = np.sort(draw.choice(slots, case.entries, replace=False)).astype(np.int64)
        labels = [f"person {i}" for i in range(case.entries)]
        masks = servers.mask_keys(Party.S1), servers.mask_keys(Party.S2)
        both = galleries.changes(params, masks, gallery, places, labels, servers.rng)
        for store, change in zip((servers.store1, servers.store2), both, strict=True):
            store.apply(change)
        handles = [entry.handle for entry in both[0].adds]
        written = dict(zip(handles, gallery, strict=True))
        built = time.perf_counter()
        for threshold in (tau, max(0, exact - 1)):
            servers.restart(threshold, slow_line=case.slow_line)
            some = [handles[i] for i in draw.choice(len(handles), min(len(handles), 5), replace=False)]
            for i, x in enumerate(asked if threshold == tau else asked[-1:]):
                for named in (None, some[:1], some) if (i, threshold) == (0, tau) else (None,):
                    count += 1
                    if problem := wrong(servers, written, x, named):
                        raise click.ClickException(f"{case}: {problem}")
        servers.close()
    took = time.perf_counter() - built
    settings = {**dataclasses.asdict(case), "key_bits": params.n_bits, "tau": tau}
    return {**settings, "answers": count, "exact": True, "build_s": round(built - began, 1), "ask_s": round(took, 1)}


@click.command()
@click.option("--bits", type=click.Choice(["2048", "3072"]), default="2048", show_default=True)
@click.option("--small", is_flag=True, help="Two small cases only.")
@click.option("--seed", type=int, default=1)
@click.option("--out", type=click.Path(path_type=Path), help="Write the rows as JSON.")
def main(bits: str, small: bool, seed: int, out: Path | None) -> None:
    """Compare encrypted answers with plain integers; stop at the first that differs."""
    with tempfile.TemporaryDirectory(prefix="pura-exactness-") as made:
        _run(key_folder(Engine.PREPARED, int(bits), Path(made)), SMALL if small else CASES, seed, out)


def _run(keys: Path, cases: Sequence[Case], seed: int, out: Path | None) -> None:
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        with watch_load() as load:
            row = examine(case, keys, (seed, number))
        row["other_load_cores"] = round(load.others, 2)
        rows.append(row)
        click.echo(
            f"{row['kind']:16} D={row['dimension']:<4} M={row['entries']:<6} k={row['top_k']:<3} "
            f"{row['answers']:3} answers exact, {row['build_s']} + {row['ask_s']} s"
        )
        if out is not None:  # after every case: a run that is cut short keeps what it has
            load.elapsed_s = sum(r["build_s"] + r["ask_s"] for r in rows)
            write(out, body("exactness", seed, rows, load, answers=sum(r["answers"] for r in rows)))
    click.echo(f"{sum(row['answers'] for row in rows)} answers, all exact")


if __name__ == "__main__":
    main()
