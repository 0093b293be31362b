"""What S1 remembers about clients, across restarts: the ids of questions asked, and each client's two budgets.

`questions.db`, SQLite in WAL mode. A row is safe from a crash of the process as soon as a call returns, and from a
crash of the machine some moments later: that may forgive a client a few questions, and forget a few ids.

*Time* is the age of the list: seconds that passed while a server ran, by a clock that nobody sets, and for the time
between two runs what the wall clock says, a day at most. So a wall clock that was once years ahead, or is set back,
shuts nobody out and lets no id be forgotten before its time; and who sets it ahead and starts the server anew, which is
its operator, can give everybody a day's worth.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pura.errors import BadDataFolder, BudgetSpent, MalformedMessage, Replayed
from pura.ids import ClientId, RequestId
from pura.store.schema import typed_errors
from pura_server.buckets import Bucket, when
from pura_server.config import Budget

REQUEST_ID_BYTES = 16
FILE = "questions.db"
_SCHEMA = 2
_PRUNE_EVERY = 1024
_LONGEST_PAUSE_S = 86_400.0
_ROUNDING = 1e-9
_TABLES = """
CREATE TABLE clock (age REAL NOT NULL, wall REAL NOT NULL);
CREATE TABLE asked (id BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX asked_at ON asked (at);
CREATE TABLE bucket (client TEXT, kind TEXT, tokens REAL NOT NULL, at REAL NOT NULL, PRIMARY KEY (client, kind))
  WITHOUT ROWID;
"""


class _Kind(enum.StrEnum):
    """What a bucket counts."""

    QUESTIONS = "questions"
    ENROLMENTS = "enrolments"


class Questions:
    """Admits each question once, and each client as often as its budgets allow. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds since 1970, which may jump; `steady`: seconds, which never do.

        Raises `BadDataFolder` for a file of another version, `StorageFull`.
        """
        self._asking = Bucket(budget.questions, budget.per_hour, budget.interval_s)
        self._enrolling = Bucket(budget.enrolments, budget.enrolments_per_hour)
        self._remember_s = budget.replay_days * 86_400
        self._clock, self._steady = clock, steady
        self._lock = threading.Lock()
        self._admitted = 0
        path = folder / FILE
        with typed_errors():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA):
                raise BadDataFolder("the list of questions was made by a version of Pura that is not known here")
            if version == 0:
                self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_SCHEMA}; COMMIT;")
                self._db.execute("INSERT INTO clock VALUES (0, ?)", (clock(),))
            age, wall = map(float, self._db.execute("SELECT age, wall FROM clock").fetchone())
            self._offset = age + min(max(clock() - wall, 0.0), _LONGEST_PAUSE_S) - steady()
            self._save_age()

    def admit(self, client: ClientId, request: RequestId) -> None:
        """Count a question, once and for all: it is spent even if answering it fails.

        Raises `Replayed`, `BudgetSpent` (neither costs anything), `MalformedMessage`, `StorageFull`.
        """
        if len(request) != REQUEST_ID_BYTES:
            raise MalformedMessage(f"a request id has {REQUEST_ID_BYTES} bytes")
        with self._changing():
            now = self._age()
            if self._db.execute("SELECT 1 FROM asked WHERE id = ?", (request,)).fetchone():
                raise Replayed()
            taken, again = self._take(client, _Kind.QUESTIONS, self._asking, 1)
            if not taken:
                raise BudgetSpent(f"this client has used up its questions for now; {again}")
            self._db.execute("INSERT INTO asked VALUES (?, ?)", (request, now))
            if self._admitted % _PRUNE_EVERY == 0:
                self._db.execute("DELETE FROM asked WHERE at < ?", (now - self._remember_s,))
            self._admitted += 1

    def admit_enrolments(self, client: ClientId, count: int) -> tuple[int, BudgetSpent | None]:
        """Count enrolments, once and for all: for how many of `count` there is a budget, and what the others are told.

        Raises `StorageFull`.
        """
        with self._changing():
            taken, again = self._take(client, _Kind.ENROLMENTS, self._enrolling, count)
        refused = BudgetSpent(f"this client has used up its enrolments for now; {again}") if taken < count else None
        return taken, refused

    def give_back(self, client: ClientId) -> None:
        """Undo what the last question of a client cost; its id stays used. For one that S2 refused for its epoch.

        Raises `StorageFull`.
        """
        self._put_back(client, _Kind.QUESTIONS, self._asking, 1)

    def give_back_enrolments(self, client: ClientId, count: int) -> None:
        """The same for enrolments."""
        self._put_back(client, _Kind.ENROLMENTS, self._enrolling, count)

    def _put_back(self, client: ClientId, kind: _Kind, bucket: Bucket, count: int) -> None:
        # `at` goes back so that the next one need not wait; what the bucket fills by in that time is taken off again
        owed = count - bucket.interval_s * bucket.per_hour / 3600 + _ROUNDING
        with self._changing():
            self._db.execute(
                "UPDATE bucket SET tokens = min(tokens + ?, ?), at = at - ? WHERE client = ? AND kind = ?",
                (owed, float(bucket.capacity), bucket.interval_s, client, kind),
            )

    def _take(self, client: ClientId, kind: _Kind, bucket: Bucket, count: int) -> tuple[int, str]:
        """Take up to `count` out of a bucket: how many there were, and when to ask for the others."""
        now = self._age()
        row = self._db.execute("SELECT tokens, at FROM bucket WHERE client = ? AND kind = ?", (client, kind)).fetchone()
        tokens, passed = (float(bucket.capacity), bucket.interval_s) if row is None else (row[0], now - row[1])
        wait = bucket.wait_s(tokens, passed)
        if wait > 0:
            return 0, when(wait)
        tokens = bucket.level(tokens, passed)
        taken = min(count, int(tokens))
        self._db.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?, ?, ?)", (client, kind, tokens - taken, now))
        return taken, when(bucket.wait_s(tokens - taken, 0.0))

    def _age(self) -> float:
        return self._steady() + self._offset

    def _save_age(self) -> None:
        self._db.execute("UPDATE clock SET age = ?, wall = ?", (self._age(), self._clock()))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock, typed_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._save_age()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()
