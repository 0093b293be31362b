"""Aligned faces to embeddings, by any ONNX network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights
from pura.face import centre
from pura.face.spec import EmbedderSpec, Runtime

BATCH = 16

Embeddings = NDArray[np.float32]


class _Network(Protocol):
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


class Embedder:
    """A network by its `spec`, from the ONNX file at `path`; with mirror images and centred if the specification says
    so.

    Raises `BadWeights` for a file that is not what the specification says.
    """

    def __init__(self, spec: EmbedderSpec, path: Path) -> None:
        self.spec = spec
        self._common = centre.of(spec)
        self._run: _Network = _OpenCv(path) if spec.runtime is Runtime.OPENCV else _OnnxRuntime(path)

    def embed_aligned(self, batch: NDArray[np.uint8]) -> Embeddings:
        """Embeddings (n, D) of aligned crops (n, size, size, 3), RGB. Raises `BadWeights` when the network does not
        take or give what its specification says, and `BadEmbedding` when one has no length or cannot be centred."""
        spec = self.spec
        if batch.ndim != 4 or batch.shape[1:] != (spec.input_size, spec.input_size, 3):
            raise ValueError(f"aligned faces must be {spec.input_size} x {spec.input_size} x 3")
        out = self._network(batch)
        if spec.mirror:
            out = (centre.unit(out) + centre.unit(self._network(batch[:, :, ::-1]))).astype(np.float32)
        return centre.centred(out, self._common).astype(np.float32) if len(self._common) else out

    def _network(self, batch: NDArray[np.uint8]) -> Embeddings:
        spec = self.spec
        x = batch.astype(np.float32)
        if spec.channels == "bgr":
            x = x[..., ::-1]
        x = (x - np.float32(spec.mean)) / np.float32(spec.std)
        if spec.layout == "nchw":
            x = x.transpose(0, 3, 1, 2)
        out = np.empty((len(batch), spec.dimension), np.float32)
        for i in range(0, len(batch), BATCH):
            part = self._run(np.ascontiguousarray(x[i : i + BATCH]))
            if part.reshape(len(part), -1).shape != out[i : i + BATCH].shape:
                raise BadWeights(f"the network {spec.name} does not give {spec.dimension} numbers a face")
            out[i : i + BATCH] = part.reshape(len(part), -1)
        return out


class _OpenCv:
    def __init__(self, path: Path) -> None:
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise BadWeights(f"{path} is not an ONNX model that OpenCV can read", detail=str(error)) from error
        self._lock = threading.Lock()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            try:
                self._net.setInput(batch)
                return np.array(self._net.forward(), np.float32)  # a copy: the next call writes over it
            except cv2.error as error:
                raise BadWeights("the network does not take this input", detail=str(error)) from error


class _OnnxRuntime:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadWeights(f"{path} is not an ONNX model that onnxruntime can read", detail=str(error)) from error
        first = self._session.get_inputs()[0]
        self._name = first.name
        self._fixed = bool(first.shape) and first.shape[0] == 1

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        step = 1 if self._fixed else len(batch)
        parts = [batch[i : i + step] for i in range(0, len(batch), step)]
        try:
            return np.concatenate([self._session.run(None, {self._name: part})[0] for part in parts])
        except Exception as error:
            raise BadWeights("the network does not take this input", detail=str(error)) from error
