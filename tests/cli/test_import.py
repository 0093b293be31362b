"""Embeddings from files: every format gives the same rows, and what is wrong with a file or a row is told."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from fake_gateway import DIMENSION, FakeGateway, Fault, client_toml, person, serve

from pura.errors import BadEmbedding, PuraError
from pura_client import Raw, Ready, cli, connect, embeddings
from pura_client.embeddings import Columns
from pura_client.templates import vector_of

Pura = Callable[..., tuple[int, dict[str, Any]]]
"""Runs `pura import`; the exit status and what --json said."""
LABELS = ["Ada", "Grace", "王", 'says "hi", twice', "Ada"]
NUMBERS = np.stack([person(i) for i in range(5)])
NAMES = ["a", "g", "w", "s", "b"]


def written(folder: Path, kind: str) -> tuple[Path, Path | None]:
    path = folder / f"people.{kind}"
    if kind == "npy":
        np.save(path, NUMBERS)
        (folder / "labels.txt").write_text("\n".join(LABELS), "utf-8")
        return path, folder / "labels.txt"
    if kind == "npz":
        np.savez(path, embedding=NUMBERS, label=np.array(LABELS), name=np.array(NAMES))
    elif kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["name", *(f"e{i}" for i in range(DIMENSION)), "label"])
            people = zip(NAMES, NUMBERS.tolist(), LABELS, strict=True)
            table.writerows([name, *numbers, label] for name, numbers, label in people)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = pyarrow.table({"name": NAMES, "label": LABELS, "embedding": NUMBERS.tolist(), "other": [0] * 5})
        parquet.write_table(rows, path, row_group_size=2)
    return path, None


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "parquet"])
@pytest.mark.parametrize("piece", [1, 2, 1024])
def test_every_format_gives_the_same_rows(
    tmp_path: Path, kind: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "PIECE", piece)
    path, labels = written(tmp_path, kind)
    columns = Columns() if kind == "npy" else Columns(name="name")
    found = embeddings.rows(path, Ready, columns, labels)
    rows = list(found.enrolments)
    assert found.total == (None if kind == "csv" else 5)
    assert [row.label for row in rows] == LABELS
    assert [row.name for row in rows] == ([None] * 5 if kind == "npy" else NAMES)
    assert all(isinstance(row.photo, Ready) for row in rows)
    got = np.stack([vector_of(row.photo) for row in rows])  # type: ignore[arg-type]
    np.testing.assert_allclose(got, NUMBERS, rtol=1e-6)


def test_raw_is_raw(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "npz")
    assert all(isinstance(row.photo, Raw) for row in embeddings.rows(path, Raw).enrolments)


def npz(**arrays: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "x.npz", **arrays)  # type: ignore[arg-type]
        return folder / "x.npz"

    return write


def text(name: str, body: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(body)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (npz(label=np.array(LABELS)), "it has no"),
        (npz(embedding=NUMBERS), "it has no"),
        (npz(embedding=NUMBERS, label=np.array(LABELS[:3])), "5 embeddings, but 3 labels"),
        (npz(embedding=NUMBERS[0], label=np.array(LABELS)), "shape"),
        (npz(embedding=NUMBERS, label=np.array(LABELS, object)), "damaged"),
        (text("x.npz", b"PK\x03\x04 no"), "cannot be read"),
        (text("x.parquet", b"PAR1"), "cannot be read"),
        (text("x.csv", b"name,e0\n"), "it has no 'label'"),
        (text("x.csv", b""), "it has no 'label'"),
        (text("x.csv", b'label,e0\n"Ada,1\n'), "cannot be read"),
        (text("x.csv", b"label,e0\n\xff,1\n"), "cannot be read"),
        (text("x.xlsx", b""), "name a file"),
        (text("x.npy", b""), "file of labels"),
        (lambda folder: folder / "none.csv", "no such file"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, write: Callable[[Path], Path], said: str) -> None:
    if "parquet" in str(write(tmp_path)):
        pytest.importorskip("pyarrow")
    with pytest.raises(BadEmbedding, match=said):
        list(embeddings.rows(write(tmp_path), Ready).enrolments)


def test_what_is_pickled_in_a_file_is_never_run(tmp_path: Path) -> None:
    """An array of objects would be unpickled, and that can be any program."""

    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    np.savez(tmp_path / "x.npz", embedding=np.array([[Bad()]], object), label=np.array(["Ada"]))
    np.save(tmp_path / "x.npy", np.array([[Bad()]], object))
    (tmp_path / "labels.txt").write_text("Ada")
    for path, labels in ((tmp_path / "x.npz", None), (tmp_path / "x.npy", tmp_path / "labels.txt")):
        with pytest.raises(PuraError):
            list(embeddings.rows(path, Ready, labels=labels).enrolments)
    assert not (tmp_path / "ran").exists()


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def pura(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pura]:
    with serve(gateway) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "client.toml"))

        def invoke(*args: object) -> tuple[int, dict[str, Any]]:
            done = CliRunner().invoke(cli.cli, ["import", *map(str, args), "--insecure", "--json"])
            return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else {}

        yield invoke


def test_rows_are_enrolled_once_and_bad_ones_are_named(pura: Pura, gateway: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    rows = [[*person(0).tolist(), "Ada"], [*["x"] * DIMENSION, "Bad"], [*person(1).tolist(), ""]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*(f"e{i}" for i in range(DIMENSION)), "label"], *rows])
    status, body = pura(path, "--ready")
    assert status == 1
    assert (body["enrolled"], body["already"]) == (1, 0)
    assert [(one["row"], one["error"]) for one in body["left_out"]] == [(2, "bad_embedding"), (3, "out_of_range")]
    status, body = pura(path, "--ready")
    assert (status, body["enrolled"], body["already"]) == (1, 0, 1)
    assert len(gateway.entries) == 1
    assert pura(path)[0] == 2, "nobody said what the numbers are"


def test_servers_that_go_away_end_a_run_and_the_next_goes_on(pura: Pura, gateway: FakeGateway, tmp_path: Path) -> None:
    path, _ = written(tmp_path, "npz")
    gateway.batch = 2
    gateway.enrolments = 3
    status, body = pura(path, "--ready", "--name-column", "name")
    assert (status, body["enrolled"], body["error"]) == (2, 3, "budget_spent")
    gateway.enrolments = None
    status, body = pura(path, "--ready", "--name-column", "name")
    assert (status, body["enrolled"], body["already"]) == (0, 2, 3)
    assert len(gateway.entries) == 5


def test_a_file_that_ends_in_the_middle_keeps_what_came_before(
    pura: Pura, gateway: FakeGateway, tmp_path: Path
) -> None:
    path, _ = written(tmp_path, "csv")
    with path.open("ab") as file:
        file.write(b'n,"1')
    status, body = pura(path, "--ready", "--name-column", "name")
    assert (status, body["error"]) == (2, "bad_embedding")
    assert body["enrolled"] == len(gateway.entries) == 5


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from pura_client import Ready, embeddings\n"
        "from pura.errors import BadConfig\n"
        "try: embeddings.rows(Path(sys.argv[1]), Ready)\n"
        "except BadConfig as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.parquet")], capture_output=True, text=True, check=True
    )
    assert "pura-match[parquet]" in done.stdout


def test_the_stream_goes_on_without_a_roster_of_its_own(gateway: FakeGateway) -> None:
    """Many rows, a batch at a time: a run looks at the roster once, not once a batch."""
    gateway.batch = 2
    with serve(gateway) as config, connect(config, insecure=True) as client:
        done = client.enroll_many(iter([(Ready(person(i)), f"P{i}") for i in range(6)]))
    assert [one.error for one in done] == [None] * 6
    assert gateway.names().count("Roster") == 1
    assert gateway.names().count("Enroll") == 3


def test_a_fault_in_between_is_waited_for(
    pura: Pura, gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    path, labels = written(tmp_path, "npy")
    gateway.faults.append(Fault("Enroll", grpc.StatusCode.UNAVAILABLE, "peer_unavailable", times=2))
    status, body = pura(path, "--ready", "--labels", labels)
    assert (status, body["enrolled"] + body["already"]) == (0, 5)
    assert len(gateway.entries) == 5
