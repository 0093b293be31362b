"""A log that cannot be written: both servers start, answer, and count what they dropped."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest
from server_pair import LABELS, Deployment
from waiting import PATIENCE_S

from pura_client.processes import server_command


@contextlib.contextmanager
def standard_error(how: str) -> Iterator[int]:
    """A file descriptor that takes nothing."""
    if how == "full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full on this system")
        fd = os.open("/dev/full", os.O_WRONLY)
        yield fd
        os.close(fd)
        return
    reader, writer = os.pipe()
    if how == "reader gone":
        os.close(reader)
    else:  # a reader that sleeps, and left no room
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 1024)
        os.set_blocking(writer, True)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("how", ["full disk", "reader gone", "reader asleep"])
def test_servers_work_without_a_log(plain: Deployment, how: str) -> None:
    meters = [plain.measured(name) for name in ("s1", "s2")]
    (person,) = plain.people(1, 30)
    with standard_error(how) as sink:
        started = [
            subprocess.Popen(server_command("--config", str(server.config)), stdout=sink, stderr=sink)
            for server in plain.servers
        ]
        try:
            with plain.connect() as client:
                client.enroll(person, LABELS[0])
                assert client.identify(person).label == LABELS[0]
            if how != "reader asleep":  # there, lines wait until there are too many
                assert all(value("pura_log_lines_dropped_total") > 0 for value in meters)
        finally:
            for process in started:
                process.terminate()
            assert [process.wait(PATIENCE_S) for process in started] == [0, 0]
