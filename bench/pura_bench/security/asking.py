"""What decisions alone give away: an attacker that asks, and is told yes or no, against each limit on asking.

    python -m pura_bench.security.asking --photos lfw_view1 --json asking.json

Victims and attacker's people as `pura bench security` deals them; the attacker is `pura.attack.belief`, and knows every
limit. Decisions are computed in floats; that two real servers answer the same is what `pura bench security` compares.
SAR-1, SAR-2: templates that match what is enrolled, and another photo of the person, at the threshold.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from pura.attack import belief, dictionary
from pura.attack.belief import Counter
from pura.attack.metrics import Band, Rate, impostor_scores, threshold_at
from pura.attack.oracle import Anybody, Bools, Floats, Index, PlaintextDecisions, cosines, count, quiet
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED, SFACE_MIRRORED
from pura_bench import results
from pura_bench.security import photos
from pura_bench.security.deployments import LOCKOUT, NEAR, WINDOWS
from pura_bench.security.judge import rate_json

EMBEDDERS = (SFACE_MIRRORED, SFACE_CENTRED, SFACE)
BUDGETS = (100, 500, 1500)
AFTER = (1, 10, 20, 50, 100, 200, 300, 500, 1000)
GALLERY, GALLERIES, CROWD = 500, 40, (100, 200, 500)
FMR = 1e-3


class Counted(PlaintextDecisions):
    """Decisions of a deployment that counts questions about each victim, and answers so many of them in a window."""

    def __init__(self, enrolled: Floats, threshold: float, counter: Counter) -> None:
        super().__init__(enrolled, threshold)
        self._counter, self._counted = counter, np.zeros(len(enrolled), np.int64)

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """See `DecisionOracle`; a locked entry says no."""
        count(self.queries, victims)
        scores = cosines(self.enrolled[victims], probes)
        free = self._counted[victims] < self._counter.questions
        self._counted[victims] += free & ((scores >= self._counter.bound) == self._counter.near)
        out: Bools = (scores >= self.threshold) & free
        return out

    def renew(self, window: int, windows: int) -> None:
        """A new window."""
        self._counted[:] = 0


@dataclasses.dataclass(frozen=True)
class World:
    """One embedder: who is attacked, by whom, at which cosine, with what is asked first."""

    embedder: str
    cast: photos.Cast
    threshold: float
    probes: Floats

    @property
    def enrolled(self) -> Floats:
        """The templates that are attacked, (V, D)."""
        return self.cast.enrolled.embeddings

    @property
    def known(self) -> Floats:
        """Templates of the attacker's people, (N, D)."""
        return self.cast.known.embeddings

    def attack(
        self, oracle: Any, within: int, budgets: tuple[int, ...], counter: Counter | None = None
    ) -> tuple[dictionary.Start, dict[int, Floats]]:
        """Ask until somebody is let in, `within` so many questions, and then for a template: those of each budget.
        `counter`: what the oracle counts; it is told of windows if there are several."""
        start = dictionary.search(oracle, self.probes, within)
        renew = oracle.renew if counter and counter.windows > 1 else quiet
        found = belief.template(oracle, start, self.known, self.threshold, budgets, counter=counter, renew=renew)
        return start, found.at

    def row(self, limit: str, budget: int, start: dictionary.Start, templates: Floats) -> dict[str, Any]:
        """One line of the table."""
        there = int((start.queries[start.found] <= budget).sum())
        first, second = (cosines(templates, of.embeddings) for of in (self.cast.enrolled, self.cast.mates))
        return {
            "embedder": self.embedder,
            "threshold": round(self.threshold, 4),
            "limit": limit,
            "questions": budget,
            "opened": rate_json(Rate.count(there, len(templates))),
            "cosine": dataclasses.asdict(Band.of(first[won])) if (won := templates.any(1)).any() else None,
            "sar1": rate_json(Rate.of(first >= self.threshold)),
            "sar2": rate_json(Rate.of(second >= self.threshold)),
        }


def worlds(
    folder: Path, work: Path, victims: int, seed: int, *, first: bool = True
) -> Iterator[tuple[World, photos.Photos]]:
    """Each embedder with everybody's photos under it; without what is asked first unless `first`."""
    plain = photos.load(folder, FacePipeline(SFACE), work, lambda done, of: None)
    for spec in EMBEDDERS:
        everyone = photos.embedded_by(plain, FacePipeline(spec), work)
        cast = photos.deal(everyone, folder, victims, seed)
        known = cast.known
        threshold = threshold_at(impostor_scores(known.embeddings, known.people), FMR)
        probes = belief.openings(known.embeddings, threshold, max(BUDGETS) if first else 0)
        yield World(spec.name, cast, threshold, probes), everyone


def limits(world: World) -> Iterator[dict[str, Any]]:
    """No limit, a budget, and a lockout, in one window and in several."""
    t, most = world.threshold, max(BUDGETS)
    start, found = world.attack(PlaintextDecisions(world.enrolled, t), most, BUDGETS)
    yield from (world.row("none", b, start, found[b]) for b in BUDGETS)
    for windows in (1, WINDOWS):
        counter = Counter(t - NEAR, LOCKOUT, windows=windows)
        start, found = world.attack(Counted(world.enrolled, t, counter), most, (most,), counter)
        yield world.row(f"{LOCKOUT} near questions in a window, windows: {windows}", most, start, found[most])


def curve(world: World) -> dict[str, Any]:
    """How near the template is, so many questions after the first one that was accepted."""
    oracle = PlaintextDecisions(world.enrolled, world.threshold)
    start = dictionary.search(oracle, world.probes, max(BUDGETS))
    from_there = dataclasses.replace(start, queries=np.zeros_like(start.queries))
    found = belief.template(oracle, from_there, world.known, world.threshold, AFTER)
    opened = start.found
    points = {b: dataclasses.asdict(Band.of(cosines(found.at[b], world.enrolled)[opened])) for b in AFTER}
    return {"embedder": world.embedder, "victims": len(opened), "after": points}


def galleries(world: World, everyone: photos.Photos, seed: int) -> Floats:
    """(R, M, D): people who are not the attacker's, one photo each."""
    attackers, people = set(world.cast.known.people), np.array(everyone.people)
    _, first = np.unique(people, return_index=True)
    others = np.array([i for i in first if people[i] not in attackers])
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.choice(others, GALLERY, replace=False) for _ in range(GALLERIES)])
    out: Floats = everyone.embeddings[drawn]
    return out


def crowd(world: World, everyone: photos.Photos, seed: int) -> list[dict[str, Any]]:
    """Everybody at once, asked by `identify`."""
    oracle = Anybody(galleries(world, everyone, seed), world.threshold)
    start, found = world.attack(oracle, max(CROWD), CROWD)
    got = start.queries[start.found].astype(np.float64)
    return [
        {
            "embedder": world.embedder,
            "people": GALLERY,
            "questions": b,
            "somebody_opened": rate_json(Rate.of((start.entry >= 0) & (start.queries <= b))),
            "first_acceptance": dataclasses.asdict(Band.of(got)),
            "cosine": dataclasses.asdict(Band.of(cosines(found[b], oracle.enrolled))),
        }
        for b in CROWD
    ]


def options(victims: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What commands about photos take: `folder`, `work`, `victims` (so many unless told), `seed`, `out`."""
    path = functools.partial(click.Path, path_type=Path)
    shared = (
        click.option("--photos", "folder", required=True, type=path(exists=True, file_okay=False)),
        click.option("--work", default=Path("security-work"), type=path(), help="Where embeddings are kept."),
        click.option("--victims", default=victims, show_default=True, type=click.IntRange(2), help="At most."),
        click.option("--seed", default=1, show_default=True),
        click.option("--json", "out", required=True, type=path(dir_okay=False)),
    )
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(shared), command)


@click.command()
@options(victims=40)
def main(folder: Path, work: Path, victims: int, seed: int, out: Path) -> None:
    """Attack decisions under each limit, each embedder, and everybody at once; write the figures."""
    with results.watch_load() as load:
        rows, curves, crowds = [], [], []
        for world, everyone in worlds(folder, work, victims, seed):
            rows += list(limits(world))
            curves.append(curve(world))
            crowds += crowd(world, everyone, seed)
            click.echo(f"{world.embedder}: done")
    results.write(out, results.body("asking", seed, rows, load, fmr=FMR, curves=curves, everybody_at_once=crowds))


if __name__ == "__main__":
    main()
