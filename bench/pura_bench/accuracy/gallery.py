"""One among many: what a threshold does in a gallery of so many people, and what a label's many photos do.

Strangers are the people of the other half: those who are enrolled and those who ask share nobody, and the curve was
recorded without those who ask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pura.face import curves, several
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.evaluate import similarities
from pura_bench.accuracy.people import Interval, drawn
from pura_bench.accuracy.report import Row, Table, share
from pura_bench.accuracy.templates import ALL, Trial
from pura_bench.accuracy.topic import Photos, topic

THRESHOLDS = (0.37, 0.40, 0.43, 0.45, 0.48)
PEOPLE = (100, 1_000, 5_749, 10_000, 100_000)
ENTRIES = (1, 2, 5, 20, 500)
LABELS_AT = (0.37, 0.43)


@topic("gallery")
def gallery(photos: Photos, seed: int) -> list[Table]:
    """One among many: people x threshold -> FPIR and TPIR; and what 2, 5, 20, 500 photos of a label do."""
    training, reported = photos.halves()
    curve = curves.of(photos.faces.spec.name)
    one, mean = (Trial.of(training, training.found, count, seed) for count in (1, ALL))
    asked = nearest(reported, training, seed)
    rows: list[Row] = []
    for at in THRESHOLDS:
        row: Row = {"threshold": at}
        if curve is not None:
            row |= {f"FPIR, {n:,} people, by the curve": share(curves.named(curve.at(at).fmr, n)) for n in PEOPLE}
        row[f"FPIR, {len(one.several):,} people, measured"] = asked(at).as_dict()
        for name, trial in (("one photo", one), ("the mean of all others", mean)):
            top = np.nanmax(trial.scores, 1)
            row[f"TPIR, {name}"] = trial.share((trial.own >= at) & (trial.own >= top)).as_dict()
        rows.append(row)
    title = f"{training.data.name} enrolled, {reported.data.name}'s people are strangers"
    label = "a label's photos: how often a stranger's photo matches it"
    return [Table(title, rows), Table(label, _entries(training, reported, seed))]


def nearest(asking: Embedded, enrolled: Embedded, seed: int) -> Callable[[float], Interval]:
    """How many photos of one half match somebody of the other at a threshold, by one photo each."""
    _, first = np.unique(enrolled.who, return_index=True)
    scores = similarities(asking.vectors, enrolled.vectors[first]).max(1)
    return lambda at: by_person(scores >= at, asking, seed)


def by_person(hit: NDArray[np.bool_], asking: Embedded, seed: int) -> Interval:
    """The share of hits among photos (n,), or photos and labels (n, labels); the people of the photos are drawn."""
    who = asking.who
    grid = hit.reshape(len(who), -1)
    photos = np.bincount(who).astype(np.float64)
    k, n = np.bincount(who, grid.sum(1)).astype(np.float64), photos * grid.shape[1]
    return Interval.of(k, n, drawn(len(k), seed))


def _entries(training: Embedded, reported: Embedded, seed: int) -> list[Row]:
    """Labels are people with so many photos in one half; every photo of the other half is a stranger's."""
    places = training.photos_of_people()
    rows: list[Row] = []
    for at in LABELS_AT:
        single = by_person(similarities(reported.vectors, training.vectors) >= at, reported, seed).value
        for count in ENTRIES:
            labels = [each[:count] for each in places if len(each) >= count]
            row: Row = {"threshold": at, "photos": count, "labels": len(labels)}
            if labels:
                scores = [similarities(reported.vectors, training.vectors[each]).max(1) for each in labels]
                means = np.stack([several.mean(training.vectors[each]) for each in labels])
                row["as entries of their own"] = by_person(np.stack(scores, 1) >= at, reported, seed).as_dict()
                hit = similarities(reported.vectors, means) >= at
                row["as one template"] = by_person(hit, reported, seed).as_dict()
            row["were they of different people"] = share(curves.named(single, count))
            rows.append(row)
    return rows
