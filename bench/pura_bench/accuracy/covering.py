"""Covering probes: how many people accept one of a few vectors that were made to be near many people.

A client may send any vector. The attacker has one photo of each person of the data set's training half, makes means of
neighbouring people among them, and greedily takes those that most of the people not yet covered would accept; the
victims are the people of the other half, with one photo each. Reported for each embedder at thresholds fitted on the
attacker's half, beside photos of other people as they are. One attack, not the best there could be: a bound from below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from pura.attack import dictionary
from pura.face import centre
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED
from pura_bench.accuracy import datasets, metrics
from pura_bench.accuracy.centres import means, with_centre
from pura_bench.accuracy.embeddings import Embedded, Vectors
from pura_bench.accuracy.evaluate import genuine_and_impostor
from pura_bench.accuracy.metrics import Rate
from pura_bench.accuracy.report import Table
from pura_bench.accuracy.topic import Photos, topic

QUESTIONS = (1, 10, 100, 300)
FMRS = (1e-3, 1e-4)


def taken(asked: Vectors, victims: Vectors, threshold: float) -> list[Rate]:
    """How many victims accept one of the first 1, 10, ... of these vectors."""
    hit = asked @ victims.T >= threshold
    return [Rate(int(hit[:questions].any(0).sum()), len(victims)) for questions in QUESTIONS]


def one_each(embedded: Embedded) -> Vectors:
    """The first photo of every person."""
    return embedded.vectors[[places[0] for places in embedded.photos_of_people() if len(places)]]


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
    known, enrolled = one_each(attacker), one_each(victims)
    genuine, impostor = genuine_and_impostor(victims)[0], genuine_and_impostor(attacker)[1]
    photos = np.random.default_rng(seed).permutation(attacker.vectors[attacker.found])
    for fmr in FMRS:
        at = metrics.threshold_for(impostor, fmr)
        covering = np.asarray(dictionary.covering(known, at), np.float64)
        yield Row(fmr, at, metrics.matches(genuine, at), taken(photos, enrolled, at), taken(covering, enrolled, at))


@topic("covering")
def covering(photos: Photos, seed: int) -> list[Table]:
    """Vectors that are made to be near many people, against SFace plain and with parts of the built-in centre.

    --embedder is not used.
    """
    plain = FacePipeline(SFACE)
    attacker, victims = photos.halves(plain)
    bases = {
        "nothing": centre.of(SFACE),
        "both means": centre.of(SFACE_CENTRED),
        "the attacker's own mean": means(attacker),
        "another population's: ORL's": means(photos.embed(datasets.orl(), plain)),
    }
    rows: list[dict[str, Any]] = []
    for name, basis in bases.items():
        for row in against(with_centre(attacker, basis), with_centre(victims, basis), seed):
            for kind, rates in (("photos of strangers", row.photos), ("covering probes", row.covering)):
                asked = {f"{n} questions": rate.as_dict() for n, rate in zip(QUESTIONS, rates, strict=True)}
                fitted = {"FMR": f"{row.fmr:g}", "threshold": row.threshold, "TAR": row.tar.as_dict()}
                rows.append({"taken out": name, **fitted, "asked": kind, **asked})
    return [Table("victims who accept one of the first questions; thresholds fitted on the attacker's half", rows)]
