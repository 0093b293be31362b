"""A desk as people run it, `pura desk`, in a process of its own, in front of two real servers."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from server_pair import Deployment, deploy
from waiting import PATIENCE_S

from pura.face.spec import MIRRORED
from pura.ids import Engine
from pura_client.processes import free_ports
from pura_server.deploy import THRESHOLDS


@dataclasses.dataclass
class Desk:
    """url: where it is, without a slash at the end; http: calls there."""

    url: str
    made: Deployment
    http: httpx.Client


def faces_deployment(folder: Path) -> Deployment:
    """Two servers for real faces, not started."""
    threshold = THRESHOLDS[MIRRORED]
    return deploy(folder, Engine.PREPARED, dimension=128, threshold=threshold, embedder=MIRRORED)


@contextlib.contextmanager
def desk(made: Deployment, *args: str, verify: ssl.SSLContext | bool = True) -> Iterator[Desk]:
    """Open a desk; it is stopped at the end, and must end well."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "pura_desk", "--config", str(made.client_toml), "--port", str(port), *args]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        url = _opened(process)
        with httpx.Client(base_url=url, timeout=PATIENCE_S, verify=verify, trust_env=False) as http:
            yield Desk(url, made, http)
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said


def _opened(process: subprocess.Popen[str]) -> str:
    """The address that it names once it listens."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert process.stdout is not None
    stdout = process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    line = lines.get(timeout=PATIENCE_S)
    prefix = "the desk is open: "
    assert line.startswith(prefix), line
    return line.removeprefix(prefix).strip().rstrip("/")


def upload(name: str, bodies: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Files of a form."""
    return [(name, (f"{i}.jpg", body, "image/jpeg")) for i, body in enumerate(bodies)]
