"""What a figure was measured on: every table and every JSON file carries it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pura.bigint import library

T = TypeVar("T")
PACKAGES = ("pura", "gmpy2", "numpy", "grpcio", "cryptography", "onnxruntime", "torch", "phe")


def describe(seed: int | str | None = None) -> dict[str, Any]:
    """Machine, versions, command and time of a run; no host name and no path."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "-"
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "bigint": library(),
        "versions": versions,
        "command": " ".join([_program(), *map(_without_place, sys.argv[1:])]),
        "seed": seed,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _without_place(word: str) -> str:
    """An absolute path says where this machine keeps things: only its last part is told."""
    return Path(word).name if word.startswith("/") else word


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _program() -> str:
    """How this was started: a script by its name, a module as Python takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = "" if spec is None else spec.name.removesuffix(".__main__")
    return f"python -m {module}" if module.startswith(("pura", "views")) else Path(sys.argv[0]).name


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all its living and finished children, from /proc (Linux).

    Raises `FileNotFoundError` when the process is gone.
    """
    ticks = sum(_stat(pid)) + sum(map(sum, _of_each(_descendants(pid), _stat)))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[int]:
    """utime, stime, cutime and cstime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) for field in fields[11:15]]


def memory_bytes(pid: int) -> int:
    """Peak resident memory of a process and of its living children (Linux)."""
    return sum(_of_each([pid, *_descendants(pid)], _peak))


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def resident_bytes(pid: int, *, alone: bool = False) -> int:
    """Resident memory of a process and, unless `alone`, of its living children, now (Linux)."""
    return sum(_of_each([pid] if alone else [pid, *_descendants(pid)], _resident))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _of_each(pids: Iterable[int], read: Callable[[int], T]) -> Iterator[T]:
    """What is read of those processes that are still there."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            yield read(pid)


def _descendants(pid: int) -> list[int]:
    out = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                out += [int(child), *_descendants(int(child))]
    return out
