"""What import-linter cannot see: modules that no contract names, gmpy2 by any path, randomness that is none, and files
that hide a second job."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = [ROOT / "pura", ROOT / "servers", ROOT / "clients"]
FILES = [p for folder in PRODUCT for p in sorted(folder.rglob("*.py")) if "_pb" not in p.parts]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
TOP = {
    f"pura.{path.stem}"
    for path in (ROOT / "pura").iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
}


MOST_LINES = 500
LONGER = {
    "servers/pura_server/gateway.py": "one method for each call of the service, each a few lines",
    "clients/pura_client/cli.py": "one function for each command, most of it its options",
    "clients/pura_client/session.py": "one method for each thing that a client does: what users import",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


IMPORTS = {path.relative_to(ROOT).as_posix(): set(imported(path)) for path in FILES}


def importers(package: str, under: str = "") -> set[str]:
    return {
        path
        for path, names in IMPORTS.items()
        if path.startswith(under) and any(n == package or n.startswith(package + ".") for n in names)
    }


def test_every_module_has_its_layer() -> None:
    """A module that the contract does not name may import anything."""
    (layers,) = (c["layers"] for c in CONTRACTS if c["type"] == "layers")
    named = {name.strip() for layer in layers for name in layer.split("|")}
    assert named & TOP == TOP


def test_every_module_is_kept_from_gmpy2() -> None:
    (sources,) = (c["source_modules"] for c in CONTRACTS if c["type"] == "forbidden")
    assert {*sources} & TOP >= TOP - {"pura.bigint"}


def test_only_one_file_imports_gmpy2() -> None:
    assert importers("gmpy2") == {"pura/bigint.py"}


@pytest.mark.parametrize("under", ["pura/crypto", "pura/protocols", "pura/rounds.py", "pura/messages.py"])
@pytest.mark.parametrize("package", ["random", "numpy.random", "os.urandom", "time", "socket", "grpc", "logging"])
def test_protocols_do_no_io_and_have_no_randomness_of_their_own(under: str, package: str) -> None:
    allowed = {"pura/protocols/parallel.py"} if package == "time" else set()
    assert importers(package, under) <= allowed


def test_secrets_come_from_one_place() -> None:
    assert importers("secrets", "pura/crypto") == {"pura/crypto/rng.py"}
    assert not importers("secrets", "pura/protocols")


def test_cryptography_does_not_call_numpy_s_generator() -> None:
    for path in FILES:
        if path.is_relative_to(ROOT / "pura" / "crypto") or path.is_relative_to(ROOT / "pura" / "protocols"):
            assert "np.random" not in path.read_text(), path


def test_nothing_is_drawn_from_random() -> None:
    """Also where it would do, as for the jitter of retries: a reader need not ask which places matter."""
    assert not importers("random")
    drawn = [path for path in FILES if "np.random" in path.read_text() or "numpy.random" in path.read_text()]
    assert [path for path in drawn if not path.is_relative_to(ROOT / "pura" / "attack")] == []


def test_a_long_file_has_a_reason() -> None:
    long = {path.relative_to(ROOT).as_posix() for path in FILES if len(path.read_text().splitlines()) > MOST_LINES}
    assert long - LONGER.keys() == set(), "ask what it hides"
    assert LONGER.keys() - long == set(), "no longer long: take it off the list"
