"""An image from a template: what a stolen database of embeddings, or a template won by asking, is worth.

No questions are asked: the attacker owns a copy of the network and climbs its gradient in eigenface space, from the
mean face, at leisure. A weight on |c|^2 keeps to images that are as likely as photos are.

    maximise over c   cos(f(mean + c B), t) - weight |c|^2 / K
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from pura.attack.basis import Basis
from pura.attack.oracle import Floats, Progress, quiet, unit

if TYPE_CHECKING:
    import torch


class Differentiable(Protocol):
    """A network with gradients: images (n, P) to unit embeddings (n, D)."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Unit embeddings that gradients pass through."""
        ...


def invert(
    network: Differentiable,
    basis: Basis,
    templates: Floats,
    *,
    steps: int = 50,
    rate: float | None = None,
    weight: float = 0.1,
    chunk: int = 8,
    progress: Progress = quiet,
) -> torch.Tensor:
    """Coordinates (V, K) of an image for each template (V, D); a template of zeros gets the mean face.

    `rate` of a step; by default such that fewer steps are longer ones.
    """
    import torch

    rate = min(0.3, 10 / steps) if rate is None else rate

    out = torch.zeros(len(templates), basis.size)
    rows = np.flatnonzero(np.linalg.norm(templates, axis=1) > 0)
    t = torch.from_numpy(unit(np.asarray(templates, np.float32)))
    done = 0
    for i in range(0, len(rows), chunk):
        part = rows[i : i + chunk]
        c = torch.zeros(len(part), basis.size, device=basis.mean.device, requires_grad=True)
        optimiser = torch.optim.Adam([c], lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        target = t[part].to(basis.mean.device)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = -(network.embed(basis.images(c)) * target).sum() + weight * (c**2).mean(1).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            if c.grad is not None:
                # near the mean face a gradient can be enormous, and Adam would remember it
                c.grad /= c.grad.norm(dim=1, keepdim=True).clamp_min(1e-30)
            optimiser.step()
            schedule.step()
            done += len(part)
            progress(done, steps * len(rows))
        out[part] = c.detach().cpu()
    return out
