"""A server that deviates: what a client believes, and which lie it notices.

*At the door*: two real servers, and an S1 that lies in what it answers (`lies`).
*Put back*: both servers, to an older copy of their data.
*In the protocol*: both servers in one process, and one of them shifts its share of the keys, -<x, y_i>, before they are
compared. No message shows it.

The control of a lie is the same call with nobody lying: whether it is right.
"""

from __future__ import annotations

import collections
import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.attack.metrics import Rate
from pura.attack.oracle import Floats, unit
from pura.errors import PuraError
from pura.ids import Handle, Party
from pura.protocols.prepared import keys as right_keys
from pura.protocols.prepared import match
from pura.wire._pb import pura_pb2 as pb
from pura_bench import loopback
from pura_bench.inprocess import Pair, acquainted, directions
from pura_bench.security.deployments import READY_S, ready
from pura_bench.security.judge import Row, attempts, rate_json
from pura_bench.security.lies import EVE, LIES, S1, Lie, Scene, asked
from pura_client import processes
from pura_client.config import ClientConfig, load
from pura_client.session import connect
from pura_client.templates import Ready
from pura_server.config import Collection

DOOR, BACK, INSIDE = "two real servers", "two real servers, put back", "both servers in one process"
Told = tuple[bool, str, bool]
"""Whether the client believed it; the code of what it noticed; whether the same call is right with nobody lying."""


def people(count: int, dimension: int, seed: int) -> Floats:
    """Made vectors, far from each other: (count, D)."""
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def at_the_door(folder: Path, keys: Path, collection: Collection, tries: int, seed: int) -> Iterator[Row]:
    """Every lie, so often, each about another victim; then both servers go back to before Eve was enrolled."""
    made = people(tries + 2, collection.dimension, seed)
    vectors = {f"victim {i}": ready(one) for i, one in enumerate(made[:tries])}
    victims, stranger = list(vectors), ready(made[-1])
    files = loopback.lay(folder, keys, collection)
    config, liar = load(files[2]), S1()
    new = config.model_copy(update={"state": None})
    data = [file.parent / "data" for file in files[:2]]
    with processes.two_servers(*files, timeout_s=READY_S), connect(config) as client:
        handles = {label: client.enroll(embedding=one, label=label) for label, one in vectors.items()}
    for each in data:
        shutil.copytree(each, each.with_name("older"))
    with processes.two_servers(*files, timeout_s=READY_S), connect(config, interceptors=[liar]) as client:
        old = _recorded(liar, client.list)
        vectors[EVE] = ready(made[-2])
        handles[EVE] = client.enroll(embedding=vectors[EVE], label=EVE)
        client.list()
        for lie in LIES:
            scenes = [Scene(client, liar, one, handles, vectors, stranger, config, old) for one in victims]
            yield _row("S1, deviating", DOOR, lie.name, [_told(lie, scene) for scene in scenes])
        before = [[_found(each, vectors[EVE]) for _ in victims] for each in (config, new)]
    for each in data:
        shutil.rmtree(each)
        each.with_name("older").rename(each)
    with processes.two_servers(*files, timeout_s=READY_S):
        for kept, which, was in zip((config, new), ("has seen a later one", "has seen nothing"), before, strict=True):
            after = [_noticed(partial(_lost, kept, vectors[EVE])) for _ in victims]
            name = f"answer by an older gallery, to a client that {which}"
            yield _row("S1 and S2, deviating", BACK, name, [(*a, b) for a, b in zip(after, was, strict=True)])


def _recorded(liar: S1, look: Callable[[], Any]) -> list[pb.RosterPage]:
    """The roster that S1 hands out now, with S2's signature."""
    old: list[pb.RosterPage] = []

    def kept(_: Any, pages: list[pb.RosterPage]) -> list[pb.RosterPage]:
        old.extend(pages)
        return pages

    liar.lies["Roster"] = kept
    look()
    liar.lies.clear()
    return old


def _told(lie: Lie, scene: Scene) -> Told:
    scene.s1.lies.clear()
    right = lie.honest(scene)
    believed, code = _noticed(lambda: lie.tell(scene))
    scene.s1.lies.clear()
    return believed, code, right


def _found(config: ClientConfig, face: Ready) -> bool:
    with connect(config) as client:
        return asked(client, face) == EVE


def _lost(config: ClientConfig, face: Ready) -> bool:
    return not _found(config, face)


def _noticed(call: Callable[[], bool]) -> tuple[bool, str]:
    try:
        return call(), ""
    except PuraError as error:
        return False, error.code


def _row(attacker: str, deployment: str, attack: str, got: Sequence[Told]) -> Row:
    codes = collections.Counter(code for _, code, _ in got if code)
    told = "; ".join(f"{code} ({count})" for code, count in codes.items())
    believed, right = [one for one, _, _ in got], rate_json(Rate.of([one for _, _, one in got]))
    return attempts("a server that deviates", attacker, deployment, attack, believed, told, right)


# --- in the protocol ----------------------------------------------------------------------------------


@contextlib.contextmanager
def shifting(party: Party, by: Callable[[Any], Any]) -> Iterator[None]:
    """One server adds `by(handles)` to its share of the keys, (n,), modulo 2^k."""

    def keys(side: Any, pack: Any, targets: Any, delta: Any) -> Any:
        own = right_keys.keys(side, pack, targets, delta)
        if side.share.party is not party:
            return own
        more = np.asarray(by(targets.handles), np.int64).astype(np.uint64)
        return own + more & np.uint64((1 << side.sizes.key_bits) - 1)

    with patch.object(match, "keys", keys):
        yield


class Turned:
    """Two servers, of which one may shift keys; some are enrolled, Eve among them, and a stranger is not."""

    def __init__(self, pair: Pair, tries: int, whole: int) -> None:
        """`whole`: how many templates are read, of a thousand questions each at D = 128."""
        self.pair, self.tries, self.whole = pair, tries, whole
        ys = directions(pair.params, tries + 2)
        self.ys, self.stranger = ys[:tries], ys[-1]
        *self.handles, self.eve = pair.enroll(ys[:-1])

    def right(self, i: int) -> bool:
        """Whether nobody deviates."""
        return self.pair.ask(self.ys[i]) == [self.handles[i]] and not self.pair.ask(self.stranger, [self.eve])

    def is_nobody(self, i: int) -> bool:
        """Of somebody who is enrolled."""
        return not self.pair.ask(self.ys[i])

    def is_eve(self, i: int) -> bool:
        """Of somebody else."""
        return self.pair.ask(self.ys[i]) == [self.eve]

    def passes_for_eve(self, _: int) -> bool:
        """Of somebody who is not enrolled."""
        return self.pair.ask(self.stranger, [self.eve]) == [self.eve]

    def product(self, party: Party, i: int, x: Any, step: int = 1) -> int:
        """<x, y> // step of an entry and a client's own vector, by halves, a question each. The other entries are
        shifted out of reach; no question names an entry, so `tries` count none."""
        scale2 = self.pair.params.scale**2
        least = scale2 - self.pair.params.tau_identify // 2
        low, high = -(scale2 // step), scale2 // step + 1
        while high - low > 1:
            middle = (low + high) // 2
            with shifting(party, self._but(self.handles[i], middle * step - least, 2 * scale2)):
                reached = self.pair.ask(x) == [self.handles[i]]
            low, high = (middle, high) if reached else (low, middle)
        return low

    def score(self, party: Party, i: int) -> bool:
        """Whether it is read."""
        return self.product(party, i, self.stranger) == int(self.stranger @ self.ys[i])

    def template(self, party: Party, i: int) -> bool:
        """The same, by vectors along one coordinate each."""
        scale = self.pair.params.scale
        along = scale * np.eye(self.pair.params.dimension, dtype=np.int64)
        read = np.array([self.product(party, i, x, scale) for x in along])
        return np.array_equal(read, self.ys[i])

    def _but(self, handle: Handle, one: int, others: int) -> Callable[[Any], Any]:
        return lambda there: np.where(there == np.uint64(handle), one, others)

    def rows(self) -> Iterator[Row]:
        """Either server, without a guess of who asks."""
        scale2 = self.pair.params.scale**2
        nobody, chosen = self._but(self.eve, scale2, scale2), self._but(self.eve, -2 * scale2, 0)
        for party in Party:
            for name, by, ask in (
                ("shifts its share of all keys: whoever is enrolled is nobody", nobody, self.is_nobody),
                ("shifts its share of one key: everybody is a chosen entry", chosen, self.is_eve),
                ("shifts its share of one key: a stranger is it, in verify", chosen, self.passes_for_eve),
            ):
                right = [self.right(i) for i in range(self.tries)]
                with shifting(party, by):
                    believed = [_noticed(partial(ask, i)) for i in range(self.tries)]
                got = [(*one, was) for one, was in zip(believed, right, strict=True)]
                yield _row(f"{party.name}, deviating", INSIDE, name, got)
            for name, read, tries in (
                ("shifts keys by halves: an exact score with a chosen entry", self.score, self.tries),
                ("shifts keys by halves: the exact template of a chosen entry", self.template, self.whole),
            ):
                got = [(*_noticed(partial(read, party, i)), self.right(i)) for i in range(tries)]
                yield _row(f"{party.name}, deviating, and a client", INSIDE, name, got)


def inside(keys: Path, tries: int, dimension: int, scale: int, whole: int = 2) -> Iterator[Row]:
    """One of both servers deviates in the protocol, and sends what it should in form."""
    with acquainted(keys, dimension, scale) as pair:
        yield from Turned(pair, tries, min(tries, whole)).rows()
