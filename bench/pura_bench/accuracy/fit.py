"""The threshold for a wanted false match rate, with an honest interval, as a policy file."""

from __future__ import annotations

import numpy as np

from pura.face.spec import EmbedderSpec
from pura.params import tau_from_cosine
from pura.policy import Measured, MeasuredGroup, Policy
from pura_bench.accuracy import groups, metrics, people
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.evaluate import genuine_and_impostor, similarities
from pura_bench.accuracy.groups import Labels


def fit(
    embedded: Embedded, spec: EmbedderSpec, fmr: float, scale: int, seed: int, labels: Labels | None = None
) -> Policy:
    """The lowest threshold at which at most a share `fmr` of the pairs of different people matches.

    Intervals draw people, not pairs, where people are known: the pairs of one person err together. With labels, the
    errors of each group at this threshold are told too. Raises `BadDataSet` when labels are of nobody.
    """
    genuine, impostor = genuine_and_impostor(embedded)
    at = metrics.threshold_for(impostor, fmr)
    # a threshold that people can read; rounded away from matching
    at = float(np.ceil(at * 1e4) / 1e4)
    false, missed, method = metrics.matches(impostor, at), metrics.non_matches(genuine, at), "Wilson"
    who = embedded.data.people
    by_group: tuple[MeasuredGroup, ...] = ()
    if who is not None:
        errors = people.Errors.of(embedded.vectors, who, similarities, at, seed)
        false, missed, method = errors.fmr(), errors.fnmr(), people.METHOD
        if labels is not None:
            by_group = groups.measured(errors, groups.of_people(embedded, labels))
    return Policy(
        embedder=spec.name,
        embedder_sha256=spec.sha256,
        dimension=spec.dimension,
        scale=scale,
        threshold=at,
        tau=tau_from_cosine(at, scale),
        wanted_fmr=fmr,
        measured=Measured(
            data_set=embedded.data.name,
            people=None if who is None else len(np.unique(who)),
            impostor_pairs=false.n,
            false_matches=false.k,
            fmr=false.value,
            fmr_interval=false.interval,
            fmr_interval_method=method,
            genuine_pairs=missed.n,
            fnmr=missed.value,
            fnmr_interval=missed.interval,
            fnmr_interval_method=method,
            group=by_group,
        ),
    )
