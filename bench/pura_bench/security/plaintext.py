"""What the product replaces: a matcher that keeps embeddings in the clear, as a gRPC server process of its own.

    python -m pura_bench.security.plaintext GALLERY.npy --answer score|rounded|decision

It compares a probe with one enrolled embedding, 1:1, and answers with the cosine, the cosine rounded, or a bit. It
listens on the loopback interface without TLS: it stands for others' servers, and nobody should run it.
"""

from __future__ import annotations

import contextlib
import selectors
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import click
import grpc
import numpy as np

from pura.attack.oracle import Bools, Floats, Index, count, unit
from pura.errors import MalformedMessage, NotReady

METHOD = "/pura.bench.Plaintext/Compare"
HEAD = struct.Struct(">II")
SCORE, ROUNDED, DECISION = "score", "rounded", "decision"
MAX_MESSAGE = 64 << 20
START_S = 60.0


def encode(victims: Index, probes: Floats) -> bytes:
    """A question: n and D, then n victims (int64), then n probes (float32)."""
    x = np.ascontiguousarray(probes, "<f4")
    return HEAD.pack(*x.shape) + np.ascontiguousarray(victims, "<i8").tobytes() + x.tobytes()


def decode(raw: bytes, dimension: int, entries: int) -> tuple[Index, Floats]:
    """The inverse. Raises `MalformedMessage`."""
    if len(raw) < HEAD.size:
        raise MalformedMessage("too short")
    n, d = HEAD.unpack_from(raw)
    if d != dimension or len(raw) != HEAD.size + n * (8 + 4 * d):
        raise MalformedMessage("wrong length")
    victims = np.frombuffer(raw, "<i8", n, HEAD.size)
    if n and not (victims.min() >= 0 and victims.max() < entries):
        raise MalformedMessage("no such entry")
    return victims, np.frombuffer(raw, "<f4", n * d, HEAD.size + 8 * n).reshape(n, d)


class Matcher:
    """The computation: one cosine a question, in float64, and what is made of it."""

    def __init__(self, gallery: Floats, answer: str, step: float, threshold: float) -> None:
        self._gallery = unit(np.asarray(gallery, np.float64))
        self._answer, self._step, self._threshold = answer, step, threshold

    def __call__(self, raw: bytes) -> bytes:
        """The answers, float64 each."""
        victims, probes = decode(raw, self._gallery.shape[1], len(self._gallery))
        s = np.einsum("nd,nd->n", self._gallery[victims], unit(probes.astype(np.float64)))
        if self._answer == ROUNDED:
            s = np.round(s / self._step) * self._step
        elif self._answer == DECISION:
            s = (s >= self._threshold).astype(np.float64)
        return bytes(s.astype("<f8").tobytes())


class PlaintextClient:
    """Asks a running plaintext server; a `ScoreOracle` and, when the server answers with bits, a `DecisionOracle`."""

    def __init__(self, address: str, entries: int) -> None:
        options = [("grpc.max_send_message_length", MAX_MESSAGE), ("grpc.max_receive_message_length", MAX_MESSAGE)]
        self._channel = grpc.insecure_channel(address, options)
        self._call: Callable[..., bytes] = self._channel.unary_unary(METHOD)
        self.queries = np.zeros(entries, np.int64)

    def scores(self, victims: Index, probes: Floats) -> Floats:
        """See `ScoreOracle`."""
        count(self.queries, victims)
        return np.frombuffer(self._call(encode(victims, probes), timeout=60.0), "<f8")

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """See `DecisionOracle`."""
        out: Bools = self.scores(victims, probes) > 0.5
        return out

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


@contextlib.contextmanager
def plaintext_server(
    gallery: Floats, answer: str, *, step: float = 0.01, threshold: float = 0.0
) -> Iterator[PlaintextClient]:
    """A server process with `gallery` (V, D) enrolled, and a client of it. Raises `NotReady`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gallery.npy"
        np.save(file, gallery)
        command = [sys.executable, "-m", "pura_bench.security.plaintext", str(file), "--answer", answer,
                   "--step", repr(float(step)), "--threshold", repr(float(threshold))]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            with contextlib.closing(PlaintextClient(f"127.0.0.1:{_port_of(process)}", len(gallery))) as client:
                yield client
        finally:
            process.terminate()
            process.wait()


def _port_of(process: subprocess.Popen[str]) -> int:
    """The port that the server prints when it listens."""
    if process.stdout is None:
        raise NotReady("the plaintext server has no output")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and process.poll() is None:
            if selector.select(1.0) and (line := process.stdout.readline()):
                return int(line)
    raise NotReady("the plaintext server did not start")


@click.command()
@click.argument("gallery", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--answer", type=click.Choice([SCORE, ROUNDED, DECISION]), required=True)
@click.option("--step", type=float, default=0.01, help="What scores are rounded to.")
@click.option("--threshold", type=float, default=0.0, help="The least cosine that matches.")
def main(gallery: Path, answer: str, step: float, threshold: float) -> None:
    """Serve the embeddings in GALLERY on a free port of this machine, and print the port."""
    matcher = Matcher(np.load(gallery), answer, step, threshold)

    def compare(raw: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return matcher(raw)
        except MalformedMessage as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.code)
            raise

    service, _, name = METHOD[1:].partition("/")
    handler = grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(compare)})
    server = grpc.server(
        futures.ThreadPoolExecutor(2), handlers=[handler], options=[("grpc.max_receive_message_length", MAX_MESSAGE)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
