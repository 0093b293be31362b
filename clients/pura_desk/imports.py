"""Folder imports: people arrive one by one, each with the photos of a folder, and are enrolled in the background.

The page may be reloaded or closed meanwhile: an import goes on with what has arrived, and says how far it is. Done once
more, also after the desk was stopped, it enrols nobody twice: an entry is named by its photos and label.
Photos wait in memory, never on disk, and only so many bytes of them: whoever sends more waits.
"""

from __future__ import annotations

import collections
import dataclasses
import secrets
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum

from pura.errors import EnrolmentConflict, NotReady, OutOfRange, PuraError, UnknownEntry
from pura_client.enrolling import Enrolled
from pura_client.labels import normalise
from pura_client.session import Client
from pura_desk.line import Line

WAITING_BYTES = 256 << 20
"""Of photos that have arrived and are not embedded yet, over all imports."""
MOST_IMPORTS = 8
"""That are not done; and as many that are."""
MOST_PROBLEMS = 200
TOGETHER = 16
"""People who are enrolled in one batch at most."""
WAIT_S = 120.0
"""How long somebody who sends photos waits for room."""


class State(StrEnum):
    """Of an import. OPEN: more people may come; RUNNING: all have come; STOPPED: by a person, or by servers that stayed
    away."""

    OPEN = "open"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True)
class Person:
    """A folder's name and its photos, each with its file's name."""

    label: str
    photos: Sequence[tuple[str, bytes]] = dataclasses.field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(len(body) for _, body in self.photos)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that was left out, or that a person should look at."""

    label: str
    photo: str | None
    code: str
    detail: str


class Job:
    """One import. All of it is read and changed under the lock of `Imports`."""

    def __init__(self, name: str, people: int) -> None:
        self.id = secrets.token_hex(8)
        self.name, self.people = name, people
        self.state = State.OPEN
        self.received: set[str] = set()
        self.done = self.enrolled = self.already = self.left_out = 0
        self.problems: collections.deque[Problem] = collections.deque(maxlen=MOST_PROBLEMS)
        self.queue: collections.deque[Person] = collections.deque()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in (State.DONE, State.STOPPED)


class Imports:
    """The imports of one desk, and the thread that carries them out."""

    def __init__(self, line: Line, waiting_bytes: int = WAITING_BYTES) -> None:
        self._line = line
        self._room = waiting_bytes
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Stop after the batch that is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def all(self) -> Sequence[Job]:
        """The newest first."""
        with self._changed:
            return [*reversed(self._jobs.values())]

    def start(self, name: str, people: int) -> Job:
        """A new import of so many people. Raises `OutOfRange` when there are too many at once."""
        with self._changed:
            going = [job for job in self._jobs.values() if not job.ended]
            if len(going) >= MOST_IMPORTS:
                raise OutOfRange(f"{len(going)} imports are not done yet: stop one first")
            ended = [job.id for job in self._jobs.values() if job.ended]
            for one in ended[: max(0, len(ended) - MOST_IMPORTS)]:
                del self._jobs[one]
            job = Job(name, people)
            self._jobs[job.id] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="imports", daemon=True)
                self._thread.start()
            return job

    def get(self, name: str) -> Job:
        """Raises `UnknownEntry`."""
        with self._changed:
            if name not in self._jobs:
                raise UnknownEntry("there is no such import: a desk forgets them when it stops")
            return self._jobs[name]

    def received(self, name: str) -> Sequence[str]:
        """The labels that have come. Raises `UnknownEntry`."""
        job = self.get(name)
        with self._changed:
            return sorted(job.received)

    def add(self, name: str, person: Person) -> Job:
        """One more person; waits for room. Raises `UnknownEntry`, `EnrolmentConflict` for an import that takes nobody
        any more, `OutOfRange` for a label that is none, `NotReady` when there is no room for too long."""
        job, label = self.get(name), normalise(person.label)
        with self._changed:
            here = self._changed.wait_for(
                lambda: self._closed or job.ended or label in job.received or self._fits(person), WAIT_S
            )
            if self._closed or not here:
                raise NotReady("the desk has too many photos waiting; try again")
            if label in job.received:
                return job
            if job.state is not State.OPEN:
                raise EnrolmentConflict(f"this import is {job.state}")
            job.received.add(label)
            self._room -= person.size
            job.queue.append(person)
            self._changed.notify_all()
            return job

    def _fits(self, person: Person) -> bool:
        return person.size <= self._room or not any(job.queue for job in self._jobs.values())

    def end(self, name: str) -> Job:
        """Everybody has come."""
        job = self.get(name)
        with self._changed:
            if job.state is State.OPEN:
                job.state = State.RUNNING
                job.people = len(job.received)
                self._settle(job)
                self._changed.notify_all()
            return job

    def stop(self, name: str) -> Job:
        """Give up what has not been enrolled yet."""
        job = self.get(name)
        with self._changed:
            if not job.ended:
                self._drop(job)
            return job

    def _drop(self, job: Job) -> None:
        job.state = State.STOPPED
        self._room += sum(person.size for person in job.queue)
        job.queue.clear()
        self._changed.notify_all()

    def _settle(self, job: Job) -> None:
        if job.state is State.RUNNING and not job.queue and job.done >= job.people:
            job.state = State.DONE

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or any(job.queue for job in self._jobs.values()))
                if self._closed:
                    return
                job = next(job for job in self._jobs.values() if job.queue)
                batch = [job.queue.popleft() for _ in range(min(TOGETHER, len(job.queue)))]
                self._changed.notify_all()  # whoever waits for an empty queue
            try:
                self._enrol(job, batch)
            except PuraError as error:  # no session: nobody of this batch was sent
                self._failed(job, error)
            finally:
                with self._changed:
                    self._room += sum(person.size for person in batch)
                    self._settle(job)
                    self._changed.notify_all()

    def _enrol(self, job: Job, batch: Sequence[Person]) -> None:
        client = self._line.client()
        with self._line.changing:
            enrol(client, batch, lambda person, outcome: self._told(job, person, outcome))

    def _told(self, job: Job, person: Person, outcome: Enrolled) -> None:
        if outcome.stopped and outcome.error is not None:
            self._failed(job, outcome.error)
            return
        names = {id(body): name for name, body in person.photos}
        with self._changed:
            job.done += 1
            for photo, error in outcome.left_out:
                job.left_out += 1
                job.problems.append(Problem(person.label, names.get(id(photo)), error.code, str(error)))
            if outcome.error is not None:
                if not outcome.left_out:
                    job.left_out += len(person.photos)
                    job.problems.append(Problem(person.label, None, outcome.error.code, str(outcome.error)))
            elif outcome.already:
                job.already += 1
            else:
                job.enrolled += 1
            if outcome.alike is not None:
                job.problems.append(Problem(person.label, None, "alike", f"looks like {outcome.alike}"))
            self._changed.notify_all()

    def _failed(self, job: Job, error: PuraError) -> None:
        """Servers that stay away, or a budget that is spent, end an import; it can be done again."""
        with self._changed:
            if not job.ended:
                job.problems.append(Problem("", None, error.code, str(error)))
                self._drop(job)


def enrol(client: Client, people: Sequence[Person], told: Callable[[Person, Enrolled], None]) -> None:
    """Enrol each person by the mean of the photos; a label that has an entry of other photos is left alone."""
    waiting = iter(people)
    client.enroll_many(
        [([body for _, body in person.photos], person.label) for person in people],
        lambda outcome: told(next(waiting), outcome),
        once=True,
    )
