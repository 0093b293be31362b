"""How attributes move embeddings: the same way for all faces, or each in its own.

*Alignment*, after the code mantonios107/attrs-fr-embs. For an identity and an attribute, three embeddings of each base
photo, at steps -, 0 and +: x = f(0), v = f(+) - f(-), v^ = v / |v|, and with N10(j) the ten nearest x by cosine

    E = mean_j mean_{l in N10(j)} (1 - v^_j . v^_l)

averaged over identities: near 0, neighbours move alike and the attribute has directions of its own in the space; near 1
there are none, and the embedding is invariant but for noise. Also weighted by 1/d over all l, and over those within a
ball of `BALL` times the mean distance. With one photo of each person all of them are one cloud. For attributes with one
side (blur, haze, ...) - is the photo as it is.

*Macroscale*: half of the people with the attribute at +, the others without, one photo each; Kolmogorov-Smirnov between
distances within either half and across. *Probe*: a logistic regression that tells f(+) from f(0); the folds are of
people, so that it never saw the person whom it is asked about.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from pura.face import images
from pura.face.detect import Face
from pura.face.images import Pixels
from pura.face.pipeline import FacePipeline
from pura_bench.accuracy import attributes, groups
from pura_bench.accuracy.attributes import Attribute, altered_crop, embed_crops
from pura_bench.accuracy.embeddings import Embedded, Vectors, central_face
from pura_bench.accuracy.people import auc, drawn, middle
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, models, topic

NEIGHBOURS, BALL, FOLDS = 10, 0.9, 5
FEWEST = 4
"""People whose faces are found, for anything to be said."""
STEPS = (
    Attribute("keystone", "% of height", attributes.keystone, (-12, 0, 12)),
    Attribute("rotation", "degrees", attributes.rotation, (-15, 0, 15)),
    Attribute("hue", "degrees", attributes.hue, (-25, 0, 25)),
    Attribute("brightness", "factor", attributes.brightness, (0.6, 1, 1.5)),
    Attribute("contrast", "factor", attributes.contrast, (0.6, 1, 1.5)),
    Attribute("blur", "sigma, % of the face's width", attributes.blur, (0, 1.5, 3)),
    Attribute("haze", "% veil", attributes.haze, (0, 30, 60)),
    Attribute("rain", "streaks in 10,000 pixels", attributes.rain, (0, 15, 30)),
    Attribute("noise", "sigma, grey levels", attributes.noise, (0, 15, 30)),
    Attribute("JPEG", "quality", attributes.jpeg, (100, 30, 10)),
    Attribute("occlusion", "% of the face", attributes.occlusion, (0, 8, 16)),
)
UNCHANGED = {"brightness": 1, "contrast": 1, "JPEG": 100}
"""At which level an attribute leaves the photo as it is; 0 for the others."""


def alignments(steps: Vectors, identity: NDArray[np.int64]) -> dict[str, Vectors]:
    """The local energies (identities,) or, of one identity, (photos,): by N10, by 1/d, in a ball. steps: (3, n, D).
    Nothing where the attribute moves nobody: hue, of grey photos."""
    from sklearn.metrics.pairwise import cosine_distances
    from sklearn.neighbors import kneighbors_graph

    found = np.linalg.norm(steps[2] - steps[0], axis=1) > 0
    found &= ~np.isnan(steps[1, :, 0])
    out: dict[str, list[Vectors]] = {"N10": [], "1/d": [], "ball": []}
    for one in np.unique(identity[found]):
        minus, zero, plus = steps[:, found & (identity == one)]
        if len(zero) < 3:
            continue
        turned, apart = cosine_distances(plus - minus), cosine_distances(zero)
        np.fill_diagonal(apart, np.inf)
        near = kneighbors_graph(zero, min(NEIGHBOURS, len(zero) - 1), metric="cosine").toarray()
        ball = apart <= BALL * apart[np.isfinite(apart)].mean()
        for name, weights in (("N10", near), ("1/d", 1 / np.maximum(apart, 1e-9)), ("ball", ball.astype(np.float64))):
            total = weights.sum(1)
            out[name].append((weights * turned).sum(1)[total > 0] / total[total > 0])
    if not out["N10"]:
        return {}
    several = len(out["N10"]) > 1
    return {name: np.array([e.mean() for e in each if len(e)]) if several else each[0] for name, each in out.items()}


def estimate(values: Vectors, seed: int) -> Row:
    """A mean, and its interval when the values are drawn with replacement."""
    low, high = middle(drawn(len(values), seed) @ values / len(values))
    return {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}


def macroscale(having: Vectors, lacking: Vectors) -> float:
    """The larger of the KS statistics of distances within those having it, or lacking it, and across."""
    from scipy.spatial.distance import cdist, pdist
    from scipy.stats import ks_2samp

    cross = cdist(having, lacking, "cosine").ravel()
    return max(float(ks_2samp(pdist(each, "cosine"), cross).statistic) for each in (having, lacking))


def probe(having: Vectors, lacking: Vectors, people: NDArray[np.int64], seed: int) -> Row:
    """AUC of a linear probe, people disjoint between the folds; `people` of each row of both, one after the other."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    x = np.concatenate([having, lacking])
    y = np.arange(len(x)) < len(having)
    folds = GroupKFold(min(FOLDS, len(np.unique(people))))
    told = cross_val_predict(
        LogisticRegression(max_iter=1000), x, y, groups=people, cv=folds, method="decision_function"
    )
    return auc(y, told, people, seed)


@topic(
    "geometry",
    click.option("--people", default=250, show_default=True, type=click.IntRange(FEWEST)),
    click.option("--each", default=1, show_default=True, type=click.IntRange(1), help="Photos of each person."),
    click.option("--also", multiple=True, help="Another embedder on the same faces: a name, or a TOML file."),
    click.option("--groups", "files", multiple=True, type=click.Path(path_type=Path), help="Labels, for KS and probe."),
)
def geometry(
    photos: Photos, seed: int, people: int, each: int, also: tuple[str, ...], files: tuple[Path, ...]
) -> list[Table]:
    """How attributes move embeddings: alignment of neighbours, KS of distances, a probe by people."""
    pipelines = [photos.faces, *(FacePipeline(*models(name)) for name in also)]
    held = photos.embed(photos.reported)
    places = _sample(held, people, each, seed)
    who = held.who[places]
    identity = who if each > 1 else np.zeros(len(who), np.int64)
    plain = [held.vectors[places], *(photos.embed(photos.reported, faces).vectors[places] for faces in pipelines[1:])]

    @functools.cache  # where a face is on the photo as it is, is looked for once
    def where(place: int) -> Face | None:
        return None if held.data.aligned else central_face(images.read(held.data.photos[place]), photos.faces)

    def crop(place: int, attribute: Attribute, level: float) -> Pixels | None:
        # the same draw for all levels: what is at random stays where it is
        draw = np.random.default_rng([seed, zlib.crc32(attribute.name.encode()), place])
        return altered_crop(held.data, place, [(attribute, level)], draw, photos.faces, where=where(place))

    rows: list[Row] = []
    with photos.bar("altering photos", 3 * len(STEPS) * len(places)) as advance:
        for attribute in STEPS:
            crops: list[list[Pixels | None] | None] = []  # at each level; None: the photos as they are
            for level in attribute.levels:
                altered = level != UNCHANGED.get(attribute.name, 0)
                crops.append([crop(int(place), attribute, level) for place in places] if altered else None)
                advance(len(places))
            for faces, unchanged in zip(pipelines, plain, strict=True):
                steps = [unchanged if level is None else embed_crops(level, faces) for level in crops]
                about = {"embedder": faces.spec.name, "attribute": attribute.name,
                         "steps": "{:g}, {:g}, {:g} ".format(*attribute.levels) + attribute.unit}  # fmt: skip
                rows.append(about | _row(np.stack(steps), unchanged, who, identity, seed))
    if files:
        # the first group against all others, by one photo each: nothing is altered, so there is no E
        (name, mask), *_ = groups.of_people(held, groups.read(files)).items()
        one_each = np.unique(who, return_index=True)[1]
        has = mask[who[one_each]]
        having, lacking = one_each[has], one_each[~has]
        of = who[np.concatenate([having, lacking])]
        for faces, vectors in zip(pipelines, plain, strict=True):
            parts = vectors[having], vectors[lacking]
            rows.append({"embedder": faces.spec.name, "attribute": f"{name} (labels)", "steps": "as they are",
                         "KS": macroscale(*parts), "probe, AUC": probe(*parts, of, seed)})  # fmt: skip
    kind = f"{each} photos of each person" if each > 1 else "one photo each, one cloud"
    return [Table(f"geometry, {held.data.name}: {len(np.unique(who))} people, {kind}", rows)]


def _sample(held: Embedded, people: int, each: int, seed: int) -> NDArray[np.int64]:
    """The first photos of people who have so many, drawn by a seed."""
    have = [mine[:each] for mine in held.photos_of_people() if len(mine) >= each]
    chosen = np.random.default_rng(seed).permutation(len(have))[:people]
    return np.concatenate([have[i] for i in np.sort(chosen)])


def _row(steps: Vectors, plain: Vectors, who: NDArray[np.int64], identity: NDArray[np.int64], seed: int) -> Row:
    at_end = steps[2]
    found = ~np.isnan(at_end[:, 0])
    lost = {"faces not found": int((~found).sum())}
    if len(np.unique(who[found])) < FEWEST:
        return lost
    energies = alignments(steps, identity)
    one_each = np.unique(who, return_index=True)[1]
    shuffled = np.random.default_rng(seed).permutation(one_each[found[one_each]])
    half = len(shuffled) // 2
    both = np.concatenate([who[found]] * 2)
    return {
        **{f"E, {name}" if name != "N10" else "E": estimate(values, seed) for name, values in energies.items()},
        "KS": macroscale(at_end[shuffled[:half]], plain[shuffled[half:]]),
        "probe, AUC": probe(at_end[found], plain[found], both, seed),
        **lost,
    }
