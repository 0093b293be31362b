"""`pura bench` is found by its entry point, lists its commands without importing them, and says what is missing."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from pura_bench import cli
from pura_client.cli import cli as pura


def test_bench_is_a_command_of_pura() -> None:
    result = CliRunner().invoke(pura, ["bench", "--help"])
    assert result.exit_code == 0, result.output
    assert all(name in result.output for name in cli.COMMANDS)


def test_listing_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pura_bench.micro", raising=False)
    assert CliRunner().invoke(cli.bench, ["--help"]).exit_code == 0
    assert "pura_bench.micro" not in sys.modules


@pytest.mark.parametrize(
    ("module", "says"),
    [("pura_bench.nothing:here", "this version has no `pura bench gone`"), ("no_such_package:x", "no_such_package")],
)
def test_what_cannot_be_imported(module: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "gone", (module, "Gone."))
    result = CliRunner().invoke(cli.bench, ["gone"])
    assert result.exit_code == 1
    assert says in result.output


def test_an_unknown_command() -> None:
    context = click.Context(cli.bench)
    assert cli.bench.get_command(context, "nonsense") is None
