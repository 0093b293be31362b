"""The arms that go through the product's own servers, question by question, and what lies on their disks."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.attack import boundary, keysplit, leak, transcript
from pura.attack.linear import covariance_of
from pura.attack.metrics import Rate, unlinkability
from pura.attack.oracle import Floats, cosines, unit
from pura.crypto.keys import load_share
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeySet, generate
from pura.ids import Engine, Party
from pura_bench.security.arms import (
    CIPHERTEXTS,
    DISK,
    PACKED,
    PACKED_VIEW,
    PUBLISHED_S2,
    STOLEN,
    VIA_FORMULA,
    VIA_SERVERS,
    Stage,
    first_accept,
    start_of,
)
from pura_bench.security.deployments import Deployment, PlainDecisions, ServerDecisions, ServerLeak, deployed
from pura_bench.security.judge import rate_json
from pura_bench.security.transcripts import features_of, sessions_of

SMALL_BUDGET = 100
LOCKOUT = 20
TOY_BITS = 1024
SAMPLE = 5


class Lab:
    """Deployments of one stage, all under one key, one after the other; folders are removed at the end of each."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._keys: KeySet | None = None

    @property
    def keys(self) -> KeySet:
        """Of a ceremony, made once."""
        self._keys = self._keys or generate(self.stage.plan.key_bits, SystemRng())
        return self._keys

    def deploy(self, engine: Engine, **settings: Any) -> Any:
        """A context manager; see `deployed`."""
        folder = self.stage.work / "deployment"
        shutil.rmtree(folder, ignore_errors=True)
        gallery = settings.pop("gallery", self.stage.enrolled)
        return deployed(folder, gallery, engine=engine, threshold=self.stage.threshold, keys=self.keys, **settings)

    def chosen(self, start: boundary.Start) -> NDArray[np.int64]:
        """The victims to run wholly through the servers: those that the dictionary opened soonest."""
        found = np.flatnonzero(start.entry >= 0)
        return found[np.argsort(start.queries[found])][: self.stage.plan.through_servers]


def _attack(stage: Stage, oracle: Any, start: boundary.Start, budgets: tuple[int, ...]) -> boundary.Template:
    known = stage.cast.known.embeddings
    principal = np.linalg.svd(known - known.mean(0), full_matrices=False)[2]
    return boundary.template(oracle, known, start, budgets, stage.rng, directions=principal)


def packed_decisions(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """Our client against our servers: everybody by the decision in the clear, some wholly through the servers; then the
    same with a small budget and with a lockout."""
    plan, rows = stage.plan, []
    with lab.deploy(Engine.PACKED) as deployment:
        plain: PlainDecisions = deployment.plaintext(stage.enrolled)
        start = start_of(stage, plain)
        found = _attack(stage, plain, start, plan.budgets)
        for budget in plan.budgets:
            made = stage.invert(found.at[budget], f"packed, {budget} decisions")
            rows.append(
                stage.row(PACKED, "bisected angles, principal directions, then inversion", budget, made, VIA_FORMULA,
                          templates=found.at[budget], first_accept=first_accept(stage, start))
            )  # fmt: skip
        few = lab.chosen(start)
        rows.append(_through(stage, deployment, few, found, "no limit", plan.server_questions))
    with lab.deploy(Engine.PACKED, budget=SMALL_BUDGET) as deployment:
        what = f"budget of {SMALL_BUDGET} questions"
        rows.append(_through(stage, deployment, few[:1], found, what, plan.server_questions))
    with lab.deploy(Engine.PACKED, lockout=LOCKOUT) as deployment:
        what = f"lockout after {LOCKOUT} near questions"
        rows.append(_through(stage, deployment, few[:1], found, what, plan.server_questions))
    return rows


def _through(
    stage: Stage,
    deployment: Deployment,
    victims: NDArray[np.int64],
    expected: boundary.Template,
    what: str,
    questions: int,
) -> dict[str, Any]:
    """The whole attack by the client's library: dictionary, then bisection, as far as `questions` go."""
    oracle = ServerDecisions(deployment, stage.enrolled)
    began = time.monotonic()
    known = stage.cast.known.embeddings
    start = boundary.dictionary(oracle, known, questions, stage.rng, victims=victims)
    got = _attack(stage, oracle, start, (questions,)).at[questions] if (start.entry >= 0).any() else np.zeros((1, 1))
    asked = int(oracle.queries.sum())
    cosine = cosines(got[victims], stage.enrolled[victims]) if got.size > 1 else np.zeros(len(victims))
    return {
        "servers": what,
        "victims": len(victims),
        "questions": asked,
        "compared": oracle.compared,
        "differed": oracle.differed,
        "refused": oracle.refused,
        "ms_a_question": round(1000 * (time.monotonic() - began) / max(1, asked), 1),
        "template_cosine": [round(float(c), 4) for c in cosine],
        "engine": "packed",
    }


def published_leak(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """A client and a curious S2 of engine `published` against real victims, all through the servers."""
    plan = stage.plan
    few = np.arange(min(plan.through_servers, len(stage.enrolled)))
    budgets = tuple(sorted({plan.server_questions // 3, plan.server_questions}))
    with lab.deploy(Engine.PUBLISHED, gallery=stage.enrolled[few], curious=("s2",)) as deployment:
        oracle = ServerLeak(deployment, len(few), int(lab.keys.public.n))
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


def packed_transcript(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """A client together with a curious S1, or a curious S2, of engine `packed`: everything that the server receives and
    opens, for the same questions; and engine `published` in the same hands."""
    plan = stage.plan
    few = np.arange(min(plan.through_servers, len(stage.enrolled)))
    probes = stage.cast.known.embeddings[stage.rng.choice(len(stage.cast.known.names), plan.transcript_questions)]
    covariance = covariance_of(stage.cast.known.embeddings)
    found: dict[str, list[dict[str, Any]]] = {}
    templates: dict[str, list[Floats]] = {}
    for engine, sides in ((Engine.PACKED, ("s1", "s2")), (Engine.PUBLISHED, ("s2",))):
        gallery = stage.enrolled[few]
        with lab.deploy(engine, gallery=gallery, curious=sides) as deployment:
            for victim in few.tolist():
                before = {side: path.stat().st_size for side, path in deployment.notes.items()}
                matches = [deployment.question(victim, probe) for probe in probes]
                for side, path in deployment.notes.items():
                    with path.open(encoding="utf-8") as file:
                        file.seek(before[side])
                        seen = features_of(sessions_of(file), int(lab.keys.public.n), matches)
                    name = f"{engine.value} {side}"
                    got = transcript.attack(probes, seen, covariance)
                    cosine = float(np.abs(cosines(got.template[None], gallery[victim : victim + 1])[0]))
                    templates.setdefault(name, []).append(got.template)
                    found.setdefault(name, []).append(
                        {"numbers": seen.shape[1], "explained": round(got.explained, 4), "cosine": round(cosine, 4)}
                    )
    # what guessing gives: photos of the attacker's people, each tried as it is and as its opposite
    guesses = np.abs(stage.cast.known.embeddings @ stage.enrolled[few].T)
    rows: list[dict[str, Any]] = []
    for name, lines in found.items():
        hits = Rate.of(np.array([line["cosine"] for line in lines]) >= stage.threshold)
        chance = Rate.of((guesses >= stage.threshold).ravel())
        rows.append(
            {
                "transcript": name,
                "questions": len(probes),
                "victims": lines,
                "matches": rate_json(hits),
                "dictionary": rate_json(chance),
                "beats_dictionary": hits.beats(chance),
                "dictionary_cosine_95": round(float(np.quantile(guesses, 0.95)), 4),
            }
        )
    rows.append({"deployment": PACKED_VIEW, "transcript_of": list(found)})
    return rows


def disks(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """Unlinkability of what is stored: each victim is enrolled twice, with two photos; can the two be told to belong
    together? D_sys, and what it would be by chance."""
    both = np.concatenate([stage.enrolled, stage.cast.mates.embeddings])
    count = len(stage.enrolled)
    with lab.deploy(Engine.PACKED, gallery=both) as deployment:
        folder = deployment.folder
    stored = {side: _entries(folder / side / "data" / "gallery.db") for side in ("s1", "s2")}
    shares = {party: load_share(folder / f"{side}" / f"{side}.share", lab.keys.public, party)
              for side, party in (("s1", Party.S1), ("s2", Party.S2))}  # fmt: skip
    same, other = _pairs(count)
    a, b = unit(stage.enrolled), unit(stage.cast.mates.embeddings)
    out = [_linked(STOLEN, "the embeddings' cosine", (a @ b.T)[same], (a @ b.T)[other])]
    what = {
        (CIPHERTEXTS, "a template's ciphertexts, equal bits"): _bits([row[0] for row in stored["s1"]], count),
        (f"{DISK}, S1", "its share of the norm, difference"): _differences([row[1] for row in stored["s1"]], count),
        (f"{DISK}, S2", "its share of the norm, difference"): _differences([row[1] for row in stored["s2"]], count),
    }
    out += [_linked(where, how, score[same], score[other]) for (where, how), score in what.items()]
    opened = {
        side: sum(
            m is not None
            for m in keysplit.decrypt_ours_alone(
                lab.keys.public, shares[party], [int.from_bytes(row[0][: lab.keys.public.ciphertext_bytes], "big")
                                                 for row in stored["s1"][:SAMPLE]])
        )
        for side, party in (("s1", Party.S1), ("s2", Party.S2))
    }  # fmt: skip
    out.append({"disk": "ciphertexts that one server's disk opens, of those tried", "tried": SAMPLE, **opened})
    return out


def _entries(file: Path) -> list[tuple[bytes, bytes]]:
    """The row ciphertexts and the norm share of each entry, oldest first."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT body, norm_share FROM entry ORDER BY seq").fetchall()
    db.close()
    return [(bytes(body), bytes(share)) for body, share in rows]


def _pairs(count: int) -> tuple[Any, Any]:
    same = np.eye(count, dtype=bool)
    return same, ~same


def _bits(stored: list[bytes], count: int) -> Floats:
    """The share of equal bits of each first entry with each second one."""
    bits = np.array([np.unpackbits(np.frombuffer(raw, np.uint8)) for raw in stored]).astype(np.float32) * 2 - 1
    out: Floats = bits[:count] @ bits[count:].T / bits.shape[1]
    return out


def _differences(stored: list[bytes], count: int) -> Floats:
    """Minus the distance of two shares modulo 2^64."""
    values = np.array([int.from_bytes(raw[-8:], "big") for raw in stored], np.uint64)
    gap = values[:count, None] - values[None, count:]
    out: Floats = -np.minimum(gap, np.uint64(0) - gap).astype(np.float64)
    return out


def _linked(where: str, how: str, mated: Floats, non_mated: Floats) -> dict[str, Any]:
    got = unlinkability(mated, non_mated)
    return {"unlinkability": where, "score": how, **{k: round(v, 4) for k, v in dataclasses.asdict(got).items()}}


def key_split(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """The published split undone by S2, on a key made by the published formula; the same on ours."""
    rng = SystemRng()
    toy = keysplit.published_keys(TOY_BITS, rng)
    messages = [rng.below(1 << 20) for _ in range(SAMPLE)]
    theirs = [keysplit.decrypt_alone(toy.n, toy.sk2, keysplit.published_encrypt(toy.n, m, rng)) for m in messages]
    pk = lab.keys.public
    cs = [pk.encrypt(m, rng) for m in messages]
    return [
        {
            "key_split": "published (SOCI, SOCI+, TRUST)",
            "bits": TOY_BITS,
            "sk1_recovered": bool(keysplit.recover_sk1(toy.n, toy.sk2) == toy.sk1),
            "opened": sum(a == b for a, b in zip(theirs, messages, strict=True)),
            "of": SAMPLE,
        },
        *(
            {
                "key_split": f"ours, {party.name} alone",
                "bits": pk.n_bits,
                "sk1_recovered": False,
                "opened": sum(m is not None for m in keysplit.decrypt_ours_alone(pk, share, cs)),
                "of": SAMPLE,
            }
            for party, share in ((Party.S1, lab.keys.s1), (Party.S2, lab.keys.s2))
        ),
    ]


ARMS = {
    "keysplit": key_split,
    "packed-decisions": packed_decisions,
    "published-servers": published_leak,
    "transcripts": packed_transcript,
    "disks": disks,
}
