"""An ONNX network of plain convolutions as a torch module: batches of any size, on a CPU or a GPU, with gradients.

An attacker that owns a copy of the embedder runs it millions of times. Runtimes for one photo at a time are slow at
that: the SFace file fixes its batch to 1, which onnxruntime obeys. Batch normalisation after a convolution or a matrix
product is folded into it, so nothing but convolutions and activations is left; the result differs from the file's by
rounding only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def load_network(path: str | Path, device: str = "cpu") -> torch.nn.Module:
    """The network of an ONNX file: float32 (n, 3, H, W) to (n, D).

    Raises `ValueError` for an operator that is none of Conv, BatchNormalization, PRelu, Relu, Add, Sub, Mul, Gemm,
    Flatten, GlobalAveragePool, MaxPool, Dropout, Identity.
    """
    import onnx
    import torch

    graph = onnx.load(str(path)).graph
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}
    inputs = [i.name for i in graph.input if i.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ValueError("the network must have one input and one output")
    nodes = _fold([_Step(n.op_type, list(n.input), n.output[0], _attributes(n)) for n in graph.node], weights)
    module = _network_class()(nodes, weights, inputs[0], graph.output[0].name)
    return module.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


class _Step:
    """One operator: its inputs (the first is the data), its output, its attributes."""

    def __init__(self, op: str, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        self.op, self.inputs, self.output, self.attributes = op, inputs, output, attributes


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _fold(steps: list[_Step], weights: dict[str, np.ndarray[Any, Any]]) -> list[_Step]:
    """Conv or Gemm followed by BatchNormalization becomes one step: W' = W s, b' = (b - mean) s + beta."""
    makers = {step.output: step for step in steps}
    used: dict[str, int] = {}
    for step in steps:
        for name in step.inputs:
            used[name] = used.get(name, 0) + 1
    out: list[_Step] = []
    for step in steps:
        before = makers.get(step.inputs[0])
        foldable = before is not None and before.op in ("Conv", "Gemm") and used[step.inputs[0]] == 1
        if step.op != "BatchNormalization" or not foldable or before is None:
            out.append(step)
            continue
        gamma, beta, mean, var = (weights[name].astype(np.float64) for name in step.inputs[1:5])
        scale = gamma / np.sqrt(var + step.attributes.get("epsilon", 1e-5))
        w = weights[before.inputs[1]].astype(np.float64)
        b = weights[before.inputs[2]] if len(before.inputs) > 2 else np.zeros(len(scale))
        axis = 1 if before.op == "Gemm" and not before.attributes.get("transB", 0) else 0
        shape = [1] * w.ndim
        shape[axis] = -1
        weights[before.output + "/w"] = (w * scale.reshape(shape)).astype(np.float32)
        weights[before.output + "/b"] = ((b - mean) * scale + beta).astype(np.float32)
        before.inputs = [before.inputs[0], before.output + "/w", before.output + "/b"]
        before.output = step.output
        makers[step.output] = before
    return out


def _network_class() -> Any:
    import torch
    from torch.nn import functional as F

    def pad_of(attributes: dict[str, Any]) -> tuple[int, int]:
        pads = attributes.get("pads", [0, 0, 0, 0])
        if pads[0] != pads[2] or pads[1] != pads[3] or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise ValueError("a convolution with padding that differs from side to side")
        return pads[0], pads[1]

    class Network(torch.nn.Module):
        """The steps in order, weights as buffers."""

        def __init__(self, steps: list[_Step], weights: dict[str, Any], first: str, last: str) -> None:
            super().__init__()
            self.steps, self.first, self.last = steps, first, last
            self.names: dict[str, str] = {}
            for step in steps:
                if not hasattr(self, "_" + step.op):
                    raise ValueError(f"the operator {step.op} is not supported")
                for name in step.inputs[1:] if step.op not in ("Add", "Sub", "Mul") else step.inputs:
                    if name in weights and name not in self.names:
                        value = torch.from_numpy(np.ascontiguousarray(weights[name]))
                        # a 4-dimensional slope (C, 1, 1) is one number a channel
                        self.names[name] = f"w{len(self.names)}"
                        self.register_buffer(self.names[name], value)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """(n, 3, H, W) to (n, D)."""
            values = {self.first: x.contiguous(memory_format=torch.channels_last)}
            for step in self.steps:
                got = [
                    values[name] if name in values else getattr(self, self.names[name])
                    for name in step.inputs
                    if name in values or name in self.names
                ]
                values[step.output] = getattr(self, "_" + step.op)(step.attributes, *got)
            return values[self.last].reshape(len(x), -1)

        def _Conv(self, at: dict[str, Any], x: Any, w: Any, b: Any = None) -> Any:
            return F.conv2d(x, w, b, tuple(at.get("strides", (1, 1))), pad_of(at), tuple(at.get("dilations", (1, 1))),
                            at.get("group", 1))  # fmt: skip

        def _BatchNormalization(self, at: dict[str, Any], x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
            return F.batch_norm(x, mean, var, gamma, beta, False, 0.0, at.get("epsilon", 1e-5))

        def _PRelu(self, at: dict[str, Any], x: Any, slope: Any) -> Any:
            return F.prelu(x, slope.reshape(-1))

        def _Gemm(self, at: dict[str, Any], x: Any, w: Any, b: Any = None) -> Any:
            return F.linear(x, w if at.get("transB", 0) else w.T, b)

        def _Flatten(self, at: dict[str, Any], x: Any) -> Any:
            return x.flatten(at.get("axis", 1))

        def _MaxPool(self, at: dict[str, Any], x: Any) -> Any:
            return F.max_pool2d(x, at["kernel_shape"], at.get("strides", (1, 1)), pad_of(at))

        def _GlobalAveragePool(self, at: dict[str, Any], x: Any) -> Any:
            return x.mean((2, 3), keepdim=True)

        def _Relu(self, at: dict[str, Any], x: Any) -> Any:
            return F.relu(x)

        def _Add(self, at: dict[str, Any], x: Any, y: Any) -> Any:
            return x + y

        def _Sub(self, at: dict[str, Any], x: Any, y: Any) -> Any:
            return x - y

        def _Mul(self, at: dict[str, Any], x: Any, y: Any) -> Any:
            return x * y

        def _Dropout(self, at: dict[str, Any], x: Any) -> Any:
            return x

        def _Identity(self, at: dict[str, Any], x: Any) -> Any:
            return x

    return Network
