"""A peer's own environment, made on demand in the user's cache; nothing of it touches ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs

from pura_bench.peers.registry import Peer

READY = ".ready"
INSTALL_S = 1800
SCRIPTS = Path(__file__).parent / "scripts"


class Unavailable(Exception):
    """This peer cannot be had or run here; the message says why."""


def default_cache() -> Path:
    """Where environments are kept."""
    return Path(platformdirs.user_cache_dir("pura")) / "peers"


def interpreter(version: str) -> str | None:
    """A CPython of this version on the path or among pyenv's, one that really starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}")))]
    for python in filter(None, found):
        done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    return None


def choose(peer: Peer, find: Callable[[str], str | None] = interpreter) -> tuple[str, tuple[str, ...]]:
    """The interpreter and the pinned packages. Raises `Unavailable` when no wheel fits an interpreter that is here."""
    if not peer.builds:
        return sys.executable, peer.packages
    for version, packages in peer.builds:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            return sys.executable, packages
        found = find(version)
        if found is not None:
            return found, packages
    versions = " or ".join(version for version, _ in peer.builds)
    raise Unavailable(f"its wheels need CPython {versions}, and there is none here")


def prepare(peer: Peer, cache: Path, *, install: bool = True) -> Path:
    """The interpreter of a ready environment. Raises `Unavailable` when it cannot be made or may not be."""
    python, packages = choose(peer)
    same = python == sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}" if same else Path(python).name
    key = hashlib.sha256(json.dumps([version, packages, peer.loose]).encode()).hexdigest()[:12]
    folder = cache / f"{peer.environment}-{key}"
    inside = folder / "bin" / "python"
    if (folder / READY).exists():
        return inside
    if not install:
        raise Unavailable("its environment was not made yet, and --no-install was given")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [[python, "-m", "venv", str(folder)], [*pip, *packages]]
    if peer.loose:
        steps.append([*pip, "--no-deps", *peer.loose])
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the installation took longer than {INSTALL_S} s") from None
        if done.returncode != 0:
            raise Unavailable(f"it does not install: {last_line(done.stderr)}")
    (folder / READY).touch()
    return inside


def run_script(python: Path, script: str, workload: Path, result: Path, limit_s: float) -> str:
    """Run a peer's script; what it printed. Raises `Unavailable` when it fails or takes too long."""
    command = [str(python), str(SCRIPTS / "main.py"), script, str(workload), str(result)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment.setdefault("OMP_NUM_THREADS", "1")  # OpenFHE's threads wait for each other more than they help here
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, env=environment, cwd=result.parent
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"stopped after {limit_s:.0f} s") from None
    if done.returncode != 0 or not result.exists():
        raise Unavailable(f"it failed: {last_line(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout + done.stderr


def last_line(text: str) -> str:
    """The last line that says something, without a path."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "WARNING" not in line]
    return lines[-1][:200] if lines else ""
