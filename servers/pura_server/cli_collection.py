"""What a collection is, and how much its clients may ask, as options of `pura-server init`, `request` and `join`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from pura import policy as policies
from pura.errors import BadConfig
from pura.face import curves
from pura.face.spec import BUILT_IN
from pura.ids import Engine
from pura.params import DEFAULT_SCALE
from pura_server.cli_common import path_type
from pura_server.config import ENROLMENTS_A_DAY, QUESTIONS_A_DAY, Budget, Collection

PEOPLE = 1000
DEEP = 0.05
"""How far above the threshold a score is no longer doubtful."""
SEARCH = 0.15
"""How far identify's threshold is above verify's at the least: it is asked about everybody at once, and no tries count.
By 0.10 an attacker who chooses its probes well opened somebody of 500 at the 126th question, by this nobody within
10,000 (docs/attack.md)."""
_F = TypeVar("_F", bound=Callable[..., None])


def collection_options(command: _F) -> _F:
    """Adds the options that `collection_from` takes."""
    for option in reversed(
        (
            click.option(
                "--allow-leaky", is_flag=True, help="For a key of engine published, whose protocols leak distances."
            ),
            click.option("--dimension", type=int, default=128, show_default=True, help="Length of an embedding."),
            click.option(
                "--scale", type=int, default=DEFAULT_SCALE, show_default=True, help="Length of a quantised unit vector."
            ),
            click.option(
                "--threshold",
                type=float,
                help="Least cosine that matches.  [default: 0.37 for sface-mirrored and "
                "sface-centred, 0.425 for sface]",
            ),
            click.option(
                "--people", type=click.IntRange(1), help="How many will be enrolled: for identify.  [default: 1000]"
            ),
            click.option(
                "--fpir", type=float, default=0.01, show_default=True, help="Share of strangers that may be named."
            ),
            click.option(
                "--identify-threshold", type=float, help="Or: the least cosine that matches when all are asked."
            ),
            click.option(
                "--policy",
                type=path_type(),
                help="Take model, scale and threshold from a file of `pura bench accuracy --write-policy`.",
            ),
            click.option(
                "--tries",
                default="5,20,100",
                show_default=True,
                help="Engine prepared: how many doubtful questions that name an entry are answered about it in a day, "
                "in 30 days, and until it is unlocked; none.",
            ),
            click.option("--top-k", type=int, default=1, show_default=True, help="Candidates that identify returns."),
            click.option(
                "--embedder",
                default="sface-mirrored",
                show_default=True,
                help="Name of the network that makes the embeddings.",
            ),
        )
    ):
        command = option(command)
    return command


def budget_options(command: _F) -> _F:
    """Adds the options that `budget_from` takes."""
    command = click.option(
        "--enrolments-a-day",
        type=click.IntRange(1),
        default=ENROLMENTS_A_DAY,
        show_default=True,
        help="How many photos one client may enrol.",
    )(command)
    return click.option(
        "--questions-a-day",
        type=click.IntRange(1),
        help=f"How many questions one client may ask.  [default: asked for at a terminal, else {QUESTIONS_A_DAY}]",
    )(command)


def collection_from(
    engine: Engine,
    *,
    allow_leaky: bool,
    dimension: int,
    scale: int,
    threshold: float | None,
    people: int | None,
    fpir: float,
    identify_threshold: float | None,
    policy: Path | None,
    tries: str,
    top_k: int,
    embedder: str,
) -> tuple[Collection, str]:
    """The collection that the options describe, and what to say of identify's threshold. Raises `BadConfig`."""
    from pura_server.deploy import THRESHOLDS

    if policy is not None:
        if threshold is not None:
            raise BadConfig("give either --threshold or --policy")
        measured = policies.read(policy)
        dimension, scale = measured.dimension, measured.scale
        threshold, embedder = measured.threshold, measured.embedder
    if threshold is None:
        threshold = THRESHOLDS.get(embedder)
        if threshold is None:
            raise BadConfig(f"--threshold is needed: only {' and '.join(THRESHOLDS)} have a default")
    built_in = BUILT_IN.get(embedder)
    if built_in is not None and dimension != built_in.dimension:
        raise BadConfig(f"{embedder} gives {built_in.dimension} numbers: name your --embedder, and its --threshold")
    said = ""
    if identify_threshold is None:
        identify_threshold, said = _for_people(embedder, threshold, people, fpir)
    elif people is not None:
        raise BadConfig("give either --people or --identify-threshold")
    try:
        collection = Collection(
            identify_threshold=identify_threshold,
            engine=engine,
            allow_leaky=allow_leaky,
            dimension=dimension,
            scale=scale,
            threshold=threshold,
            top_k=top_k,
            embedder=embedder,
            **_tries(tries, engine, threshold),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise BadConfig(f"--{where}: {first['msg']}") from error
    return collection, said


def _tries(said: str, engine: Engine, threshold: float) -> dict[str, Any]:
    """The settings of `tries`; none for an engine that does not count them. Raises `BadConfig`."""
    if said == "none" or engine is not Engine.PREPARED:
        return {}
    limits = said.split(",")
    if len(limits) != 3 or not all(limit.strip().isdecimal() for limit in limits):
        raise BadConfig("--tries takes three numbers, as 5,20,100, or none")
    return {"tries": tuple(int(limit) for limit in limits), "deep_threshold": round(min(1.0, threshold + DEEP), 4)}


def budget_from(questions_a_day: int | None, enrolments_a_day: int) -> Budget:
    """What one client may ask and enrol; asked for at a terminal if it is not said."""
    a_day = questions_a_day or _ask_for_questions()
    return Budget(
        questions=a_day,
        per_hour=a_day / 24,
        enrolments=enrolments_a_day,
        enrolments_per_hour=enrolments_a_day / 24,
    )


def tell_budget(budget: Budget, s1: Path) -> None:
    """Say what was written into S1's configuration."""
    click.echo(
        f"each client may ask {budget.questions} questions and enrol {budget.enrolments} photos a day: [budget] in "
        f"{s1.name}, and SECURITY.md for what that allows"
    )


def _for_people(embedder: str, threshold: float, people: int | None, fpir: float) -> tuple[float | None, str]:
    """Identify's threshold for so many people, by the embedder's recorded curve, and what to say of it. Raises
    `BadConfig` when people were named and there is no curve."""
    curve = curves.of(embedder)
    if not 0 < fpir < 1:
        raise BadConfig("--fpir lies between 0 and 1")
    if curve is None:
        if people is not None:
            raise BadConfig(f"--people needs a recorded curve, which {embedder} has not: give --identify-threshold")
        return None, "identify has verify's threshold; false matches grow with the gallery: --identify-threshold"
    count = people or PEOPLE
    point = curve.threshold_for(count, fpir)
    at = max(point.threshold, min(1.0, round(threshold + SEARCH, 4)))
    how = "extrapolated from" if point.extrapolated else "measured on"
    return at, (
        f"identify matches from a cosine of {at:.3f} on: at most {fpir:.1%} of strangers are named among {count:,} "
        f"people, {how} {curve.data_set}; another number: --people. Enrol people by several photos: by one, more "
        "are missed (docs/accuracy.md)"
    )


def at_a_terminal() -> bool:
    """Whether somebody is there who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask_for_questions() -> int:
    if not at_a_terminal():
        return QUESTIONS_A_DAY
    asked: int = click.prompt(
        "How many questions a day does one client need? Some 200 after a first match describe a face",
        type=click.IntRange(1),
        default=QUESTIONS_A_DAY,
    )
    return asked
