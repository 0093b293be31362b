"""Covering probes: how many people accept one of a few vectors that were made to be near many people.

    python -m pura_bench.accuracy.covering --data lfw1:FOLDER

A client may send any vector. The attacker has one photo of each person of the data set's training half, makes means of
neighbouring people among them, and greedily takes those that most of the people not yet covered would accept; the
victims are the people of the other half, with one photo each. Reported for each embedder at thresholds fitted on the
attacker's half, beside photos of other people as they are. One attack, not the best there could be: a bound from below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pura.attack import dictionary
from pura.face import centre
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED
from pura_bench.accuracy import datasets, metrics
from pura_bench.accuracy.embeddings import Embedded, Vectors, embed
from pura_bench.accuracy.evaluate import Scorer, all_pairs
from pura_bench.accuracy.metrics import Rate

QUESTIONS = (1, 10, 100, 300)
FMRS = (1e-3, 1e-4)


def taken(asked: Vectors, victims: Vectors, threshold: float) -> list[Rate]:
    """How many victims accept one of the first 1, 10, ... of these vectors."""
    hit = asked @ victims.T >= threshold
    return [Rate(int(hit[:questions].any(0).sum()), len(victims)) for questions in QUESTIONS]


def one_each(embedded: Embedded) -> Vectors:
    """The first photo of every person."""
    found = np.flatnonzero(embedded.found)
    people = embedded.data.people
    if people is None:
        raise datasets.BadDataSet("the data set must say who is on its photos")
    _, first = np.unique(people[found], return_index=True)
    return embedded.vectors[found[first]]


def with_centre(embedded: Embedded, basis: NDArray[np.float64]) -> Embedded:
    """The same photos, centred; those without a face stay so."""
    vectors = np.full(embedded.vectors.shape, np.nan)
    vectors[embedded.found] = centre.centred(embedded.vectors[embedded.found], basis)
    return Embedded(embedded.data, vectors, embedded.metric)


def scores(embedded: Embedded) -> tuple[Vectors, Vectors]:
    """(genuine, impostor) of all pairs of photos."""
    if embedded.data.people is None:
        raise datasets.BadDataSet("the data set must say who is on its photos")
    return all_pairs(embedded.vectors, embedded.data.people, Scorer(embedded.metric))


@dataclasses.dataclass(frozen=True)
class Row:
    """At one false match rate of the attacker's half: how many victims accept after each of `QUESTIONS`."""

    fmr: float
    threshold: float
    tar: Rate
    photos: list[Rate]
    covering: list[Rate]


def against(attacker: Embedded, victims: Embedded, seed: int) -> Iterator[Row]:
    """A row for each false match rate."""
    genuine, impostor = scores(victims)[0], scores(attacker)[1]
    known, enrolled = one_each(attacker), one_each(victims)
    photos = np.random.default_rng(seed).permutation(attacker.vectors[attacker.found])
    for fmr in FMRS:
        at = metrics.threshold_for(impostor, fmr)
        covering = np.asarray(dictionary.covering(known, at), np.float64)
        yield Row(fmr, at, metrics.matches(genuine, at), taken(photos, enrolled, at), taken(covering, enrolled, at))


@click.command()
@click.option("--data", required=True, help="A data set with a training half: lfw1:FOLDER.")
@click.option("--seed", default=1, show_default=True, help="Seed of the order of photos.")
def main(data: str, seed: int) -> None:
    """Covering probes against SFace, plain and centred, also by only a part of the built-in centre."""
    training, reported = datasets.load(data)
    if training is None:
        raise click.UsageError("the data set has no training half")
    faces = FacePipeline(SFACE)
    attacker, victims, others = (embed(each, faces) for each in (training, reported, datasets.orl()))
    own, foreign = (centre.basis([centre.mean_of(each.vectors[each.found], "")]) for each in (attacker, others))
    nothing, both = centre.of(SFACE), centre.of(SFACE_CENTRED)
    table = Table("taken out", "FMR", "threshold", "TAR, %", *(f"{n} questions" for n in QUESTIONS))
    table.title = "victims who accept photos, covering probes, %"
    for name, basis in {"nothing": nothing, "attacker's": own, "ORL's": foreign, "both": both}.items():
        for row in against(with_centre(attacker, basis), with_centre(victims, basis), seed):
            cells = (f"{_percent(a)}, {_percent(b)}" for a, b in zip(row.photos, row.covering, strict=True))
            table.add_row(name, f"{row.fmr:g}", f"{row.threshold:.4f}", _percent(row.tar), *cells)
    Console().print(table)


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.2f}"


if __name__ == "__main__":
    main()
