"""An entry that was locked by doubtful questions, and the operator's command that frees it, on two real servers."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from server_pair import deploy

from pura.ids import Engine, Party
from pura_server.audit import read
from pura_server.cli import cli

TRIES = "tries = [2, 2, 2]\ndeep_threshold = 0.6\n"


def command(*args: object) -> Result:
    return CliRunner().invoke(cli, ["unlock", *map(str, args)])


def test_an_entry_is_locked_and_unlocked(tmp_path: Path) -> None:
    made = deploy(tmp_path, Engine.PREPARED)
    for name in ("s1", "s2"):
        made.edit(name, lambda text: text.replace("[collection]\n", "[collection]\n" + TRIES))
    one, other = made.people(2, 5)
    made.start()
    try:
        with made.connect() as client:
            client.enroll(one, "Ada Lovelace")
            entry = f"{client.entries()[0].handle:016x}"
            assert client.verify(one, "Ada Lovelace").match
            for _ in range(2):
                assert not client.verify(other, "Ada Lovelace").match
            assert not client.verify(one, "Ada Lovelace").match
            assert client.identify(one).label == "Ada Lovelace"
            freed = command("--config", made.s1.config, entry)
            assert freed.exit_code == 0, freed.output
            assert client.verify(one, "Ada Lovelace").match
            assert "unknown_entry" in command("--config", made.s1.config, "0" * 15 + "1").output
    finally:
        assert made.stop() == [0, 0]
    s1, s2 = (list(read(made.folder / party.name.lower() / "audit", party)) for party in Party)
    tried = [line.number for line in s1 if line.kind == "unlock"]
    assert len(tried) == 2  # the second named nobody's entry
    assert [line.number for line in s2 if line.kind == "unlock"] == tried[:1]  # so no lock is lifted unseen
    for wrong in ((made.s2.config, entry), (made.s1.config, "abc"), (made.s1.config, *[entry] * 17)):
        assert command("--config", *wrong).exit_code == 2
