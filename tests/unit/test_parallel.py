"""The worker pool: same results in the same order, whatever it runs on; a killed worker is an error, not a hang."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from pura.errors import BadConfig, OutOfRange, Overloaded
from pura.protocols.parallel import Workers


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    workers = Workers(2)
    workers.start()
    yield workers
    workers.close()


def square(value: int) -> int:
    return value * value


def process(_: int) -> int:
    return os.getpid()


def kill(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_inline_is_this_process() -> None:
    workers = Workers()
    assert workers.map(process, range(3)) == [os.getpid()] * 3
    workers.close()


def test_processes_keep_the_order(two: Workers) -> None:
    assert two.map(square, range(50)) == [i * i for i in range(50)]
    assert os.getpid() not in two.map(process, range(8))


def test_processes_from_other_threads(two: Workers) -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        for got in threads.map(lambda _: two.map(process, range(8)), range(6)):
            assert os.getpid() not in got


def test_another_backend() -> None:
    assert Workers(2, "threading").map(square, range(9)) == [i * i for i in range(9)]


def test_a_killed_worker_is_replaced(two: Workers) -> None:
    with pytest.raises(Overloaded):
        two.map(kill, range(4))
    assert two.map(square, range(4)) == [0, 1, 4, 9]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the children of a process in /proc")
def test_workers_end_with_a_killed_server() -> None:
    program = """
import time
from pura.protocols.parallel import Workers
workers = Workers(3)
workers.start()
print("started", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "started\n"
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        workers = [int(pid) for pid in children if "LokyProcess" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(workers) == 3
        assert all(alive(pid) for pid in workers)
        server.kill()
    until(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # where nobody reaps orphans they stay as zombies
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_no_workers() -> None:
    with pytest.raises(OutOfRange):
        Workers(0)


def test_processes_that_cannot_be_started_are_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # as for a read-only /dev/shm

    monkeypatch.setattr(Workers, "map", refused)
    with pytest.raises(BadConfig, match=r"workers\.backend"):
        Workers(2).start()
