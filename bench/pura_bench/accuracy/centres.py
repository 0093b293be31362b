"""What is taken out of SFace's embeddings: nothing, the built-in centre, parts of it, another population's.

The built-in centre has LFW DevTrain's mean and ORL's: on ORL a centre of only LFW is one that does not know the
population, and the halves of ORL have each other's. Judged at the default thresholds, and at thresholds of their own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pura.face import centre
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED
from pura_bench.accuracy import datasets, metrics
from pura_bench.accuracy.embeddings import Embedded, Vectors
from pura_bench.accuracy.evaluate import genuine_and_impostor, similarities
from pura_bench.accuracy.people import Errors
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

PLAIN_AT, CENTRED_AT = 0.425, 0.37
FMR = 1e-4


@topic("centres")
def centres(photos: Photos, seed: int) -> list[Table]:
    """What is taken out of embeddings, on this data set's reported half and on ORL: at the default thresholds
    and at their own. --embedder is not used.
    """
    plain = FacePipeline(SFACE)
    (training, reported), orl = photos.halves(plain), photos.embed(datasets.orl(), plain)
    bases = {
        "nothing": centre.of(SFACE),
        "the built-in centre": centre.of(SFACE_CENTRED),
        f"{training.data.name}'s mean": means(training),
        "ORL's mean": means(orl),
    }
    rows = [_row(half, name, basis, seed) for half in (reported, orl) for name, basis in bases.items()]
    first = orl.who < np.median(orl.who)
    one, two = (_part(orl, mask) for mask in (first, ~first))
    for half, other in ((one, two), (two, one)):
        rows.append(_row(half, "the other half's mean and LFW's", means(other, training), seed))
    return [Table("what is taken out of embeddings", rows)]


def means(*of: Embedded) -> Vectors:
    """The basis that the means of these sets make, (sets, D)."""
    return centre.basis([centre.mean_of(each.vectors[each.found], "") for each in of])


def with_centre(embedded: Embedded, basis: Vectors) -> Embedded:
    """The same photos, centred; those without a face stay so."""
    vectors = np.full(embedded.vectors.shape, np.nan)
    vectors[embedded.found] = centre.centred(embedded.vectors[embedded.found], basis)
    return Embedded(embedded.data, vectors, embedded.lengths)


def _part(embedded: Embedded, mask: NDArray[np.bool_]) -> Embedded:
    data = embedded.data
    assert data.people is not None
    photos = tuple(photo for photo, kept in zip(data.photos, mask, strict=True) if kept)
    name = f"{data.name}, {len(photos)} photos"
    data = dataclasses.replace(data, name=name, photos=photos, people=data.people[mask])
    return Embedded(data, embedded.vectors[mask])


def _row(embedded: Embedded, name: str, basis: Vectors, seed: int) -> Row:
    judged = with_centre(embedded, basis)
    _, impostor = genuine_and_impostor(judged)
    row: Row = {
        "photos": judged.data.name,
        "taken out": name,
        "mean cosine of strangers": float(impostor[np.isfinite(impostor)].mean()),
    }
    thresholds = {
        "default": CENTRED_AT if len(basis) else PLAIN_AT,
        "own": metrics.threshold_for(impostor, FMR),
    }
    for which, at in thresholds.items():
        errors = Errors.of(judged.vectors, judged.who, similarities, at, seed)
        row |= {
            f"{which} threshold": at,
            f"FMR, {which}": errors.fmr().as_dict(),
            f"FNMR, {which}": errors.fnmr().as_dict(),
        }
    return row
