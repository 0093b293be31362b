"""The figures of one data set: in floats, and for quantised templates at several scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura import policy as policies
from pura.crypto.encoding import quantise_many
from pura.ids import KeyId
from pura.params import Params, tau_from_cosine
from pura_bench.accuracy import metrics
from pura_bench.accuracy.embeddings import Embedded, Vectors
from pura_bench.accuracy.metrics import Scores, Search
from pura_bench.accuracy.people import Errors

SCALES = (16, 32, 64, 128, 256, 512, 1024)
FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (0.1, 0.01, 0.001)
CURVE = 60
_BLOCK = 512
Score = Callable[[Vectors, Vectors], Scores]
"""How two sets of vectors (n, D) and (m, D) are compared, (n, m)."""


def similarities(x: Vectors, y: Vectors) -> Scores:
    """(n, m): cosines; -inf where there is no face."""
    scores = x @ y.T
    return np.where(np.isnan(scores), -np.inf, scores)


def quantised(vectors: Vectors, scale: int) -> Vectors:
    """Templates (n, D), exact integers in floats; NaN where there is no face. The client's own quantisation."""
    params = Params(KeyId(b"\0" * 16), 2048, dimension=vectors.shape[1], scale=scale)
    out = np.full(vectors.shape, np.nan)
    found = ~np.isnan(vectors[:, 0])
    out[found] = quantise_many(vectors[found], params)
    return out


def integer_scores(x: Vectors, y: Vectors) -> Scores:
    """(n, m): -||x - y||^2 of templates, exact: all terms are integers far below 2^53."""
    scores = 2 * x @ y.T - (x**2).sum(1)[:, None] - (y**2).sum(1)[None, :]
    return np.where(np.isnan(scores), -np.inf, scores)


def of_pairs(score: Score, vectors: Vectors, pairs: NDArray[np.int64]) -> Scores:
    """(P,): the scores of pairs of rows."""
    blocks = [pairs[i : i + _BLOCK] for i in range(0, len(pairs), _BLOCK)]
    return np.concatenate([np.diagonal(score(vectors[b[:, 0]], vectors[b[:, 1]])) for b in blocks])


def all_pairs(vectors: Vectors, people: NDArray[np.int64], score: Score) -> tuple[Scores, Scores]:
    """(genuine, impostor) scores of all pairs of photos."""
    genuine, impostor = [], []
    for i in range(0, len(vectors), _BLOCK):
        scores = score(vectors[i : i + _BLOCK], vectors[i:])
        later = np.triu(np.ones(scores.shape, np.bool_), 1)
        same = people[i : i + _BLOCK, None] == people[None, i:]
        genuine.append(scores[later & same])
        impostor.append(scores[later & ~same])
    return np.concatenate(genuine), np.concatenate(impostor)


def genuine_and_impostor(embedded: Embedded) -> tuple[Scores, Scores]:
    """(genuine, impostor) scores in floats: of all pairs of photos where people are known, else of the protocol's."""
    data = embedded.data
    if data.people is not None:
        return all_pairs(embedded.vectors, data.people, similarities)
    scores = of_pairs(similarities, embedded.vectors, data.pairs)
    return scores[data.same], scores[~data.same]


def threshold(embedded: Embedded, fmr: float, policy: Path | None) -> float:
    """A policy file's, or without one the lowest for this false match rate. Raises as `policy.read` does."""
    if policy is not None:
        return policies.read(policy).threshold
    return metrics.threshold_for(genuine_and_impostor(embedded)[1], fmr)


# --- tables -------------------------------------------------------------------------------------


def verification(
    scores: Scores, same: NDArray[np.bool_], fold: NDArray[np.int64] | None, threshold: float
) -> dict[str, Any]:
    """Accuracy, EER, TAR at FAR, and the errors at a threshold that was fixed before."""
    genuine, impostor = scores[same], scores[~same]
    error, at = metrics.eer(genuine, impostor)
    out: dict[str, Any] = {
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "eer": error,
        "eer_threshold": at,
        "tar_at_far": [_tar_at(genuine, impostor, fmr) for fmr in FMRS if fmr * len(impostor) >= 1],
        "at_threshold": {
            "threshold": threshold,
            "fmr": metrics.matches(impostor, threshold).as_dict(),
            "fnmr": metrics.non_matches(genuine, threshold).as_dict(),
            "accuracy": metrics.accuracy(scores, same, threshold).as_dict(),
        },
    }
    if fold is not None:
        each = metrics.cross_validated(scores, same, fold)
        out["accuracy"] = {"mean": float(each.mean()), "std": float(each.std(ddof=1)), "folds": len(each)}
    return out


def _tar_at(genuine: Scores, impostor: Scores, fmr: float) -> dict[str, Any]:
    threshold = metrics.threshold_for(impostor, fmr)
    hit = metrics.matches(genuine, threshold)
    false = metrics.matches(impostor, threshold).k
    return {"far": fmr, "threshold": threshold, "tar": hit.as_dict(), "false_matches": false}


def curve(genuine: Scores, impostor: Scores) -> list[list[float]]:
    """The ROC as (FMR, FNMR), thinned to some points spread evenly over the logarithm of FMR."""
    _, fmr, fnmr = metrics.roc(genuine, impostor)
    keep = fmr > 0
    fmr, fnmr = fmr[keep], fnmr[keep]
    wanted = np.geomspace(fmr.min(), 1, CURVE)
    places = np.unique(np.searchsorted(-fmr, -wanted, "left").clip(0, len(fmr) - 1))
    return [[float(fmr[i]), float(fnmr[i])] for i in places]


def histogram(genuine: Scores, impostor: Scores) -> dict[str, Any]:
    """Counts of both kinds of scores in equal bins."""
    finite = np.concatenate([genuine, impostor])
    finite = finite[np.isfinite(finite)]
    edges = np.linspace(finite.min(), finite.max(), 61)
    counts = [np.histogram(each[np.isfinite(each)], edges)[0].tolist() for each in (genuine, impostor)]
    return {"edges": edges.tolist(), "genuine": counts[0], "impostor": counts[1]}


def identification(vectors: Vectors, people: NDArray[np.int64], score: Score) -> dict[str, Any] | None:
    """Rank-1 and open-set rates with one enrolled photo a person; None when nobody has two photos."""
    found = ~np.isnan(vectors[:, 0])
    search = Search.of(people, found)
    if not len(search.mates):
        return None
    mated = score(vectors[search.mates], vectors[search.gallery])
    out: dict[str, Any] = {
        "gallery": len(search.gallery),
        "mated_probes": len(search.mates),
        "strangers": len(search.strangers),
        "rank_1": metrics.rank_one(mated, search, people).as_dict(),
        "open_set": [],
    }
    if len(search.strangers):
        others = score(vectors[search.strangers], vectors[search.gallery])
        for fpir in FPIRS:
            if fpir * len(others) >= 1:
                threshold, hit, false = metrics.open_set(mated, others, search, people, fpir)
                out["open_set"].append(
                    {"fpir": fpir, "threshold": threshold, "tpir": hit.as_dict(), "false": false.as_dict()}
                )
    return out


def table(embedded: Embedded, threshold: float, scale: int | None, seed: int = 1) -> dict[str, Any]:
    """All figures in floats (scale None) or for templates at a scale; `threshold` is a cosine.

    With a scale, `changed` says how many decisions differ from those in floats. Of all pairs, the errors at the
    threshold have intervals that draw people.
    """
    data = embedded.data
    vectors, score, at = embedded.vectors, similarities, threshold
    floats = of_pairs(score, vectors, data.pairs) >= at
    if scale is not None:
        vectors, score = quantised(vectors, scale), integer_scores
        at = float(-tau_from_cosine(threshold, scale))
    scores = of_pairs(score, vectors, data.pairs)
    out: dict[str, Any] = {
        "scale": scale,
        "pairs": verification(scores, data.same, data.fold, at),
        "changed": int(np.count_nonzero((scores >= at) != floats)),
    }
    if data.people is not None:
        genuine, impostor = all_pairs(vectors, data.people, score)
        everything = np.concatenate([genuine, impostor])
        out["all_pairs"] = verification(everything, np.arange(len(everything)) < len(genuine), None, at)
        errors = Errors.of(vectors, data.people, score, at, seed)
        out["all_pairs"]["at_threshold"] |= {"fmr": errors.fmr().as_dict(), "fnmr": errors.fnmr().as_dict()}
        out["identification"] = identification(vectors, data.people, score)
        out["roc"] = curve(genuine, impostor)
    else:
        out["roc"] = curve(scores[data.same], scores[~data.same])
    return out
