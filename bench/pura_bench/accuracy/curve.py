"""How often two people match, against the threshold: the curve by which `pura-server init --people` chooses.

    pura bench accuracy curve --data lfw1:FOLDER --out sface-mirrored.toml

People count, not photos: a pair of photos of two people weighs 1 / (n_a n_b). Where fewer than `ENOUGH` pairs of
people match, the rate is extrapolated from there: its logarithm falls linearly, as fast as over the decade above.
Intervals draw people with replacement. Two pairs of names in LFW are of one person each, as the photos with the highest
scores show; they are left out. Siblings and twins are not.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.report import Table, share
from pura_bench.accuracy.topic import Photos, topic

ONE_PERSON = (("Joseph_Blatter", "Sepp_Blatter"), ("Nan_Wang", "Wang_Nan"))
THRESHOLDS = np.round(np.arange(0.25, 0.751, 0.005), 3)
ENOUGH = 20
ROUNDS = 300
Floats = NDArray[np.float64]


def person_pairs(embedded: Embedded) -> tuple[Floats, int]:
    """A row (weight, one person, the other, score) for each pair of photos of different people above the lowest
    threshold, (k, 4); and the number of people."""
    people = embedded.who
    names = [photo.parent.name if isinstance(photo, Path) else "" for photo in embedded.data.photos]
    of = {name: int(who) for name, who in zip(names, people, strict=True)}
    twice = [{of[a], of[b]} for a, b in ONE_PERSON if a in of and b in of]
    count = np.bincount(people)
    rows = []
    vectors = np.nan_to_num(embedded.vectors)
    for i in range(0, len(vectors), 512):
        scores = vectors[i : i + 512] @ vectors.T
        one, two = np.nonzero(scores >= THRESHOLDS[0])
        a, b = people[i + one], people[two]
        keep = (a < b) & np.array([{x, y} not in twice for x, y in zip(a, b, strict=True)], np.bool_)
        rows.append(np.stack([1 / (count[a] * count[b]), a, b, scores[one, two]], 1)[keep])
    return np.concatenate(rows), len(count)


def rates(found: Floats, weights: Floats, pairs: float) -> tuple[Floats, Floats]:
    """(FMR, pairs of people that match) at each threshold."""
    order = np.argsort(found[:, 3])
    total = np.cumsum((found[:, 0] * weights)[order][::-1])[::-1]
    at = np.searchsorted(found[order, 3], THRESHOLDS)
    matched = np.append(total, 0.0)[at]
    return matched / pairs, matched


def with_tail(fmr: Floats, matched: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The curve with its end extrapolated, and where it is."""
    enough = matched >= ENOUGH
    last = int(np.flatnonzero(enough)[-1])
    first = int(np.argmin(np.abs(np.log(np.maximum(fmr, 1e-300)) - np.log(10 * fmr[last]))))
    slope = np.polyfit(THRESHOLDS[first : last + 1], np.log(fmr[first : last + 1]), 1)[0]
    tail = fmr[last] * np.exp(slope * (THRESHOLDS - THRESHOLDS[last]))
    return np.where(np.arange(len(fmr)) <= last, fmr, tail), np.arange(len(fmr)) > last


def recorded(embedded: Embedded, seed: int) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], int]:
    """FMR, its interval at 95 % and where it is extrapolated, at each of `THRESHOLDS`; and how many people."""
    found, people = person_pairs(embedded)
    who = found[:, 1:3].astype(np.int64)
    fmr, matched = rates(found, np.ones(len(found)), people * (people - 1) / 2)
    values, extrapolated = with_tail(fmr, matched)
    draw, drawn = np.random.default_rng(seed), []
    top = int(who.max()) + 1
    for _ in range(ROUNDS):
        w = np.bincount(draw.integers(0, top, top), minlength=top).astype(float)
        pairs = (w.sum() ** 2 - (w**2).sum()) / 2
        one, matched = rates(found, w[who[:, 0]] * w[who[:, 1]], pairs)
        drawn.append(with_tail(one, matched)[0])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return values, low, high, extrapolated, people


@topic("curve", click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the curve here."))
def curve(photos: Photos, seed: int, out: Path | None) -> list[Table]:
    """Record the curve by which `pura-server init --people` chooses, on the half that thresholds are fitted on."""
    spec = photos.faces.spec
    fitted = photos.embed(photos.fitted_on)
    fmr, low, high, extrapolated, people = recorded(fitted, seed)
    other = recorded(photos.embed(photos.reported), seed)[0]
    command = f"pura bench accuracy curve --data {photos.shown} --embedder {spec.name} --seed {seed}"
    lines = [
        "# False match rate of two people's photos against the threshold (docs/accuracy.md)",
        f"# {command}",
        f"embedder = {json.dumps(spec.name)}",
        f"data_set = {json.dumps(fitted.data.name)}",
        f"people = {people}",
    ]
    for i, at in enumerate(THRESHOLDS):
        lines += ["", "[[point]]", f"threshold = {at}", f"fmr = {fmr[i]:.3e}", f"low = {low[i]:.3e}"]
        lines += [f"high = {high[i]:.3e}", f"extrapolated = {'true' if extrapolated[i] else 'false'}"]
    if out is not None:
        out.write_text("\n".join(lines) + "\n", "utf-8")
    rows = [
        {
            "threshold": float(at),
            "FMR": {"value": fmr[i], "low": low[i], "high": high[i]},
            "extrapolated": bool(extrapolated[i]),
            f"on {photos.reported.name}": share(other[i]),
        }
        for i, at in enumerate(THRESHOLDS)
        if i % 4 == 0
    ]
    return [Table(f"false match rate of people, {fitted.data.name}", rows)]
