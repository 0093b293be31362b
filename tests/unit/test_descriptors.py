"""Out of file descriptors is `overloaded`, not damage, and it passes."""

from __future__ import annotations

import errno
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from descriptors import none_left

from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng
from pura.descriptors import exhausted
from pura.errors import BadConfig, BadDataFolder, Overloaded
from pura.ids import Fingerprint, KeyId, Party
from pura.protocols.shares.ledger import EPOCH_BYTES, Counters
from pura.store import SqliteStore
from pura.store.check import check_folder
from pura.store.schema import typed_errors
from pura_server.config import Budget
from pura_server.credentials import ClientList, May, add_client
from pura_server.prepared.counters import MaskedLedger
from pura_server.questions import Questions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_NOFILE")

SHOWN = Fingerprint("a" * 64)


def ledger(folder: Path) -> MaskedLedger:
    return MaskedLedger(folder, bytes(32), MaskKeys({1: bytes(32)}), SeededRng("ledger"))


def test_what_it_is_and_what_it_is_not() -> None:
    for number in (errno.EMFILE, errno.ENFILE):
        assert isinstance(exhausted(OSError(number, "too many")), Overloaded)
        later = BadConfig("the list cannot be read")
        later.__cause__ = OSError(number, "too many")
        assert isinstance(exhausted(later), Overloaded)
    for other in (OSError(errno.ENOSPC, "full"), ValueError(), FileNotFoundError(errno.ENOENT, "none"), None):
        assert exhausted(other) is None


def test_sqlite_does_not_say_so(tmp_path: Path) -> None:
    def connect() -> None:
        with typed_errors():
            sqlite3.connect(tmp_path / "new.db").execute("PRAGMA user_version")

    with none_left(), pytest.raises(Overloaded):
        connect()
    connect()
    with pytest.raises(BadDataFolder), typed_errors():
        sqlite3.connect(tmp_path / "no such folder" / "new.db")


def passes(what: Callable[[], object]) -> None:
    """`what` is overloaded while there are no descriptors, and works before and after."""
    what()
    with none_left(), pytest.raises(Overloaded):
        what()
    what()


def test_the_store(tmp_path: Path) -> None:
    def use() -> None:
        with SqliteStore.open(tmp_path / "data", role=Party.S1, agreement=bytes(32), key_id=KeyId(bytes(16))):
            pass

    passes(use)
    passes(lambda: check_folder(tmp_path / "data"))


def test_the_list_of_questions(tmp_path: Path) -> None:
    passes(lambda: Questions(tmp_path, Budget()).close())


def test_the_list_of_clients(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    add_client(path, "desk", SHOWN, frozenset(May))
    passes(lambda: ClientList(path).find(SHOWN, None))
    with none_left(), pytest.raises(Overloaded):
        add_client(path, "door", Fingerprint("b" * 64), frozenset(May))


def test_the_counters_are_not_forgotten(tmp_path: Path) -> None:
    epoch = bytes(EPOCH_BYTES)
    handles = np.array([7], np.uint64)
    counters = Counters(epoch, handles, np.array([3], np.uint64))
    made = ledger(tmp_path)
    stood = made.now
    with none_left(), pytest.raises(Overloaded):
        made.move(counters, stood)
    made.move(counters, stood)
    passes(lambda: ledger(tmp_path))
    assert ledger(tmp_path).now.handles.tolist() == [7]
