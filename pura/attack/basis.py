"""Eigenfaces: the space in which images are searched for. Made from photos of people who are not the victims.

    image = mean + c B,   B the K first principal components of the photos, each scaled to one standard deviation

so c ~ N(0, I) over the photos, and a step of the same size in every coordinate is equally likely to be seen.
Turk and Pentland, "Eigenfaces for recognition" (1991); used for inversion by DarkerBB (arXiv 2506.09777).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class Basis:
    """mean (P,), components (K, P), float32; P = 3 H W, channel by channel, values 0..1. `side`: H = W."""

    mean: torch.Tensor
    components: torch.Tensor
    side: int

    @property
    def size(self) -> int:
        """K."""
        return len(self.components)

    def images(self, coordinates: torch.Tensor) -> torch.Tensor:
        """(n, K) to images (n, P); nothing is clipped."""
        return self.mean + coordinates @ self.components

    def coordinates(self, images: torch.Tensor) -> torch.Tensor:
        """The coordinates (n, K) of the nearest image of this space to each image (n, P)."""
        scale = (self.components**2).sum(1)
        return (images - self.mean) @ self.components.T / scale

    def to(self, device: str) -> Basis:
        """The same on another device."""
        return Basis(self.mean.to(device), self.components.to(device), self.side)

    def save(self, path: Path) -> None:
        """Write it to an .npz file."""
        np.savez(path, mean=self.mean.cpu().numpy(), components=self.components.cpu().numpy(), side=self.side)

    @classmethod
    def load(cls, path: Path) -> Basis:
        """Read what `save` wrote."""
        import torch

        with np.load(path) as file:
            return cls(torch.from_numpy(file["mean"]), torch.from_numpy(file["components"]), int(file["side"]))


def fit(crops: NDArray[np.uint8], size: int, *, mirrored: bool = True, seed: int = 0) -> Basis:
    """A basis of at most `size` components from aligned crops (n, H, H, 3); `mirrored`: add each one's mirror image.

    Components that the photos do not have are left out.
    """
    import torch

    images = vectors(crops)
    if mirrored:
        images = torch.cat([images, vectors(np.ascontiguousarray(crops[:, :, ::-1]))])
    mean = images.mean(0)
    centred = images.sub_(mean)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, s, v = torch.pca_lowrank(centred, q=min(size, len(images) - 1, images.shape[1]), center=False, niter=2)
    scale = s / np.sqrt(len(images) - 1)
    keep = scale > 1e-6 * scale[0]
    return Basis(mean, (v.T * scale[:, None])[keep].contiguous(), crops.shape[1])


def vectors(crops: NDArray[np.uint8]) -> torch.Tensor:
    """Aligned crops (n, H, W, 3) uint8 to images (n, 3 H W), float32 in 0..1."""
    import torch

    flat = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).reshape(len(crops), -1)
    return torch.from_numpy(flat).to(torch.float32).div_(255)


def pictures(images: torch.Tensor, side: int) -> NDArray[np.uint8]:
    """Images (n, 3 H W) to uint8 (n, H, W, 3), clipped and rounded: what an attacker can print."""
    array: NDArray[Any] = (images.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    return np.ascontiguousarray(array.reshape(len(array), 3, side, side).transpose(0, 2, 3, 1))
