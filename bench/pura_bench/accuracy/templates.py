"""What a person's template is made of: one photo or the mean of several, mirror images too, good photos only.

Each photo of a person with several asks against a template of that person's other photos; the templates of all other
people are the impostors. With a gate, a photo on which the network's own vector is shorter than on a share of the
photos of the training half is refused: it neither is enrolled nor asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pura.face import centre, several
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED, SFACE_MIRRORED, EmbedderSpec
from pura_bench.accuracy import metrics
from pura_bench.accuracy.centres import with_centre
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.people import Interval, drawn
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

MIRRORED = SFACE_MIRRORED.name
EMBEDDERS = (SFACE, SFACE_CENTRED, SFACE_MIRRORED)
FMR = 1e-4
FARS = (1e-4, 1e-5)
FPIR = 0.01
AT = (0.37, 0.43, 0.47, 0.52)
ALL = 99
"""More photos than anybody has."""
ARMS = (
    *((spec, 1, 0.0) for spec in EMBEDDERS),
    *((SFACE_MIRRORED, 1, gate) for gate in (0.02, 0.05)),
    *((SFACE_MIRRORED, count, 0.0) for count in (2, 3, ALL)),
)
"""Embedder, photos of a template at most, and the share of the training half's photos below which a gate refuses."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Scores (photos, people) of each photo with each person's template, which for its own person is of others only;
    NaN where there is no template. who: (photos,); several: (people,), who has two photos that can be used."""

    scores: NDArray[np.float64]
    who: NDArray[np.int64]
    several: NDArray[np.bool_]
    seed: int

    @classmethod
    def of(cls, embedded: Embedded, usable: NDArray[np.bool_], count: int, seed: int, least: int = 2) -> Trial:
        """Templates of up to `count` photos. Photos without a face ask, and never match; those refused do not ask.
        Of people with fewer than `least` usable photos none asks about its own."""
        found, who = embedded.found, embedded.who
        asking = np.flatnonzero(usable | ~found)
        photos = [places[usable[places]] for places in embedded.photos_of_people()]
        templates = np.full((len(photos), embedded.vectors.shape[1]), np.nan)
        for person, places in enumerate(photos):
            if len(places):
                templates[person] = several.mean(embedded.vectors[places[:count]])
        scores = embedded.vectors[asking] @ templates.T
        for row, place in enumerate(asking):
            others = photos[who[place]][photos[who[place]] != place]
            own = embedded.vectors[place] @ several.mean(embedded.vectors[others[:count]]) if len(others) else np.nan
            scores[row, who[place]] = own
        scores[~found[asking]] = -np.inf
        enough = np.array([len(places) >= least for places in photos])
        return cls(scores, who[asking], enough, seed)

    @property
    def own(self) -> NDArray[np.float64]:
        """(photos,)."""
        return self.scores[np.arange(len(self.who)), self.who]

    @property
    def impostors(self) -> NDArray[np.float64]:
        """All scores with other people's templates."""
        mask = np.ones(self.scores.shape, np.bool_)
        mask[np.arange(len(self.who)), self.who] = False
        found = self.scores[mask]
        return found[~np.isnan(found)]

    def share(self, right: NDArray[np.bool_]) -> Interval:
        """Of the photos that ask about their own person, those that are `right`, (photos,); by people."""
        asks = self.several[self.who]
        size = len(self.several)
        k, n = (np.bincount(self.who[each], minlength=size).astype(np.float64) for each in (asks & right, asks))
        return Interval.of(k, n, drawn(size, self.seed))

    def tar(self, far: float) -> Interval:
        """At the lowest threshold at which at most this share of impostors matches."""
        return self.share(self.own >= metrics.threshold_for(self.impostors, far))

    def tpir(self, fpir: float) -> Interval | None:
        """With all people of several photos enrolled and all others strangers; None where everybody has several."""
        gallery = self.scores[:, self.several]
        strangers = gallery[~self.several[self.who]]
        if not len(strangers):
            return None
        at = metrics.threshold_for(strangers.max(1), fpir)
        return self.share((self.own >= at) & (self.own >= gallery.max(1)))


@topic("templates")
def templates(photos: Photos, seed: int) -> list[Table]:
    """What a person's template is made of: means of several photos, mirror images, a quality gate.

    --embedder is not used: the built-in ones are compared.
    """
    fitted_on, reported = photos.fitted_on, photos.reported
    pipelines = {spec.name: FacePipeline(spec) for spec in EMBEDDERS if spec is not SFACE_CENTRED}
    raw, held = (
        {name: photos.embed(data, faces) for name, faces in pipelines.items()} for data in (fitted_on, reported)
    )
    for half in (raw, held):
        half[SFACE_CENTRED.name] = with_centre(half[SFACE.name], centre.of(SFACE_CENTRED))
    rows = [_row(raw, held, seed, *arm) for arm in ARMS]
    halves = {half[MIRRORED].data.name: half[MIRRORED] for half in (raw, held)}
    return [
        Table(f"a person's template, {reported.name}; threshold of an FMR of {FMR:g} on {fitted_on.name}", rows),
        Table(f"people with four photos, {MIRRORED}: photos that do not match", list(_four(halves, seed))),
        Table("photos that do not belong to the others of a set", list(_agreement(halves))),
    ]


def _row(
    raw: dict[str, Embedded], held: dict[str, Embedded], seed: int, spec: EmbedderSpec, count: int, gate: float
) -> Row:
    lengths = [np.asarray(half[SFACE.name].lengths) for half in (raw, held)]
    usable = [each >= np.nanquantile(lengths[0], gate) for each in lengths]
    fitted, tried = raw[spec.name], Trial.of(held[spec.name], usable[1], count, seed)
    at = metrics.threshold_for(Trial.of(fitted, usable[0], 1, seed).impostors, FMR)
    return {
        "embedder": spec.name + (f", gate {gate:.0%}" if gate else ""),
        "template": {1: "one photo", ALL: "mean of all others"}.get(count, f"mean of up to {count}"),
        "photos refused": int((held[spec.name].found & ~usable[1]).sum()),
        **{f"TAR at FAR {far:.0e}": tried.tar(far).as_dict() for far in FARS},
        f"TPIR at FPIR {FPIR:.0%}": tpir.as_dict() if (tpir := tried.tpir(FPIR)) else None,
        "threshold": at,
        "FMR there": metrics.matches(tried.impostors, at).value,
        "FNMR there": tried.share(~(tried.own >= at)).as_dict(),
    }


def _four(halves: dict[str, Embedded], seed: int) -> Iterator[Row]:
    for name, half in halves.items():
        for count in (1, 2, 3):
            tried = Trial.of(half, half.found, count, seed, least=4)
            yield {
                "photos": name,
                "template": "one photo" if count == 1 else f"mean of {count}",
                "people": int(tried.several.sum()),
                **{f"FNMR at {at}": tried.share(~(tried.own >= at)).as_dict() for at in AT},
            }


def _agreement(halves: dict[str, Embedded]) -> Iterator[Row]:
    """Sets of the first photos of a person; then with the last one of somebody else."""
    least = SFACE_MIRRORED.agreement
    for name, half in halves.items():
        for size in (2, 3, 4, 5):
            sets = [places[:size] for places in half.photos_of_people() if len(places) >= size]
            mixed = [np.append(one[:-1], other[-1]) for one, other in zip(sets, sets[1:] + sets[:1], strict=True)]
            own, other = ([several.strangers(half.vectors[each], least) for each in which] for which in (sets, mixed))
            yield {
                "photos": name,
                "photos of a person": size,
                "refused in part": metrics.Rate(sum(bool(each) for each in own), len(own)).as_dict(),
                "somebody else's is found": metrics.Rate(sum(size - 1 in each for each in other), len(other)).as_dict(),
            }
