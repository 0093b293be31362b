"""What `tries` and a higher threshold for identify leave to an attacker who knows them, and cost those who are meant.

    python -m pura_bench.security.defended --photos lfw_view1 --json defended.json

At the thresholds that `pura-server init` writes, with the rule of `pura.protocols.prepared.lockout`, in floats.

*A year of verify*: every question about a victim that scores below deep counts, 100 are answered. The attacker may ask
them in one day here, and ten thousand that do not count: more than the product lets it, so a bound from above for this
attacker. *More enrolments*: the same with counters set back so many times. *Identify*: galleries of 500 people, one
photo each, until somebody is named. *Those who are meant*: people with enough photos, of both
halves, come twice a day for a year, each time as on one of their photos that was not enrolled; nobody unlocks them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, dictionary
from pura.attack.belief import Counter
from pura.attack.metrics import Rate
from pura.attack.oracle import Floats, PlaintextDecisions, cosines, unit
from pura.ids import Engine
from pura_bench import results
from pura_bench.security import photos
from pura_bench.security.asking import EMBEDDERS, Counted, World, galleries, options, worlds
from pura_bench.security.deployments import ServerDecisions, deployed
from pura_bench.security.judge import rate_json
from pura_server.cli_collection import DEEP
from pura_server.deploy import THRESHOLDS

TRIES = DAY, MONTH, TOTAL = 5, 20, 100
FREE, NONE = 10_000, 1000
RESETS = (1, 2, 5, 10)
SEARCHES, NAMED, HIGHER = 10_000, (100, 1000, 10_000), (0.1, 0.12, 0.15)
ONE_PERSON = 0.6
VISITS, DAYS, ENOUGH = 2, 365, 5
ASKED = 150
"""Questions about each victim that is attacked through servers."""


def year_of_verify(world: World) -> list[dict[str, Any]]:
    """Without and with counters, by as many questions that count."""
    enrolled, t = world.enrolled, world.threshold
    counter = Counter(t + DEEP, TOTAL, near=False)
    rows = []
    for name, oracle, limit, most in (
        (f"no counters, {NONE} questions", PlaintextDecisions(enrolled, t), None, NONE),
        (f"tries {TRIES}", Counted(enrolled, t, counter), counter, FREE),
    ):
        start, found = world.attack(oracle, most, (most,), limit)
        rows.append(world.row(name, most, start, found[most]))
    start = dictionary.search(PlaintextDecisions(enrolled, t), world.probes, TOTAL * max(RESETS))
    for resets in RESETS:
        let_in = (start.entry >= 0) & (start.queries <= TOTAL * resets)
        rows.append(
            {"embedder": world.embedder, "threshold": t, "enrolments": resets, "opened": rate_json(Rate.of(let_in))}
        )
    return rows


def searches(world: World, everyone: photos.Photos, t: float, seed: int) -> dict[str, Any]:
    """Questions until somebody of a gallery is named; how many of all these people are, by as many questions; and how
    many photos of people with enough of them are not recognised.

    Without those who are on the attacker's photos under another name: such a photo opens them at any threshold.
    """
    known, drawn = world.known, galleries(world, everyone, seed)
    people = np.unique(drawn.reshape(-1, drawn.shape[-1]), axis=0)
    probes = belief.openings(known, t, SEARCHES)
    strangers = [one[(one @ known.T).max(1) < ONE_PERSON] for one in (people, *drawn)]
    asked = [np.sort(_first(probes, one, t)) for one in strangers]
    first = np.sort([one[0] for one in asked[1:]])
    return {
        "embedder": world.embedder, "threshold": t, "at_most": SEARCHES, "galleries": len(first),
        "people": min(len(one) for one in strangers[1:]),
        "somebody_named_quartiles": [int(first[len(first) * q // 4]) for q in (1, 2, 3)],
        "missed": {n: rate_json(Rate.of(np.concatenate(own_scores(everyone, n)) < t)) for n in (1, 3)},
        "named_of_all": {n: rate_json(Rate.of(asked[0] <= n)) for n in NAMED},
    }  # fmt: skip


def _first(probes: Floats, people: Floats, t: float) -> NDArray[np.int64]:
    """Which question names each of these people first, from 1; one more than there are for those whom none does."""
    hit = probes @ people.T >= t
    out: NDArray[np.int64] = np.where(hit.any(0), hit.argmax(0) + 1, len(probes) + 1)
    return out


def own_scores(everyone: photos.Photos, enrolled: int) -> list[Floats]:
    """For each person with enough photos: how those score that are not enrolled, by the mean of so many that are."""
    of: dict[str, list[int]] = {}
    for i, person in enumerate(everyone.people):
        of.setdefault(person, []).append(i)
    return [
        everyone.embeddings[rows[ENOUGH - 2 :]] @ unit(everyone.embeddings[rows[:enrolled]].mean(0))
        for rows in of.values()
        if len(rows) >= ENOUGH
    ]


def visitors(embedder: str, everyone: photos.Photos, t: float, enrolled: int, seed: int) -> dict[str, Any]:
    """Those who are meant, with so many of their photos enrolled as one mean."""
    rng = np.random.default_rng(seed)
    outcomes = [_year(rng.choice(each, (DAYS, VISITS)), t) for each in own_scores(everyone, enrolled)]
    refused, locked, asked = (sum(o[i] for o in outcomes) for i in range(3))
    return {
        "embedder": embedder, "threshold": t, "photos_enrolled": enrolled, "people": len(outcomes),
        "questions": asked, "not_matched": rate_json(Rate.count(refused, asked)),
        "refused_for_the_lock": rate_json(Rate.count(locked, asked)),
        "people_locked_once": rate_json(Rate.of([o[1] > 0 for o in outcomes])),
        "people_locked_for_good": rate_json(Rate.of([o[3] for o in outcomes])),
    }  # fmt: skip


def _year(scores: Floats, t: float) -> tuple[int, int, int, bool]:
    """Of scores (days, visits): how many did not match, how many were refused for the lock, all; locked at the end."""
    total = month = refused = locked = 0
    for day, visits in enumerate(scores):
        month, today = month if day % 30 else 0, 0
        for score in visits:
            if today >= DAY or month >= MONTH or total >= TOTAL:
                locked += 1
                continue
            refused += int(score < t)
            if score < t + DEEP:
                today, month, total = today + 1, month + 1, total + 1
    return refused, locked, scores.size, total >= TOTAL


def through_servers(world: World, victims: int) -> dict[str, Any]:
    """The attack on those who let in soonest, by two real servers, a year's tries in one day; every answer is compared
    with plain integers."""
    t = world.threshold
    start = dictionary.search(PlaintextDecisions(world.enrolled, t), world.probes, TOTAL)
    few = world.enrolled[start.found[np.argsort(start.queries[start.found])][:victims]]
    with tempfile.TemporaryDirectory() as folder, deployed(
        Path(folder) / "deployed", few, engine=Engine.PREPARED, threshold=t, tries=(TOTAL,) * 3
    ) as deployment:  # fmt: skip
        oracle = ServerDecisions(deployment, few)
        _, found = world.attack(oracle, TOTAL, (ASKED,), Counter(t + DEEP, TOTAL, near=False))
    return {
        "embedder": world.embedder, "threshold": t, "victims": len(few), "questions": int(oracle.queries.sum()),
        "compared": oracle.compared, "differed": oracle.differed,
        "cosine": [round(float(c), 4) for c in cosines(found[ASKED], few)],
    }  # fmt: skip


@click.command()
@options(victims=400)
@click.option("--servers", default=2, show_default=True, help="Victims that are attacked through two servers.")
def main(folder: Path, work: Path, victims: int, servers: int, seed: int, out: Path) -> None:
    """Attack the defaults for a year, search for anybody, and let those come who are meant; write the figures."""
    with results.watch_load() as load:
        rows, named, meant, real = [], [], [], []
        for world, everyone in worlds(folder, work, victims, seed, first=False):
            t = THRESHOLDS[world.embedder]
            here = dataclasses.replace(world, threshold=t, probes=belief.openings(world.known, t, TOTAL * max(RESETS)))
            rows += year_of_verify(here)
            meant += [visitors(world.embedder, everyone, t, n, seed) for n in (1, 3)]
            if world.embedder == EMBEDDERS[0].name:
                named += [searches(here, everyone, round(t + more, 4), seed) for more in HIGHER]
            if servers and world.embedder == EMBEDDERS[0].name:
                real.append(through_servers(here, servers))
            click.echo(f"{world.embedder}: done")
    results.write(out, results.body("defended", seed, rows, load, identify=named, meant=meant, through_servers=real))


if __name__ == "__main__":
    main()
