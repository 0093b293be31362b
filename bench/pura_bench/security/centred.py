"""The product as a new collection is made: embeddings without what everybody's have in common (`pura.face.centre`).

The network is the same, so the stage is; what is enrolled, what the attacker knows and the threshold are those of
centred embeddings. The attack wins centred templates. What was taken out of them is put back before they are turned
into faces: it is about the same for everybody, and the attacker knows it from its own people.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pura.attack.metrics import impostor_scores, threshold_at
from pura.attack.oracle import Floats, unit
from pura.face import centre
from pura.face.spec import SFACE_CENTRED
from pura_bench.security.arms import LIKELY, SMALL_BUDGET, VIA_FORMULA, Row, Stage, Where, believed
from pura_bench.security.photos import Photos
from pura_bench.security.servers import chosen, through

FMR = 1e-3


def centred(stage: Stage, common: centre.Basis) -> Stage:
    """The same photos under centred embeddings, at the same false match rate."""

    def of(photos: Photos) -> Photos:
        return dataclasses.replace(photos, embeddings=centre.centred(photos.embeddings, common))

    one, other = stage.cast.strangers
    cast = dataclasses.replace(
        stage.cast, known=of(stage.cast.known), enrolled=of(stage.cast.enrolled), mates=of(stage.cast.mates),
        strangers=(of(one), of(other)),
    )  # fmt: skip
    shared = unit(stage.known).mean(0) @ common.T  # (k,): what everybody has of each direction

    def restored(templates: Floats) -> Floats:
        found = unit(templates)
        put_back = np.sqrt(max(0.0, 1 - float(shared @ shared))) * found + shared @ common
        return np.where(np.linalg.norm(found, axis=1, keepdims=True) > 0, put_back, 0.0)

    threshold = threshold_at(impostor_scores(cast.known.embeddings, cast.known.people), FMR)
    return dataclasses.replace(stage, cast=cast, threshold=threshold, restored=restored)


def prepared_centred(stage: Stage) -> list[Row]:
    """Decisions on centred embeddings, attacked as those on plain ones are."""
    there, budgets = centred(stage, centre.of(SFACE_CENTRED)), stage.plan.budgets
    with there.deploy() as deployment:
        clear = deployment.in_the_clear(there.enrolled)
        rows, start = believed(there, Where.PREPARED_CENTRED, clear, VIA_FORMULA, budgets)
        rows += believed(there, Where.PREPARED_CENTRED_BUDGET, clear, VIA_FORMULA, (SMALL_BUDGET,), (LIKELY,))[0]
        return [*rows, through(there, deployment, chosen(there, start), Where.PREPARED_CENTRED)]


ARMS = {"prepared-centred": prepared_centred}
