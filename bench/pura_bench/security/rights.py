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
from pura.attack.oracle import Floats, cosines, unit
from pura.ids import Engine
from pura_bench import results
from pura_bench.security.asking import World, worlds
from pura_bench.security.judge import rate_json
from pura_bench.speed.deployment import key_folder, running
from pura_client import Ready
from pura_client.session import Client
from pura_server.config import Collection

DISTANCES, ROUNDS = (8, 32, 128), 12
BATCH = 100
TRIES = (5, 20, 100)
THRESHOLD = 0.37


def near(enrolled: Floats, cosine: float, seed: int) -> Floats:
    """An accepted probe of each: what an attacker has after the first "yes"."""
    return ruler.at_cosine(enrolled, np.full(len(enrolled), cosine), np.random.default_rng(seed))


def measured(world: World, seed: int) -> list[dict[str, Any]]:
    """The ruler, then linear algebra, in the clear."""
    enrolled, mates = world.cast.enrolled.embeddings, world.cast.mates.embeddings
    start = near(enrolled, min(0.95, THRESHOLD + 0.1), seed)
    rows = []
    for count in DISTANCES:
        found = ruler.template(ruler.PlaintextNearest(enrolled), start, world.cast.known.embeddings, THRESHOLD, count,
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
    enrolled, probes = unit(world.cast.enrolled.embeddings), unit(world.probes[:BATCH])
    scores = enrolled @ probes.T
    let_in, inside = (np.asarray(scores[:, :most].max(1) >= THRESHOLD) for most in (BATCH, TRIES[0]))
    return {
        "arm": "one batch, made ahead",
        "questions": BATCH,
        "opened": rate_json(Rate.of(let_in)),
        "opened by the tries of a day": rate_json(Rate.of(inside)),
    }


class Served:
    """The victims in a gallery of two real servers, and a client that may do everything."""

    def __init__(self, client: Client, labels: list[str]) -> None:
        self.client, self.labels = client, labels
        self.questions = self.enrolments = 0

    def own_is_nearest(self, probes: Floats, own: Floats) -> np.ndarray[Any, Any]:
        """See `NearestOracle`."""
        out = []
        for probe, mark in zip(probes, own, strict=True):
            handle = self.client.enroll(embedding=_ready(mark), label="own")
            out.append(self.client.identify(embedding=_ready(probe)).label == "own")
            self.client.forget_entries([handle])
            self.questions, self.enrolments = self.questions + 1, self.enrolments + 1
        return np.array(out)


def _ready(vector: Floats) -> Ready:
    return Ready(np.asarray(vector, np.float32))


def served(world: World, victims: int, seed: int) -> list[dict[str, Any]]:
    """On two real servers: a distance to each of some victims; and who can be locked out by whom."""
    few = unit(world.cast.enrolled.embeddings[:victims])
    probes = near(few, 0.6, seed)
    collection = Collection(
        dimension=few.shape[1],
        threshold=THRESHOLD,
        embedder=world.embedder,
        tries=TRIES,
        deep_threshold=THRESHOLD + 0.05,
    )
    with tempfile.TemporaryDirectory() as folder:
        deployment = _deployed(Path(folder), collection)
        with running(deployment, 1) as now:
            labels = [f"victim {i}" for i in range(victims)]
            for vector, label in zip(few, labels, strict=True):
                now.session.enroll(embedding=_ready(vector), label=label)
            thief = Served(now.session, labels)
            told = ruler.measure(thief, probes, THRESHOLD, ROUNDS, np.random.default_rng(seed))
            apart = np.abs(told - np.einsum("vd,vd->v", few, unit(probes)))
            locked = []
            stranger = _ready(world.cast.known.embeddings[0])
            for vector, label in zip(few, labels, strict=True):
                before = now.session.verify(embedding=_ready(vector), label=label).match
                for _ in range(TRIES[0]):
                    now.session.verify(embedding=stranger, label=label)
                after = now.session.verify(embedding=_ready(vector), label=label).match
                asked = now.session.identify(embedding=_ready(vector)).label == label
                locked.append((before, after, asked))
    opened, shut, found = (np.array(column) for column in zip(*locked, strict=True))
    return [
        {
            "arm": "ruler, on two real servers",
            "victims": victims,
            "questions": thief.questions,
            "enrolments": thief.enrolments,
            "largest error": float(apart.max()),
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


def _deployed(folder: Path, collection: Collection) -> Any:
    from pura_bench.speed.deployment import Deployment
    from pura_server.deploy import Hosts, make

    make(folder / "made", key_folder(Engine.PREPARED, 2048, folder), collection, Hosts("127.0.0.1", "127.0.0.1", 1, 2))
    return Deployment(folder / "made", 0)


@click.command()
@click.option("--photos", "folder", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--work", default=Path("security-work"), type=click.Path(path_type=Path), help="Where embeddings are.")
@click.option("--victims", default=40, show_default=True, type=click.IntRange(2))
@click.option("--servers", default=10, show_default=True, help="Victims on two real servers.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "out", required=True, type=click.Path(dir_okay=False, path_type=Path))
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
