"""The arms that go through the product's own servers, question by question."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, dictionary, leak, transcript
from pura.attack.linear import covariance_of
from pura.attack.metrics import Band, Rate, fisher
from pura.attack.oracle import Floats, cosines, quiet
from pura.ids import Engine
from pura_bench.security.arms import (
    BELIEVED,
    FOLLOWING,
    LIKELY,
    LOCKOUT,
    PHOTOS,
    PREPARED,
    PREPARED_BUDGET,
    PREPARED_LOCKOUT,
    PREPARED_LOCKOUT_FIVE,
    PREPARED_S1,
    PREPARED_S2,
    PUBLISHED_S2,
    SMALL_BUDGET,
    VIA_FORMULA,
    VIA_SERVERS,
    WINDOWS,
    Stage,
    first_accept,
    probes_of,
)
from pura_bench.security.deployments import NEAR, Deployment, ServerDecisions, ServerLeak
from pura_bench.security.judge import rate_json
from pura_bench.security.lab import Lab
from pura_bench.security.transcripts import features_of, sessions_of

SHUFFLES = 60
"""How often what a server saw of a victim is dealt out to other questions."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """How many numbers a curious server saw of each question, what they gave, and what they give by chance:
    (SHUFFLES, D)."""

    numbers: int
    finding: transcript.Finding
    chance: Floats


def _attack(
    stage: Stage, oracle: Any, start: dictionary.Start, budgets: tuple[int, ...], counter: belief.Counter | None = None
) -> belief.Template:
    renew = oracle.forget if counter is not None else quiet
    return belief.template(
        oracle, start, stage.cast.known.embeddings, stage.threshold, budgets, counter=counter, renew=renew
    )


def prepared_decisions(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """Our client against our servers: everybody by the decision in the clear, some wholly through the servers."""
    with lab.deploy(Engine.PREPARED) as deployment:
        rows, few = everybody(stage, deployment, PREPARED, stage.plan.budgets, (PHOTOS, LIKELY))
        return [*rows, through(stage, deployment, few, PREPARED)]


def prepared_budget(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """The same with a small budget for each client. The attacker knows it, and has one client for each victim."""
    with lab.deploy(Engine.PREPARED) as deployment:
        rows, few = everybody(stage, deployment, PREPARED_BUDGET, (SMALL_BUDGET,))
    for victim in few:
        with lab.deploy(Engine.PREPARED, budget=SMALL_BUDGET) as deployment:
            # it goes on until it is refused
            rows.append(through(stage, deployment, np.array([victim]), PREPARED_BUDGET))
    return rows


def prepared_lockout(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """The same with a lockout. The attacker knows its limit, and believes no "no" that a locked entry may have said: in
    one window, and in five."""
    near = belief.Counter(stage.threshold - NEAR, LOCKOUT)
    five, most = dataclasses.replace(near, windows=WINDOWS), stage.plan.budgets[-1:]
    with lab.deploy(Engine.PREPARED, lockout=LOCKOUT) as deployment:
        rows, few = everybody(stage, deployment, PREPARED_LOCKOUT, stage.plan.budgets, counter=near)
        rows += everybody(stage, deployment, PREPARED_LOCKOUT_FIVE, most, counter=five)[0]
        # here it goes on, so that entries are locked
        return [*rows, through(stage, deployment, few, PREPARED_LOCKOUT)]


def everybody(
    stage: Stage,
    deployment: Deployment,
    name: str,
    budgets: tuple[int, ...],
    dictionaries: tuple[str, ...] = (LIKELY,),
    counter: belief.Counter | None = None,
) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    """The attack on all victims by the decision in the clear; and whom to attack through the servers, too."""
    plain, rows = deployment.plaintext(stage.enrolled), []
    for which in dictionaries:
        plain.forget()
        start = dictionary.search(plain, probes_of(stage, which), max(budgets))
        found = _attack(stage, plain, start, budgets, counter)
        for budget in budgets:
            made = stage.invert(found.at[budget], f"{name}, {which}, {budget} decisions")
            rows.append(
                stage.row(name, BELIEVED.format(which), budget, made, VIA_FORMULA,
                          templates=found.at[budget], first_accept=first_accept(start, which, max(budgets)))
            )  # fmt: skip
    return rows, chosen(stage, start)


def chosen(stage: Stage, start: dictionary.Start) -> NDArray[np.int64]:
    """The victims to run wholly through the servers: those that were opened soonest."""
    return start.found[np.argsort(start.queries[start.found])][: stage.plan.through_servers]


def through(stage: Stage, deployment: Deployment, victims: NDArray[np.int64], name: str) -> dict[str, Any]:
    """The whole attack by the client's library: dictionary, then belief, as far as the plan's questions go."""
    oracle = ServerDecisions(deployment, stage.enrolled)
    questions = stage.plan.server_questions
    began = time.monotonic()
    start = dictionary.search(oracle, probes_of(stage, LIKELY), questions, victims)
    got = _attack(stage, oracle, start, (questions,)).at[questions]
    asked = int(oracle.queries.sum())
    return {
        "servers": name,
        "victims": len(victims),
        "questions": asked,
        "compared": oracle.compared,
        "differed": oracle.differed,
        "refused": oracle.refused,
        "ms_a_question": round(1000 * (time.monotonic() - began) / max(1, asked), 1),
        "template_cosine": [round(float(c), 4) for c in cosines(got[victims], stage.enrolled[victims])],
        "engine": "prepared",
    }


def published_leak(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """A client and a curious S2 of engine `published` against real victims, all through the servers."""
    plan = stage.plan
    few = np.arange(min(plan.through_servers, len(stage.enrolled)))
    budgets = tuple(sorted({plan.server_questions // 3, plan.server_questions}))
    with lab.deploy(Engine.PUBLISHED, gallery=stage.enrolled[few], curious=("s2",)) as deployment:
        oracle = ServerLeak(deployment, len(few), int(lab.keys_for(Engine.PUBLISHED).public.n))
        began = time.monotonic()
        found = leak.attack(
            oracle, stage.cast.known.embeddings, stage.threshold, budgets, stage.rng,
            first=min(200, plan.server_questions // 2), progress=stage.tell("published comparison, real servers"),
        )  # fmt: skip
        seconds = time.monotonic() - began
        # the sizes that S2 saw, as shares of |threshold - cosine|: uniform in (0, 1] if the formula is right
        probes = stage.cast.known.embeddings[: min(50, plan.server_questions)]
        sizes, _ = oracle.observe(np.zeros(len(probes), np.int64), probes)
    margin = np.abs(stage.threshold - cosines(np.repeat(stage.enrolled[:1], len(probes), 0), probes))
    asked = int(oracle.queries.sum())
    simulated = leak.attack(
        leak.SimulatedLeak(stage.enrolled[few], stage.threshold, stage.rng), stage.cast.known.embeddings,
        stage.threshold, budgets, stage.rng, first=min(200, plan.server_questions // 2),
    )  # fmt: skip
    last = found[max(budgets)]
    made = stage.invert(last, "published comparison, real servers")
    row = stage.row(PUBLISHED_S2, "regression on what SCMP shows, then inversion", max(budgets), made, VIA_SERVERS,
                    templates=last)  # fmt: skip
    return [
        row,
        {
            "servers": "published, with S2's notes",
            "engine": "published",
            "victims": len(few),
            "questions": asked,
            "ms_a_question": round(1000 * seconds / max(1, asked - len(probes)), 1),
            "template_cosine": _by_budget(found, stage.enrolled[few]),
            "template_cosine_by_formula": _by_budget(simulated, stage.enrolled[few]),
            "uniform_distance": round(_from_uniform(sizes / margin), 4),
            "uniform_limit": round(1.36 / float(np.sqrt(len(probes))), 4),
        },
    ]  # fmt: skip


def _by_budget(templates: dict[int, Floats], enrolled: Floats) -> dict[int, list[float]]:
    """The cosine of each template with the one that is enrolled."""
    return {b: [round(float(c), 4) for c in cosines(t, enrolled)] for b, t in templates.items()}


def _from_uniform(values: Floats) -> float:
    """The Kolmogorov distance of values from the uniform distribution on (0, 1)."""
    x = np.sort(np.asarray(values, np.float64))
    n = len(x)
    return float(max(np.max(np.arange(1, n + 1) / n - x), np.max(x - np.arange(n) / n)))


def transcripts(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """A client together with a curious S1, or a curious S2, of engine `prepared`: everything that the server receives
    and opens, for the same questions; and engine `published` in the same hands, which shows what attackers can do."""
    plan = stage.plan
    some = np.arange(min(plan.transcript_victims, len(stage.enrolled)))
    rows: list[dict[str, Any]] = []
    for engine, sides, victims in (
        (Engine.PUBLISHED, {"s2": PUBLISHED_S2}, some[: plan.through_servers]),
        (Engine.PREPARED, {"s1": PREPARED_S1, "s2": PREPARED_S2}, some),
    ):
        for side, findings in _findings(stage, lab, engine, tuple(sides), victims).items():
            rows += _judged(stage, sides[side], findings, victims)
    return rows


def _findings(
    stage: Stage, lab: Lab, engine: Engine, sides: tuple[str, ...], victims: NDArray[np.int64]
) -> dict[str, list[Seen]]:
    """Ask everything about each victim, and attack each side's notes."""
    known, questions = stage.cast.known.embeddings, stage.plan.transcript_questions
    probes = known[stage.rng.choice(len(known), questions, replace=questions > len(known))]
    covariance = covariance_of(known)
    tell = stage.tell(f"transcripts, engine {engine.value}")
    found: dict[str, list[Seen]] = {side: [] for side in sides}
    with lab.deploy(engine, gallery=stage.enrolled[victims], curious=sides) as deployment:
        for at in range(len(victims)):
            for path in deployment.notes.values():
                os.truncate(path, 0)  # servers append, so they go on from there
            matches = []
            for i, probe in enumerate(probes):
                matches.append(deployment.question(at, probe))
                tell(at * questions + i, len(victims) * questions)
            for side, path in deployment.notes.items():
                with path.open(encoding="utf-8") as file:
                    numbers, used = features_of(sessions_of(file), int(lab.keys_for(engine).public.n), matches)
                reader = transcript.Reader(probes[used], covariance)
                chance = reader.by_chance(numbers, SHUFFLES, stage.rng)
                found[side].append(Seen(numbers.shape[1], reader.read(numbers), chance))
    return found


def _judged(stage: Stage, deployment: str, findings: list[Seen], victims: NDArray[np.int64]) -> list[dict[str, Any]]:
    """What the templates are worth: pictures of them for the judges; beside what the same numbers give when they are
    dealt out to other questions; and beside guessing, photos of the attacker's people, each tried as it is and as its
    opposite, as the templates are."""
    enrolled, questions = stage.enrolled[victims], stage.plan.transcript_questions
    templates = np.stack([seen.finding.template for seen in findings])
    cosine = cosines(templates, enrolled)
    signed = templates * np.where(cosine < 0, -1.0, 1.0)[:, None]
    by_chance = np.abs(
        [cosines(seen.chance, np.tile(t, (SHUFFLES, 1))) for seen, t in zip(findings, enrolled, strict=True)]
    )
    p = (1 + (by_chance >= np.abs(cosine)[:, None]).sum(1)) / (1 + SHUFFLES)
    guesses = np.abs(stage.cast.known.embeddings @ enrolled.T)
    hits, chance = Rate.of(np.abs(cosine) >= stage.threshold), Rate.of((guesses >= stage.threshold).ravel())
    made = stage.invert(signed, f"{deployment}, transcripts")
    return [
        stage.row(deployment, FOLLOWING, questions, made, VIA_SERVERS, templates=signed,
                  note="of a template and its opposite the better one"),
        {
            "transcript": deployment,
            "questions": questions,
            "victims": len(victims),
            "numbers": findings[0].numbers,
            "explained": dataclasses.asdict(Band.of(np.array([seen.finding.explained for seen in findings]))),
            "cosine": dataclasses.asdict(Band.of(np.abs(cosine))),
            "cosine_max": round(float(np.abs(cosine).max()), 4),
            "cosine_by_chance": dataclasses.asdict(Band.of(by_chance.ravel())),
            "p": round(fisher(p), 3),
            "matches": rate_json(hits),
            "dictionary": rate_json(chance),
            "beats_dictionary": hits.beats(chance),
            "dictionary_cosine_95": round(float(np.quantile(guesses, 0.95)), 4),
        },
    ]  # fmt: skip


ARMS = {
    "prepared-decisions": prepared_decisions,
    "prepared-budget": prepared_budget,
    "prepared-lockout": prepared_lockout,
    "published-servers": published_leak,
    "transcripts": transcripts,
}
