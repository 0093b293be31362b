"""Razzhigaev et al., "Darker than Black-Box: Face Reconstruction from Similarity Queries" (arXiv 2106.14290).

Each step adds random two-dimensional Gaussian spots to the image, a batch of them side by side, asks for the score of
each and keeps the best, if it is better than before. In the beginning spots are symmetric about the vertical axis and
grey. It needs some hundred thousand questions; DarkerBB replaced it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import Embed, Progress, ScoreOracle, quiet

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class Settings:
    """batch: spots to choose from; queries: the budget; symmetric: the share of the budget with symmetric spots."""

    queries: int = 1_500
    batch: int = 20
    symmetric: float = 0.5
    amplitude: float = 0.15
    marks: tuple[int, ...] = (500, 1_500)


def attack(
    oracle: ScoreOracle,
    embed: Embed,
    start: torch.Tensor,
    side: int,
    victims: NDArray[np.int64],
    settings: Settings | None = None,
    *,
    seed: int = 0,
    progress: Progress = quiet,
) -> dict[int, torch.Tensor]:
    """Images (V, P) at each mark, from the image `start` (P,)."""
    import torch

    s = settings or Settings()
    rng = torch.Generator().manual_seed(seed)
    images = start.repeat(len(victims), 1)
    best = torch.full((len(victims),), -np.inf)
    at: dict[int, torch.Tensor] = {}
    asked = 0
    while asked < s.queries:
        n = min(s.batch, s.queries - asked)
        spots = _spots(n * len(victims), side, symmetric=asked < s.symmetric * s.queries, height=s.amplitude, rng=rng)
        tries = (images.repeat_interleave(n, 0) + spots).clamp(0, 1)
        scores = oracle.scores(np.repeat(victims, n), embed(tries))
        score, which = torch.from_numpy(np.asarray(scores, np.float32)).reshape(len(victims), n).max(1)
        better = score > best
        chosen = tries.reshape(len(victims), n, -1)[torch.arange(len(victims)), which]
        images = torch.where(better[:, None], chosen, images)
        best = torch.where(better, score, best)
        asked += n
        for mark in s.marks:
            if asked - n < mark <= asked:
                at[mark] = images.clone()
        progress(asked, s.queries)
    return at


def _spots(n: int, side: int, *, symmetric: bool, height: float, rng: torch.Generator) -> torch.Tensor:
    """n spots (n, 3 side^2): random centre, two widths, angle and sign; one colour each, grey when symmetric."""
    import torch

    u = torch.rand(n, 5, generator=rng)
    line = torch.arange(side) / side
    dx, dy = line[None, None, :] - u[:, 0, None, None], line[None, :, None] - u[:, 1, None, None]
    angle = u[:, 4, None, None] * np.pi
    along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    wide, tall = 0.03 + 0.3 * u[:, 2, None, None] ** 2, 0.03 + 0.3 * u[:, 3, None, None] ** 2
    spot = torch.exp(-(along**2) / (2 * wide**2) - across**2 / (2 * tall**2))
    sign = torch.randn(n, 1, generator=rng) * height
    if symmetric:
        spot = (spot + spot.flip(2)) / 2
        colour = sign.expand(n, 3)
    else:
        colour = sign + torch.randn(n, 3, generator=rng) * height / 3
    return (colour[:, :, None, None] * spot[:, None]).reshape(n, -1)
