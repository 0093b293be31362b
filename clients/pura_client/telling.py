"""What a run of enroll-dir tells: each thing that was left out as it happens, and all of it at the end."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from pura.errors import PuraError
from pura_client.enrolling import Enrolled
from pura_client.templates import several_of

GO_ON = "do the same again, and it goes on from there"


class Telling:
    """Follows a run. `console`: where people read along; None for programs."""

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(quiet=True)
        self._progress: tuple[Progress, Any] | None = None
        self._bad: list[dict[str, str]] = []
        self._alike: list[dict[str, str]] = []
        self._new: collections.Counter[str] = collections.Counter()
        self._already = 0
        self._entries = 0
        self._error: PuraError | None = None
        self._total = 0
        self.interrupted = False

    @contextlib.contextmanager
    def bar(self, total: int) -> Iterator[None]:
        """How far it is, as long as it lasts."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._total = total
        with Progress(*columns, console=self._console) as progress:
            self._progress = progress, progress.add_task("enrolling", total=total)
            yield

    def left_out(self, path: Path, reason: str) -> None:
        """Something in the folder that is not taken."""
        self._bad.append({"photo": str(path), "error": "left_out", "message": reason})
        self._say(f"left out {path}: {reason}")

    def outcome(self, one: Enrolled) -> None:
        """What became of a photo, or of the photos of one person."""
        photos = [str(photo) for photo in several_of(one.photo)]
        if self._progress is not None:
            self._progress[0].advance(self._progress[1], len(photos))
        if one.stopped:
            self._error = one.error
            return
        wrong = {str(photo): error for photo, error in one.left_out}
        if one.error is not None:
            wrong = {photo: wrong.get(photo, one.error) for photo in photos}
        for photo, error in wrong.items():
            self._bad.append({"photo": photo, "error": error.code, "message": str(error)})
            self._say(f"left out {photo}: {error} [{error.code}]")
        if one.already:
            self._already += len(photos)
        elif one.error is None:
            self._new[one.label] += len(photos) - len(wrong)
            self._entries += 1
        if one.alike is not None:
            self._alike.append({"photo": photos[0], "label": one.label, "alike": one.alike})
            self._say(f"look at {photos[0]}: {one.label} and {one.alike} seem to be the same person")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def bad(self) -> bool:
        """Whether anything was left out."""
        return bool(self._bad)

    @property
    def ended_early(self) -> bool:
        """Whether there are photos that the run did not come to."""
        return self.interrupted or self._error is not None

    @property
    def _to_do(self) -> int:
        return self._total - self._new.total() - self._already - sum(one["error"] != "left_out" for one in self._bad)

    def body(self) -> dict[str, Any]:
        """For programs."""
        return {
            "enrolled": self._new.total(),
            "entries": self._entries,
            "people": len(self._new),
            "already": self._already,
            "left_out": self._bad,
            "alike": self._alike,
            "not_done": self._to_do,
            **({"error": self._error.code, "message": str(self._error)} if self._error else {}),
            **({"error": "stopped", "message": "stopped by the keyboard"} if self.interrupted else {}),
        }

    def lines(self) -> list[str]:
        """For people."""
        parts = [f"enrolled {self._new.total()} photos of {len(self._new)} people"]
        if self._already:
            parts.append(f"{self._already} were enrolled already")
        parts.append(f"{len(self._bad)} left out")
        lines = ["; ".join(parts)]
        if self.interrupted:
            lines.append(
                f"stopped: {self._to_do} photos were not done, or were on their way and may be enrolled; {GO_ON}"
            )
        elif self._error is not None:
            lines.append(f"error: {self._error} [{self._error.code}]")
            lines.append(f"{self._to_do} photos are not confirmed; {GO_ON}")
        return lines
