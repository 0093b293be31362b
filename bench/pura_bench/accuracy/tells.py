"""What a template tells beside identity: its owner's gender, and how the photo was, and to whom it tells that.

Each person has one photo, to which glasses, blur and darkness were added or not, each by the toss of a coin: known
labels that nobody had to guess. Gender is by a labels file, and what differs between photos of one person, such as the
expression, by another: a network's guesses there are a proxy, and say so. What is inferred from:

- *a template in the clear*: as it is stolen from a matcher without encryption;
- *DarkerBB's picture*: of a matcher that answers with scores, embedded again (pura/attack/darkerbb.py);
- *all that one server has of an entry*: read from its folder, of two real servers where templates are enrolled;
- *the product's answers*: match or no match with other people's photos (by plain integers, which answer alike).

Classifiers are fitted on people whom they are not asked about: on the training half, or, for a server's bytes, on the
other people of the same gallery. 0.5 is chance. The bytes of templates in the clear, read in the same way as a
server's, are the positive control.
"""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pura.attack import basis as bases
from pura.attack import darkerbb
from pura.attack.embedders import OpenCvEmbed
from pura.attack.oracle import PlaintextScores, unit
from pura.face import weights
from pura.face.images import Pixels
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE
from pura.ids import Engine
from pura.params import DEFAULT_SCALE
from pura.policy import Policy
from pura_bench.accuracy import attributes, groups
from pura_bench.accuracy.attributes import Attribute, altered_crop
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.encrypted import deployed, enrol
from pura_bench.accuracy.evaluate import integer_scores, quantised
from pura_bench.accuracy.fit import fit
from pura_bench.accuracy.people import auc
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

ADDED = (
    Attribute("glasses", "% of the distance of the eyes", attributes.glasses, (8,)),
    Attribute("blur", "% of the face's width", attributes.blur, (2,)),
    Attribute("darkness", "factor", attributes.brightness, (0.4,)),
)
COMPONENTS, GAIN = 300, 3.0
QUESTIONS = (200, 1_000)
FOLDS = 5
Floats = NDArray[np.float64]
Labels = dict[str, NDArray[np.bool_]]
"""Attribute -> (n,): whose photo has it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """One photo each of n people, with what was added: crops, and what is known of them. rest: photos of others."""

    crops: list[Pixels]
    labels: Labels
    rest: NDArray[np.int64]

    def embed(self, faces: FacePipeline) -> Floats:
        """(n, D), of unit length."""
        return attributes.embed_crops(self.crops, faces)


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """A half, and what files say: which photos have an attribute, and which are labelled with all attributes, (n,)."""

    half: Embedded
    labels: Labels
    labelled: NDArray[np.bool_]

    @classmethod
    def of(cls, half: Embedded, people: groups.Labels, photos: groups.Labels) -> Given:
        """The first group of people, and the first of photos if there are any, against the others."""
        said = [{name: mask[half.who] for name, mask in groups.of_people(half, people).items()}]
        said += [groups.of_photos(half, photos)] if photos else []
        labels = {name: by[name] for by in said for name in [next(iter(by))]}
        return cls(half, labels, half.found & np.all([np.any(list(by.values()), 0) for by in said], 0))


def make(given: Given, size: int, seed: int, faces: FacePipeline, advance: Callable[[int], None]) -> Made:
    """Photos of up to `size` labelled people of a half; those in whom no face is found any more are left out."""
    half = given.half
    places = np.flatnonzero(given.labelled)
    _, first = np.unique(half.who[places], return_index=True)
    chosen = np.sort(np.random.default_rng(seed).permutation(places[first])[:size])
    crops, kept, coins = [], [], []
    for place in chosen:
        draw = np.random.default_rng([seed, zlib.crc32(half.data.name.encode()), int(place)])
        added = draw.random(len(ADDED)) < 0.5
        changes = [(attribute, attribute.levels[0]) for attribute in itertools.compress(ADDED, added)]
        crop = altered_crop(half.data, place, changes, draw, faces)
        if crop is not None:
            crops.append(crop)
            kept.append(place)
            coins.append(added)
        advance(1)
    labels = {name: mask[kept] for name, mask in given.labels.items()}
    labels |= {attribute.name: np.array(coins)[:, i] for i, attribute in enumerate(ADDED)}
    rest = np.flatnonzero(half.found & ~np.isin(half.who, half.who[kept]))
    return Made(crops, labels, rest)


# --- inference ----------------------------------------------------------------------------------


def inferred(fitted: Floats, known: Labels, asked: Floats, true: Labels, seed: int) -> Row:
    """AUC of each attribute: fitted on some people, asked about others; (n, F) each."""
    told = {name: _machine().fit(fitted, labels).decision_function(asked) for name, labels in known.items()}
    return {name: auc(true[name], each, np.arange(len(asked)), seed) for name, each in told.items()}


def across(features: Floats, labels: Labels, seed: int) -> Row:
    """The same with folds: each person, one row, is asked about by a classifier that was fitted on others."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    out: Row = {}
    for name, each in labels.items():
        told = cross_val_predict(_machine(), features, each, cv=folds, method="decision_function")
        out[name] = auc(each, told, np.arange(len(features)), seed)
    return out


def _machine() -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=2.0))


# --- what there is to see -----------------------------------------------------------------------


def pictures(attacker: Made, victims: Sequence[Pixels], questions: int, seed: int) -> Floats:
    """The embeddings (V, 128) of what DarkerBB draws from so many scores about each victim, by SFace."""
    path = weights.locate(weights.SFACE_FILE)
    embed = OpenCvEmbed(path)
    basis = bases.fit(np.stack(attacker.crops), COMPONENTS, mirrored=False, seed=seed)
    enrolled = embed(bases.vectors(np.stack(list(victims))))
    settings = dataclasses.replace(darkerbb.fast(questions, GAIN), marks=())
    oracle = PlaintextScores(enrolled)
    found = darkerbb.attack(oracle, embed, basis, np.arange(len(enrolled)), settings, seed=seed)
    drawn = bases.pictures(basis.images(found.coordinates), basis.side)
    return np.asarray(embed(bases.vectors(drawn)), np.float64)


def stored(folder: Path, side: str) -> Floats:
    """(entries, bytes): what one server keeps of each entry, in the order of enrolment."""
    with sqlite3.connect(f"file:{folder / side / 'data' / 'gallery.db'}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT body, masking FROM entry ORDER BY seq").fetchall()
    db.close()
    return _bytes([bytes(body) + bytes(share) for body, share in rows])


def _bytes(rows: Sequence[bytes]) -> Floats:
    size = min(len(row) for row in rows)
    return np.stack([np.frombuffer(row[:size], np.uint8) for row in rows]).astype(np.float64)


def answers(templates: Floats, probes: Floats, tau: int) -> Floats:
    """(n, probes): 1 where a template (n, D) and a probe match, as the product decides."""
    scores = integer_scores(quantised(templates, DEFAULT_SCALE), quantised(probes, DEFAULT_SCALE))
    return (scores >= -tau).astype(np.float64)


@topic(
    "tells",
    click.option("--groups", "files", multiple=True, required=True, type=click.Path(path_type=Path)),
    click.option("--photo-labels", multiple=True, type=click.Path(path_type=Path), help="Of what differs by photo."),
    click.option("--people", default=600, show_default=True, help="To fit on; half as many are asked about."),
    click.option("--enrolled", default=200, show_default=True, help="Entries of two real servers; 0: none."),
    click.option("--victims", default=40, show_default=True, help="Of DarkerBB; 0: none."),
    click.option("--questions", default=500, show_default=True, help="Scores that DarkerBB asks for about each."),
    click.option("--bits", default=2048, show_default=True, help="Of the servers' key."),
)
def tells(
    photos: Photos,
    seed: int,
    files: tuple[Path, ...],
    photo_labels: tuple[Path, ...],
    people: int,
    enrolled: int,
    victims: int,
    questions: int,
    bits: int,
) -> list[Table]:
    """What a template tells beside identity: gender, glasses, blur, darkness; and to whom it tells them."""
    training, reported = photos.halves()
    labels = groups.read(files), groups.read(photo_labels)
    fitted, asked = (Given.of(half, *labels) for half in (training, reported))
    with photos.bar("altering photos", people + people // 2) as advance:
        attacker = make(fitted, people, seed, photos.faces, advance)
        targets = make(asked, people // 2, seed, photos.faces, advance)

    def row(what: str, mine: Floats, theirs: Floats, true: Labels = targets.labels) -> Row:
        return {"from": what, "people": len(theirs), **inferred(mine, attacker.labels, theirs, true, seed)}

    mine, theirs = (made.embed(photos.faces) for made in (attacker, targets))
    clear = f"templates in the clear, {photos.faces.spec.name}"
    rows = [
        {"from": f"{clear}, photos as they are", "people": None, **_unaltered(fitted, asked, seed)},
        row(clear, mine, theirs),
    ]
    if victims:
        plain = FacePipeline(SFACE)
        known = attacker.embed(plain)
        chosen = _balanced(next(iter(targets.labels.values())), victims)
        true = {each: flags[chosen] for each, flags in targets.labels.items()}
        stolen = targets.embed(plain)[chosen]
        drawn = pictures(attacker, [targets.crops[i] for i in chosen], questions, seed)
        close = float(np.median((unit(drawn) * stolen).sum(1)))
        what = f"DarkerBB's pictures, {questions} scores each (median cosine {close:.2f})"
        rows.append(row("the same people's templates in the clear, sface", known, stolen, true))
        rows.append(row(what, known, drawn, true))
    policy = fit(training, photos.faces.spec, 1e-4, DEFAULT_SCALE, seed)
    if enrolled:
        rows += _servers(theirs[:enrolled], {k: v[:enrolled] for k, v in targets.labels.items()}, policy, bits, seed)
    for count in QUESTIONS:
        probes = training.vectors[attacker.rest[:count]]
        seen, heard = (answers(each, probes, policy.tau) for each in (mine, theirs))
        what = f"the product's answers to {len(probes):,} strangers' photos, {int(heard.sum())} matches"
        rows.append(row(what, seen, heard))
    title = f"attributes inferred, AUC (0.5 is chance), {reported.data.name}; fitted on {training.data.name}"
    return [Table(title, rows)]


def _balanced(labels: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """Places of as many that have it as have it not."""
    return np.sort(np.concatenate([np.flatnonzero(labels == flag)[: size // 2] for flag in (True, False)]))


def _unaltered(fitted: Given, asked: Given, seed: int) -> Row:
    """By all labelled photos, RBF and linear."""
    from sklearn.linear_model import LogisticRegression

    x, y = (given.half.vectors[given.labelled] for given in (fitted, asked))
    out: Row = {}
    for name, mask in fitted.labels.items():
        known, true = mask[fitted.labelled], asked.labels[name][asked.labelled]
        for kind, machine in ((name, _machine()), (f"{name}, linear", LogisticRegression(max_iter=1000))):
            out[kind] = auc(true, machine.fit(x, known).decision_function(y), asked.half.who[asked.labelled], seed)
    return out


def _servers(templates: Floats, labels: Labels, policy: Policy, bits: int, seed: int) -> list[Row]:
    """Templates enrolled at two real servers: the bytes that each keeps, beside those of templates in the clear."""
    with deployed(policy, Engine.PREPARED, bits) as (session, folder):
        enrol(session, templates)
        views = {f"all that {side.upper()} keeps of an entry": stored(folder, side) for side in ("s1", "s2")}
    clear = [x.tobytes() for x in quantised(templates, DEFAULT_SCALE).astype(np.int16)]
    views = {"control: bytes of templates in the clear": _bytes(clear)} | views
    return [
        {"from": f"{what} ({seen.shape[1]:,} bytes)", "people": len(seen), **across(seen, labels, seed)}
        for what, seen in views.items()
    ]
