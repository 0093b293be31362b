"""Times the primitives and one published query: `python -m pura_bench.micro [--json FILE]`.

All figures are CPU milliseconds for one operation, both servers together in one thread, the median of several runs.
The protocols take their tuples and zeros from filled pools, as in operation; what a tuple costs is a row of its own.
`phe` runs beside ours in the same process when it is installed (`pip install 'pura-match[phe]'`).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from pura.bigint import Z
from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, load_public, load_share
from pura.crypto.paillier import STRENGTHS
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import KeySet, combine, generate
from pura.errors import ProtocolError
from pura.ids import Engine, Handle, Party
from pura.params import Params
from pura.protocols.prepared import template as prepared
from pura.protocols.published.batch_square import batch_square_s1, batch_square_s2
from pura.protocols.published.client import encrypt_template, make_mask, open_answer
from pura.protocols.published.identify import Entry, identify_s1, identify_s2
from pura.protocols.published.scmp import scmp_s1, scmp_s2
from pura.protocols.published.side import SIGMA, VALUE_BITS, Side
from pura.protocols.published.smin import Candidate, smin_s1, smin_s2
from pura.protocols.published.smul import smul_s1, smul_s2
from pura.protocols.published.tuples import make_smul_tuple
from pura.rounds import Rounds, run_pair
from pura_bench.machine import describe
from pura_bench.speed.deployment import FIXTURES

DIMENSION = 128
TAU = 150_000
GALLERY = 8
SQUARE = f"BatchSquare, D = {DIMENSION}"
QUESTION = f"encrypt a question, D = {DIMENSION}"
QUERY = f"published query, M = {GALLERY}"
PUBLIC_SOCI = {"SMUL": 17.0, "SMUL with its tuple": 28.0, "SCMP": 14.0, SQUARE: 260.0, "SMIN": 40.0}
"""Known figures of the public SOCI+ code at 2048 bits: CPU milliseconds, on another machine."""

Row = dict[str, float]


def cpu_ms(work: Callable[[], object], runs: int, before: Callable[[], object] = lambda: None) -> float:
    """The median CPU time of one call after a first untimed one, milliseconds; `before` each call is not timed."""
    times = []
    for _ in range(runs + 1):
        before()
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times[1:]) * 1e3


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    here = describe()
    return {
        "processor": here["cpu"],
        "system": here["system"],
        "python": here["python"],
        "arithmetic": here["bigint"],
        "numpy": here["versions"]["numpy"],
    }


def keys_for(n_bits: int, rng: SeededRng) -> KeySet:
    """The test key set of a checkout, or a new one."""
    at = FIXTURES / f"test-keys-{n_bits}"
    if not at.is_dir():
        return generate(n_bits, rng)
    pk = load_public(at / PUBLIC_NAME)
    s1, s2 = (load_share(at / SHARE_NAMES[party], pk, party) for party in (Party.S1, Party.S2))
    return KeySet(pk, s1, s2)


class Bench:
    """Both servers at one key length, with the inputs of every operation."""

    def __init__(self, keys: KeySet, runs: int, rng: SeededRng) -> None:
        pk = keys.public
        self.keys, self.runs, self.rng = keys, runs, rng
        self.params = Params(
            pk.key_id, pk.n_bits, Engine.PUBLISHED, dimension=DIMENSION, tau_verify=TAU, tau_identify=TAU
        )
        self.prepared = dataclasses.replace(self.params, engine=Engine.PREPARED)
        self.s1, self.s2 = (
            Side.new(pk, share, self.params, rng, zeros=120, smul_tuples=20) for share in (keys.s1, keys.s2)
        )

    def measure(self) -> Row:
        """CPU milliseconds by operation."""
        pk, s1, s2, runs, rng = self.keys.public, self.s1, self.s2, self.runs, self.rng
        c = pk.encrypt(-12345, rng)
        u1, u2 = self.keys.s1.partial_decrypt(pk, c), self.keys.s2.partial_decrypt(pk, c)
        xs = [pk.encrypt(v, rng) for v in range(DIMENSION)]
        ys, zs = [Candidate(xs[5], xs[6])], [Candidate(xs[4], xs[7])]
        width = s1.coordinate_bits
        out = {
            "Enc": cpu_ms(lambda: pk.encrypt(-12345, rng), 10 * runs),
            "PDec": cpu_ms(lambda: self.keys.s1.partial_decrypt(pk, c), 4 * runs),
            "combine": cpu_ms(lambda: combine(pk, c, u1, u2), 2 * runs),
            "SMUL": self._pair(lambda: smul_s1(s1, xs[2:3], xs[3:4]), lambda: smul_s2(s2, 1)),
            "SMUL tuple": cpu_ms(lambda: make_smul_tuple(pk, 1, VALUE_BITS + SIGMA, rng), 2 * runs),
            "SCMP": self._pair(lambda: scmp_s1(s1, xs[2:3], xs[3:4]), lambda: scmp_s2(s2, 1)),
            SQUARE: self._pair(
                lambda: batch_square_s1(s1, [xs], width), lambda: batch_square_s2(s2, 1, DIMENSION, width)
            ),
            "SMIN": self._pair(lambda: smin_s1(s1, ys, zs), lambda: smin_s2(s2, 1)),
        }
        template = np.random.default_rng(1).integers(-40, 41, DIMENSION)
        out[QUESTION] = cpu_ms(lambda: prepared.encrypt_template(pk, self.prepared, template, rng), 4 * runs)
        out["SMUL with its tuple"] = out["SMUL"] + out["SMUL tuple"]
        out["decrypt (2 PDec, combine)"] = 2 * out["PDec"] + out["combine"]
        out[QUERY] = self._query()
        return out

    def _pair(self, one: Callable[[], Rounds[Any]], two: Callable[[], Rounds[None]]) -> float:
        return cpu_ms(lambda: run_pair(one(), two()), self.runs, before=self._fill)

    def _fill(self) -> None:
        for side in (self.s1, self.s2):
            while side.refill(100):
                pass

    def _query(self) -> float:
        """One identify over GALLERY entries; the answer is checked."""
        pk, params, rng = self.keys.public, self.params, self.rng
        draw = np.random.default_rng(1)
        gallery = draw.integers(-40, 41, (GALLERY, DIMENSION))
        held = [Entry(Handle(i + 1), encrypt_template(pk, params, y, rng)) for i, y in enumerate(gallery)]
        query: list[Z] = pk.load_many(encrypt_template(pk, params, gallery[3] + 1, rng), DIMENSION)
        rho, mask = make_mask(pk, params, rng)

        def ask() -> None:
            opened, _ = run_pair(
                identify_s1(self.s1, query, held, pk.load(mask), TAU),
                identify_s2(self.s2, GALLERY),
            )
            if open_answer(pk, params, rho, opened) != [4]:
                raise ProtocolError("the query gave a wrong answer")

        return cpu_ms(ask, max(2, self.runs // 4), before=self._fill)


def measure_phe(n_bits: int, runs: int) -> Row | None:
    """phe's encryption and decryption of an integer, or None when phe is not installed."""
    try:
        import phe
    except ImportError:
        return None
    public, private = phe.generate_paillier_keypair(n_length=n_bits)
    c = public.encrypt(-12345)
    return {
        "Enc": cpu_ms(lambda: public.encrypt(-12345), runs),
        "decrypt (2 PDec, combine)": cpu_ms(lambda: private.decrypt(c), runs),
    }


def table(n_bits: int, ours: Row, phe_row: Row | None) -> str:
    """The figures of one key length as lines of text."""
    lines = [f"|N| = {n_bits}{'':25}{'pura':>10}{'phe':>10}{'ratio':>8}{'SOCI+':>8}"]
    for name, value in ours.items():
        theirs = (phe_row or {}).get(name)
        beside = f"{theirs:10.2f}{theirs / value:8.1f}" if theirs is not None else f"{'':18}"
        known = PUBLIC_SOCI.get(name) if n_bits == 2048 else None
        lines.append(f"{name:34}{value:10.2f}{beside}{f'{known:8.0f}' if known is not None else ''}".rstrip())
    return "\n".join(lines)


@click.command()
@click.option(
    "--bits", type=click.Choice([str(b) for b in STRENGTHS]), multiple=True, help="Key lengths; both if left out."
)
@click.option("--runs", default=12, show_default=True, type=click.IntRange(1, 1000), help="Runs of one protocol.")
@click.option("--seed", default=1, show_default=True, help="Seed of the randomness of our side.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(bits: tuple[str, ...], runs: int, seed: int, file: Path | None) -> None:
    """Time the primitives and one published query beside phe; CPU milliseconds."""
    report: dict[str, Any] = {"seed": seed, "runs": runs, "machine": machine(), "unit": "CPU ms", "figures": {}}
    for n_bits in sorted(int(b) for b in bits) or list(STRENGTHS):
        ours = Bench(keys_for(n_bits, SeededRng(seed)), runs, SeededRng(seed)).measure()
        phe_row = measure_phe(n_bits, runs)
        report["figures"][str(n_bits)] = {"pura": ours, "phe": phe_row}
        click.echo(table(n_bits, ours, phe_row) + "\n")
        if phe_row is not None:
            report["machine"]["phe"] = importlib.metadata.version("phe")
    versions = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    click.echo(f"CPU milliseconds, median of {runs} runs, seed {seed}; {versions}")
    click.echo(
        "SOCI+: known figures of its public code at 2048 bits, on another machine. phe decrypts with the factors."
    )
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
