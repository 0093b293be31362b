"""The long run of the tests of views: `python -m pura_bench.views [--json FILE]`.

Each server's view of all scenarios against its simulator, on a new key; then the broken variants, which have to be
caught. Ends with status 1 when a view can be told from a simulated one, or a broken variant cannot.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from pura.crypto.rng import SeededRng
from pura.crypto.threshold import generate
from pura.ids import Party
from pura_bench import results
from pura_bench.views.compare import IDEAL, SCENARIOS, life, play, repeated, uniformity, verdict
from pura_bench.views.controls import CONTROLS, Control
from pura_bench.views.stats import LEVEL, PValues
from pura_bench.views.world import Keys

LIVES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("every operation", {}),
    ("every operation, three answers, lockout", {"top_k": 3, "lockout_tau": 300_000, "lockout_limit": 3}),
)
Row = dict[str, Any]


def keys_for(bits: int, seed: int) -> Keys:
    """A key set of its own."""
    made = generate(bits, SeededRng(f"{seed} keys"))
    return Keys(made.public, {Party.S1: made.s1, Party.S2: made.s2})


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


def scenarios(keys: Keys, folder: Path, rounds: int, seed: str, **how: Any) -> list[Row]:
    """The scenarios against the simulators."""
    real = [play(keys, folder / f"{i}", s, rounds, seed=seed, **how) for i, s in enumerate(SCENARIOS)]
    rows = []
    for party in Party:
        ideal = play(keys, folder / party.name, IDEAL, rounds, party.name, seed, **how)  # type: ignore[arg-type]
        tests = PValues()
        wrong = verdict(real, ideal, party, tests)
        rows.append(row_of("queries and galleries", party, rounds, wrong, tests))
    return rows


def lives(keys: Keys, folder: Path, rounds: int, seed: str, name: str, **how: Any) -> list[Row]:
    """All operations against the simulators."""
    real = life(keys, folder / "both", rounds, seed=seed, **how)
    rows = []
    for party in Party:
        ideal = life(keys, folder / party.name, rounds, party.name, seed, **how)  # type: ignore[arg-type]
        tests = PValues()
        wrong = verdict([real], ideal, party, tests)
        rows.append(row_of(name, party, rounds, wrong, tests))
    return rows


def caught(keys: Keys, folder: Path, control: Control, rounds: int, seed: str, **how: Any) -> bool:
    """Whether the tests see a broken variant, and see it where it is."""
    scenario = IDEAL if control.operation == "forget" else SCENARIOS[2]
    with control.broken():
        seen = play(keys, folder, scenario, rounds, seed=seed, **how).seen[control.victim]
    tests = PValues()
    uniformity(seen, "", tests)
    found = [*repeated(seen), *(name for name in tests.failed() if f"| {control.operation} |" in name)]
    return any(control.shows in name for name in found)


@click.command()
@click.option("--rounds", default=200, show_default=True, type=click.IntRange(16, 10_000), help="Runs of a scenario.")
@click.option("--bits", default="2048", show_default=True, type=click.Choice(["2048", "3072"]), help="Length of N.")
@click.option("--dimension", default=8, show_default=True, type=click.IntRange(4, 64), help="D.")
@click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(rounds: int, bits: str, dimension: int, seed: int, file: Path | None) -> None:
    """Try to tell each server's view from one that was made of public parameters alone."""
    with tempfile.TemporaryDirectory() as name, results.watch_load() as load:
        folder, keys, how = Path(name), keys_for(int(bits), seed), {"dimension": dimension}
        rows = scenarios(keys, folder / "scenarios", rounds, f"{seed}", **how)
        for i, (what, more) in enumerate(LIVES):
            rows += lives(keys, folder / f"life {i}", max(8, rounds // 10), f"{seed}", what, **how, **more)
        for row in rows:
            state = "ALARM" if row["failed"] or row["wrong"] else "alike"
            click.echo(
                f"{row['what']:42} {row['server']}  {row['runs']:5} runs {row['tests']:9} tests  "
                f"least corrected p {row['corrected_p']:.3g}  {state}"
            )
            for line in [*row["wrong"], *row["failed"]]:
                click.echo(f"    {line}")
        broken = []
        for i, control in enumerate(CONTROLS):
            found = caught(keys, folder / f"control {i}", control, 24, f"{seed}", **how)
            broken.append({"variant": control.name, "server": control.victim.name, "caught": found})
            click.echo(f"{control.name:42} {control.victim.name}  {'caught' if found else 'NOT CAUGHT'}")
    if file is not None:
        parameters = {**how, "bits": int(bits), "level": LEVEL}
        results.write(file, results.body("views", seed, rows, load, parameters=parameters, controls=broken))
    if any(row["failed"] or row["wrong"] for row in rows) or not all(b["caught"] for b in broken):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
