"""Two real server processes with mTLS, made by `pura-server init`, and clients that speak to them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from pura.crypto.encoding import distance2, quantise
from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.ids import Engine
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import config as client_config
from pura_client import engines
from pura_client.processes import Server, free_ports, wait_ready
from pura_client.session import Client, connect
from pura_server.config import load
from pura_server.deploy import Hosts, make

FIXTURES = Path(__file__).parents[1] / "fixtures"
READY_S = 60.0
LABELS = ("Ada Lovelace", "Grace Hopper", "Alan Turing", "Katherine Johnson")

Embedding = NDArray[np.float32]


def _packed_is_there() -> bool:
    try:
        importlib.import_module("pura_server.packed")
    except ImportError:
        return False
    return True


ENGINES = [
    pytest.param(Engine.PUBLISHED, id="published"),
    pytest.param(
        Engine.PACKED,
        id="packed",
        marks=pytest.mark.skipif(not _packed_is_there(), reason="this build has no engine packed"),
    ),
]


@dataclasses.dataclass
class Deployment:
    """A folder that `init` made, its two processes, and what its logs must not show."""

    folder: Path
    engine: Engine
    threshold: float

    def __post_init__(self) -> None:
        self.s1, self.s2 = (Server(self.folder / name / f"{name}.toml") for name in ("s1", "s2"))
        self.servers = (self.s1, self.s2)
        self.client_toml = self.folder / "client" / "client.toml"
        self.pk = load_public(self.folder / "client" / "public.key")
        self.params = load(self.s1.config).collection.params(self.pk)
        self.secrets: set[str] = set()
        self.scores: set[str] = set()
        for name in ("s1", "s2"):
            self.secrets.add(json.loads((self.folder / name / f"{name}.share").read_text())["t"][-40:])

    def start(self) -> None:
        """Both servers, ready."""
        for server in reversed(self.servers):
            server.start()
        self.wait()

    def wait(self) -> None:
        wait_ready(self.servers, self.client_toml, READY_S)

    def stop(self) -> list[int]:
        return [server.stop() for server in self.servers]

    def restart(self, *victims: Server) -> None:
        for victim in victims:
            victim.stop(signal.SIGKILL)
        for victim in victims:
            victim.start()
        self.wait()

    def connect(self) -> Client:
        return connect(self.client_toml)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite s1.toml or s2.toml."""
        path = self.folder / name / f"{name}.toml"
        path.write_text(change(path.read_text()))

    def log(self, server: Server) -> list[dict[str, object]]:
        """A server's log. Every line is JSON."""
        return [json.loads(line) for line in server.log.read_text().splitlines()]

    # --- embeddings -----------------------------------------------------------------------------

    def people(self, count: int, seed: int) -> list[Embedding]:
        """Embeddings; what they hold, and the labels of tests, must not appear in a log."""
        draw = np.random.default_rng(seed)
        out = [draw.normal(size=self.params.dimension).astype(np.float32) for _ in range(count)]
        self.secrets |= {f"{value:.5f}" for e in out for value in e.tolist()}
        self.secrets |= set(LABELS)
        return out

    def expected(self, probe: Embedding, gallery: list[tuple[str, Embedding]]) -> str | None:
        """The label that the plaintext integer computation gives."""
        x = quantise(probe, self.params)
        d = distance2(x, np.array([quantise(e, self.params) for _, e in gallery]))
        self.scores |= {str(int(value)) for value in d if value > 999}
        return gallery[int(d.argmin())][0] if d.min() <= self.params.tau else None

    # --- without the client's library -----------------------------------------------------------

    @contextlib.contextmanager
    def stub(self, cert: Path | None = None, key: Path | None = None, ca: Path | None = None) -> Iterator[GatewayStub]:
        """A connection that sends what it is told to."""
        config = client_config.load(self.client_toml)
        assert config.cert is not None
        assert config.key is not None
        assert config.ca is not None
        credentials = grpc.ssl_channel_credentials(
            (ca or config.ca).read_bytes(), (key or config.key).read_bytes(), (cert or config.cert).read_bytes()
        )
        with grpc.secure_channel(config.server, credentials) as channel:
            yield GatewayStub(channel)

    def question(self, embedding: Embedding) -> engines.Question:
        return engines.ask(self.pk, self.params, quantise(embedding, self.params), SystemRng())

    def enrolment(self, embedding: Embedding) -> pb.Enrolment:
        raw = engines.encrypt_template(self.pk, self.params, quantise(embedding, self.params), SystemRng())
        return pb.Enrolment(enrolment_id=SystemRng().bytes(16), label=b"sealed", ciphertexts=raw)


DEPLOYMENTS: list[Deployment] = []


def deploy(
    folder: Path, engine: Engine, *, bits: int = 2048, dimension: int = 8, threshold: float = 0.5, extra: str = ""
) -> Deployment:
    """`init` with a small dimension; `extra` is added to both configurations."""
    from pura_server.config import Collection

    s1_port, s2_port = free_ports(2)
    collection = Collection(engine=engine, dimension=dimension, threshold=threshold, embedder="none")
    hosts = Hosts("127.0.0.1", "127.0.0.1", s1_port, s2_port)
    make(folder, FIXTURES / f"test-keys-{bits}", collection, hosts)
    made = Deployment(folder, engine, threshold)
    for name in ("s1", "s2"):
        made.edit(name, lambda text: text + '[workers]\ncount = 1\n[log]\nlevel = "debug"\n' + extra)
    DEPLOYMENTS.append(made)
    return made


def server_cli(*args: object) -> subprocess.CompletedProcess[str]:
    """`pura-server ARGS`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pura_server", *map(str, args)], capture_output=True, text=True, check=False, timeout=60
    )


COUNTS = {"time", "ms", "waited_ms", "rounds", "sent", "received", "n_bits", "dimension", "entries", "batch", "attempt"}


def leaks(made: Deployment) -> list[str]:
    """Where the logs of a deployment show one of its secrets: a text anywhere, a score as the value of any field but
    those that count something else."""
    found = []
    for server in made.servers:
        for number, row in enumerate(made.log(server) if server.log.exists() else []):
            text = json.dumps({key: value for key, value in row.items() if key not in COUNTS})
            words = set(re.findall(r"[0-9]+", text))
            if any(secret in text for secret in made.secrets) or words & made.scores:
                found.append(f"{server.log.name}:{number + 1}")
    return found
