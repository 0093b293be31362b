"""An attack on images that gets nothing but decisions.

From an accepted image: go away from it in a random direction until the answer changes, there ask antithetic pairs; the
sum of (accept+ - accept-) n is the direction in which the score grows (as HopSkipJump does it, arXiv 1904.02144); take
a step that way, and begin again. A probe that is accepted must be found first: see `pura.attack.dictionary`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.attack.basis import Basis
from pura.attack.dictionary import Start
from pura.attack.oracle import Bools, DecisionOracle, Embed, Progress, quiet

if TYPE_CHECKING:
    import torch


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
