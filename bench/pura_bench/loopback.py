"""Two servers for one run, on this machine: their keys, their files, and a client that may ask as often as it likes."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pura.crypto.keys import write_keys
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import generate
from pura.ids import Engine, Handle
from pura_bench import workload
from pura_bench.workload import Workload
from pura_client.enrolling import Enrolled
from pura_client.processes import Server, free_ports, two_servers
from pura_client.session import Client, connect
from pura_server.authority import Credential, issue
from pura_server.config import Budget, Collection
from pura_server.config import load as load_config
from pura_server.credentials import May, add_client
from pura_server.deploy import Hosts, make
from pura_server.tls import fingerprint

PLENTY = Budget(questions=1_000_000, per_hour=1_000_000, enrolments=1_000_000, enrolments_per_hour=1_000_000)
"""No limit worth the name."""


def new_keys(folder: Path, engine: Engine, bits: int) -> Path:
    """A key ceremony's folder, `keys` in this one."""
    write_keys(generate(bits, SystemRng(), engine), folder / "keys")
    return folder / "keys"


def lay(
    folder: Path, keys: Path, collection: Collection, budget: Budget = PLENTY, more: str = ""
) -> tuple[Path, Path, Path]:
    """The configuration files of S1, S2 and the client, on free ports; `more` goes to the end of S1's."""
    one, two = free_ports(2)
    s1, s2, client = make(folder, keys, collection, Hosts("127.0.0.1", "127.0.0.1", one, two), budget)
    s1.write_text(s1.read_text() + more)
    return s1, s2, client


@contextlib.contextmanager
def running(
    bits: int, dimension: int, work: Workload, more: str = ""
) -> Iterator[tuple[Path, tuple[Server, Server], Client, list[Handle]]]:
    """The folder of two servers of engine prepared that run with new keys, these two, a client that may do everything,
    and the handle of each of the workload's places. `more`: as `lay` takes it."""
    with tempfile.TemporaryDirectory(prefix="pura-bench-") as name:
        folder = Path(name)
        collection = Collection(dimension=dimension, threshold=workload.THRESHOLD, embedder="none")
        s1, s2, toml = lay(folder, new_keys(folder, collection.engine, bits), collection, more=more)
        with two_servers(s1, s2, toml) as servers, connect(toml) as client:
            yield folder, servers, client, enrol(client, work)


def enrol(client: Client, work: Workload) -> list[Handle]:
    """The whole gallery; the handle of each place. Raises what was refused."""
    return handles_of(client.enroll_many([(e, work.label(i)) for i, e in enumerate(work.embeddings)]))


def handles_of(outcomes: Iterable[Enrolled]) -> list[Handle]:
    """The handles of what was enrolled. Raises what the first that was refused was refused for."""
    handles = []
    for outcome in outcomes:
        if outcome.handle is None:
            raise outcome.error or AssertionError
        handles.append(outcome.handle)
    return handles


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a client's certificate, its key and the authority of the servers are."""

    cert: Path
    key: Path
    ca: Path


def new_client(folder: Path, name: str, may: frozenset[May]) -> Files:
    """A certificate that the clients' authority of a deployment (the folder that `pura-server init` wrote) signed; S1's
    list has it only if it may do something."""
    ca = folder / "ca" / "ca.crt"
    made = issue(Credential(ca.read_bytes(), ca.with_suffix(".key").read_bytes()), name)
    files = Files(folder / f"{name}.crt", folder / f"{name}.key", ca)
    files.cert.write_bytes(made.cert)
    files.key.write_bytes(made.key)
    if may:
        add_client(load_config(folder / "s1" / "s1.toml").clients_file, name, fingerprint(made.cert), may)
    return files
