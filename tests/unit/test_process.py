"""What a server and its workers keep to themselves: no core dump, no debugger, no file for others."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pura.protocols.parallel import Workers

_PR_GET_DUMPABLE = 3
linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

SCRIPT = """
import ctypes, os, resource, sys
from pura.process import keep_files_private, keep_memory_private
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
os.umask(0)
keep_files_private()
keep_memory_private()
open("made", "w").close()
os.mkdir("folder")
print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE))
"""


@linux
def test_a_process_that_keeps_to_itself(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0)\n"
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def dumpable(_: int) -> tuple[int, int, tuple[int, int]]:
    return os.getpid(), ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE), resource.getrlimit(resource.RLIMIT_CORE)


@linux
def test_workers_leave_no_core_dump_either() -> None:
    """They hold masks, and an exec makes a process dumpable again."""
    workers = Workers(2)
    try:
        found = workers.map(dumpable, range(8))
    finally:
        workers.close()
    assert os.getpid() not in {pid for pid, _, _ in found}
    assert {(state, limits) for _, state, limits in found} == {(0, (0, 0))}
