"""Views of questions and enrolments, and what tells them from simulated ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pura.ids import Party
from views import stats
from views.observe import NAMED, SCALE, TAU, D, Servers, View, kinds, masks_of, table
from views.stats import PValues
from views.world import Keys, Table, exact

ENTRIES = 5
GALLERY = exact(ENTRIES, D, SCALE, 1)
Templates = Callable[[int], Table]
"""The i-th template of a run."""
Policy = dict[str, Any]
COUNTED: Policy = {"lockout_tau": 2 * TAU, "lockout_limit": 5}
"""Near questions are counted; the sixth to a face that is enrolled meets a lock."""
NAMING: Policy = {"named": NAMED, "tau_deep": 0, "tries": (5, 5, 5)}
"""Verifications, of which all count that are not the very template."""
Both = tuple[list[View], list[View]]
"""The views of S1 and of S2, one for each operation."""


def others(runs: int) -> Table:
    """Templates that are not in the gallery: (3 runs, D)."""
    return exact(3 * runs, D, SCALE, 2)


def longer() -> Table:
    """A vector that is no template: one coordinate of one that is enrolled is 1 more."""
    out: Table = GALLERY[0].copy()
    out[np.flatnonzero(out == 0)[0]] = 1
    return out


def questions(
    keys: Keys,
    seed: str,
    runs: int,
    ask: Templates,
    gallery: Table = GALLERY,
    simulates: Party | None = None,
    policy: Policy | None = None,
) -> Both:
    """Views of so many questions."""
    servers = Servers(keys, seed, gallery, simulates, **(policy or {}))
    seen = [servers.ask(ask(i)) for i in range(runs)]
    return [one for one, _ in seen], [two for _, two in seen]


def enrolments(keys: Keys, seed: str, runs: int, new: Templates, simulates: Party | None = None) -> Both:
    """Views of so many enrolments of two entries."""
    servers = Servers(keys, seed, GALLERY, simulates)
    seen = [servers.enrol(np.stack([new(2 * i), new(2 * i + 1)])) for i in range(runs)]
    return [one for one, _ in seen], [two for _, two in seen]


def repeated(seen: list[View]) -> list[str]:
    """What came twice in one life of the servers and never should."""
    return [name for name, values in masks_of(seen) if len(set(values)) < len(values)]


def uniformity(seen: list[View], label: str, tests: PValues) -> None:
    """Is everything uniform that a server can work out?"""
    for name in seen[0].derived:
        bits = seen[0].derived[name][0]
        if bits and name != "answer":
            stats.uniform(tests, f"{label} | {name}", bits, np.stack([view.derived[name][1] for view in seen]))


def likeness(one: list[View], two: list[View], label: str, tests: PValues) -> list[str]:
    """Are two views distributed alike? What differs of their shapes; nothing should."""
    if any(kinds(view) != kinds(one[0]) for view in [*one, *two]):
        return [f"{label}: shapes differ"]
    for i, (kind, size) in enumerate(kinds(one[0])):
        if size:
            stats.alike(tests, f"{label} | {i} {kind}", 8, table(one, i), table(two, i))
    # answers are the clients' own: they differ, as they should
    for name in (one[0].derived.keys() & two[0].derived.keys()) - {"answer"}:
        a, b = (np.stack([view.derived[name][1] for view in seen]) for seen in (one, two))
        stats.alike(tests, f"{label} | {name}", max(one[0].derived[name][0], 1), a, b)
    return []


def verdict(real: list[list[View]], ideal: list[View], tests: PValues) -> list[str]:
    """What tells the views of real worlds from one that a simulator made, or from each other; p-values go into `tests`,
    everything else comes back in words."""
    wrong: list[str] = []
    for number, world in enumerate(real):
        wrong += [f"real {number}: {name} came twice" for name in repeated(world)]
        uniformity(world, f"real {number}", tests)
        wrong += likeness(world, ideal, f"real {number} and simulated", tests)
        if number:
            wrong += likeness(world, real[0], f"real {number} and 0", tests)
    uniformity(ideal, "simulated", tests)
    return wrong


def of_questions(
    keys: Keys, runs: int, victim: Party, seed: str, tests: PValues, policy: Policy | None = None
) -> list[str]:
    """Whoever asks, and however: the same face always, others, one that is enrolled, one of another length."""
    at, strangers = victim - 1, others(runs)
    worlds = [
        questions(keys, f"{seed} others", runs, lambda i: strangers[i], policy=policy),
        questions(keys, f"{seed} one", runs, lambda _: GALLERY[0], policy=policy),
        questions(keys, f"{seed} gallery", runs, lambda i: strangers[i], gallery=-GALLERY, policy=policy),
        questions(keys, f"{seed} refused", runs, lambda _: longer(), policy=policy),
    ]
    ideal = questions(keys, f"{seed} ideal", runs, lambda i: strangers[runs + i], GALLERY, victim.other, policy)
    return verdict([world[at] for world in worlds], ideal[at], tests)


def of_counted(keys: Keys, runs: int, victim: Party, seed: str, tests: PValues) -> list[str]:
    """The same while near questions are counted: whether one counts, does not, or meets a lock."""
    return of_questions(keys, runs, victim, f"{seed} counted", tests, COUNTED)


def of_verifications(keys: Keys, runs: int, victim: Party, seed: str, tests: PValues) -> list[str]:
    """The same about entries that are named, with tries counted."""
    return of_questions(keys, runs, victim, f"{seed} named", tests, NAMING)


def of_enrolments(keys: Keys, runs: int, victim: Party, seed: str, tests: PValues) -> list[str]:
    """Whoever is enrolled: others, or one that is there already."""
    at, strangers = victim - 1, others(runs)
    worlds = [
        enrolments(keys, f"{seed} others", runs, lambda i: strangers[i]),
        enrolments(keys, f"{seed} one", runs, lambda _: GALLERY[0]),
    ]
    ideal = enrolments(keys, f"{seed} ideal", runs, lambda i: strangers[i], simulates=victim.other)
    return verdict([world[at] for world in worlds], ideal[at], tests)
