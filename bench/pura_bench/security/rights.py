"""What clients with more rights, more patience or bad intentions get: a ruler, a batch made ahead, a lock as a weapon.

    python -m pura_bench.security.rights --photos lfw_view1 --json rights.json

In the clear on all victims, where that is the same by `pura bench security`'s comparison; and on two real servers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from pura.attack import ruler
from pura.attack.metrics import Band, Rate
from pura.attack.oracle import Bools, Floats, cosines, unit
from pura.ids import Engine
from pura_bench import results
from pura_bench.security.asking import World, options, worlds
from pura_bench.security.deployments import deployed, ready
from pura_bench.security.judge import rate_json
from pura_client.session import Client

DISTANCES, ROUNDS = (8, 32, 128), 12
BATCH = 100
TRIES = (5, 20, 100)
THRESHOLD = 0.37


def near(enrolled: Floats, cosine: float, seed: int) -> Floats:
    """An accepted probe of each: what an attacker has after the first "yes"."""
    return ruler.at_cosine(enrolled, np.full(len(enrolled), cosine), np.random.default_rng(seed))


def measured(world: World, seed: int) -> list[dict[str, Any]]:
    """The ruler, then linear algebra, in the clear."""
    enrolled, mates = world.enrolled, world.cast.mates.embeddings
    start = near(enrolled, min(0.95, THRESHOLD + 0.1), seed)
    rows = []
    for count in DISTANCES:
        found = ruler.template(ruler.PlaintextNearest(enrolled), start, world.known, THRESHOLD, count,
                               ROUNDS, np.random.default_rng(seed))  # fmt: skip
        rows.append(
            {
                "arm": "ruler, then linear",
                "questions": count * ROUNDS,
                "enrolments": count * ROUNDS,
                "cosine": Band.of(cosines(found, enrolled)).__dict__,
                "sar2": rate_json(Rate.of(cosines(found, mates) >= world.threshold)),
            }
        )
    return rows


def batch(world: World) -> dict[str, Any]:
    """A hundred probes made ahead, the same for everybody, asked without looking at an answer."""
    enrolled, probes = unit(world.enrolled), unit(world.probes[:BATCH])
    scores = enrolled @ probes.T
    let_in, inside = (np.asarray(scores[:, :most].max(1) >= THRESHOLD) for most in (BATCH, TRIES[0]))
    return {
        "arm": "one batch, made ahead",
        "questions": BATCH,
        "opened": rate_json(Rate.of(let_in)),
        "opened by the tries of a day": rate_json(Rate.of(inside)),
    }


class Served:
    """Two real servers, and a client of theirs that may do everything. `asked`: so many questions, and so often it
    enrolled."""

    def __init__(self, client: Client) -> None:
        self.client, self.asked = client, 0

    def own_is_nearest(self, probes: Floats, own: Floats) -> Bools:
        """See `NearestOracle`."""
        out = []
        for probe, mark in zip(probes, own, strict=True):
            handle = self.client.enroll(embedding=ready(mark), label="own")
            out.append(self.client.identify(embedding=ready(probe)).label == "own")
            self.client.forget_entries([handle])
            self.asked += 1
        return np.array(out, bool)


def served(world: World, victims: int, seed: int) -> list[dict[str, Any]]:
    """On two real servers: a distance to each of some victims; and who can be locked out by whom."""
    few, stranger = unit(world.enrolled[:victims]), world.known[0]
    probes, locked = near(few, 0.6, seed), []
    policy: dict[str, Any] = {"engine": Engine.PREPARED, "threshold": THRESHOLD, "tries": TRIES}
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder) / "made", few, **policy) as deployment:
        thief = Served(deployment.client)
        told = ruler.measure(thief, probes, THRESHOLD, ROUNDS, np.random.default_rng(seed))
        for i, vector in enumerate(few):
            before = deployment.question(i, vector)
            for _ in range(TRIES[0]):
                deployment.question(i, stranger)
            after = deployment.question(i, vector)
            named = deployment.client.identify(embedding=ready(vector)).label == deployment.labels[i]
            locked.append((before, after, named))
    opened, shut, found = (np.array(column) for column in zip(*locked, strict=True))
    return [
        {
            "arm": "ruler, on two real servers",
            "victims": victims,
            "questions": thief.asked,
            "enrolments": thief.asked,
            "largest error": float(np.abs(told - cosines(few, probes)).max()),
            "resolution": (1 - THRESHOLD) / 2**ROUNDS,
        },
        {
            "arm": "lock as a weapon, on two real servers",
            "questions": TRIES[0],
            "matched before": rate_json(Rate.of(opened)),
            "locked out of verify for a day": rate_json(Rate.of(~shut)),
            "still found by identify": rate_json(Rate.of(found)),
        },
    ]


@click.command()
@options(victims=40)
@click.option("--servers", default=10, show_default=True, help="Victims on two real servers.")
def main(folder: Path, work: Path, victims: int, servers: int, seed: int, out: Path) -> None:
    """Measure each; write the figures."""
    with results.watch_load() as load:
        world, _ = next(worlds(folder, work, victims, seed))
        rows = [*measured(world, seed), batch(world), *served(world, servers, seed)]
    for row in rows:
        click.echo(str(row))
    results.write(out, results.body("rights", seed, rows, load, embedder=world.embedder, threshold=THRESHOLD))


if __name__ == "__main__":
    main()
