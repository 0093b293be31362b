"""The exit status is the decision's, whatever becomes of the output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_gateway import FakeGateway, client_toml, person, serve

from pura_client import Client, cli, connect

PROGRAM = """
import sys
import click
from pura_client import cli

@click.command("answer")
@click.argument("status", type=int)
def answer(status: int) -> None:
    click.echo("Zo\\u00eb \\u5c71\\u7530 " * 50_000)
    click.echo("Zo\\u00eb", err=True)
    click.get_current_context().exit(status)

cli.cli.add_command(answer)
sys.argv[0] = "pura"
cli.main()
"""


def _run(status: int, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM, "answer", str(status)]
    return subprocess.run(command, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("status", [0, 1])
def test_a_terminal_without_the_characters(status: int, encoding: str) -> None:
    poor = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = _run(status, capture_output=True, env=poor)
    assert found.returncode == status
    assert b"Traceback" not in found.stderr
    if encoding != "ascii":  # which click takes for a mistake of the environment, and writes UTF-8
        assert b"Zo\xeb ?? " in found.stdout


@pytest.mark.parametrize("status", [0, 1])
def test_a_reader_that_went_away(status: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = _run(status, stdout=writing, stderr=writing)
    finally:
        os.close(writing)
    assert found.returncode == status


@pytest.mark.parametrize("status", [0, 1])
def test_a_full_disk(status: int) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        assert _run(status, stdout=full, stderr=full).returncode == status


@pytest.mark.parametrize("status", [0, 1])
def test_no_output_at_all(status: int) -> None:
    close = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", close, "-c", PROGRAM, "answer", str(status)]
    assert subprocess.run(command, check=False, timeout=120).returncode == status


def test_nothing_from_outside_is_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(FakeGateway()) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        with connect(config, insecure=True) as client:
            enrol(client, "[/foo]", "[red]Eve[/]")
        monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "client.toml"))
        found = CliRunner().invoke(cli.cli, ["list", "--insecure"])
    assert found.exit_code == 0
    assert "[/foo]" in found.output
    assert "[red]Eve[/]" in found.output


def enrol(client: Client, *labels: str) -> None:
    for number, label in enumerate(labels):
        client.enroll(person(number), label)
