"""What a figure was measured on: every table and every JSON file carries it."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pura.bigint import library

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
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in [pid, *_descendants(pid)]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            if one == pid:
                raise
            continue
        total += sum(int(x) for x in fields[11:15]) / ticks  # utime, stime, cutime, cstime
    return total


def memory_bytes(pid: int) -> int:
    """Peak resident memory of a process and of its living children (Linux)."""
    total = 0
    for one in [pid, *_descendants(pid)]:
        try:
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    total += int(line.split()[1]) * 1024
        except FileNotFoundError:
            continue
    return total


def resident_bytes(pid: int, *, alone: bool = False) -> int:
    """Resident memory of a process and, unless `alone`, of its living children, now (Linux)."""
    total = 0
    for one in [pid] if alone else [pid, *_descendants(pid)]:
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except FileNotFoundError:
            continue
    return total


def _descendants(pid: int) -> list[int]:
    out = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                out += [int(child), *_descendants(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return out
