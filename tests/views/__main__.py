"""The long run of the tests of views: `make views [--json FILE]`.

Each server's view of questions and enrolments against its simulator, on a new key; then the broken variants, which
have to be caught. Ends with status 1 when a view can be told from a simulated one, or a broken variant cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pura.crypto.rng import SeededRng
from pura.crypto.threshold import generate
from pura.ids import Engine, Party
from pura_bench import results
from views.compare import of_counted, of_enrolments, of_questions, of_verifications
from views.controls import CONTROLS
from views.observe import SCALE, D
from views.stats import LEVEL, PValues
from views.world import Keys

KINDS = {
    "questions": of_questions,
    "questions counted": of_counted,
    "verifications": of_verifications,
    "enrolments": of_enrolments,
}
Row = dict[str, Any]


def keys_for(bits: int, seed: int) -> Keys:
    """A key set of its own."""
    made = generate(bits, SeededRng(f"{seed} keys"), Engine.PREPARED)
    return Keys(made.public, (made.s1, made.s2))


def row_of(name: str, party: Party, runs: int, wrong: list[str], tests: PValues) -> Row:
    """One line of the result."""
    return {
        "what": name,
        "server": party.name,
        "runs": runs,
        "tests": tests.count,
        "corrected_p": tests.smallest,
        "failed": sorted(tests.failed()),
        "wrong": wrong,
    }


def rows(keys: Keys, runs: int, seed: str) -> Iterator[Row]:
    """Each server's view of each kind of operation against its simulator."""
    for name, kind in KINDS.items():
        for party in Party:
            tests = PValues()
            wrong = kind(keys, runs, party, seed, tests)
            yield row_of(name, party, runs, wrong, tests)


@click.command()
@click.option("--rounds", default=200, show_default=True, type=click.IntRange(16, 10_000), help="Runs of a scenario.")
@click.option("--bits", default="2048", show_default=True, type=click.Choice(["2048", "3072"]), help="Length of N.")
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(rounds: int, bits: str, seed: int, file: Path | None) -> None:
    """Try to tell each server's view from one that was made without the other server's secrets."""
    with results.watch_load() as load:
        keys, made = keys_for(int(bits), seed), []
        for row in rows(keys, rounds, f"{seed}"):
            state = "ALARM" if row["failed"] or row["wrong"] else "alike"
            click.echo(
                f"{row['what']:36} {row['server']}  {row['runs']:5} runs {row['tests']:9} tests  "
                f"least corrected p {row['corrected_p']:.3g}  {state}"
            )
            for line in [*row["wrong"], *row["failed"]]:
                click.echo(f"    {line}")
            made.append(row)
        broken = []
        for control in CONTROLS:
            found = control.finds(keys, 24)
            broken.append({"variant": control.name, "caught": found})
            click.echo(f"{control.name:36} {'caught' if found else 'NOT CAUGHT'}")
    if file is not None:
        parameters = {"dimension": D, "scale": SCALE, "bits": int(bits), "level": LEVEL}
        results.write(file, results.body("views", seed, made, load, parameters=parameters, controls=broken))
    if any(row["failed"] or row["wrong"] for row in made) or not all(b["caught"] for b in broken):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
