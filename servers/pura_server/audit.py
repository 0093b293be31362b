"""The audit log: what kind of thing was asked when, at S1 by whom, one line for each, and never how it ended.

    line_n = {"n": n, "at": time, "number": operation, "kind": kind, ..., "head": h_n}
    h_n = SHA-256(h_(n-1) || line_n without its head),    h_(-1) = SHA-256("pura audit" || name of the server)

A line that is changed, taken out or put in between breaks the chain from there on. Who owns the file can write all of
it anew; what stands against that is the other server's chain, which names the same operation numbers, and a head that
was noted elsewhere. Files are one for each month, and a chain goes on from one to the next: old months may be deleted.

A line is given to the operating system before the operation begins, so a killed server has lost none; a machine that
loses power may have lost the last seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pura.descriptors import exhausted
from pura.errors import AuditBroken, BadDataFolder, StorageFull
from pura.ids import Party

_PATTERN = "audit-[0-9][0-9][0-9][0-9]-[0-9][0-9].log"
_LONGEST_LINE = 4096
_PRIVATE = 0o600
OPENED = "opened"
"""The kind of the line that a start of the server writes."""
CUT = "cut"
"""The kind of the line that says that the one before it was torn by a crash."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One line, as it was read and found good."""

    n: int
    at: str
    number: str
    """Twelve hexadecimal digits, the operation's in both servers' logs; empty for what is not an operation."""
    kind: str
    more: Mapping[str, object]
    head: str


def _broken(path: Path, line: int, why: str) -> AuditBroken:
    return AuditBroken(f"{path.name}, line {line}: {why}")


class AuditLog:
    """One server's log, open for more. Thread-safe."""

    def __init__(self, folder: Path, party: Party, clock: Callable[[], float] = time.time) -> None:
        """Continue the chain in `folder`, which is made. Raises `AuditBroken`, `StorageFull`."""
        self._folder, self._party, self._clock = folder, party, clock
        self._lock = threading.Lock()
        self._fd = -1
        self._month = ""
        torn = 0
        with _storage():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._n, self._head = -1, _genesis(party)
            if files := _files(folder):
                torn = _cut_tail(files[-1])
                self._n, self._head, self._month = _end_of(files, party)
        if torn:
            self.write(CUT, bytes=torn)
        self.write(OPENED)

    def write(self, kind: str, number: str = "", **more: str | int) -> None:
        """One line. Raises `StorageFull` if it cannot be written; nothing of it is left then."""
        with self._lock, _storage():
            now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
            self._turn(now.strftime("%Y-%m"))
            body = {"n": self._n + 1, "at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "number": number, "kind": kind, **more}
            head = _next(self._head, body)
            self._append(_text({**body, "head": head}))
            self._n, self._head = self._n + 1, head

    def close(self) -> None:
        """No more lines."""
        with self._lock:
            self._close()

    def _turn(self, month: str) -> None:
        """The file of this month; one that began is never gone back from, whatever the clock does."""
        if self._fd < 0 or month > self._month:
            self._close()
            self._month = max(month, self._month)
            path = self._folder / f"audit-{self._month}.log"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE)

    def _append(self, line: bytes) -> None:
        before = os.fstat(self._fd).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
            raise

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(folder: Path, party: Party) -> Iterator[Line]:
    """All lines of a chain, from the oldest file that is there, each checked. Raises `AuditBroken`, `BadDataFolder`.

    If the first line is not the chain's first, older files were deleted: its own number says how many lines they had.
    A last line without an end is being written, or was torn: it is not given."""
    files = _files(folder)
    if not files:
        raise BadDataFolder(f"{folder}: no audit log is there")
    head: str | None = None
    n = 0
    for path in files:
        for place, text in enumerate(_lines(path), 1):
            body = _parsed(path, place, text)
            shown = body.pop("head")
            if head is None:
                n = body["n"]
                # the line before the first that is kept is gone: what it says of itself starts the chain
                if n == 0 and shown != _next(_genesis(party), body):
                    raise _broken(path, place, f"this is not how a log of {party.name} begins")
            elif body["n"] != n:
                raise _broken(path, place, f"line number {body['n']} where {n} should be")
            elif shown != _next(head, body):
                raise _broken(path, place, "this line or one before it was changed")
            head, n = shown, n + 1
            yield Line(body.pop("n"), str(body.pop("at")), str(body.pop("number")), str(body.pop("kind")), body, shown)


def unmatched(mine: Iterable[Line], theirs: Iterable[Line]) -> tuple[list[str], list[str]]:
    """The numbers of operations that only one of two servers' logs names, of the time that both cover."""
    first, second = _by_number(mine), _by_number(theirs)
    if not first or not second:
        return sorted(first), sorted(second)
    since = max(min(first.values()), min(second.values()))
    until = min(max(first.values()), max(second.values()))

    def alone(times: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
        return sorted(number for number, at in times.items() if number not in other and since <= at <= until)

    return alone(first, second), alone(second, first)


def _by_number(lines: Iterable[Line]) -> dict[str, str]:
    return {line.number: line.at for line in lines if line.number}


def _genesis(party: Party) -> str:
    return hashlib.sha256(b"pura audit" + party.name.encode()).hexdigest()


def _next(head: str, body: Mapping[str, object]) -> str:
    return hashlib.sha256(bytes.fromhex(head) + _text(body)).hexdigest()


def _text(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN))


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file."""
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if not line.endswith(b"\n") and len(line) <= _LONGEST_LINE:
                    return
                yield line
    except OSError as error:
        raise exhausted(error) or BadDataFolder(f"{path} cannot be read", detail=str(error)) from error


def _parsed(path: Path, place: int, text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
        good = (
            isinstance(body, dict)
            and isinstance(body["n"], int)
            and all(isinstance(body[name], str) for name in ("at", "number", "kind", "head"))
            and len(bytes.fromhex(body["head"])) == hashlib.sha256().digest_size
        )
    except (ValueError, KeyError, RecursionError):
        good = False
    if not good or _text(body) != text:
        raise _broken(path, place, "this is no line of an audit log")
    return body  # type: ignore[no-any-return]


def _cut_tail(path: Path) -> int:
    """Take a last line that was torn away; how many bytes it had."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_LINE))
        tail = file.read()
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn:
            file.truncate(size - torn)
    return torn


def _end_of(files: list[Path], party: Party) -> tuple[int, str, str]:
    """The last line's number and head, and its file's month. A last file may be empty: then the one before it tells."""
    month = files[-1].stem.removeprefix("audit-")
    for path in reversed(files):
        last, place = b"", 0
        for place, last in enumerate(_lines(path), 1):  # noqa: B007
            pass
        if last:
            body = _parsed(path, place, last)
            return body["n"], body["head"], month
    return -1, _genesis(party), month


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise exhausted(error) or StorageFull(
            "the audit log cannot be written, so nothing is done", detail=str(error)
        ) from error
