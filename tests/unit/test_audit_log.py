"""The audit log's chain: what breaks it, what a crash leaves, months, and what two servers' logs say of each other."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pura.errors import AuditBroken, BadDataFolder, StorageFull
from pura.ids import Party
from pura_server.audit import CUT, OPENED, AuditLog, read, unmatched

MAY = 1_780_000_000.0  # 2026-05-28
JUNE = MAY + 10 * 86_400


def filled(folder: Path, party: Party = Party.S1, clock: Callable[[], float] = lambda: MAY, number: int = 3) -> None:
    log = AuditLog(folder, party, clock)
    for i in range(number):
        log.write("identify", f"{i:012x}", client="door")
    log.close()


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    filled(tmp_path)
    lines = list(read(tmp_path, Party.S1))
    assert [(line.n, line.kind, line.number) for line in lines] == [
        (0, OPENED, ""),
        *((i + 1, "identify", f"{i:012x}") for i in range(3)),
    ]
    assert lines[1].more == {"client": "door"}
    assert lines[1].at == "2026-05-28T20:26:40Z"
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path)
    filled(tmp_path)
    assert [line.n for line in read(tmp_path, Party.S1)] == list(range(8))


@given(st.data())
def test_any_change_breaks_the_chain(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("audit")
    filled(folder)
    path = only_file(folder)
    body = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(body) - 2), label="place")
    body[place] ^= data.draw(st.integers(1, 255), label="bits")
    path.write_bytes(bytes(body))
    with pytest.raises(AuditBroken):
        list(read(folder, Party.S1))


@pytest.mark.parametrize("gone", [0, 1, 2], ids=["first", "second", "third"])
def test_a_line_taken_out_breaks_the_chain(tmp_path: Path, gone: int) -> None:
    filled(tmp_path)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    if gone == 0:  # as if an older file had been deleted: what is there says so
        assert next(read(tmp_path, Party.S1)).n == 1
        return
    with pytest.raises(AuditBroken, match=f"line {gone + 1}: line number"):
        list(read(tmp_path, Party.S1))


def test_a_log_is_one_servers(tmp_path: Path) -> None:
    filled(tmp_path, Party.S1)
    with pytest.raises(AuditBroken, match="how a log of S2 begins"):
        list(read(tmp_path, Party.S2))


def test_the_end_cut_off_is_seen_by_a_head_that_was_noted(tmp_path: Path) -> None:
    """The chain alone cannot tell; `verify --head` can."""
    filled(tmp_path)
    noted = list(read(tmp_path, Party.S1))[-1].head
    path = only_file(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert noted not in [line.head for line in read(tmp_path, Party.S1)]


def test_a_torn_line_is_taken_away_and_told(tmp_path: Path) -> None:
    filled(tmp_path)
    path = only_file(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"n":4,"at":"2026')
    assert len(list(read(tmp_path, Party.S1))) == 4  # it may just be being written
    AuditLog(tmp_path, Party.S1, lambda: MAY).close()
    lines = list(read(tmp_path, Party.S1))
    assert [line.kind for line in lines[4:]] == [CUT, OPENED]
    assert lines[4].more == {"bytes": 17}


def test_a_file_a_month_and_old_ones_may_go(tmp_path: Path) -> None:
    filled(tmp_path, clock=lambda: MAY)
    filled(tmp_path, clock=lambda: JUNE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit-2026-05.log", "audit-2026-06.log"]
    assert [line.n for line in read(tmp_path, Party.S1)] == list(range(8))
    (tmp_path / "audit-2026-05.log").unlink()
    assert [line.n for line in read(tmp_path, Party.S1)] == [4, 5, 6, 7]


def test_a_clock_that_goes_back_does_not_go_back_to_an_older_file(tmp_path: Path) -> None:
    filled(tmp_path, clock=lambda: JUNE)
    filled(tmp_path, clock=lambda: MAY)
    assert only_file(tmp_path).name == "audit-2026-06.log"
    assert [line.n for line in read(tmp_path, Party.S1)] == list(range(8))


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, Party.S1, lambda: MAY)
    write = os.write

    def half(fd: int, body: bytes) -> int:
        if len(body) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, body[: len(body) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StorageFull):
        log.write("identify", "0" * 12)
    monkeypatch.setattr(os, "write", write)
    log.write("verify", "1" * 12)
    assert [line.kind for line in read(tmp_path, Party.S1)] == [OPENED, "verify"]


@pytest.mark.parametrize(
    "text", [b"\n", b"[]\n", b"{}\n", b'{"n":true}\n', b"\xff\n", b"{" * 3000 + b"\n", b"x" * 5000 + b"\n"]
)
def test_what_is_no_line_is_a_typed_error(tmp_path: Path, text: bytes) -> None:
    filled(tmp_path)
    with only_file(tmp_path).open("ab") as file:
        file.write(text)
    with pytest.raises(AuditBroken):
        list(read(tmp_path, Party.S1))
    with pytest.raises(AuditBroken):
        AuditLog(tmp_path, Party.S1)


def test_no_log_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(BadDataFolder):
        list(read(tmp_path, Party.S1))


def test_operations_that_only_one_server_names(tmp_path: Path) -> None:
    """Of the time that both logs cover: what was before one began, or is newer than a copy, is nobody's fault."""
    times = iter(range(100))
    s1 = AuditLog(tmp_path / "s1", Party.S1, lambda: MAY + next(times))
    s2 = AuditLog(tmp_path / "s2", Party.S2, lambda: MAY + next(times))
    for number, logs in (("a", (s1,)), ("b", (s1, s2)), ("c", (s1,)), ("d", (s2,)), ("e", (s1, s2)), ("f", (s1,))):
        for log in logs:
            log.write("identify", number)
    mine, theirs = read(tmp_path / "s1", Party.S1), read(tmp_path / "s2", Party.S2)
    assert unmatched(mine, theirs) == (["c"], ["d"])


def test_lines_are_plain_json(tmp_path: Path) -> None:
    filled(tmp_path)
    for line in only_file(tmp_path).read_text("ascii").splitlines():
        assert set(json.loads(line)) <= {"n", "at", "number", "kind", "client", "head"}
