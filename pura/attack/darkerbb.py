"""DarkerBB: an image from similarity scores alone, by zero-order ascent in eigenface space.

"Inverting Black-Box Face Recognition Systems via Zero-Order Optimization in Eigenface Space" (arXiv 2506.09777):

    c = 0
    each step:   n ~ N(0, sigma^2 I);  d = n B;  v = mean + c B
                 s+ = sim(v + d),  s- = sim(v - d)                        two questions
                 c += gain (s+ - s-) / (2 sigma) n
    ten runs of 500 steps, the best of them goes on for 15,000 steps: 40,000 questions

The paper's code has a rate of 1e-5 and multiplies by the number of pixel values, 3 * 112 * 112: gain = 0.376, that is a
factor of 0.63 on (s+ - s-) n. A larger gain gets further on a small budget.

Runs of all victims, and restarts, go side by side: 2 V images a step. State is kept in a file every so many steps, and
a run that was interrupted goes on where that file left it, with the same random numbers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pura.attack.basis import Basis
from pura.attack.oracle import Embed, Floats, Progress, ScoreOracle, quiet

if TYPE_CHECKING:
    import torch

PAPER_GAIN = 1e-5 * 3 * 112 * 112


@dataclasses.dataclass(frozen=True)
class Settings:
    """restarts: runs of `warmup` steps to choose from (each ends with one more question about its result); steps: those
    of the best one afterwards; marks: budgets (questions about each victim) at which the image is kept."""

    gain: float = PAPER_GAIN
    sigma: float = 0.3
    restarts: int = 10
    warmup: int = 500
    steps: int = 15_000
    marks: tuple[int, ...] = (500, 1_500, 5_000, 10_000, 20_000, 40_000)

    @property
    def queries(self) -> int:
        """How many questions a whole run asks about each victim, the choice among the restarts not counted."""
        return 2 * (self.restarts * self.warmup + self.steps)


PAPER = Settings()


def fast(queries: int, gain: float = 3.0, marks: tuple[int, ...] = ()) -> Settings:
    """One run for a small budget; `marks`: budgets to keep the image at, besides the usual ones."""
    every = {100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, queries, *marks}
    kept = tuple(sorted(m for m in every if m <= queries))
    return Settings(gain=gain, restarts=1, warmup=0, steps=queries // 2, marks=kept)


@dataclasses.dataclass
class Result:
    """coordinates of the last image (V, K), of the image at each mark, and what it cost.

    `trace`: budgets, and the mean of s+ and s- there for each victim, (budgets, V): what the attacker itself sees.
    """

    coordinates: torch.Tensor
    at: dict[int, torch.Tensor]
    trace: list[tuple[int, Floats]]
    queries: int


def attack(
    oracle: ScoreOracle,
    embed: Embed,
    basis: Basis,
    victims: NDArray[np.int64],
    settings: Settings = PAPER,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    every: int = 50,
    progress: Progress = quiet,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Run the attack on all `victims` (V,) at once; goes on from `checkpoint` if that file exists.

    When `stop` says so it ends early: the result then has the marks that were reached.
    """
    run = _Run(oracle, embed, basis, np.asarray(victims), settings, seed, progress)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    while not stop() and run.step():
        if checkpoint is not None and run.done % every == 0:
            run.save(checkpoint)
    if checkpoint is not None:
        run.save(checkpoint)
    return Result(run.coordinates, run.at, run.trace, run.queries)


class _Run:
    """Steps count on through the restarts: warm-up run 0, 1, ..., then the long one."""

    def __init__(
        self,
        oracle: ScoreOracle,
        embed: Embed,
        basis: Basis,
        victims: NDArray[np.int64],
        settings: Settings,
        seed: int,
        progress: Progress,
    ) -> None:
        import torch

        self.oracle, self.embed, self.basis, self.victims, self.settings = oracle, embed, basis, victims, settings
        self.progress = progress
        self.rng = torch.Generator().manual_seed(seed)
        self.device = basis.mean.device
        zero = torch.zeros(len(victims), basis.size, device=self.device)
        self.coordinates, self.images = zero, basis.images(zero)
        self.best = torch.full((len(victims),), -np.inf)
        self.best_coordinates = zero.clone()
        self.at: dict[int, torch.Tensor] = {}
        self.trace: list[tuple[int, Floats]] = []
        self.done = 0
        self.queries = 0

    def step(self) -> bool:
        """One antithetic step of every victim; False when there is nothing left to do."""
        warm = self.settings.restarts * self.settings.warmup
        if self.done >= warm + self.settings.steps:
            return False
        self._ascend()
        self.done += 1
        self.queries += 2
        if self.done <= warm and self.done % self.settings.warmup == 0:
            self._end_of_restart(last=self.done == warm)
        for mark in self.settings.marks:
            if self.queries - 2 < mark <= self.queries:
                self.at[mark] = (self.best_coordinates if self.done < warm else self.coordinates).clone()
        self.progress(self.queries, self.settings.queries)
        return True

    def _ascend(self) -> None:
        import torch

        s = self.settings
        noise = torch.randn(self.coordinates.shape, generator=self.rng).to(self.device) * s.sigma
        d = noise @ self.basis.components
        plus, minus = self._ask(torch.cat([self.images + d, self.images - d])).chunk(2)
        rate = (s.gain * (plus - minus) / (2 * s.sigma))[:, None].to(self.device)
        self.coordinates = self.coordinates + rate * noise
        self.images = self.images + rate * d  # equals basis.images(coordinates), at half the cost
        if self.done % 10 == 0:
            self.trace.append((self.queries + 2, ((plus + minus) / 2).numpy()))
        if self.done % 200 == 199:
            self.images = self.basis.images(self.coordinates)

    def _ask(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        victims = np.tile(self.victims, len(images) // len(self.victims))
        return torch.from_numpy(np.asarray(self.oracle.scores(victims, self.embed(images)), np.float32))

    def _end_of_restart(self, last: bool) -> None:
        import torch

        score = self._ask(self.images)
        better = score >= self.best
        self.best = torch.where(better, score, self.best)
        self.best_coordinates = torch.where(better[:, None].to(self.device), self.coordinates, self.best_coordinates)
        self.coordinates = self.best_coordinates.clone() if last else torch.zeros_like(self.coordinates)
        self.images = self.basis.images(self.coordinates)

    # --- state --------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """All of it, to a file that is whole or not there."""
        import torch

        part = path.with_suffix(".part")
        torch.save(
            {
                "settings": dataclasses.asdict(self.settings),
                "coordinates": self.coordinates.cpu(),
                "best": self.best,
                "best_coordinates": self.best_coordinates.cpu(),
                "at": {k: v.cpu() for k, v in self.at.items()},
                "trace": [(q, torch.from_numpy(np.asarray(s))) for q, s in self.trace],
                "done": self.done,
                "queries": self.queries,
                "rng": self.rng.get_state(),
            },
            part,
        )
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Raises `ValueError` when the file is of a run with other settings or another number of victims."""
        import torch

        state = torch.load(path, weights_only=True)
        saved = {**state["settings"], "marks": tuple(state["settings"]["marks"])}
        if saved != dataclasses.asdict(self.settings) or state["coordinates"].shape != self.coordinates.shape:
            raise ValueError(f"{path} belongs to another run")
        self.coordinates = state["coordinates"].to(self.device)
        self.images = self.basis.images(self.coordinates)
        self.best = state["best"]
        self.best_coordinates = state["best_coordinates"].to(self.device)
        self.at = {k: v.to(self.device) for k, v in state["at"].items()}
        self.trace = [(q, s.numpy()) for q, s in state["trace"]]
        self.done, self.queries = state["done"], state["queries"]
        self.rng.set_state(state["rng"])
