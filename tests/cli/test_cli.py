"""The command line `pura`: help texts, exit statuses, one-line errors."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fake_gateway import DIMENSION, FakeGateway, client_toml, person, serve

from pura.crypto.keys import load_public, load_share
from pura.errors import BadKeyFile, NoFace
from pura.face import centre
from pura.face.spec import DetectorSpec, EmbedderSpec
from pura_client import cli
from pura_client.session import Client

SNAPSHOTS = Path(__file__).parent / "help"
COMMANDS = ["", *cli.cli.commands]


@pytest.fixture
def run(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `pura` beside a fake gateway; photos are text files that hold the number of a person."""

    def embed(self: Client, photo: object, largest: bool) -> object:
        text = Path(str(photo)).read_text()
        if text == "none":
            raise NoFace()
        return template(self, person(int(text)), largest)

    template = Client._template
    monkeypatch.setattr(Client, "_template", embed)
    with serve(gateway) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "client.toml"))

        def invoke(*args: object) -> Result:
            connected = args[0] in ("enroll", "enroll-dir", "identify", "verify", "forget", "list", "status")
            return CliRunner().invoke(cli.cli, [*map(str, args), *(["--insecure"] if connected else [])])

        yield invoke


Run = Callable[..., Result]


def photo(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """`PURA_SNAPSHOTS=write pytest tests/cli` renews the snapshots."""
    result = CliRunner().invoke(cli.cli, [*command.split(), "--help"], prog_name="pura", terminal_width=100)
    snapshot = SNAPSHOTS / f"{command or 'pura'}.txt"
    if os.environ.get("PURA_SNAPSHOTS") == "write":
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(result.output)
    assert result.exit_code == 0
    assert result.output == snapshot.read_text()


def test_no_snapshot_is_left_over() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == {command or "pura" for command in COMMANDS}


# --- keygen -----------------------------------------------------------------------------------------


def test_keygen(tmp_path: Path) -> None:
    out = tmp_path / "keys"
    result = CliRunner().invoke(cli.cli, ["keygen", "--out", str(out), "--bits", "2048", "--json"])
    assert result.exit_code == 0
    body = json.loads(result.output)
    assert sorted(path.name for path in out.iterdir()) == ["public.key", "s1.share", "s2.share"]
    pk = load_public(out / "public.key")
    assert body["key_id"] == pk.key_id.hex()
    for name in ("s1.share", "s2.share"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600
        assert f"{int(load_share(out / name, pk).t):x}" not in result.output
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    again = CliRunner().invoke(cli.cli, ["keygen", "--out", str(out), "--bits", "2048"])
    assert again.exit_code == cli.ERROR
    assert "[would_overwrite]" in again.output
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    for name in ("s1.share", "s2.share"):
        raw = bytearray(before[name])
        raw[len(raw) // 2] ^= 1
        (out / name).write_bytes(raw)
        with pytest.raises(BadKeyFile):
            load_share(out / name, pk)


def test_keygen_refuses_when_any_of_the_files_is_there(tmp_path: Path) -> None:
    (tmp_path / "s2.share").write_text("mine")
    result = CliRunner().invoke(cli.cli, ["keygen", "--out", str(tmp_path)])
    assert result.exit_code == cli.ERROR
    assert [path.name for path in tmp_path.iterdir()] == ["s2.share"]


# --- centre -----------------------------------------------------------------------------------------


class Faces:
    """Photos are text files that hold the number of a person; what was given as a specification is kept."""

    def __init__(self, spec: EmbedderSpec, detector: DetectorSpec) -> None:
        Faces.spec = spec

    def load(self) -> None:
        pass

    def embed(self, photo: Path, *, largest: bool) -> np.ndarray:
        if photo.read_text() == "none":
            raise NoFace()
        return 5 * person(int(photo.read_text())) + 3


def test_centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pura.face.pipeline.FacePipeline", Faces)
    for i in range(5):
        photo(tmp_path / "here" / f"p{i}", "a.jpg", str(i))
    photo(tmp_path / "there", "b.jpg", "6")
    photo(tmp_path / "there", "c.jpg", "none")
    photo(tmp_path / "nobody", "d.jpg", "none")
    out = tmp_path / "centre.toml"
    here, there = ("--photos", tmp_path / "here"), ("--photos", tmp_path / "there")

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli.cli, ["centre", *map(str, args)])

    result = run(*here, *there, "--out", out)
    assert result.exit_code == 0, result.output
    assert "6 photos; 1 left out" in result.output
    assert "take more" in result.output
    basis = centre.read(out, None, DIMENSION)
    assert basis.shape == (2, DIMENSION)
    mean = centre.unit([5 * person(i) + 3 for i in range(5)]).mean(0)
    assert np.allclose(mean @ basis.T @ basis, mean, atol=1e-5)
    assert (Faces.spec.name, Faces.spec.centre) == ("sface", None)
    again = run(*here, "--out", out)
    assert (again.exit_code, "[would_overwrite]" in again.output) == (cli.ERROR, True)
    for args, code in [
        (("--photos", tmp_path / "nobody"), "no_face"),
        (("--photos", tmp_path / "none"), "unreadable_image"),
        ((*here, *here), "bad_weights"),
        ((*here, "--embedder", tmp_path / "none.toml"), "bad_config"),
    ]:
        refused = run(*args, "--out", tmp_path / "other.toml")
        assert refused.exit_code == cli.ERROR
        assert f"[{code}]" in refused.output
        assert not (tmp_path / "other.toml").exists()
    # a model of one's own; a centre that it has already does not count
    (tmp_path / "mine.toml").write_text('[embedder]\nname = "mine"\ndimension = 8\ncentre = "centre.toml"\n')
    as_json = run(*here, "--embedder", tmp_path / "mine.toml", "--out", tmp_path / "other.toml", "--json")
    assert json.loads(as_json.output)["photos"] == 5
    assert (Faces.spec.name, Faces.spec.centre) == ("mine", None)


# --- the job ----------------------------------------------------------------------------------------


def test_answers_and_exit_statuses(run: Run, tmp_path: Path) -> None:
    ada, grace = photo(tmp_path, "ada.jpg", "0"), photo(tmp_path, "grace.jpg", "3")
    assert run("enroll", ada, "--label", "Ada").output.startswith("enrolled Ada (entry ")
    for args, status, output in [
        (("identify", ada), 0, "Ada\n"),
        (("identify", grace), 1, "nobody who is enrolled\n"),
        (("verify", ada, "--label", "Ada"), 0, "yes, this is Ada\n"),
        (("verify", grace, "--label", "Ada"), 1, "no, this is not Ada\n"),
        (("verify", grace, "--label", "Bob"), 2, "error: Nobody is enrolled under this label. [unknown_label]\n"),
        (("forget", "Ada"), 0, "forgot Ada: 1 entries erased\n"),
        (("identify", ada), 1, "nobody who is enrolled\n"),
    ]:
        result = run(*args)
        assert (result.exit_code, result.output) == (status, output)


def test_json(run: Run, tmp_path: Path) -> None:
    ada, bad = photo(tmp_path, "ada.jpg", "0"), photo(tmp_path, "bad.jpg", "none")
    run("enroll", ada, "--label", "Ada")
    for args, status, body in [
        (("identify", ada), 0, {"match": True, "label": "Ada", "candidates": ["Ada"]}),
        (("identify", bad), 2, {"error": "no_face", "message": NoFace.hint}),
        (("list",), 0, {"people": {"Ada": 1}}),
    ]:
        result = run(*args, "--json")
        assert (result.exit_code, json.loads(result.output)) == (status, body)
    assert json.loads(run("status", "--json").output)["entries"] == 1


def test_enroll_dir(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    photo(folder, "Ada/1.jpg", "0")
    photo(folder, "Ada/2.png", "0")
    photo(folder, "Grace.pgm", "3")
    photo(folder, "notes.txt", "no photo")
    result = run("enroll-dir", folder)
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "enrolled 3 photos of 2 people; 0 left out")
    photo(folder, "Ada/3.jpg", "none")
    result = run("enroll-dir", folder)
    assert result.exit_code == cli.NO_MATCH
    assert "3.jpg: No face was found in the picture. [no_face]" in result.output
    assert result.output.splitlines()[-1] == "enrolled 3 photos of 2 people; 1 left out"
    assert "Ada" in run("list").output


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("enroll-dir", tmp_path / "empty").exit_code == cli.ERROR


def test_status_of_a_server_without_its_peer(run: Run, gateway: FakeGateway) -> None:
    gateway.peer_ready = False
    assert run("status").exit_code == cli.ERROR


def test_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PURA_CLIENT", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.cli, ["list"])
    assert result.exit_code == cli.ERROR
    assert result.output.startswith("error: client.toml cannot be read")


# --- the process ------------------------------------------------------------------------------------


def process(*args: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from pura_client import cli; sys.argv[0] = 'pura'; " + args[0]
    return subprocess.run([sys.executable, "-c", code, *args[1:]], capture_output=True, text=True, check=False)


def test_every_failure_of_the_process_ends_with_2(tmp_path: Path) -> None:
    crash = "cli.cli.commands['list'].callback = lambda **_: 1 / 0; cli.main()"
    for args, said in [
        (("cli.main()", "identify"), "Missing argument"),
        (("cli.main()", "identify", "x.jpg", "--config", str(tmp_path / "none.toml")), "[bad_config]"),
        ((crash, "list"), "ZeroDivisionError"),
    ]:
        result = process(*args)
        assert result.returncode == cli.ERROR
        assert said in result.stderr


def test_the_version() -> None:
    try:
        version = metadata.version("pura")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the sources, not installed")
    assert CliRunner().invoke(cli.cli, ["--version"]).output == f"pura, version {version}\n"


def test_an_array_is_a_photo(client: Client) -> None:
    client.enroll(np.asarray(person(0)), "Ada")
    assert client.identify(person(0)).label == "Ada"
