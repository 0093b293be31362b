"""Every attack on every deployment, one after the other; each one's result is kept in the work folder as it ends.

An *arm* is one attack on one deployment at one budget of questions about each victim. What it produces, a picture of
each victim, goes to the judges; a template is turned into a picture first (`pura.attack.invert`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, blobs, boundary, darkerbb, dictionary, invert, leak, linear
from pura.attack.basis import Basis, pictures, vectors
from pura.attack.embedders import OpenCvEmbed, TorchEmbed
from pura.attack.metrics import Band
from pura.attack.oracle import BitAsScore, Floats, Progress, ScoreOracle, cosines, quiet
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeySet, generate
from pura.ids import Engine
from pura_bench.security.deployments import LOCKOUT, WINDOWS, Deployment, deployed
from pura_bench.security.judge import Judge
from pura_bench.security.photos import Cast, Crops
from pura_bench.security.plaintext import DECISION, ROUNDED, SCORE, PlaintextClient, plaintext_server

Row = dict[str, Any]
SMALL_BUDGET = 100


class Where(StrEnum):
    """Who answers, and what; in the report's order."""

    NOTHING = "no deployment"
    STOLEN = "stolen plaintext database"
    PLAINTEXT = "plaintext, score"
    ROUND_01 = "plaintext, rounded to 0.01"
    ROUND_1 = "plaintext, rounded to 0.1"
    BITS = "plaintext, decision only"
    PUBLISHED_S2 = "published engine, curious S2"
    SPLIT_PUBLISHED = "key split, published: S2 alone"
    PREPARED = "Pura, prepared"
    PREPARED_CENTRED = f"{PREPARED}, centred embeddings"
    PREPARED_BUDGET = f"{PREPARED}, a budget of {SMALL_BUDGET} questions"
    PREPARED_CENTRED_BUDGET = f"{PREPARED_CENTRED}, a budget of {SMALL_BUDGET} questions"
    PREPARED_LOCKOUT = f"{PREPARED}, a lockout after {LOCKOUT} near questions"
    PREPARED_LOCKOUT_FIVE = f"{PREPARED_LOCKOUT}, {WINDOWS} windows"
    PREPARED_S1 = "prepared engine, curious S1"
    PREPARED_S2 = "prepared engine, curious S2"
    FOLDERS = "both data folders, without keys"
    DISK_S1 = "one server's whole disk, S1"
    DISK_S2 = "one server's whole disk, S2"
    SPLIT_S1 = "key split, ours: S1 alone"
    SPLIT_S2 = "key split, ours: S2 alone"


STOLEN_PICTURES = "stolen-plaintext-database-inversion-0.npy"
SAME = 0.999
ACCEPTED_BY = (1, 10, 100, 500, 1500)
PHOTOS, LIKELY = "photos", "likely probes"
REGRESSION = "regression on what SCMP shows, then inversion"
VIA_SERVERS = "all questions through the server"
VIA_FORMULA = "the same computation in the clear; the servers' own answers are compared with it below and in the tests"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is done. Budgets are questions about each victim."""

    victims: int = 40
    components: int = 512
    budgets: tuple[int, ...] = (500, 1500)
    image_victims: int = 40
    long_victims: int = 8
    through_servers: int = 2
    server_questions: int = 300
    transcript_questions: int = 100
    transcript_victims: int = 2
    inversion_steps: int = 50
    key_bits: int = 2048
    seed: int = 1


@dataclasses.dataclass
class Stage:
    """Everything that arms need. `threshold`: the cosine at which the attacked deployments match."""

    plan: Plan
    cast: Cast
    basis: Basis
    embed: OpenCvEmbed
    network: TorchEmbed
    judges: Sequence[Judge]
    threshold: float
    work: Path
    tell: Callable[[str], Progress]
    restored: Callable[[Floats], Floats] = lambda templates: templates
    """From what is enrolled to the network's own embeddings."""
    late: Callable[[], bool] = lambda: False
    """Whether the time for this run is over; then long arms stop, and go on in the next run."""
    keys: dict[Engine, KeySet] = dataclasses.field(default_factory=dict)
    """Of all deployments of an engine: those given, or of a ceremony, made once."""

    @property
    def enrolled(self) -> Floats:
        """The templates that are attacked, (V, D)."""
        return self.cast.enrolled.embeddings

    @property
    def known(self) -> Floats:
        """Templates of the attacker's people, (N, D)."""
        return self.cast.known.embeddings

    @property
    def rng(self) -> np.random.Generator:
        """The attacker's choices: reproducible, not secret."""
        return np.random.default_rng(self.plan.seed)

    @functools.cached_property
    def likely(self) -> Floats:
        """What is likeliest to be accepted, first things first, for the largest budget."""
        return belief.openings(self.known, self.threshold, max(self.plan.budgets))

    # --- the product ----------------------------------------------------------------------------

    def keys_for(self, engine: Engine = Engine.PREPARED) -> KeySet:
        """See `keys`."""
        if engine not in self.keys:
            self.keys[engine] = generate(self.plan.key_bits, SystemRng(), engine)
        return self.keys[engine]

    def deploy(
        self, engine: Engine = Engine.PREPARED, gallery: Floats | None = None, **settings: Any
    ) -> AbstractContextManager[Deployment]:
        """The product's servers, in one folder, so one after the other; see `deployed`."""
        folder = self.work / "deployment"
        shutil.rmtree(folder, ignore_errors=True)
        enrolled, keys = self.enrolled if gallery is None else gallery, self.keys_for(engine)
        return deployed(folder, enrolled, engine=engine, threshold=self.threshold, keys=keys, **settings)

    # --- results --------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether this arm's result is there already."""
        return (self.work / f"{name}.json").exists()

    def keep(self, name: str, rows: list[Row]) -> None:
        """Write an arm's result, whole or not at all. One that was stopped goes on in the next run."""
        part = self.work / f"{name}.part"
        part.write_text(json.dumps(rows, indent=1), "utf-8")
        unfinished = self.work / f"{name}.unfinished.json"
        os.replace(part, unfinished if any(row.get("unfinished") for row in rows) else self.work / f"{name}.json")
        if self.has(name):
            unfinished.unlink(missing_ok=True)

    def kept(self, name: str) -> list[Row]:
        """An arm's result, or as much of it as there is."""
        for file in (self.work / f"{name}.json", self.work / f"{name}.unfinished.json"):
            if file.exists():
                rows: list[Row] = json.loads(file.read_text("utf-8"))
                return rows
        return []

    def row(
        self,
        where: Where,
        attack: str,
        budget: int,
        made: Crops,
        via: str,
        templates: Floats | None = None,
        **more: Any,
    ) -> Row:
        """One line of the table: what the judges say of these pictures, which are kept beside it; and how near
        `templates` are to those that are enrolled."""
        name = f"{_file_name(where, attack, budget)}.npy"
        np.save(self.work / name, made)
        out = {"deployment": where, "attack": attack, "budget": budget, "via": via, "note": "", **more}
        if templates is not None:
            out["template_cosine"] = dataclasses.asdict(Band.of(cosines(templates, self.enrolled[: len(templates)])))
        return {
            **out,
            "n": len(made),
            "pictures": name,
            "verdicts": [one.verdict(made).as_json() for one in self.judges],
        }

    # --- pictures -------------------------------------------------------------------------------

    def draw(self, coordinates: Any) -> Crops:
        """Pictures of coordinates."""
        return pictures(self.basis.images(coordinates), self.basis.side)

    def guesses(self) -> Crops:
        """What an attacker has who learned nothing: a photo of one of its own people for each victim."""
        known = self.cast.known.crops
        return known[self.rng.choice(len(known), len(self.enrolled))]

    def invert(self, templates: Floats, what: str) -> Crops:
        """Pictures of templates. Those that are the stolen ones to 1 part in 1,000 have the same pictures."""
        stolen_ones = self.work / STOLEN_PICTURES
        if stolen_ones.exists() and cosines(templates, self.enrolled[: len(templates)]).min() > SAME:
            return np.asarray(np.load(stolen_ones)[: len(templates)], np.uint8)
        steps, tell = self.plan.inversion_steps, self.tell(f"inverting {what}")
        return self.draw(invert.invert(self.network, self.basis, self.restored(templates), steps=steps, progress=tell))


def _file_name(*words: object) -> str:
    return "".join(c if c.isalnum() else "-" for c in " ".join(map(str, words)))


# --- without questions -------------------------------------------------------------------------------


def baselines(stage: Stage) -> list[Row]:
    """What makes the other numbers readable: another photo of the victim, the mean face, somebody else's photo."""
    mean = np.repeat(pictures(stage.basis.mean[None], stage.basis.side), len(stage.enrolled), 0)
    return [
        stage.row(Where.NOTHING, "ceiling: another photo of the victim", 0, stage.cast.mates.crops, "",
                  note="SAR-2 is of that photo with itself"),
        stage.row(Where.NOTHING, "floor: the mean face, where searches start", 0, mean, ""),
        stage.row(Where.NOTHING, "floor: a random photo of the attacker's people", 0, stage.guesses(), ""),
    ]  # fmt: skip


def stolen(stage: Stage) -> list[Row]:
    """The plaintext database: templates as they are."""
    made = stage.invert(stage.enrolled, "stolen templates")
    return [stage.row(Where.STOLEN, "inversion", 0, made, "read from the database", stage.enrolled)]


def published(stage: Stage) -> list[Row]:
    """S2's view of SCMP, by its formula; `servers.published_leak` shows that the real servers give the same."""
    found = leak.attack(
        leak.SimulatedLeak(stage.enrolled, stage.threshold, stage.rng), stage.known, stage.threshold,
        stage.plan.budgets, stage.rng, progress=stage.tell("published comparison"),
    )  # fmt: skip
    return [
        stage.row(Where.PUBLISHED_S2, REGRESSION, b, stage.invert(t, f"published comparison, {b}"), VIA_FORMULA, t)
        for b, t in found.items()
    ]


# --- scores ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Plaintext:
    """An arm on a server that keeps embeddings in the clear, and answers as it says; rounded scores are multiples of
    `step`."""

    where: Where
    answer: str
    attack: Callable[[Stage, PlaintextClient, Plaintext], list[Row]]
    step: float = 0.0

    def __call__(self, stage: Stage) -> list[Row]:
        """The rows of its attack."""
        step = self.step or 0.01  # of exact scores it is not looked at
        with plaintext_server(stage.enrolled, self.answer, step=step, threshold=stage.threshold) as client:
            return self.attack(stage, client, self)


def brightest(
    stage: Stage, oracle: ScoreOracle, where: Where, attack: str, settings: darkerbb.Settings, victims: int
) -> tuple[darkerbb.Result, Row]:
    """DarkerBB on some victims, as far as there is time; and what is said of it beside its last pictures: whether it
    goes on in the next run, and the curve of similarity against questions."""
    run = darkerbb.attack(
        oracle, stage.embed, stage.basis, np.arange(min(victims, len(stage.enrolled))), settings,
        seed=stage.plan.seed, every=25, checkpoint=stage.work / f"{_file_name(where, attack)}.pt",
        progress=stage.tell(f"{attack}, {where}"), stop=stage.late,
    )  # fmt: skip
    points = []
    for budget, coordinates in sorted(run.at.items()):
        got = stage.embed(vectors(stage.draw(coordinates)))
        points.append({"budget": budget, **dataclasses.asdict(Band.of(cosines(got, stage.enrolled[: len(got)])))})
    about: Row = {"unfinished": run.queries if run.queries < settings.queries else 0}
    return run, about | ({"curve": points} if points else {})


def scores(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """The linear attack, and DarkerBB."""
    budgets, rows = stage.plan.budgets, []
    for budget in budgets:
        found = linear.attack(client, stage.known, budget, stage.rng, noise=arm.step / np.sqrt(12))
        made = stage.invert(found, f"{arm.where}, {budget} scores")
        rows.append(stage.row(arm.where, "linear, then inversion", budget, made, VIA_SERVERS, found))
    settings = darkerbb.fast(max(budgets), marks=budgets)
    run, about = brightest(stage, client, arm.where, "DarkerBB", settings, stage.plan.image_victims)
    for budget in sorted(set(budgets) & set(run.at)):
        rows.append(stage.row(arm.where, "DarkerBB", budget, stage.draw(run.at[budget]), VIA_SERVERS))
    rows[-1] |= about
    return rows


def long_scores(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """The paper's whole recipe on some victims."""
    attack = "DarkerBB, the paper's recipe"
    run, about = brightest(stage, client, arm.where, attack, darkerbb.PAPER, stage.plan.long_victims)
    return [stage.row(arm.where, attack, run.queries, stage.draw(run.coordinates), VIA_SERVERS, **about)]


def spots(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """DarkerBB's forerunner."""
    plan, side = stage.plan, stage.basis.side
    found = blobs.attack(
        client, stage.embed, stage.basis.mean, side, np.arange(min(plan.image_victims, len(stage.enrolled))),
        blobs.Settings(queries=max(plan.budgets), marks=plan.budgets), seed=plan.seed,
        progress=stage.tell("spots, exact score"),
    )  # fmt: skip
    return [
        stage.row(arm.where, "random spots (Razzhigaev 2021)", b, pictures(image, side), VIA_SERVERS)
        for b, image in sorted(found.items())
    ]


# --- decisions ---------------------------------------------------------------------------------------


def naive(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """A bit in the place of the score, at the smallest budget: it stays 0 and nothing moves."""
    attack, settings = "DarkerBB with the bit as its score", darkerbb.fast(min(stage.plan.budgets))
    run, about = brightest(stage, BitAsScore(client), arm.where, attack, settings, stage.plan.image_victims)
    made, moved = stage.draw(run.coordinates), int((run.coordinates.abs().sum(1) > 0).sum())
    return [stage.row(arm.where, attack, run.queries, made, VIA_SERVERS, moved=moved, unfinished=about["unfinished"])]


def photos_in_order(stage: Stage) -> NDArray[np.int64]:
    """The attacker's own photos in the order in which they are tried."""
    return stage.rng.permutation(len(stage.known))


def probes_of(stage: Stage, which: str) -> Floats:
    """What is tried until something is accepted, (n, D): photos, or the probes that are likeliest."""
    photos: Floats = stage.known[photos_in_order(stage)]
    return photos if which == PHOTOS else stage.likely


def first_accept(start: dictionary.Start, which: str, within: int) -> Row:
    """Questions to the first accepted probe."""
    got = start.queries[start.found]
    return {
        "probes": which,
        "found": len(got),
        "of": len(start.entry),
        "median": float(np.median(got)) if len(got) else None,
        "within": within,
        "by": {str(b): int((got <= b).sum()) for b in ACCEPTED_BY if b <= within},
    }


def template(
    stage: Stage, oracle: Any, start: dictionary.Start, budgets: tuple[int, ...], counter: belief.Counter | None = None
) -> belief.Template:
    """What is believed after these questions. `counter`: of an oracle that counts, and forgets at a new window."""
    renew = quiet if counter is None else oracle.forget
    return belief.template(oracle, start, stage.known, stage.threshold, budgets, counter=counter, renew=renew)


def believed(
    stage: Stage,
    where: Where,
    oracle: Callable[[], Any],
    via: str,
    budgets: tuple[int, ...],
    dictionaries: tuple[str, ...] = (PHOTOS, LIKELY),
    counter: belief.Counter | None = None,
) -> tuple[list[Row], dictionary.Start]:
    """The adaptive attack in embedding space, with an oracle for each dictionary; and how the last one began."""
    rows = []
    for which in dictionaries:
        asked, within = oracle(), max(budgets)
        start = dictionary.search(asked, probes_of(stage, which), within)
        found, accept = template(stage, asked, start, budgets, counter), first_accept(start, which, within)
        for budget, t in found.at.items():
            made = stage.invert(t, f"{where}, {which}, {budget} decisions")
            attack = f"{which}, a Gaussian belief, then inversion"
            rows.append(stage.row(where, attack, budget, made, via, t, first_accept=accept))
    return rows, start


def decisions(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """The adaptive attack in embedding space."""
    return believed(stage, arm.where, lambda: client, VIA_SERVERS, stage.plan.budgets)[0]


def decision_images(stage: Stage, client: PlaintextClient, arm: Plaintext) -> list[Row]:
    """The adaptive attack in image space; it needs the network for every question."""
    plan, order, side = stage.plan, photos_in_order(stage), stage.basis.side
    start = dictionary.search(client, stage.known[order], max(plan.budgets))
    starts = vectors(stage.cast.known.crops[order[np.maximum(start.entry, 0)]])
    tell = stage.tell("decisions, image space")
    found = boundary.image(client, stage.embed, stage.basis, starts, start, plan.budgets, seed=plan.seed, progress=tell)
    accept = first_accept(start, PHOTOS, max(plan.budgets))
    return [
        stage.row(arm.where, "boundary estimates in image space", b, pictures(image, side), VIA_SERVERS,
                  first_accept=accept)
        for b, image in sorted(found.at.items())
    ]  # fmt: skip


ARMS: dict[str, Callable[[Stage], list[Row]]] = {
    "baselines": baselines,
    "stolen": stolen,
    "published": published,
    "decisions": Plaintext(Where.BITS, DECISION, decisions),
    "exact": Plaintext(Where.PLAINTEXT, SCORE, scores),
    "rounded-0.1": Plaintext(Where.ROUND_1, ROUNDED, scores, 0.1),
    "rounded-0.01": Plaintext(Where.ROUND_01, ROUNDED, scores, 0.01),
    "decision-images": Plaintext(Where.BITS, DECISION, decision_images),
    "naive": Plaintext(Where.BITS, DECISION, naive),
    "spots": Plaintext(Where.PLAINTEXT, SCORE, spots),
}
"""In the order in which they run; those that need little come first."""
LONG = Plaintext(Where.PLAINTEXT, SCORE, long_scores)
