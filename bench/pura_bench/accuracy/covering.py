"""Covering probes: how many people accept one of a few vectors that were made to be near many people.

A client may send any vector. The attacker has one photo of each person of the data set's training half, makes means of
neighbouring people among them, and greedily takes those that most of the people not yet covered would accept; the
victims are the people of the other half, with one photo each. Reported for each embedder at thresholds fitted on the
attacker's half, beside photos of other people as they are. One attack, not the best there could be: a bound from below.
"""

from __future__ import annotations

from collections.abc import Iterator

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
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

QUESTIONS = (1, 10, 100, 300)
FMRS = (1e-3, 1e-4)


def one_each(embedded: Embedded) -> Vectors:
    """The first photo of every person."""
    return embedded.vectors[[places[0] for places in embedded.photos_of_people() if len(places)]]


def against(attacker: Embedded, victims: Embedded, seed: int) -> Iterator[Row]:
    """For each false match rate of the attacker's half, photos of strangers and then covering probes: how many victims
    accept one of the first 1, 10, ... of them."""
    known, enrolled = one_each(attacker), one_each(victims)
    genuine, impostor = genuine_and_impostor(victims)[0], genuine_and_impostor(attacker)[1]
    photos = np.random.default_rng(seed).permutation(attacker.vectors[attacker.found])
    for fmr in FMRS:
        at = metrics.threshold_for(impostor, fmr)
        fitted = {"FMR": f"{fmr:g}", "threshold": at, "TAR": metrics.matches(genuine, at).as_dict()}
        covering = np.asarray(dictionary.covering(known, at), np.float64)
        for kind, vectors in (("photos of strangers", photos), ("covering probes", covering)):
            hit = vectors @ enrolled.T >= at
            taken = {n: Rate(int(hit[:n].any(0).sum()), len(enrolled)).as_dict() for n in QUESTIONS}
            yield {**fitted, "asked": kind, **{f"{n} questions": rate for n, rate in taken.items()}}


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
    rows: list[Row] = []
    for name, basis in bases.items():
        found = against(with_centre(attacker, basis), with_centre(victims, basis), seed)
        rows += [{"taken out": name, **row} for row in found]
    return [Table("victims who accept one of the first questions; thresholds fitted on the attacker's half", rows)]
