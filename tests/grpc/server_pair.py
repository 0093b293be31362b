"""Two real server processes with mTLS, made by `pura-server init`, and clients that speak to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from waiting import PATIENCE_S

from pura.crypto.encoding import distance2, quantise
from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.groups import Right
from pura.ids import Engine, EnrolmentId, Epoch, Handle
from pura.statements import signs
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub
from pura_client import config as client_config
from pura_client import engines
from pura_client.processes import Server, free_ports, wait_ready
from pura_client.session import Client, connect
from pura_server.config import load
from pura_server.deploy import Hosts, make

FIXTURES = Path(__file__).parents[1] / "fixtures"
LABELS = ("Ada Lovelace", "Grace Hopper", "Alan Turing", "Katherine Johnson")

Embedding = NDArray[np.float32]


ENGINES = [pytest.param(Engine.PUBLISHED, id="published"), pytest.param(Engine.PREPARED, id="prepared")]


@dataclasses.dataclass(frozen=True)
class Meter:
    """A server's metrics."""

    url: str

    def text(self) -> str:
        """The whole page."""
        with urllib.request.urlopen(self.url, timeout=PATIENCE_S) as page:
            return str(page.read(), "utf-8")

    def __call__(self, sample: str) -> float:
        """The value of a sample; 0 of what was never counted."""
        lines = (line.rpartition(" ") for line in self.text().splitlines())
        return sum(float(number) for name, _, number in lines if name == sample)


@dataclasses.dataclass
class Deployment:
    """A folder that `init` made, its two processes, and what its logs must not show."""

    folder: Path
    engine: Engine
    threshold: float

    def __post_init__(self) -> None:
        self.s1, self.s2 = (Server(self.folder / name / f"{name}.toml") for name in ("s1", "s2"))
        self.servers = (self.s1, self.s2)
        self.client_toml = self.folder / "desk" / "client.toml"
        self.pk = load_public(self.folder / "desk" / "public.key")
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
        wait_ready(self.servers, self.client_toml, PATIENCE_S)

    def stop(self) -> list[int]:
        return [server.stop() for server in self.servers]

    def restart(self, *victims: Server) -> None:
        for victim in victims:
            victim.stop(signal.SIGKILL)
        for victim in victims:
            victim.start()
        self.wait()

    def connect(self, deadline_s: float | None = None) -> Client:
        """`deadline_s`: how long it waits for servers that are away, if not as long as a user would."""
        config = client_config.load(self.client_toml)
        return connect(config if deadline_s is None else config.model_copy(update={"deadline_s": deadline_s}))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite s1.toml or s2.toml."""
        path = self.folder / name / f"{name}.toml"
        path.write_text(change(path.read_text()))

    def log(self, server: Server) -> list[dict[str, object]]:
        """A server's log, as far as its lines are whole. Every one is JSON."""
        return [json.loads(line) for line in server.log.read_text().rpartition("\n")[0].splitlines()]

    def measured(self, name: str) -> Meter:
        """Have s1 or s2, which is not started yet, tell its metrics."""
        (port,) = free_ports(1)
        self.edit(name, lambda text: text + f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        return Meter(f"http://127.0.0.1:{port}/metrics")

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
        return gallery[int(d.argmin())][0] if d.min() <= self.params.tau_identify else None

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

    @property
    def author(self) -> engines.Author:
        """The first client."""
        config = client_config.load(self.client_toml)
        verifier = config.verifier(self.pk) if signs(self.engine) else None
        return engines.Author(self.pk, self.params, config.fingerprint(), config.group_keys(), verifier)

    def epoch(self) -> Epoch:
        with self.stub() as stub:
            return Epoch(stub.Info(pb.InfoRequest(), timeout=20).epoch)

    def question(self, embedding: Embedding, handles: Sequence[Handle] | None = None) -> engines.Question:
        """Of the first client; it counts as long as S2 stays."""
        return engines.ask(self.author, quantise(embedding, self.params), self.epoch(), SystemRng(), handles)

    def draft(self, embedding: Embedding, label: bytes = b"sealed") -> engines.Draft:
        rng = SystemRng()
        return engines.Draft(self.author, quantise(embedding, self.params), EnrolmentId(rng.bytes(16)), label, rng)

    def enrolment(self, embedding: Embedding, label: bytes = b"sealed") -> pb.Enrolment:
        """Of the first client; it counts as long as S2 stays."""
        return self.draft(embedding, label).proven(self.epoch(), SystemRng())

    def request(self, *enrolments: pb.Enrolment) -> pb.EnrollRequest:
        group = self.author.group(Right.ENROL)
        return pb.EnrollRequest(key_id=self.pk.key_id, enrolments=enrolments, epoch=self.epoch(), group=group)

    def erasure(self, *handles: int) -> pb.ForgetRequest:
        """Of the first client; it counts as long as S2 stays."""
        return engines.erasure(self.author, [Handle(handle) for handle in handles], self.epoch(), SystemRng())


DEPLOYMENTS: list[Deployment] = []


def deploy(
    folder: Path,
    engine: Engine,
    *,
    bits: int = 2048,
    dimension: int = 16,
    threshold: float = 0.5,
    extra: str = "",
    embedder: str = "none",
) -> Deployment:
    """`init` with a small dimension; `extra` is added to both configurations."""
    from pura_server.config import Collection

    s1_port, s2_port = free_ports(2)
    leaky = engine is Engine.PUBLISHED
    collection = Collection(
        engine=engine, dimension=dimension, threshold=threshold, embedder=embedder, allow_leaky=leaky
    )
    hosts = Hosts("127.0.0.1", "127.0.0.1", s1_port, s2_port)
    suffix = "" if engine is Engine.PREPARED else f"-{engine.value}"
    make(folder, FIXTURES / f"test-keys-{bits}{suffix}", collection, hosts)
    made = Deployment(folder, engine, threshold)
    for name in ("s1", "s2"):
        made.edit(name, lambda text: text + '[workers]\ncount = 1\n[log]\nlevel = "debug"\n' + extra)
    patient = re.sub("(?m)^deadline_s = .*$", f"deadline_s = {PATIENCE_S}", made.client_toml.read_text())
    made.client_toml.write_text(patient)
    DEPLOYMENTS.append(made)
    return made


def server_cli(*args: object) -> subprocess.CompletedProcess[str]:
    """`pura-server ARGS`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "pura_server", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


COUNTS = {"time", "ms", "waited_ms", "rounds", "sent", "received", "n_bits", "dimension", "entries", "batch", "attempt"}


def leaks(made: Deployment) -> list[str]:
    """Where the logs of a deployment show one of its secrets: a text anywhere, a score as the value of any field but
    those that count something else."""
    found = []
    for server in made.servers:
        for number, row in enumerate(made.log(server) if server.log.exists() else []):
            text = json.dumps({key: value for key, value in row.items() if key not in COUNTS})
            text = re.sub(r"(127\.0\.0\.1|\]):[0-9]+", "", text)  # a port may be any number
            words = set(re.findall(r"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])", text))  # nor is a part of an id a score
            if any(secret in text for secret in made.secrets) or words & made.scores:
                found.append(f"{server.log.name}:{number + 1}")
    return found
