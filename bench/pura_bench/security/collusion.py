"""Attackers that work together, recorded: chosen ciphertexts, a server that deviates, credentials that share the work.

    python -m pura_bench.security.collusion --photos lfw_view1 --json collusion.json

*Chosen ciphertexts* (`forged`) and *a server that deviates* (`deviating`) on made vectors, since no face matters there.
*Several credentials* of one group, on photos: what they may ask by S1's budget for each and S2's rate for all, by the
servers' own buckets, and what `tries` leave of it, which count for each entry and over all credentials. Decisions are
plain integers, at the defaults that `init` writes; the attacker is `pura.attack.belief`, and knows every limit.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pura.attack import belief, dictionary
from pura.attack.belief import Counter
from pura.attack.metrics import Rate
from pura.attack.oracle import Floats, cosines
from pura.crypto.encoding import quantise_many
from pura.crypto.keys import PUBLIC_NAME, load_public
from pura.ids import Engine
from pura.params import Params
from pura_bench import loopback, results
from pura_bench.security import deviating, forged
from pura_bench.security.asking import World, galleries, options, worlds
from pura_bench.security.defended import ONE_PERSON, SEARCHES
from pura_bench.security.deployments import READY_S, PlainDecisions, ready
from pura_bench.security.judge import rate_json
from pura_bench.speed.deployment import key_folder
from pura_client import processes
from pura_client.session import connect
from pura_server.buckets import Bucket
from pura_server.cli_collection import DEEP, collection_from
from pura_server.config import Budget, Collection
from pura_server.deploy import CAMERA, FIRST_CLIENTS, THRESHOLDS

CREDENTIALS = (1, 4, 16, 64)
HORIZONS = {"a day": 24, "30 days": 30 * 24, "150 days": 150 * 24}
"""Hours. All tries of an entry take five months, a month's number in each."""
ABOUT_ONE = 2000
"""Questions about one victim, at most, most of which do not count."""
READ = 300
"""Questions by identify about somebody who was named."""
RATE = float(len(FIRST_CLIENTS) * Budget().questions)
"""Questions an hour that S2 takes of the group of the first clients, as `init` writes it, whoever else joins it."""
ROUNDING = 1e-6
QUANTISED = 0.1
"""By so much a cosine of templates differs from that of embeddings at the most."""
CHUNK = 20_000
ARM = "several credentials"
Templates = NDArray[np.int64]


def defaults(embedder: str) -> Collection:
    """What `init` writes for an embedder."""
    return collection_from(
        Engine.PREPARED, allow_leaky=False, dimension=128, scale=128, threshold=THRESHOLDS[embedder], people=None,
        fpir=0.01, identify_threshold=None, policy=None, tries="5,20,100", top_k=1, embedder=embedder,
    )[0]  # fmt: skip


def granted(credentials: int, hours: int, budget: Budget, group_an_hour: float) -> int:
    """How many questions that many credentials of one group are answered in so many hours, asking as soon as they may;
    S2 takes so many of the group in an hour."""
    each, all_ = Bucket(budget.questions, budget.per_hour), Bucket(int(min(group_an_hour, 1 << 40)), group_an_hour)
    own, group, asked = float(each.capacity) * credentials, float(all_.capacity), 0
    for _ in range(hours + 1):
        now = int(min(own, group) + ROUNDING)
        asked, own, group = asked + now, own - now, group - now
        own, group = credentials * each.level(own / credentials, 3600), all_.level(group, 3600)
    return asked


@dataclasses.dataclass(frozen=True)
class Named:
    """With which of an attacker's probes each of some people is named first: its number from 1, 0 for none, (n,);
    and the probe, (n, D)."""

    number: Templates
    probe: Floats

    @classmethod
    def of(cls, chunks: Iterable[Floats], people: Floats, p: Params, tau: int) -> Named:
        """By the decisions of the integers; `people` (n, D), probes in chunks, embeddings all."""
        t, asked = 1 - tau / (2 * p.scale**2), 0
        templates, named = quantise_many(people, p), cls(np.zeros(len(people), np.int64), np.zeros_like(people))
        for chunk in chunks:
            near = np.flatnonzero((chunk @ people.T).max(1) >= t - QUANTISED)  # to quantise all of them takes long
            hit = 2 * p.scale**2 - 2 * (quantise_many(chunk[near], p) @ templates.T) <= tau
            new = np.flatnonzero(hit.any(0) & (named.number == 0))
            which = near[hit[:, new].argmax(0)] if len(near) else near
            named.number[new], named.probe[new] = asked + 1 + which, chunk[which]
            asked += len(chunk)
        return named

    def parted(self, at: int) -> tuple[Named, Named]:
        """The first `at` people, and the others."""
        return Named(self.number[:at], self.probe[:at]), Named(self.number[at:], self.probe[at:])

    def within(self, questions: int) -> NDArray[np.bool_]:
        """Who is named by so many questions."""
        return (self.number > 0) & (self.number <= questions)


def probes(known: Floats, tau: float, most: int, seed: int) -> Iterator[Floats]:
    """What is asked by identify, in chunks: the likeliest first, then as many more as are wanted."""
    yield (first := belief.openings(known, tau, min(SEARCHES, most)))
    draw = np.random.default_rng(seed)
    for at in range(len(first), most, CHUNK):
        yield belief.more(known, min(CHUNK, most - at), draw)


@dataclasses.dataclass(frozen=True)
class Shared:
    """Photos and policy; and for identify with which of `most` probes the victims and a larger crowd are named."""

    world: World
    params: Params
    most: int
    named: Named
    crowd: Named

    @classmethod
    def of(cls, folder: Path, work: Path, collection: Collection, params: Params, victims: int, seed: int) -> Shared:
        """From photos; what is asked first at both thresholds."""
        world, everyone = next(worlds(folder, work, victims, seed, first=False))
        known, t = world.known, collection.threshold or 0.0
        drawn = galleries(world, everyone, seed)
        people = np.unique(drawn.reshape(-1, drawn.shape[-1]), axis=0)
        strangers = people[(people @ known.T).max(1) < ONE_PERSON]  # who is on the attacker's photos is opened at once
        world = dataclasses.replace(world, threshold=t, probes=belief.openings(known, t, max(params.tries)))
        most = max(granted(k, hours, Budget(), RATE) for k in CREDENTIALS for hours in HORIZONS.values())
        asked = probes(known, collection.identify_threshold or t, most, seed)
        enrolled = world.enrolled
        everybody = Named.of(asked, np.concatenate([enrolled, strangers]), params, params.tau_identify)
        return cls(world, params, most, *everybody.parted(len(enrolled)))

    def rows(self, credentials: int, horizon: str) -> Iterator[dict[str, Any]]:
        """By verify, the budgets shared out evenly over all victims; and by identify."""
        budget, hours = Budget(), HORIZONS[horizon]
        asked = granted(credentials, hours, budget, RATE)
        cut = asked < granted(credentials, hours, budget, math.inf)
        limit = "S2's rate of the group" if cut else "S1's budget of each credential"
        shown = {"arm": ARM, "credentials": credentials, "time": horizon, "questions": asked}
        yield shown | self.verify(asked, self.params.tries[list(HORIZONS).index(horizon)], limit)
        yield shown | self.identify(asked, limit)

    def verify(self, asked: int, tries: int, limit: str) -> dict[str, Any]:
        """Every victim is asked about as often as budgets and tries let."""
        enrolled, p, world = self.world.enrolled, self.params, self.world
        about = asked // len(enrolled)
        within = min(about, tries)
        first = Named.of([world.probes], enrolled, p, p.tau_verify)
        oracle = PlainDecisions(enrolled, dataclasses.replace(p, tries=(tries,) * 3))
        start = dictionary.search(oracle, world.probes, within, np.flatnonzero(first.within(within)))
        counter, total = Counter(world.threshold + DEEP, tries, near=False), min(about, ABOUT_ONE)
        found = belief.template(oracle, start, world.known, world.threshold, (total,), counter=counter)
        binds = limit if about < tries else "tries of the entry"
        return self._row("verify", start, found.at[total], binds) | {"about_each": about, "of_a_crowd": None}

    def identify(self, asked: int, limit: str) -> dict[str, Any]:
        """Everybody is asked about at once, and who is named is read out."""
        p, named = self.params, self.named
        if asked > self.most:
            limit = f"nothing: the attacker has {self.most:,} probes"
        left = np.clip(asked - named.number, 0, READ).astype(np.int64)  # for reading whom they have named
        whose = np.arange(len(named.number))
        start = dictionary.Start(named.probe, np.where(named.within(asked), whose, dictionary.NOT_FOUND), READ - left)
        t = 1 - p.tau_identify / (2 * p.scale**2)
        policy = dataclasses.replace(p, tau_verify=p.tau_identify, tries=(0, 0, 0))
        oracle = PlainDecisions(self.world.enrolled, policy)
        found = belief.template(oracle, start, self.world.known, t, (READ,))
        return self._row("identify", start, found.at[READ], limit) | {
            "about_each": asked, "of_a_crowd": rate_json(Rate.of(self.crowd.within(asked)))
        }  # fmt: skip

    def _row(self, way: str, start: dictionary.Start, templates: Floats, limit: str) -> dict[str, Any]:
        second = cosines(templates, self.world.cast.mates.embeddings)
        return {
            "attack": f"belief by {way}",
            "opened": rate_json(Rate.count(len(start.found), len(templates))),
            "sar2": rate_json(Rate.of(second >= self.world.threshold)),
            "binds": limit,
        }


def counted_together(folder: Path, keys: Path, collection: Collection, tries: int, seed: int) -> dict[str, Any]:
    """On two real servers: a day's tries of an entry, shared out over two credentials of one group."""
    made = deviating.people(tries + 1, collection.dimension, seed)
    files = loopback.lay(folder, keys, collection)
    stranger, day = ready(made[-1]), (collection.tries or (0,))[0]
    before, after = [], []
    other = files[2].parent.with_name(CAMERA) / files[2].name
    with processes.two_servers(*files, timeout_s=READY_S), connect(files[2]) as desk, connect(other) as door:
        for i, vector in enumerate(made[:-1]):
            own, label = ready(vector), f"victim {i}"
            desk.enroll(embedding=own, label=label)
            for asked in range(day):
                if asked == day - 1:
                    before.append(door.verify(embedding=own, label=label).match)
                (desk, door)[asked % 2].verify(embedding=stranger, label=label)
            after.append(not door.verify(embedding=own, label=label).match)
    return {
        "arm": ARM, "attacker": "two credentials", "deployment": deviating.DOOR, "tries": tries,
        "attack": f"{day} questions that count about an entry, by two credentials in turn",
        "locked": rate_json(Rate.of(after)), "control": rate_json(Rate.of(before)),
    }  # fmt: skip


@click.command()
@options(victims=400)
@click.option("--tries", default=10, show_default=True, type=click.IntRange(1), help="Of each attack and lie.")
@click.option("--bits", default=2048, show_default=True, help="The servers' key.")
def main(folder: Path, work: Path, victims: int, tries: int, bits: int, seed: int, out: Path) -> None:
    """Run each arm with its control; write the figures."""
    with results.watch_load() as load, tempfile.TemporaryDirectory() as scratch:
        there = Path(scratch)
        keys = key_folder(Engine.PREPARED, bits, there)
        collection = defaults("sface-mirrored")
        params = collection.params(load_public(keys / PUBLIC_NAME))
        chosen = list(_shown(forged.rows(keys, tries, params.dimension, params.scale)))
        lies = list(_shown(deviating.at_the_door(there / "door", keys, collection, tries, seed)))
        lies += _shown(deviating.inside(keys, tries, params.dimension, params.scale))
        together = counted_together(there / "two", keys, collection, tries, seed)
        everybody = Shared.of(folder, work, collection, params, victims, seed)
        credentials = list(_shown(row for h in HORIZONS for k in CREDENTIALS for row in everybody.rows(k, h)))
    about = {"bits": bits, "threshold": collection.threshold, "identify_threshold": collection.identify_threshold,
             "crowd": len(everybody.crowd.number), "vectors": "made, but for several credentials: photos"}  # fmt: skip
    rows = [*chosen, *lies]
    results.write(out, results.body("collusion", seed, rows, load, **about, together=[together],
                                    credentials=credentials))  # fmt: skip


def _shown(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        click.echo(str(row))
        yield row


if __name__ == "__main__":
    main()
