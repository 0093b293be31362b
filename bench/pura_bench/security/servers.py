"""The arms that go through the product's own servers, question by question."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, dictionary, leak, transcript
from pura.attack.linear import covariance_of
from pura.attack.metrics import Band, Rate, fisher
from pura.attack.oracle import Floats, cosines
from pura.ids import Engine
from pura_bench.security.arms import (
    LIKELY,
    REGRESSION,
    SMALL_BUDGET,
    VIA_FORMULA,
    VIA_SERVERS,
    Row,
    Stage,
    Where,
    believed,
    probes_of,
    template,
)
from pura_bench.security.deployments import LOCKOUT, NEAR, WINDOWS, Deployment, ServerDecisions, ServerLeak
from pura_bench.security.judge import rate_json
from pura_bench.security.transcripts import features_of, sessions_of

FOLLOWING = "whatever number follows the similarity, then inversion"
SHUFFLES = 60
"""How often what a server saw of a victim is dealt out to other questions."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """How many numbers a curious server saw of each question, what they gave, and what they give by chance:
    (SHUFFLES, D)."""

    numbers: int
    finding: transcript.Finding
    chance: Floats


def chosen(stage: Stage, start: dictionary.Start) -> NDArray[np.int64]:
    """The victims to run wholly through the servers: those that were opened soonest."""
    return start.found[np.argsort(start.queries[start.found])][: stage.plan.through_servers]


def through(stage: Stage, deployment: Deployment, victims: NDArray[np.int64], where: Where) -> Row:
    """The whole attack by the client's library: dictionary, then belief, as far as the plan's questions go."""
    oracle, questions = ServerDecisions(deployment, stage.enrolled), stage.plan.server_questions
    began = time.monotonic()
    start = dictionary.search(oracle, probes_of(stage, LIKELY), questions, victims)
    got = template(stage, oracle, start, (questions,)).at[questions]
    asked = int(oracle.queries.sum())
    return {
        "servers": where,
        "victims": len(victims),
        "questions": asked,
        "compared": oracle.compared,
        "differed": oracle.differed,
        "refused": oracle.refused,
        "ms_a_question": round(1000 * (time.monotonic() - began) / max(1, asked), 1),
        "template_cosine": _rounded(got[victims], stage.enrolled[victims]),
        "engine": "prepared",
    }


def prepared_decisions(stage: Stage) -> list[Row]:
    """Our client against our servers: everybody by the decision in the clear, some wholly through the servers."""
    with stage.deploy() as deployment:
        clear = deployment.in_the_clear(stage.enrolled)
        rows, start = believed(stage, Where.PREPARED, clear, VIA_FORMULA, stage.plan.budgets)
        return [*rows, through(stage, deployment, chosen(stage, start), Where.PREPARED)]


def prepared_budget(stage: Stage) -> list[Row]:
    """The same with a small budget for each client. The attacker knows it, and has one client for each victim."""
    where = Where.PREPARED_BUDGET
    with stage.deploy() as deployment:
        clear = deployment.in_the_clear(stage.enrolled)
        rows, start = believed(stage, where, clear, VIA_FORMULA, (SMALL_BUDGET,), (LIKELY,))
    for victim in chosen(stage, start):
        with stage.deploy(budget=SMALL_BUDGET) as deployment:
            # it goes on until it is refused
            rows.append(through(stage, deployment, np.array([victim]), where))
    return rows


def prepared_lockout(stage: Stage) -> list[Row]:
    """The same with a lockout. The attacker knows its limit, and believes no "no" that a locked entry may have said: in
    one window, and in five."""
    where, budgets = Where.PREPARED_LOCKOUT, stage.plan.budgets
    near = belief.Counter(stage.threshold - NEAR, LOCKOUT)
    five = dataclasses.replace(near, windows=WINDOWS)
    with stage.deploy(lockout=LOCKOUT) as deployment:
        clear = deployment.in_the_clear(stage.enrolled)
        rows, start = believed(stage, where, clear, VIA_FORMULA, budgets, (LIKELY,), near)
        rows += believed(stage, Where.PREPARED_LOCKOUT_FIVE, clear, VIA_FORMULA, budgets[-1:], (LIKELY,), five)[0]
        # here it goes on, so that entries are locked
        return [*rows, through(stage, deployment, chosen(stage, start), where)]


def published_leak(stage: Stage) -> list[Row]:
    """A client and a curious S2 of engine `published` against real victims, all through the servers."""
    questions, known, t = stage.plan.server_questions, stage.known, stage.threshold
    few = stage.enrolled[: stage.plan.through_servers]
    budgets, first = tuple(sorted({questions // 3, questions})), min(200, questions // 2)
    tell = stage.tell("published comparison, real servers")
    with stage.deploy(Engine.PUBLISHED, few, curious=("s2",)) as deployment:
        oracle = ServerLeak(deployment, len(few), int(stage.keys_for(Engine.PUBLISHED).public.n))
        began = time.monotonic()
        found = leak.attack(oracle, known, t, budgets, stage.rng, first=first, progress=tell)
        seconds, asked = time.monotonic() - began, int(oracle.queries.sum())
        # the sizes that S2 saw, as shares of |threshold - cosine|: uniform in (0, 1] if the formula is right
        probes = known[: min(50, questions)]
        sizes, _ = oracle.observe(np.zeros(len(probes), np.int64), probes)
    margin = np.abs(t - cosines(np.repeat(few[:1], len(probes), 0), probes))
    simulated = leak.attack(leak.SimulatedLeak(few, t, stage.rng), known, t, budgets, stage.rng, first=first)
    last = found[max(budgets)]
    made = stage.invert(last, "published comparison, real servers")
    return [
        stage.row(Where.PUBLISHED_S2, REGRESSION, max(budgets), made, VIA_SERVERS, last),
        {
            "servers": "published, with S2's notes",
            "engine": "published",
            "victims": len(few),
            "questions": asked + len(probes),
            "ms_a_question": round(1000 * seconds / max(1, asked), 1),
            "template_cosine": {b: _rounded(t, few) for b, t in found.items()},
            "template_cosine_by_formula": {b: _rounded(t, few) for b, t in simulated.items()},
            "uniform_distance": round(_from_uniform(sizes / margin), 4),
            "uniform_limit": round(1.36 / float(np.sqrt(len(probes))), 4),
        },
    ]


def _rounded(templates: Floats, enrolled: Floats) -> list[float]:
    """The cosine of each template with the one that is enrolled."""
    return [round(float(c), 4) for c in cosines(templates, enrolled)]


def _from_uniform(values: Floats) -> float:
    """The Kolmogorov distance of values from the uniform distribution on (0, 1)."""
    x = np.sort(np.asarray(values, np.float64))
    n = len(x)
    return float(max(np.max(np.arange(1, n + 1) / n - x), np.max(x - np.arange(n) / n)))


def transcripts(stage: Stage) -> list[Row]:
    """A client together with a curious S1, or a curious S2, of engine `prepared`: everything that the server receives
    and opens, for the same questions; and engine `published` in the same hands, which shows what attackers can do."""
    some, rows = stage.enrolled[: stage.plan.transcript_victims], []
    for engine, sides, victims in (
        (Engine.PUBLISHED, {"s2": Where.PUBLISHED_S2}, some[: stage.plan.through_servers]),
        (Engine.PREPARED, {"s1": Where.PREPARED_S1, "s2": Where.PREPARED_S2}, some),
    ):
        for side, findings in _findings(stage, engine, tuple(sides), victims).items():
            rows += _judged(stage, sides[side], findings, victims)
    return rows


def _findings(stage: Stage, engine: Engine, sides: tuple[str, ...], victims: Floats) -> dict[str, list[Seen]]:
    """Ask everything about each victim, and attack each side's notes."""
    known, questions = stage.known, stage.plan.transcript_questions
    probes = known[stage.rng.choice(len(known), questions, replace=questions > len(known))]
    covariance = covariance_of(known)
    tell = stage.tell(f"transcripts, engine {engine.value}")
    found: dict[str, list[Seen]] = {side: [] for side in sides}
    with stage.deploy(engine, victims, curious=sides) as deployment:
        for at in range(len(victims)):
            for path in deployment.notes.values():
                os.truncate(path, 0)  # servers append, so they go on from there
            matches = []
            for i, probe in enumerate(probes):
                matches.append(deployment.question(at, probe))
                tell(at * questions + i, len(victims) * questions)
            for side, path in deployment.notes.items():
                with path.open(encoding="utf-8") as file:
                    numbers, used = features_of(sessions_of(file), int(stage.keys_for(engine).public.n), matches)
                reader = transcript.Reader(probes[used], covariance)
                chance = reader.by_chance(numbers, SHUFFLES, stage.rng)
                found[side].append(Seen(numbers.shape[1], reader.read(numbers), chance))
    return found


def _judged(stage: Stage, where: Where, findings: list[Seen], enrolled: Floats) -> list[Row]:
    """What the templates are worth: pictures of them for the judges; beside what the same numbers give when they are
    dealt out to other questions; and beside guessing, photos of the attacker's people, each tried as it is and as its
    opposite, as the templates are."""
    questions = stage.plan.transcript_questions
    templates = np.stack([seen.finding.template for seen in findings])
    cosine = cosines(templates, enrolled)
    signed = templates * np.where(cosine < 0, -1.0, 1.0)[:, None]
    by_chance = np.abs(
        [cosines(seen.chance, np.tile(t, (SHUFFLES, 1))) for seen, t in zip(findings, enrolled, strict=True)]
    )
    p = (1 + (by_chance >= np.abs(cosine)[:, None]).sum(1)) / (1 + SHUFFLES)
    guesses = np.abs(stage.known @ enrolled.T)
    hits, chance = Rate.of(np.abs(cosine) >= stage.threshold), Rate.of((guesses >= stage.threshold).ravel())
    made = stage.invert(signed, f"{where}, transcripts")
    return [
        stage.row(where, FOLLOWING, questions, made, VIA_SERVERS, signed,
                  note="of a template and its opposite the better one"),
        {
            "transcript": where,
            "questions": questions,
            "victims": len(enrolled),
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
