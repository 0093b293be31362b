"""A small ONNX network, written by hand: enough to stand for any embedder."""

from pathlib import Path


def _field(number: int, body: bytes | int) -> bytes:
    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    if isinstance(body, int):
        return varint(number << 3) + varint(body)
    return varint(number << 3 | 2) + varint(len(body)) + body


def _value(name: str, dims: list[int]) -> bytes:
    """An ONNX ValueInfoProto of floats; 0 is a free dimension."""
    shape = b"".join(_field(1, _field(1, dim) if dim else _field(2, b"n")) for dim in dims)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def mean_network(folder: Path, shape: list[int], axes: list[int]) -> Path:
    """An ONNX file whose embedding of a face is the mean of each channel: 3 numbers."""
    attributes = _integers("axes", axes) + _field(5, _field(1, b"keepdims") + _field(3, 0) + _field(20, 2))
    return _written(folder / "mean.onnx", b"ReduceMean", attributes, shape, [shape[0], 3])


def pooled_network(folder: Path, size: int, pieces: int) -> Path:
    """An ONNX file whose embedding of a face, `size` pixels square, is the mean of each channel in each of `pieces` x
    `pieces` squares: 3 pieces^2 numbers, enough for a collection from 3 pieces on."""
    side = size // pieces
    attributes = _integers("kernel_shape", [side, side]) + _integers("strides", [side, side])
    return _written(folder / "pooled.onnx", b"AveragePool", attributes, [0, 3, size, size], [0, 3, pieces, pieces])


def _integers(name: str, values: list[int]) -> bytes:
    return _field(5, _field(1, name.encode()) + b"".join(_field(8, value) for value in values) + _field(20, 7))


def _written(path: Path, operator: bytes, attributes: bytes, taken: list[int], given: list[int]) -> Path:
    node = _field(1, b"x") + _field(2, b"y") + _field(4, operator) + attributes
    graph = _field(1, node) + _field(2, b"g") + _field(11, _value("x", taken)) + _field(12, _value("y", given))
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(2, 13)))
    return path
