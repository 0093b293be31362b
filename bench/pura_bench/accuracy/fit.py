"""The threshold for a wanted false match rate, with an honest interval, as a policy file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pura.face.spec import EmbedderSpec
from pura.params import Metric
from pura.policy import Measured, Policy
from pura_bench.accuracy import metrics
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.evaluate import Scorer, impostors_and_genuine, tau_of

ROUNDS = 1000
_BLOCK = 512


def fit(embedded: Embedded, spec: EmbedderSpec, fmr: float, scale: int, seed: int, radius: float = 1.0) -> Policy:
    """The lowest threshold at which at most a share `fmr` of the pairs of different people matches.

    The interval resamples people, not pairs, where people are known: the pairs of one person err together.
    """
    genuine, impostor = impostors_and_genuine(embedded)
    at = metrics.threshold_for(impostor, fmr)
    # a threshold that people can read; rounded away from matching
    at = float(np.ceil(at * 1e4) / 1e4)
    false, missed = metrics.matches(impostor, at), metrics.non_matches(genuine, at)
    people = embedded.data.people
    interval, method = false.interval, "Wilson"
    if people is not None:
        interval = by_people(embedded, people, at, np.random.default_rng(seed))
        method = f"bootstrap over people, {ROUNDS} rounds"
    threshold = at if embedded.metric is Metric.COSINE else -at
    return Policy(
        embedder=spec.name,
        embedder_sha256=spec.sha256,
        dimension=spec.dimension,
        metric=spec.metric,
        radius=radius,
        scale=scale,
        threshold=threshold,
        tau=tau_of(threshold, scale, spec.metric, radius),
        wanted_fmr=fmr,
        measured=Measured(
            data_set=embedded.data.name,
            people=None if people is None else len(np.unique(people)),
            impostor_pairs=false.n,
            false_matches=false.k,
            fmr=false.value,
            fmr_interval=interval,
            fmr_interval_method=method,
            genuine_pairs=missed.n,
            fnmr=missed.value,
            fnmr_interval=missed.interval,
        ),
    )


def by_people(
    embedded: Embedded, people: NDArray[np.int64], at: float, draw: np.random.Generator, rounds: int = ROUNDS
) -> tuple[float, float]:
    """The 95 % interval of the false match rate when people are drawn with replacement.

    With w_i the times that person i is drawn, n_i their photos and F_ij the false matches between i and j:
    FMR = sum_{i<j} w_i w_j F_ij / sum_{i<j} w_i w_j n_i n_j.
    """
    _, who = np.unique(people, return_inverse=True)
    count = np.bincount(who).astype(float)
    false = _false_matches(embedded, who, at)
    first, second, times = (
        (np.array(x) for x in zip(*((i, j, n) for (i, j), n in false.items()), strict=True))
        if (false)
        else (np.zeros(0, int),) * 3
    )
    rates = []
    for _ in range(rounds):
        w = draw.multinomial(len(count), np.full(len(count), 1 / len(count))).astype(float)
        wn = w * count
        pairs = (wn.sum() ** 2 - (wn**2).sum()) / 2
        rates.append(float((w[first] * w[second] * times).sum() / pairs))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def _false_matches(embedded: Embedded, who: NDArray[np.int64], at: float) -> dict[tuple[int, int], int]:
    score, vectors = Scorer(embedded.metric), embedded.vectors
    out: dict[tuple[int, int], int] = {}
    for i in range(0, len(vectors), _BLOCK):
        rows, columns = np.nonzero(score(vectors[i : i + _BLOCK], vectors[i:]) >= at)
        one, two = who[i + rows], who[i + columns]
        for a, b in zip(one[(columns > rows) & (one != two)], two[(columns > rows) & (one != two)], strict=True):
            key = (int(min(a, b)), int(max(a, b)))
            out[key] = out.get(key, 0) + 1
    return out
