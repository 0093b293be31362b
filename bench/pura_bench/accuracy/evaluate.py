"""The figures of one data set: in floats, and for quantised templates at several scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import quantise_many
from pura.ids import KeyId
from pura.params import Params, tau_from_cosine
from pura_bench.accuracy import metrics
from pura_bench.accuracy.embeddings import Embedded, Vectors
from pura_bench.accuracy.metrics import Rate, Scores, Search
from pura_bench.accuracy.people import Errors

SCALES = (16, 32, 64, 128, 256, 512, 1024)
FMRS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (0.1, 0.01, 0.001)
CURVE = 60
_BLOCK = 512


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


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How two sets of vectors are compared."""

    integers: bool = False

    def __call__(self, x: Vectors, y: Vectors) -> Scores:
        return integer_scores(x, y) if self.integers else similarities(x, y)

    def of_pairs(self, vectors: Vectors, pairs: NDArray[np.int64]) -> Scores:
        """(P,): the scores of pairs of rows."""
        blocks = [pairs[i : i + _BLOCK] for i in range(0, len(pairs), _BLOCK)]
        return np.concatenate([np.diagonal(self(vectors[b[:, 0]], vectors[b[:, 1]])) for b in blocks])


def _upper(vectors: Vectors, people: NDArray[np.int64], score: Scorer) -> Iterator[tuple[Scores, NDArray[np.bool_]]]:
    """Scores of all pairs of photos, and whether they are of one person, block by block."""
    for i in range(0, len(vectors), _BLOCK):
        scores = score(vectors[i : i + _BLOCK], vectors[i:])
        mask = np.triu(np.ones(scores.shape, np.bool_), 1)
        yield scores[mask], (people[i : i + _BLOCK, None] == people[None, i:])[mask]


def all_pairs(vectors: Vectors, people: NDArray[np.int64], score: Scorer) -> tuple[Scores, Scores]:
    """(genuine, impostor) scores of all pairs of photos."""
    parts = list(_upper(vectors, people, score))
    return np.concatenate([s[same] for s, same in parts]), np.concatenate([s[~same] for s, same in parts])


def impostors_and_genuine(embedded: Embedded) -> tuple[Scores, Scores]:
    """(genuine, impostor) scores in floats: of all pairs of photos where people are known, else of the protocol's."""
    score = Scorer()
    data = embedded.data
    if data.people is not None:
        return all_pairs(embedded.vectors, data.people, score)
    scores = score.of_pairs(embedded.vectors, data.pairs)
    return scores[data.same], scores[~data.same]


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
            "accuracy": Rate(
                int((genuine >= threshold).sum() + (impostor < threshold).sum()), len(genuine) + len(impostor)
            ).as_dict(),
        },
    }
    if fold is not None:
        each = metrics.cross_validated(scores, same, fold)
        out["accuracy"] = {
            "mean": float(each.mean()),
            "std": float(each.std(ddof=1)),
            "folds": len(each),
        }
    return out


def _tar_at(genuine: Scores, impostor: Scores, fmr: float) -> dict[str, Any]:
    threshold = metrics.threshold_for(impostor, fmr)
    hit = metrics.matches(genuine, threshold)
    return {
        "far": fmr,
        "threshold": threshold,
        "tar": hit.as_dict(),
        "false_matches": metrics.matches(impostor, threshold).k,
    }


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


def identification(vectors: Vectors, people: NDArray[np.int64], score: Scorer) -> dict[str, Any] | None:
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
    vectors, score, at = embedded.vectors, Scorer(), threshold
    floats = score.of_pairs(vectors, data.pairs) >= at
    if scale is not None:
        vectors, score = quantised(vectors, scale), Scorer(integers=True)
        at = float(-tau_from_cosine(threshold, scale))
    scores = score.of_pairs(vectors, data.pairs)
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
