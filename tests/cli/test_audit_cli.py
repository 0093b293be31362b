"""`pura-server audit` on folders that two servers could have written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pura.ids import Party
from pura_server.audit import AuditLog
from pura_server.cli import cli
from pura_server.config import Collection
from pura_server.deploy import Hosts, make

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
MAY = 1_780_000_000.0


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["audit", *map(str, args)])


@pytest.fixture
def s1(tmp_path: Path) -> Path:
    """The configuration of S1 of a deployment in whose logs are three operations, of which S2 saw two and one more."""
    toml, _, _ = make(tmp_path / "out", KEYS, Collection(threshold=0.4), Hosts("127.0.0.1", "127.0.0.1", 7701, 7702))
    times = iter(range(100))
    logs = {
        party: AuditLog(tmp_path / f"out/{party.name.lower()}/audit", party, lambda: MAY + next(times))
        for party in Party
    }
    for number, kind, client, parties in (
        ("00000000000a", "identify", "desk", Party),
        ("00000000000b", "enrol", "camera", (Party.S1,)),
        ("00000000000c", "identify", "", (Party.S2,)),
        ("00000000000d", "verify", "camera", Party),
    ):
        for party in parties:
            logs[party].write(kind, number, **({"client": client} if party is Party.S1 else {}))
    return toml


def test_show(s1: Path) -> None:
    lines = run("show", "--config", s1).output.splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["-", "opened"],
        ["00000000000a", "identify", "client=desk"],
        ["00000000000b", "enrol", "client=camera"],
        ["00000000000d", "verify", "client=camera"],
    ]
    assert len(run("show", "--config", s1, "--client", "camera").output.splitlines()) == 2
    last = lines[-1].split()[0]
    assert run("show", "--config", s1, "--since", last).output.splitlines() == lines[-1:]


def test_verify_tells_what_each_log_has_alone(s1: Path) -> None:
    fine = run("verify", "--config", s1)
    assert fine.exit_code == 0
    assert "S1: 4 lines" in fine.output
    compared = run("verify", "--config", s1, "--other", s1.parents[1] / "s2" / "audit")
    assert compared.exit_code == 1
    assert "1 operations of S1 did not reach S2" in compared.output
    assert "not in S1's log: 00000000000c" in compared.output


def test_verify_with_a_head_that_was_noted(s1: Path) -> None:
    head = run("verify", "--config", s1).output.split()[-1]
    assert run("verify", "--config", s1, "--head", head).exit_code == 0
    (path,) = (s1.parent / "audit").iterdir()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    cut = run("verify", "--config", s1, "--head", head)
    assert cut.exit_code == 1
    assert "written anew" in cut.output


def test_a_line_that_was_changed(s1: Path) -> None:
    (path,) = (s1.parent / "audit").iterdir()
    path.write_bytes(path.read_bytes().replace(b"camera", b"desk00", 1))
    changed = run("verify", "--config", s1)
    assert changed.exit_code == 2
    assert changed.output.startswith(f"error: {path.name}, line 3:")
    assert "[audit_broken]" in changed.output


def test_a_server_without_an_audit_log(s1: Path) -> None:
    s1.write_text(s1.read_text().replace("[audit]\nfolder", "[audit]\n# folder"))
    none = run("show", "--config", s1)
    assert none.exit_code == 2
    assert "keeps no audit log" in none.output
