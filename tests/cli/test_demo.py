"""The demo's own logic, beside a gateway that decrypts: what it asks, what it calls right, what it writes."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fake_gateway import DIMENSION, FakeGateway, client_toml, person, serve

from pura.errors import NotReady
from pura.face.spec import EmbedderSpec
from pura.ids import Engine
from pura_client import cli, demo, report, session
from pura_client.processes import free_ports

PLAN = demo.Plan(enrolled=4, photos_each=1, strangers=2, verified=4, bits=2048, note="A small one.")
QUESTIONS = 4 + 4 + 2 + 2 + 1


class Faces:
    """Embeds a picture of person i, a square of grey level i, as person i."""

    spec = EmbedderSpec(name="none", dimension=DIMENSION)

    def embed(self, photo: np.ndarray, *, largest: bool = False) -> np.ndarray:
        return person(int(photo[0, 0]))


@pytest.fixture
def small(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    photos = {f"Person {i}": [np.full((12, 10), i, np.uint8)] * 3 for i in range(6)}

    @contextlib.contextmanager
    def servers(s1: Path, s2: Path, client: Path) -> Iterator[None]:
        client.parent.mkdir()
        client.write_text(client_toml(config))
        yield

    with serve(gateway) as config:
        monkeypatch.setattr(demo, "PLANS", {Engine.PREPARED: PLAN})
        monkeypatch.setattr(demo, "load_photos", lambda: (photos, Faces()))
        monkeypatch.setattr(demo, "two_servers", servers)
        monkeypatch.setattr(demo.Demo, "_init", lambda self: None)
        monkeypatch.setattr(demo, "connect", functools.partial(session.connect, insecure=True))
        yield gateway


def run(out: Path, *args: str) -> Any:
    return CliRunner().invoke(cli.cli, ["demo", "--out", str(out), *args])


def test_everything_right(small: FakeGateway, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the second run replaces the first
        result = run(out)
        assert result.exit_code == 0, result.output
        assert f"{QUESTIONS} of {QUESTIONS} decisions right" in result.output
        small.erase(list(small.entries))
    html = (out / "report.html").read_text()
    assert html.count("data:image/png;base64,") == QUESTIONS + PLAN.enrolled
    assert "A small one." in html
    assert "WRONG" not in html
    assert "http" not in html  # nothing is fetched: one file
    query = next(request.query for name, request in reversed(small.calls) if name == "Identify")
    assert query.ciphertexts[:16].hex() in html


def test_a_wrong_decision_is_said(small: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = np.zeros(small.params.dimension, np.int64)
    monkeypatch.setattr(small, "_decrypt", lambda raw, real=small._decrypt: real(raw) if not small.done else nobody)
    result = run(tmp_path / "out")
    assert result.exit_code == cli.NO_MATCH
    assert "WRONG" in result.output
    assert "WRONG" in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_that_is_not_the_demo_s_is_left_alone(small: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    result = run(tmp_path)
    assert result.exit_code == cli.ERROR
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_ends_with_2(small: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: demo.Demo) -> None:
        raise NotReady("no")

    monkeypatch.setattr(demo.Demo, "_init", broken)
    assert run(tmp_path / "out").exit_code == cli.ERROR


def test_what_a_server_keeps(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("CREATE TABLE entries (handle INTEGER, row BLOB, tag BLOB, digest BLOB)")
        db.execute("INSERT INTO entries VALUES (1, ?, ?, ?)", (b"\x07" * 500, b"short", bytes(32)))
    (tmp_path / "other.txt").write_text("no database")
    (seen,) = report.kept_by(tmp_path)
    assert (seen.what, seen.size, seen.head[:8]) == ("kept on disk: entries.row", 500, "07070707")


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5
