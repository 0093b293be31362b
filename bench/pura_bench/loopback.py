"""Two servers for one run, on this machine: their keys, their files, and a client that may ask as often as it likes."""

from __future__ import annotations

from pathlib import Path

from pura.crypto.keys import write_keys
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.ids import Engine
from pura_bench import workload
from pura_client.processes import free_ports
from pura_server.config import Budget, Collection
from pura_server.deploy import Hosts, make

PLENTY = Budget(questions=1_000_000, per_hour=1_000_000, enrolments=1_000_000, enrolments_per_hour=1_000_000)
"""No limit worth the name."""


def new_keys(folder: Path, engine: Engine, bits: int) -> Path:
    """A key ceremony's folder, `keys` in this one."""
    write_keys(generate(bits, SystemRng(), engine), folder / "keys")
    return folder / "keys"


def vectors_only(engine: Engine, dimension: int) -> Collection:
    """A collection for a workload's embeddings."""
    return Collection(
        engine=engine,
        allow_leaky=engine is Engine.PUBLISHED,
        dimension=dimension,
        threshold=workload.THRESHOLD,
        embedder="none",
    )


def lay(
    folder: Path, keys: Path, collection: Collection, budget: Budget = PLENTY, more: str = ""
) -> tuple[Path, Path, Path]:
    """The configuration files of S1, S2 and the client, on free ports; `more` goes to the end of S1's."""
    one, two = free_ports(2)
    s1, s2, client = make(folder, keys, collection, Hosts("127.0.0.1", "127.0.0.1", one, two), budget)
    s1.write_text(s1.read_text() + more)
    return s1, s2, client
