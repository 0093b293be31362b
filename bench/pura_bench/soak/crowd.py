"""Clients that ask, enrol and erase, and know what every answer may be."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pura.errors import PuraError
from pura_client.config import ClientConfig
from pura_client.session import Client, connect
from pura_client.templates import Ready

Vector = NDArray[np.float64]
NOISE = 0.5
"""A probe of somebody enrolled has a cosine of about 0.9 with their entry; strangers stay below 0.5."""
PATIENCE_S = 30.0
"""What a call may take beyond the client's own deadline before it counts as stuck."""
_MOST = 40
"""How many people one client keeps enrolled."""


class There(enum.Enum):
    """Whether somebody is enrolled, as far as the one who enrols them knows."""

    NO = "no"
    YES = "yes"
    PERHAPS = "perhaps"
    """A change is under way, or ended with an error: done, or not."""


@dataclasses.dataclass(eq=False)
class Person:
    """`version` counts the changes of `there`."""

    label: str
    vector: Vector
    there: There = There.NO
    version: int = 0

    def now(self, there: There) -> None:
        """What is known from here on."""
        self.there = there
        self.version += 1


@dataclasses.dataclass
class Counts:
    """What happened. wrong: answers that no state of the gallery explains; lost: confirmed and not there, or erased
    and there."""

    asked: int = 0
    enrolled: int = 0
    erased: int = 0
    wrong: int = 0
    lost: int = 0
    stuck: int = 0
    loose: int = 0
    """Answers about somebody whose entry was just changing: both are right."""
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    answer_s: list[float] = dataclasses.field(default_factory=list)


class Crowd:
    """People, clients, and what became of their calls."""

    def __init__(self, dimension: int, seed: int) -> None:
        self.counts = Counts()
        self._lock = threading.Lock()
        self._turn = threading.Condition()
        self._inside, self._quiet = 0, False
        self._people: list[Person] = []
        self._rng = np.random.default_rng(seed)
        self._dimension = dimension

    def run(self, config: ClientConfig, number: int, pause_s: Callable[[], float], stop: threading.Event) -> None:
        """One client, until it is told to stop."""
        rng = np.random.default_rng((number, 7))
        mine: list[Person] = []
        client: Client | None = None
        while not stop.is_set():
            with self._own_turn():
                began = time.monotonic()
                try:
                    client = client or connect(config)
                    self._something(client, rng, mine, number)
                except PuraError as error:
                    with self._lock:
                        self.counts.errors[error.code] += 1
                if time.monotonic() - began > config.deadline_s + PATIENCE_S:
                    with self._lock:
                        self.counts.stuck += 1
            if client is None:
                stop.wait(1.0)
            stop.wait(pause_s())
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Nobody begins a call meanwhile, and those that were begun have ended."""
        with self._turn:
            self._quiet = True
            self._turn.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._turn:
                self._quiet = False
                self._turn.notify_all()

    @contextlib.contextmanager
    def _own_turn(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._quiet)
            self._inside += 1
        try:
            yield
        finally:
            with self._turn:
                self._inside -= 1
                self._turn.notify_all()

    def _something(self, client: Client, rng: np.random.Generator, mine: list[Person], number: int) -> None:
        for person in mine:
            if person.there is There.PERHAPS:
                self._settle(client, person)
        present = [person for person in mine if person.there is There.YES]
        draw = rng.random()
        if draw < 0.12 and len(present) < _MOST:
            self._enrol(client, mine, number)
        elif draw < 0.18 and len(present) > 5:
            self._erase(client, present[int(rng.integers(len(present)))])
        else:
            self._ask(client, rng)

    def _ask(self, client: Client, rng: np.random.Generator) -> None:
        with self._lock:
            person = self._people[int(rng.integers(len(self._people)))] if self._people and rng.random() < 0.7 else None
            before = (person.there, person.version) if person else None
        vector = person.vector + NOISE * self._direction(rng) if person else self._direction(rng)
        began = time.monotonic()
        label = client.identify(embedding=Ready(vector)).label
        took = time.monotonic() - began
        with self._lock:
            counts = self.counts
            counts.asked += 1
            counts.answer_s.append(took)
            if person is None:
                counts.wrong += label is not None
            elif before != (person.there, person.version) or person.there is There.PERHAPS:
                counts.loose += 1
                counts.wrong += label not in (None, person.label)
            else:
                counts.wrong += label != (person.label if person.there is There.YES else None)

    def _enrol(self, client: Client, mine: list[Person], number: int) -> None:
        with self._lock:
            person = Person(f"{number}-{len(self._people)}", self._direction(self._rng), There.PERHAPS)
            self._people.append(person)
        mine.append(person)
        client.enroll(embedding=Ready(person.vector), label=person.label)
        with self._lock:
            person.now(There.YES)
            self.counts.enrolled += 1

    def _erase(self, client: Client, person: Person) -> None:
        with self._lock:
            person.now(There.PERHAPS)
        client.forget(person.label)
        with self._lock:
            person.now(There.NO)
            self.counts.erased += 1

    def _settle(self, client: Client, person: Person) -> None:
        """A change that ended with an error: look whether it was carried out."""
        found = person.label in client.list()
        with self._lock:
            person.now(There.YES if found else There.NO)

    def audit(self, client: Client) -> int:
        """At the end: what was confirmed is there, what was erased is not, and nobody else is. How many are there."""
        listed = set(client.list())
        with self._lock:
            yes = {person.label for person in self._people if person.there is There.YES}
            no = {person.label for person in self._people if person.there is There.NO}
            known = {person.label for person in self._people}
            self.counts.lost = len(yes - listed) + len(no & listed) + len(listed - known)
        return len(listed)

    def _direction(self, rng: np.random.Generator) -> Vector:
        vector = rng.standard_normal(self._dimension)
        return np.asarray(vector / np.linalg.norm(vector), np.float64)
