"""What S1 remembers about questions, across restarts: the ids of those asked, and each client's budget.

`questions.db`, SQLite in WAL mode. A row is safe from a crash of the process as soon as `admit` returns, and from a
crash of the machine some moments later: that may forgive a client a few questions, and forget a few ids.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pura.errors import BadDataFolder, BudgetSpent, MalformedMessage, Replayed
from pura.ids import ClientId, RequestId
from pura.store.schema import typed_errors
from pura_server.config import Budget

REQUEST_ID_BYTES = 16
FILE = "questions.db"
_SCHEMA = 1
_PRUNE_EVERY = 1024
_TABLES = """
CREATE TABLE asked (id BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX asked_at ON asked (at);
CREATE TABLE budget (client TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
"""


class Questions:
    """Admits each question once, and each client as often as its budget allows. Thread-safe."""

    def __init__(self, folder: Path, budget: Budget, clock: Callable[[], float] = time.time) -> None:
        """Raises `BadDataFolder` for a file of another version, `StorageFull`."""
        self._budget = budget
        self._clock = clock
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

    def admit(self, client: ClientId, request: RequestId) -> None:
        """Count a question, once and for all: it is spent even if answering it fails.

        Raises `Replayed`, `BudgetSpent` (neither costs anything), `MalformedMessage`, `StorageFull`.
        """
        if len(request) != REQUEST_ID_BYTES:
            raise MalformedMessage(f"a request id has {REQUEST_ID_BYTES} bytes")
        with self._lock, typed_errors():
            now = self._clock()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if self._db.execute("SELECT 1 FROM asked WHERE id = ?", (request,)).fetchone():
                    raise Replayed()
                self._spend(client, now)
                self._db.execute("INSERT INTO asked VALUES (?, ?)", (request, now))
                if self._admitted % _PRUNE_EVERY == 0:
                    self._db.execute("DELETE FROM asked WHERE at < ?", (now - self._budget.replay_days * 86400,))
                self._admitted += 1
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _spend(self, client: ClientId, now: float) -> None:
        """tokens = min(capacity, tokens + (now - at) rate) - 1 >= 0."""
        budget = self._budget
        tokens = float(budget.questions)
        row = self._db.execute("SELECT tokens, at FROM budget WHERE client = ?", (client,)).fetchone()
        if row is not None:
            # a clock that was set back gives nothing and takes nothing
            passed = max(0.0, now - row[1])
            if passed < budget.interval_s:
                raise BudgetSpent(f"this client may ask once in {budget.interval_s:g} seconds")
            tokens = min(tokens, row[0] + passed * budget.per_hour / 3600)
        if tokens < 1:
            raise BudgetSpent()
        self._db.execute("INSERT OR REPLACE INTO budget VALUES (?, ?, ?)", (client, tokens - 1, now))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()
