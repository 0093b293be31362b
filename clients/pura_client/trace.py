"""What one call of a client sent, and how long each part of it took: for a person who wants to see it.

    with trace.following() as cost:
        client.identify("photo.jpg")
    cost.sent, cost.seconds("servers")

Nothing is kept unless somebody follows. What is shown of a template is the head of its ciphertext, which says nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Literal

Stage = Literal["embed", "encrypt", "servers", "roster"]
STAGES: tuple[Stage, ...] = ("embed", "encrypt", "servers", "roster")
HEAD_BYTES = 24

_followed: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("pura_client_trace", default=None)


class Trace:
    """Bytes of the messages sent and received, how many questions there were, the first bytes of the first ciphertext,
    and when each stage was under way. Threads may add to it at the same time."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.questions = 0
        self.head = b""
        self._spans: dict[Stage, list[tuple[float, float]]] = {}
        self._lock = threading.Lock()

    def seconds(self, stage: Stage) -> float:
        """For how long a stage was under way; parts of it that went on at the same time count once."""
        total, reached = 0.0, float("-inf")
        with self._lock:
            spans = sorted(self._spans.get(stage, ()))
        for began, ended in spans:
            total += max(0.0, ended - max(began, reached))
            reached = max(reached, ended)
        return total

    def add(self, *, sent: int = 0, received: int = 0, questions: int = 0, head: bytes = b"") -> None:
        """Count what went out and came in."""
        with self._lock:
            self.sent += sent
            self.received += received
            self.questions += questions
            self.head = self.head or head[:HEAD_BYTES]

    def span(self, stage: Stage, began: float, ended: float) -> None:
        """A stage was under way from then to then, in seconds of one clock."""
        with self._lock:
            self._spans.setdefault(stage, []).append((began, ended))


@contextlib.contextmanager
def following() -> Iterator[Trace]:
    """Follow what is called inside."""
    made = Trace()
    token = _followed.set(made)
    try:
        yield made
    finally:
        _followed.reset(token)


@contextlib.contextmanager
def stage(name: Stage) -> Iterator[None]:
    """This is part of a stage."""
    found = _followed.get()
    if found is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        found.span(name, began, time.perf_counter())


def add(*, sent: int = 0, received: int = 0, questions: int = 0, head: bytes = b"") -> None:
    """Count it, if somebody follows."""
    found = _followed.get()
    if found is not None:
        found.add(sent=sent, received=received, questions=questions, head=head)
