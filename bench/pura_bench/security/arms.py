"""Every attack on every deployment, one after the other; each one's result is kept in the work folder as it ends.

An *arm* is one attack on one deployment at one budget of questions about each victim. What it produces, a picture of
each victim, goes to the judges; a template is turned into a picture first (`pura.attack.invert`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, blobs, boundary, darkerbb, dictionary, invert, leak, linear
from pura.attack.basis import Basis, pictures, vectors
from pura.attack.embedders import OpenCvEmbed, TorchEmbed
from pura.attack.metrics import Band
from pura.attack.oracle import BitAsScore, Floats, Progress, cosines
from pura_bench.security.judge import Judge
from pura_bench.security.photos import Cast, Crops
from pura_bench.security.plaintext import DECISION, ROUNDED, SCORE, plaintext_server

PLAINTEXT, ROUND_1, ROUND_01, BITS = "plaintext, score", "plaintext, rounded to 0.1", "plaintext, rounded to 0.01", \
    "plaintext, decision only"  # fmt: skip
SMALL_BUDGET, LOCKOUT, WINDOWS = 100, 20, 5
PREPARED = "Pura, prepared"
PREPARED_BUDGET = f"{PREPARED}, a budget of {SMALL_BUDGET} questions"
PREPARED_LOCKOUT = f"{PREPARED}, a lockout after {LOCKOUT} near questions"
PREPARED_LOCKOUT_FIVE = f"{PREPARED_LOCKOUT}, {WINDOWS} windows"
PREPARED_CENTRED = f"{PREPARED}, centred embeddings"
PREPARED_CENTRED_BUDGET = f"{PREPARED_CENTRED}, a budget of {SMALL_BUDGET} questions"
PUBLISHED_S2 = "published engine, curious S2"
PREPARED_S1, PREPARED_S2 = "prepared engine, curious S1", "prepared engine, curious S2"
STOLEN, FOLDERS = "stolen plaintext database", "both data folders, without keys"
DISK_S1, DISK_S2 = "one server's whole disk, S1", "one server's whole disk, S2"
SPLIT_PUBLISHED, SPLIT_S1, SPLIT_S2 = "key split, published: S2 alone", "key split, ours: S1 alone", \
    "key split, ours: S2 alone"  # fmt: skip
NOTHING = "no deployment"
STOLEN_PICTURES = "stolen-plaintext-database-inversion-0.npy"
SAME = 0.999
ACCEPTED_BY = (1, 10, 100, 500, 1500)
PHOTOS, LIKELY = "photos", "likely probes"
BELIEVED = "{}, a Gaussian belief, then inversion"
FOLLOWING = "whatever number follows the similarity, then inversion"
NOTHING_OPENED = "nothing is opened, so a guess: somebody else's photo"
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

    @property
    def enrolled(self) -> Floats:
        """The templates that are attacked, (V, D)."""
        return self.cast.enrolled.embeddings

    @property
    def rng(self) -> np.random.Generator:
        """The attacker's choices: reproducible, not secret."""
        return np.random.default_rng(self.plan.seed)

    @functools.cached_property
    def likely(self) -> Floats:
        """What is likeliest to be accepted, first things first, for the largest budget."""
        return belief.openings(self.cast.known.embeddings, self.threshold, max(self.plan.budgets))

    # --- results --------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether this arm's result is there already."""
        return (self.work / f"{name}.json").exists()

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write an arm's result, whole or not at all. One that was stopped goes on in the next run."""
        part = self.work / f"{name}.part"
        part.write_text(json.dumps(rows, indent=1), "utf-8")
        unfinished = self.work / f"{name}.unfinished.json"
        os.replace(part, unfinished if any(row.get("unfinished") for row in rows) else self.work / f"{name}.json")
        if self.has(name):
            unfinished.unlink(missing_ok=True)

    def kept(self, name: str) -> list[dict[str, Any]]:
        """An arm's result, or as much of it as there is."""
        for file in (self.work / f"{name}.json", self.work / f"{name}.unfinished.json"):
            if file.exists():
                rows: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
                return rows
        return []

    def row(self, deployment: str, attack: str, budget: int, made: Crops, via: str, **more: Any) -> dict[str, Any]:
        """One line of the table: what the judges say of these pictures, which are kept beside it."""
        name = "".join(c if c.isalnum() else "-" for c in f"{deployment} {attack} {budget}")
        np.save(self.work / f"{name}.npy", made)
        rows = range(len(made))
        return {
            **self.line(deployment, attack, budget, via, **more),
            "n": len(made),
            "pictures": f"{name}.npy",
            "verdicts": [judge.verdict(made, rows).as_json() for judge in self.judges],
        }

    def line(
        self, deployment: str, attack: str, budget: int, via: str, templates: Floats | None = None, **more: Any
    ) -> dict[str, Any]:
        """The same without pictures."""
        out = {"deployment": deployment, "attack": attack, "budget": budget, "via": via, "note": "", **more}
        if templates is not None:
            out["template_cosine"] = dataclasses.asdict(Band.of(cosines(templates, self.enrolled[: len(templates)])))
        return out

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
        c = invert.invert(
            self.network,
            self.basis,
            self.restored(templates),
            steps=self.plan.inversion_steps,
            progress=self.tell(f"inverting {what}"),
        )
        return self.draw(c)


# --- baselines ---------------------------------------------------------------------------------------


def baselines(stage: Stage) -> list[dict[str, Any]]:
    """What makes the other numbers readable: another photo of the victim, the mean face, somebody else's photo."""
    v = len(stage.enrolled)
    mean = np.repeat(pictures(stage.basis.mean[None], stage.basis.side), v, 0)
    return [
        stage.row(NOTHING, "ceiling: another photo of the victim", 0, stage.cast.mates.crops, "",
                  note="SAR-2 is of that photo with itself"),
        stage.row(NOTHING, "floor: the mean face, where searches start", 0, mean, ""),
        stage.row(NOTHING, "floor: a random photo of the attacker's people", 0, stage.guesses(), ""),
    ]  # fmt: skip


# --- scores ------------------------------------------------------------------------------------------


def scores(stage: Stage, deployment: str, file: str, answer: str, step: float = 0.0) -> list[dict[str, Any]]:
    """DarkerBB and the linear attack on a server that returns scores."""
    plan, rows = stage.plan, []
    count = min(plan.image_victims, len(stage.enrolled))
    settings = darkerbb.fast(max(plan.budgets), marks=plan.budgets)
    with plaintext_server(stage.enrolled, answer, step=step or 0.01) as client:
        for budget in plan.budgets:
            found = linear.attack(client, stage.cast.known.embeddings, budget, stage.rng, noise=step / np.sqrt(12))
            made = stage.invert(found, f"{deployment}, {budget} scores")
            rows.append(stage.row(deployment, "linear, then inversion", budget, made, VIA_SERVERS, templates=found))
        run = darkerbb.attack(
            client, stage.embed, stage.basis, np.arange(count), settings, seed=plan.seed, every=25,
            checkpoint=stage.work / f"{file}.pt", progress=stage.tell(f"DarkerBB, {deployment}"), stop=stage.late,
        )  # fmt: skip
    for budget in sorted(set(plan.budgets) & set(run.at)):
        rows.append(stage.row(deployment, "DarkerBB", budget, stage.draw(run.at[budget]), VIA_SERVERS))
    if run.at:
        rows[-1]["curve"] = [similarity(stage, run.at[mark], mark) for mark in sorted(run.at)]
    rows[-1]["unfinished"] = run.queries if run.queries < settings.queries else 0
    return rows


def similarity(stage: Stage, coordinates: Any, budget: int) -> dict[str, Any]:
    """A point of a similarity curve."""
    got = stage.embed(vectors(stage.draw(coordinates)))
    return {"budget": budget, **dataclasses.asdict(Band.of(cosines(got, stage.enrolled[: len(got)])))}


def long_scores(stage: Stage) -> list[dict[str, Any]]:
    """The paper's whole recipe on some victims."""
    plan = stage.plan
    count = min(plan.long_victims, len(stage.enrolled))
    with plaintext_server(stage.enrolled, SCORE) as client:
        run = darkerbb.attack(
            client, stage.embed, stage.basis, np.arange(count), darkerbb.PAPER, seed=plan.seed, every=25,
            checkpoint=stage.work / "paper.pt", progress=stage.tell("DarkerBB, the paper's recipe"), stop=stage.late,
        )  # fmt: skip
    attack = "DarkerBB, the paper's recipe"
    out = stage.row(PLAINTEXT, attack, run.queries, stage.draw(run.coordinates), VIA_SERVERS)
    out["unfinished"] = run.queries if run.queries < darkerbb.PAPER.queries else 0
    out["curve"] = [similarity(stage, run.at[mark], mark) for mark in sorted(run.at)]
    return [out]


def spots(stage: Stage) -> list[dict[str, Any]]:
    """DarkerBB's forerunner, on the exact score."""
    plan = stage.plan
    count = min(plan.image_victims, len(stage.enrolled))
    settings = blobs.Settings(queries=max(plan.budgets), marks=plan.budgets)
    with plaintext_server(stage.enrolled, SCORE) as client:
        found = blobs.attack(
            client, stage.embed, stage.basis.mean, stage.basis.side, np.arange(count), settings,
            seed=plan.seed, progress=stage.tell("spots, exact score"),
        )  # fmt: skip
    return [
        stage.row(PLAINTEXT, "random spots (Razzhigaev 2021)", b, pictures(image, stage.basis.side), VIA_SERVERS)
        for b, image in sorted(found.items())
    ]


# --- decisions ---------------------------------------------------------------------------------------


def naive(stage: Stage) -> list[dict[str, Any]]:
    """A bit in the place of the score, at the smallest budget: it stays 0 and nothing moves."""
    plan = stage.plan
    budget = min(plan.budgets)
    count = min(plan.image_victims, len(stage.enrolled))
    with plaintext_server(stage.enrolled, DECISION, threshold=stage.threshold) as client:
        run = darkerbb.attack(
            BitAsScore(client), stage.embed, stage.basis, np.arange(count), darkerbb.fast(budget), seed=plan.seed,
            every=25, checkpoint=stage.work / "naive.pt", progress=stage.tell("naive, a bit for a score"),
            stop=stage.late,
        )  # fmt: skip
    moved = int((run.coordinates.abs().sum(1) > 0).sum())
    made = stage.draw(run.coordinates)
    out = stage.row(BITS, "DarkerBB with the bit as its score", run.queries, made, VIA_SERVERS, moved=moved)
    out["unfinished"] = run.queries if run.queries < budget else 0
    return [out]


def photos_in_order(stage: Stage) -> NDArray[np.int64]:
    """The attacker's own photos in the order in which they are tried."""
    return stage.rng.permutation(len(stage.cast.known.names))


def probes_of(stage: Stage, which: str) -> Floats:
    """What is tried until something is accepted, (n, D): photos, or the probes that are likeliest."""
    photos: Floats = stage.cast.known.embeddings[photos_in_order(stage)]
    return photos if which == PHOTOS else stage.likely


def first_accept(start: dictionary.Start, which: str, within: int) -> dict[str, Any]:
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


def decisions(stage: Stage) -> list[dict[str, Any]]:
    """The adaptive attack in embedding space on a server that returns decisions."""
    rows, known = [], stage.cast.known.embeddings
    with plaintext_server(stage.enrolled, DECISION, threshold=stage.threshold) as client:
        for which in (PHOTOS, LIKELY):
            start = dictionary.search(client, probes_of(stage, which), max(stage.plan.budgets))
            accept = first_accept(start, which, max(stage.plan.budgets))
            found = belief.template(client, start, known, stage.threshold, stage.plan.budgets)
            for budget in stage.plan.budgets:
                template = found.at[budget]
                made = stage.invert(template, f"decisions, {which}, {budget}")
                rows.append(
                    stage.row(BITS, BELIEVED.format(which), budget, made, VIA_SERVERS,
                              templates=template, first_accept=accept)
                )  # fmt: skip
    return rows


def decision_images(stage: Stage) -> list[dict[str, Any]]:
    """The adaptive attack in image space; it needs the network for every question."""
    plan, known = stage.plan, stage.cast.known
    order, within = photos_in_order(stage), max(plan.budgets)
    with plaintext_server(stage.enrolled, DECISION, threshold=stage.threshold) as client:
        start = dictionary.search(client, known.embeddings[order], within)
        starts = vectors(known.crops[order[np.maximum(start.entry, 0)]])
        found = boundary.image(
            client, stage.embed, stage.basis, starts, start, plan.budgets, seed=plan.seed,
            progress=stage.tell("decisions, image space"),
        )  # fmt: skip
    side = stage.basis.side
    return [
        stage.row(BITS, "boundary estimates in image space", b, pictures(image, side), VIA_SERVERS,
                  first_accept=first_accept(start, PHOTOS, within))
        for b, image in sorted(found.at.items())
    ]  # fmt: skip


# --- the published comparison, and theft ---------------------------------------------------------------


def published(stage: Stage) -> list[dict[str, Any]]:
    """S2's view of SCMP, by its formula; `servers.published` shows that the real servers give the same."""
    plan = stage.plan
    oracle = leak.SimulatedLeak(stage.enrolled, stage.threshold, stage.rng)
    found = leak.attack(
        oracle, stage.cast.known.embeddings, stage.threshold, plan.budgets, stage.rng,
        progress=stage.tell("published comparison"),
    )  # fmt: skip
    return [
        stage.row(PUBLISHED_S2, "regression on what SCMP shows, then inversion", b,
                  stage.invert(t, f"published comparison, {b}"), VIA_FORMULA, templates=t)
        for b, t in found.items()
    ]  # fmt: skip


def stolen(stage: Stage) -> list[dict[str, Any]]:
    """The plaintext database: templates as they are."""
    made = stage.invert(stage.enrolled, "stolen templates")
    return [stage.row(STOLEN, "inversion", 0, made, "read from the database", templates=stage.enrolled)]


ARMS: dict[str, Callable[[Stage], list[dict[str, Any]]]] = {
    "baselines": baselines,
    "stolen": stolen,
    "published": published,
    "decisions": decisions,
    "exact": lambda stage: scores(stage, PLAINTEXT, "exact", SCORE),
    "rounded-0.1": lambda stage: scores(stage, ROUND_1, "rounded-0.1", ROUNDED, 0.1),
    "rounded-0.01": lambda stage: scores(stage, ROUND_01, "rounded-0.01", ROUNDED, 0.01),
    "decision-images": decision_images,
    "naive": naive,
    "spots": spots,
}
"""In the order in which they run; those that need little come first."""
