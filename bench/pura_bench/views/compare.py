"""Runs of an operation in several worlds, and whether anybody could tell them apart."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.rng import SeededRng
from pura.ids import Party
from pura.params import Params
from pura_bench.views import stats
from pura_bench.views.observe import Seen, observe
from pura_bench.views.stats import PValues, Table
from pura_bench.views.world import Keys, Log, Who, World

Templates = NDArray[np.int64]
D = 6
HOW: dict[str, Any] = {"dimension": D, "tau": 150_000}
ENTRIES = 5


class Runs:
    """What each server saw in one world, by operation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: dict[Party, dict[str, list[Seen]]] = {p: defaultdict(list) for p in world.logs}

    def add(self, operation: str, logs: dict[Party, Log]) -> None:
        """Open what each server can open."""
        for party, log in logs.items():
            side, known = self.world.sides[party], self.world.rngs[party].refreshes
            self.seen[party][operation].append(observe(side, log, known))


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens in a world: a first gallery, then so many rounds."""

    name: str
    gallery: Callable[[Params], Templates]
    query: Callable[[Params, int], Templates]
    changing_gallery: bool


def random_templates(params: Params, count: int, seed: str) -> Templates:
    """Unit vectors in random directions, quantised: (count, D)."""
    words = np.frombuffer(SeededRng(seed).bytes(8 * count * params.dimension), "<u8")
    y = (words / 2.0**63 - 1.0).reshape(count, params.dimension)
    out: Templates = np.rint(params.scale * y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.int64)
    return out


def extreme_templates(params: Params, count: int) -> Templates:
    """The axes, of alternating sign: (count, D)."""
    out = np.zeros((count, params.dimension), np.int64)
    for i in range(count):
        out[i, i // 2 % params.dimension] = params.scale * (1 - 2 * (i % 2))
    return out


SCENARIOS = (
    Scenario(
        "one gallery, changing queries",
        lambda p: random_templates(p, ENTRIES, "gallery"),
        lambda p, i: random_templates(p, 1, f"query {i}")[0],
        changing_gallery=False,
    ),
    Scenario(
        "one query, changing gallery",
        lambda p: random_templates(p, ENTRIES, "another gallery"),
        lambda p, i: random_templates(p, 1, "query")[0],
        changing_gallery=True,
    ),
    Scenario(
        "always the same, with a match",
        lambda p: extreme_templates(p, ENTRIES),
        lambda p, i: extreme_templates(p, 1)[0],
        changing_gallery=False,
    ),
)
IDEAL = dataclasses.replace(SCENARIOS[1], name="simulated")


def play(
    keys: Keys, folder: Path, scenario: Scenario, rounds: int, who: Who = "both", seed: str = "views", **how: Any
) -> Runs:
    """One world from its connection on."""
    folder.mkdir(parents=True)
    world = World(keys, folder, f"{seed} {scenario.name} {who}", who, **{**HOW, **how})
    runs = Runs(world)
    runs.add("connect", world.connect())
    runs.add("enrol 5", world.enrol(scenario.gallery(world.params)))
    for i in range(rounds):
        if scenario.changing_gallery:
            runs.add("forget", world.forget([0]))
            runs.add("enrol 1", world.enrol(random_templates(world.params, 1, f"entry {i}")))
        runs.add("identify", world.identify(scenario.query(world.params, i)))
    world.close()
    return runs


def life(keys: Keys, folder: Path, rounds: int, who: Who = "both", seed: str = "views", **how: Any) -> Runs:
    """Every operation there is, on blocks of four: packs, verify, erasure of a whole block, compaction."""
    folder.mkdir(parents=True)
    world = World(keys, folder, f"{seed} life {who}", who, entries_a_block=4, packs=1, **{**HOW, **how})
    runs, draw = Runs(world), iter(random_templates(world.params, 6 + 4 * rounds, "life"))

    def some(count: int) -> Templates:
        return np.array([next(draw) for _ in range(count)])

    runs.add("connect", world.connect())
    runs.add("enrol 6", world.enrol(some(6)))
    for _ in range(rounds):  # 4 + 2 entries in two blocks
        runs.add("enrol 3", world.enrol(some(3)))  # 4 + 4 + 1
        runs.add("refill", world.refill())
        runs.add("identify, with a pack", world.identify(some(1)[0]))
        runs.add("verify", world.verify(random_templates(world.params, 1, "verify")[0], [1, 4, 5]))
        runs.add("forget 2", world.forget([4, 5]))  # 4 + 2 + 1
        runs.add("compact", world.compact())  # 4 + 3
        runs.add("forget 1", world.forget([5]))  # 4 + 2
    runs.add("forget a block", world.forget([4, 5]))
    world.close()
    return runs


def tables(seen: Sequence[Seen]) -> Iterator[tuple[str, int, Table]]:
    """For each masked value: its name, its bits, one row for each run."""
    for name in seen[0].masked:
        bits = seen[0].masked[name][0]
        yield name, bits, np.stack([s.masked[name][1] for s in seen])


def agree(worlds: Sequence[dict[str, list[Seen]]], operation: str) -> list[str]:
    """What differs of the shapes and facts of an operation; nothing should."""
    every = [s for world in worlds for s in world.get(operation, [])]
    wrong = []
    if len({tuple(s.shape) for s in every}) > 1:
        wrong.append(f"{operation}: shapes differ")
    if len({tuple(s.facts) for s in every}) > 1:
        wrong.append(f"{operation}: facts differ")
    return wrong


def repeated(world: dict[str, list[Seen]]) -> list[str]:
    """What came twice in one world and never should."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for seen in (s for many in world.values() for s in many):
        for name, values in seen.once.items():
            counts[name].update(values)
    return [name for name, counter in counts.items() if counter and max(counter.values()) > 1]


def uniformity(world: dict[str, list[Seen]], label: str, tests: PValues) -> None:
    """Is every masked value of every operation uniform?"""
    for operation, seen in world.items():
        for name, bits, table in tables(seen):
            stats.uniform(tests, f"{label} | {operation} | {name}", bits, table)


def likeness(one: dict[str, list[Seen]], two: dict[str, list[Seen]], label: str, tests: PValues) -> None:
    """Is every masked value distributed alike in two worlds?"""
    for operation in one.keys() & two.keys():
        for (name, bits, a), (_, _, b) in zip(tables(one[operation]), tables(two[operation]), strict=True):
            stats.alike(tests, f"{label} | {operation} | {name}", bits, a, b)


def verdict(real: Sequence[Runs], ideal: Runs, party: Party, tests: PValues) -> list[str]:
    """What tells the view of a server in real worlds from the one that a simulator made, or the real ones from each
    other; p-values go into `tests`, everything else comes back in words."""
    worlds, made = [r.seen[party] for r in real], ideal.seen[party]
    wrong = [line for operation in made for line in agree([*worlds, made], operation)]
    wrong += [f"{name} came twice" for world in [*worlds, made] for name in repeated(world)]
    for i, world in enumerate(worlds):
        uniformity(world, f"real {i}", tests)
        likeness(world, made, f"real {i} and simulated", tests)
        if i:
            likeness(worlds[0], world, f"real 0 and {i}", tests)
    uniformity(made, "simulated", tests)
    return wrong
