"""Attacks that get nothing but decisions.

*Embedding space.* From one accepted probe e, along a direction u orthogonal to it, the answers for cos(a) e + sin(a) u
change at two angles; half their sum is atan(<t, u> / <t, e>). D - 1 orthogonal directions give t up to its length:
about 2,200 bits for D = 128.

*Image space.* From an accepted image: go away from it in a random direction until the answer changes, there ask
antithetic pairs; the sum of (accept+ - accept-) n is the direction in which the score grows (as HopSkipJump does it,
arXiv 1904.02144); take a step that way, and begin again.

Both must first find a probe that is accepted: see `pura.attack.dictionary`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.attack.basis import Basis
from pura.attack.dictionary import Start
from pura.attack.oracle import Bools, DecisionOracle, Embed, Floats, Progress, quiet, unit

if TYPE_CHECKING:
    import torch

# --- embedding space ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Template:
    """templates (V, D) after each budget, a victim that was never accepted having the row 0; bits: asked in all."""

    at: dict[int, Floats]
    queries: NDArray[np.int64]


def template(
    oracle: DecisionOracle,
    start: Start,
    budgets: tuple[int, ...],
    rng: np.random.Generator,
    *,
    bits: int = 9,
    directions: Floats | None = None,
    patience: int | None = None,
    progress: Progress = quiet,
) -> Template:
    """Bisect angles from each accepted start. `directions` (m, D): tried in this order after being made orthogonal to
    the start; by default random. Budgets count the questions of the start, too.

    `patience`: how many questions after the accepted one are still believed. An attacker who knows of a lockout stops
    there, because a locked entry's "no" says nothing.
    """
    victims, d = start.found, start.probes.shape[1]
    e = unit(np.asarray(start.probes[start.entry[victims]], np.float64))
    spent = start.queries.copy()
    last = np.full(len(spent), max(budgets))
    if patience is not None:
        last = np.minimum(last, start.queries + patience)
    estimate = np.zeros((len(start.entry), d))
    estimate[victims] = e
    at: dict[int, Floats] = {}
    waiting = {b: np.ones(len(spent), bool) for b in budgets}

    def note(final: bool = False) -> None:
        for budget, open_ in waiting.items():
            at.setdefault(budget, np.zeros((len(spent), d)))
            full = open_ & ((spent + 2 * bits > np.minimum(budget, last)) | final)
            # a start that itself took more than the budget does not count
            at[budget][full] = np.where((start.queries <= budget)[full, None], unit(estimate[full]), 0.0)
            waiting[budget] = open_ & ~full

    bases = [_orthogonal(row, directions, rng) for row in e]
    for i in range(d - 1):
        note()
        open_ = np.flatnonzero(spent[victims] + 2 * bits <= last[victims])
        if not len(open_):
            break
        rows, centre = victims[open_], e[open_]
        u = np.stack([bases[j][i] for j in open_])
        upper = _bisect(oracle, rows, centre, u, bits)
        lower = _bisect(oracle, rows, centre, -u, bits)
        estimate[rows] += np.tan((upper - lower) / 2)[:, None] * u
        spent[rows] += 2 * bits
        progress(int(spent[rows].min()), max(budgets))
    note(final=True)
    return Template(at, spent)


def _bisect(oracle: DecisionOracle, victims: NDArray[np.int64], e: Floats, u: Floats, bits: int) -> Floats:
    """The angle in [0, pi/2 + pi/4] at which cos(a) e + sin(a) u stops being accepted; e itself is."""
    low, high = np.zeros(len(victims)), np.full(len(victims), 0.75 * np.pi)
    for _ in range(bits):
        a = (low + high) / 2
        yes = oracle.decide(victims, np.cos(a)[:, None] * e + np.sin(a)[:, None] * u)
        low, high = np.where(yes, a, low), np.where(yes, high, a)
    out: Floats = (low + high) / 2
    return out


def _orthogonal(e: Floats, directions: Floats | None, rng: np.random.Generator) -> Floats:
    """D - 1 orthonormal rows, all orthogonal to e."""
    d = len(e)
    rest = rng.standard_normal((d, d)) if directions is None else np.vstack([directions, rng.standard_normal((d, d))])
    q, _ = np.linalg.qr(np.vstack([e, rest])[: max(d, len(rest))].T)
    out: Floats = q.T[1:d]
    return out


# --- image space -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """pairs: antithetic pairs an estimate; sigma: their size in standard deviations of the photos; steps: what one step
    adds to the coordinates, in units of length; bits: questions to find the boundary."""

    pairs: int = 40
    sigma: float = 0.3
    step: float = 6.0
    bits: int = 8
    reach: float = 40.0


@dataclasses.dataclass
class Image:
    """Coordinates (V, K) after each budget, relative to the start; `spent` questions."""

    at: dict[int, torch.Tensor]
    queries: NDArray[np.int64]


def image(
    oracle: DecisionOracle,
    embed: Embed,
    basis: Basis,
    starts: torch.Tensor,
    start: Start,
    budgets: tuple[int, ...],
    settings: ImageSettings | None = None,
    *,
    seed: int = 0,
    progress: Progress = quiet,
) -> Image:
    """Climb from accepted images `starts` (V, P), those of `start`; victims without one stay at the mean face.

    All victims take the same number of questions a round; a victim whose start took longer ends earlier.
    """
    import torch

    s = settings or ImageSettings()
    rng = torch.Generator().manual_seed(seed)
    found = start.found
    spent = start.queries.copy()
    images = starts.clone()
    at = {b: torch.where(torch.from_numpy(start.queries <= b)[:, None], images, basis.mean) for b in budgets}

    def ask(rows: NDArray[np.int64], probes: torch.Tensor) -> Bools:
        spent[rows] += 1
        return oracle.decide(rows, embed(probes))

    a_round = s.bits + 2 * s.pairs
    while True:
        rows = found[spent[found] + a_round <= max(budgets)]
        if not len(rows):
            return Image(at, spent)
        base = images[rows]
        away = torch.randn(len(rows), basis.size, generator=rng)
        away = away / away.norm(dim=1, keepdim=True)
        ray = away @ basis.components
        low, high = torch.zeros(len(rows)), torch.full((len(rows),), s.reach)
        for _ in range(s.bits):
            middle = (low + high) / 2
            yes = torch.from_numpy(ask(rows, base + middle[:, None] * ray))
            low, high = torch.where(yes, middle, low), torch.where(yes, high, middle)
        edge = base + low[:, None] * ray
        gradient = torch.zeros(len(rows), basis.size)
        for _ in range(s.pairs):
            n = torch.randn(len(rows), basis.size, generator=rng) * s.sigma
            dn = n @ basis.components
            plus = torch.from_numpy(ask(rows, edge + dn).astype(np.float32))
            minus = torch.from_numpy(ask(rows, edge - dn).astype(np.float32))
            gradient += (plus - minus)[:, None] * n
        length = gradient.norm(dim=1, keepdim=True)
        move = s.step * gradient / torch.where(length > 0, length, torch.ones_like(length))
        images[rows] = base + move @ basis.components
        for budget in budgets:
            within = rows[spent[rows] <= budget]
            at[budget][within] = images[within]
        progress(int(spent[rows].min()), max(budgets))
