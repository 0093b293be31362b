"""What the background does, and when: after questions and changes, but never never."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from pura.errors import PeerUnavailable
from pura.ids import Party
from pura.rounds import Rounds, nothing
from pura_server import refill
from pura_server.audit import AuditLog, read
from pura_server.backend import Begins, Kind
from pura_server.metrics import Metrics
from pura_server.refill import PATIENCE_S, keep_full


class Background:
    """A backend and a link that note what was begun, by a clock of their own."""

    def __init__(self, packs: int = 0, changes: int = 0) -> None:
        self.left = {"packs": packs, "changes": changes}
        self.begun: list[tuple[str, float]] = []
        self.now = 0.0
        self.asking = self.changing = False
        self.away = 0
        self.erasing = False
        self.numbers: list[str] = []
        """Under which the peer hears of each change."""

    def _next(self, kind: str) -> Rounds[object] | None:
        if not self.left[kind]:
            return None
        self.left[kind] -= 1
        self.begun.append((kind, self.now))
        return nothing()

    def tidy(self, begins: Begins) -> Rounds[object] | None:
        party = self._next("changes")
        if party is not None and self.erasing:
            begins(Kind.EXPIRE)
        return party

    def refill(self) -> Rounds[object] | None:
        return self._next("packs")

    async def ready(self) -> None:
        if self.away:
            self.away -= 1
            raise PeerUnavailable

    async def ask(self, party: Any, tally: Any, seconds: float) -> None:
        self.played("packs")

    async def change(self, party: Any, tally: Any, seconds: float) -> None:
        self.numbers.append(structlog.contextvars.get_contextvars()["request"])
        self.played("changes")

    def played(self, kind: str) -> None:
        assert self.begun[-1][0] == kind


def run(
    background: Background,
    seconds: float,
    then: Callable[[Background], None] = lambda _: None,
    audit: AuditLog | None = None,
) -> None:
    """Let it work for so many seconds of its own clock, which goes on whenever it pauses."""
    ends = background.now + seconds

    async def pause(pause: float) -> None:
        background.now += pause
        then(background)
        if background.now >= ends:
            raise asyncio.CancelledError
        await real(0)

    real: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def work() -> None:
        await keep_full(
            background,  # type: ignore[arg-type]
            background,  # type: ignore[arg-type]
            lambda: background.asking,
            lambda: background.changing,
            Metrics(),
            audit,
            clock=lambda: background.now,
        )

    sleep = refill.asyncio.sleep
    refill.asyncio.sleep = pause  # type: ignore[assignment]
    try:
        asyncio.run(work())
    except asyncio.CancelledError:
        pass
    finally:
        refill.asyncio.sleep = sleep


def test_everything_is_done_while_nobody_asks() -> None:
    background = Background(packs=5, changes=3)
    run(background, 1.0)
    assert [kind for kind, _ in background.begun] == ["changes"] * 3 + ["packs"] * 5


def test_questions_go_first_but_not_for_ever() -> None:
    background = Background(packs=50, changes=1)
    background.asking = True
    run(background, 4 * PATIENCE_S)
    kinds = [kind for kind, _ in background.begun]
    assert kinds == ["changes", "packs", "packs"]
    times = [at for _, at in background.begun]
    assert times[0] >= PATIENCE_S
    assert all(b - a >= PATIENCE_S for a, b in itertools.pairwise(times))


def test_packs_are_made_between_changes_of_clients_which_go_before_those_of_the_background() -> None:
    background = Background(packs=4, changes=2)
    background.changing = True
    run(background, 3.0)
    assert [kind for kind, _ in background.begun] == ["packs"] * 4
    run(background, 3 * PATIENCE_S, lambda one: setattr(one, "asking", True))
    assert [kind for kind, _ in background.begun][4:] == ["changes"] * 2, "in the end they have their turn"


def test_a_server_that_is_away_is_waited_for() -> None:
    background = Background(packs=1)
    background.away = 3
    run(background, 10.0)
    assert [kind for kind, _ in background.begun] == ["packs"]


def test_entries_that_are_erased_are_written_down_under_the_number_that_the_peer_hears(tmp_path: Path) -> None:
    background = Background(changes=2)
    background.erasing = True
    audit = AuditLog(tmp_path, Party.S1)
    run(background, 1.0, audit=audit)
    audit.close()
    lines = [(line.kind, line.number) for line in read(tmp_path, Party.S1)]
    assert lines[1:] == [("expire", number) for number in background.numbers]
    assert len(set(background.numbers)) == 2
