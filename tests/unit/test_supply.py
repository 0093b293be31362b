"""What is installed is what is named: the lock files cover pyproject.toml, with a hash for every file."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCKS = {
    "run": (),
    "desk": ("desk",),
    "attack": ("attack",),
    "dev": ("attack", "bench", "phe", "dask", "desk", "parquet", "dev"),
}


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _locked(lock: str) -> dict[str, str]:
    rows = (ROOT / "requirements" / f"{lock}.lock").read_text().splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", row) for row in rows]
    return {_name(match[1]): match[2] for match in found if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_locked_to_a_version_that_it_allows(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in LOCKS[lock]:
        wanted += project["optional-dependencies"][extra]
    locked = _locked(lock)
    for text in wanted:
        requirement = Requirement(text)
        if _name(requirement.name) in (_name(project["name"]), "torch"):  # torch has no one build for all places
            continue
        version = locked.get(_name(requirement.name))
        assert version is not None, f"{text} is not in {lock}.lock: make lock"
        assert requirement.specifier.contains(version), f"{text} is locked to {version}: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_file_has_a_hash(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_container_installs_from_the_lock_and_nothing_else() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert "run.lock" in text
