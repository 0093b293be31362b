"""The product, deployed for an attack: two server processes with mTLS, one client that may ask, victims enrolled."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.attack.oracle import Bools, Floats, Index, count
from pura.crypto.encoding import distance2, quantise, quantise_many
from pura.crypto.keys import PUBLIC_NAME, load_public, write_keys
from pura.crypto.threshold import KeySet
from pura.errors import BudgetSpent
from pura.ids import Engine
from pura.params import Params
from pura.protocols.published.side import SIGMA
from pura_bench import loopback
from pura_client import processes
from pura_client.session import Client, connect
from pura_client.templates import Ready
from pura_server.cli_collection import DEEP
from pura_server.config import Collection, load

READY_S = 180.0
NEAR = 0.05
"""How much below the threshold a question still counts as near an entry."""
LOCKOUT, WINDOWS = 20, 5
"""So many near questions lock an entry for a window; and how many windows a patient attacker has."""


def ready(vector: Floats) -> Ready:
    """As a client takes it."""
    return Ready(np.asarray(vector, np.float32))


@dataclasses.dataclass
class Deployment:
    """A running one. `notes`: what a curious server writes, by its name."""

    folder: Path
    client: Client
    params: Params
    labels: list[str]
    notes: dict[str, Path]

    def question(self, victim: int, probe: Floats) -> bool:
        """Is this the victim? Through the client's library and both servers."""
        return self.client.verify(ready(probe), self.labels[victim]).match

    def in_the_clear(self, enrolled: Floats) -> Callable[[], PlainDecisions]:
        """Makes what the servers must answer, to whom nobody was asked about yet."""
        return lambda: PlainDecisions(enrolled, self.params)


class PlainDecisions:
    """The decision of the encrypted engines about one named entry, computed in the clear: d <= tau over quantised
    vectors, and "no" from an entry that was asked too often, within a day, where the policy has such a limit."""

    def __init__(self, enrolled: Floats, params: Params) -> None:
        self.params = params
        self._templates = quantise_many(np.asarray(enrolled), params)
        self.queries = np.zeros(len(enrolled), np.int64)
        self._counted = np.zeros(len(enrolled), np.int64)

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """See `DecisionOracle`."""
        count(self.queries, victims)
        return np.array([self._one(int(v), probe) for v, probe in zip(victims, probes, strict=True)], bool)

    def forget(self, window: int = 0, windows: int = 1) -> None:
        """Begin a new window: nothing was asked near any entry."""
        self._counted[:] = 0

    def _one(self, victim: int, probe: Floats) -> bool:
        p = self.params
        d = int(distance2(quantise(np.asarray(probe, np.float32), p), self._templates[victim][None])[0])
        limit = p.lockout_limit or p.tries[0]
        locked = bool(limit and self._counted[victim] >= limit)
        self._counted[victim] += (d <= p.lockout_tau if p.lockout_limit else d > p.tau_deep) and not locked
        return d <= p.tau_verify and not locked


class ServerDecisions:
    """The same questions, put to the servers. `compared`: how many of the answers were checked against the plaintext
    decision, and `differed`: how many were not the same. Stops at `BudgetSpent`, which counts as no answer."""

    def __init__(self, deployment: Deployment, enrolled: Floats) -> None:
        self._deployment, self._plain = deployment, PlainDecisions(enrolled, deployment.params)
        self.queries = np.zeros(len(enrolled), np.int64)
        self.compared = self.differed = self.refused = 0

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """See `DecisionOracle`."""
        out = []
        for v, probe in zip(victims, probes, strict=True):
            count(self.queries, np.array([v]))
            try:
                got = self._deployment.question(int(v), probe)
            except BudgetSpent:
                self.refused += 1
                out.append(False)
                continue
            self.compared += 1
            self.differed += got != bool(self._plain.decide(np.array([v]), probe[None])[0])
            out.append(got)
        return np.array(out, bool)


class ServerLeak:
    """A client's questions together with what a curious S2 of engine `published` notes; see `pura.attack.leak`."""

    def __init__(self, deployment: Deployment, entries: int, n: int) -> None:
        self._deployment, self._n = deployment, n
        self._notes = deployment.notes["s2"].open("r", encoding="utf-8")
        self.queries = np.zeros(entries, np.int64)

    def observe(self, victims: Index, probes: Floats) -> tuple[Floats, Bools]:
        """See `LeakOracle`."""
        count(self.queries, victims)
        sizes, matches = [], []
        params = self._deployment.params
        unit = float(1 << SIGMA) * 2 * params.scale**2
        for v, probe in zip(victims, probes, strict=True):
            self._notes.read()
            matches.append(self._deployment.question(int(v), probe))
            seen = [json.loads(line) for line in self._notes.read().splitlines()]
            d = next(int(line["values"][0]) for line in seen if line.get("protocol") == "scmp")
            sizes.append((self._n // 2 - abs(d)) / unit)
        return np.array(sizes), np.array(matches)


@contextlib.contextmanager
def deployed(
    folder: Path,
    enrolled: Floats,
    *,
    engine: Engine,
    threshold: float,
    keys: KeySet | None = None,
    budget: int | None = None,
    lockout: int = 0,
    tries: tuple[int, int, int] | None = None,
    curious: Sequence[str] = (),
) -> Iterator[Deployment]:
    """Make, start, enrol; stopped at the end. `keys`: of a ceremony of its own unless given. `budget`: how many
    questions the client may ask (None: no limit worth the name). `lockout`: how many questions near one entry are
    answered (0: no limit); `tries`: how many doubtful ones that name it. `curious`: s1, s2 or both."""
    folder.mkdir(parents=True)
    if keys is None:
        loopback.new_keys(folder, engine, 2048)
    else:
        write_keys(keys, folder / "keys")
    settings: dict[str, Any] = {"allow_leaky": engine is Engine.PUBLISHED}
    if lockout:
        settings |= {"lockout_limit": lockout, "lockout_threshold": round(threshold - NEAR, 3)}
    if tries is not None:
        settings |= {"tries": tries, "deep_threshold": round(threshold + DEEP, 3)}
    collection = Collection(engine=engine, threshold=threshold, dimension=enrolled.shape[1], **settings)
    asks = {} if budget is None else {"questions": budget, "per_hour": 0.0}
    s1, s2, client = loopback.lay(folder, folder / "keys", collection, loopback.PLENTY.model_copy(update=asks))
    notes = {name: folder / f"{name}.notes" for name in curious}
    for path in notes.values():
        path.touch()
    labels = [f"victim {i:02d}" for i in range(len(enrolled))]
    with _commands(notes), processes.two_servers(s1, s2, client, timeout_s=READY_S), connect(client) as session:
        loopback.handles_of(session.enroll_many([(ready(e), x) for e, x in zip(enrolled, labels, strict=True)]))
        params = load(s1).collection.params(load_public(folder / "keys" / PUBLIC_NAME))
        yield Deployment(folder, session, params, labels, notes)


@contextlib.contextmanager
def _commands(notes: dict[str, Path]) -> Iterator[None]:
    """While it lasts, a server that is to be curious is started as `curious`."""
    original = processes.server_command

    def command(*args: str) -> list[str]:
        name = Path(args[1]).stem if len(args) == 2 and args[0] == "--config" else ""
        if name not in notes:
            return original(*args)
        return [sys.executable, "-m", "pura_bench.security.curious", *args, "--notes", str(notes[name])]

    with patch.object(processes, "server_command", command):
        yield
