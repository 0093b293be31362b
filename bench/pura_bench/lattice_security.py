"""How hard ring-LWE is at the lattice's parameters: `python -m pura_bench.lattice_security [--estimator]`.

Without Sage: the primal attack (uSVP) by the usual estimate. BKZ with block size b succeeds in dimension d = m + n + 1
when

    sigma_e sqrt(b)  <=  delta^(2 b - d - 1) (q^m (sigma_e / sigma_s)^n)^(1 / d),
    delta = ((pi b)^(1/b) b / (2 pi e))^(1 / (2 b - 2))

and costs 2^(0.292 b + 16.4) 8 d (Becker, Ducas, Gama, Laarhoven 2016). With --estimator: also what the lattice
estimator (https://github.com/malb/lattice-estimator) says of three attacks, if Sage and `estimator` can be imported.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import click

from pura.crypto.rlwe.parameters import COINS, LOG_Q, SLOTS

SIGMA = math.sqrt(COINS / 2)
TERNARY = math.sqrt(2 / 3)
OTHERS = ((4096, 108), (4096, 109), (2048, 54), (8192, 218))
"""(n, log2 q) beside ours: what the homomorphic encryption standard allows for 128 bits, and 2^108."""


def delta(b: int) -> float:
    """The root Hermite factor of BKZ with block size b."""
    return float(((math.pi * b) ** (1 / b) * b / (2 * math.pi * math.e)) ** (1 / (2 * b - 2)))


def succeeds(n: int, log_q: int, b: int, m: int) -> bool:
    """Whether b suffices with m samples."""
    d = m + n + 1
    volume = (m * log_q + n * math.log2(SIGMA / TERNARY)) / d
    return math.log2(SIGMA * math.sqrt(b)) <= (2 * b - d - 1) * math.log2(delta(b)) + volume


def primal(n: int, log_q: int) -> tuple[int, int, float]:
    """The least block size, the dimension, and log2 of the cost."""
    for b in range(60, n):
        for m in range(n // 2, 2 * n, 32):
            if succeeds(n, log_q, b, m):
                d = m + n + 1
                return b, d, 0.292 * b + 16.4 + math.log2(8 * d)
    raise ValueError("no block size suffices")


def estimated(n: int, log_q: int) -> dict[str, float]:
    """log2 of the cost of each attack by the lattice estimator's default model. Raises `ImportError` without it."""
    e: Any = importlib.import_module("estimator")
    lwe = e.LWE.Parameters(n=n, q=2**log_q, Xs=e.ND.Uniform(-1, 1), Xe=e.ND.CenteredBinomial(COINS), m=math.inf)
    attacks = {"usvp": e.LWE.primal_usvp, "bdd": e.LWE.primal_bdd, "dual hybrid": e.LWE.dual_hybrid}
    return {name: math.log2(float(attack(lwe)["rop"])) for name, attack in attacks.items()}


@click.command()
@click.option("--estimator", is_flag=True, help="Ask the lattice estimator too.")
def main(estimator: bool) -> None:
    """Print the estimates; ours first."""
    for n, log_q in ((SLOTS, LOG_Q), *OTHERS):
        b, d, bits = primal(n, log_q)
        line = f"n = {n}, q = 2^{log_q}: primal attack 2^{bits:.1f} (block size {b}, dimension {d})"
        if estimator:
            line += "; lattice estimator: " + ", ".join(f"{k} 2^{v:.1f}" for k, v in estimated(n, log_q).items())
        click.echo(line)


if __name__ == "__main__":
    main()
