"""Networks in the form that attacks run them: many images at a time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pura.attack.oracle import Floats, unit

if TYPE_CHECKING:
    import torch

CHUNK = 16


class OpenCvEmbed:
    """An ONNX network by OpenCV: the fastest exact way on a CPU. Takes 112 x 112 RGB with values 0..255.

    On a core with AVX-512: 70 images of SFace a second; torch 50 to 58, onnxruntime 35.
    """

    def __init__(self, path: str | Path, side: int = 112, threads: int | None = None) -> None:
        import cv2

        if threads is not None:
            cv2.setNumThreads(threads)
        self._net = cv2.dnn.readNetFromONNX(str(path))
        self._side = side
        self.seconds = 0.0
        self.images = 0

    def __call__(self, images: torch.Tensor) -> Floats:
        """See `Embed`."""
        x = (images.detach().cpu() * 255).numpy().reshape(-1, 3, self._side, self._side)
        out = []
        started = time.perf_counter()
        for i in range(0, len(x), CHUNK):
            self._net.setInput(x[i : i + CHUNK])
            out.append(np.array(self._net.forward(), np.float32))
        self.seconds += time.perf_counter() - started
        self.images += len(x)
        return unit(np.concatenate(out))


class TorchEmbed:
    """An ONNX network converted to torch: the way on a GPU, and the one with gradients."""

    def __init__(self, path: str | Path, side: int = 112, device: str = "cpu", chunk: int = CHUNK) -> None:
        from pura.attack.network import load_network

        self.module = load_network(path, device)
        self._side, self._device, self._chunk = side, device, chunk
        self.seconds = 0.0
        self.images = 0

    def __call__(self, images: torch.Tensor) -> Floats:
        """See `Embed`."""
        import torch

        started = time.perf_counter()
        with torch.inference_mode():
            parts = [self.embed(images[i : i + self._chunk]).cpu() for i in range(0, len(images), self._chunk)]
        self.seconds += time.perf_counter() - started
        self.images += len(images)
        return torch.cat(parts).numpy()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Unit embeddings as a tensor that gradients pass through."""
        import torch

        x = images.to(self._device).reshape(-1, 3, self._side, self._side) * 255
        return torch.nn.functional.normalize(self.module(x), dim=1)


class LinearEmbed:
    """A matrix in place of a network, for tests with known answers: e = (x - mean) A."""

    def __init__(self, matrix: torch.Tensor, mean: torch.Tensor) -> None:
        self.matrix, self.mean = matrix, mean
        self.seconds = 0.0
        self.images = 0

    def __call__(self, images: torch.Tensor) -> Floats:
        """See `Embed`."""
        self.images += len(images)
        return unit(self.embed(images).numpy())

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """With gradients."""
        import torch

        return torch.nn.functional.normalize((images - self.mean) @ self.matrix, dim=1)
