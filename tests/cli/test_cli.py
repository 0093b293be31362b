"""The command line `pura`: help texts, exit statuses, one-line errors."""

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from fake_gateway import DIMENSION, FakeGateway, Fault, client_toml, person, serve

from pura.crypto.keys import load_public, load_share
from pura.errors import BadKeyFile, NoFace
from pura.face import centre
from pura.face.spec import DetectorSpec, EmbedderSpec
from pura_client import cli, folders
from pura_client import session as session_module
from pura_client.session import Client
from pura_client.templates import Templates

SNAPSHOTS = Path(__file__).parent / "help"
COMMANDS = ["", *cli.cli.commands, "desk", "desk token"]


@pytest.fixture
def run(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `pura` beside a fake gateway; photos are text files that hold the number of a person."""

    def embed(self: Templates, photo: object, largest: bool) -> object:
        text = Path(str(photo)).read_text()
        if text == "none":
            raise NoFace()
        if text == "stop":
            raise KeyboardInterrupt
        return person(int(text)).astype(np.float64)

    monkeypatch.setattr(Templates, "_embedding", embed)
    with serve(gateway) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "client.toml"))

        def invoke(*args: object) -> Result:
            connected = args[0] not in ("keygen", "centre", "demo")
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
    snapshot = SNAPSHOTS / f"{command.replace(' ', '-') or 'pura'}.txt"
    if os.environ.get("PURA_SNAPSHOTS") == "write":
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(result.output)
    assert result.exit_code == 0
    assert result.output == snapshot.read_text()


def test_no_snapshot_is_left_over() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == {command.replace(" ", "-") or "pura" for command in COMMANDS}


# --- keygen -----------------------------------------------------------------------------------------


def test_keygen(tmp_path: Path) -> None:
    out = tmp_path / "keys"
    result = CliRunner().invoke(cli.cli, ["keygen", "--out", str(out), "--bits", "2048", "--json"])
    assert result.exit_code == 0
    body = json.loads(result.output)
    assert sorted(path.name for path in out.iterdir()) == ["ceremony.txt", "public.key", "s1.share", "s2.share"]
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


def test_several_photos_of_one_person(run: Run, tmp_path: Path) -> None:
    one, two, other = (photo(tmp_path, f"{name}.jpg", who) for name, who in [("a", "0"), ("b", "0 "), ("c", "3")])
    made = run("enroll", one, two, "--label", "Ada")
    assert (made.exit_code, made.output.endswith(", the mean of 2 photos)\n")) == (0, True)
    again = run("enroll", two, one, "--label", "Ada")
    assert again.output.startswith("Ada is enrolled already (entry ")
    refused = run("enroll", one, two, other, "--label", "Ada")
    assert refused.exit_code == cli.ERROR
    assert refused.output == f"error: not like the other photos: {other} [photos_disagree]\n"
    both = run("enroll", one, other, "--label", "Ada")
    assert both.output == f"error: these photos do not show one person: {one}, {other} [photos_disagree]\n"
    none = photo(tmp_path, "none.jpg", "none")
    assert run("enroll", one, none, "--label", "Ada").output.startswith(f"error: {none}: No face was found")
    assert json.loads(run("list", "--json").output) == {"people": {"Ada": 1}}


def test_enroll_dir(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    photo(folder, "Ada/1.jpg", "0")
    photo(folder, "Ada/2.PNG", "0 ")
    photo(folder, "Ada/3.jpg", "none")
    photo(folder, "Ada/4.jpg", "5")
    photo(folder, "Grace.heic", "3")
    photo(folder, "Alan", "6")  # without a suffix: it is looked at
    result = run("enroll-dir", folder)
    assert result.exit_code == cli.NO_MATCH
    assert "3.jpg: No face was found in the picture. [no_face]" in result.output
    assert "4.jpg: it does not look like the other photos of this person [photos_disagree]" in result.output
    assert result.output.splitlines()[-1] == "enrolled 4 photos of 3 people; 2 left out"
    assert json.loads(run("list", "--json").output) == {"people": {"Ada": 1, "Alan": 1, "Grace": 1}}
    body = json.loads(run("enroll-dir", folder, "--json").output)
    assert (body["enrolled"], body["entries"], body["already"], body["left_out"]) == (0, 0, 6, [])


def test_enroll_dir_of_people_who_have_an_entry_of_other_photos(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    photo(folder, "Ada/1.jpg", "0")
    run("enroll-dir", folder)
    photo(folder, "Ada/2.jpg", "0 ")
    photo(folder, "Bob/1.jpg", "1")
    photo(folder, "Bob/2.jpg", "4")
    result = run("enroll-dir", folder, "--json")
    assert result.exit_code == cli.NO_MATCH
    assert [(Path(one["photo"]).parts[-2:], one["error"]) for one in json.loads(result.output)["left_out"]] == [
        (("Ada", "1.jpg"), "enrolment_conflict"),
        (("Ada", "2.jpg"), "enrolment_conflict"),
        (("Bob", "1.jpg"), "photos_disagree"),
        (("Bob", "2.jpg"), "photos_disagree"),
    ]
    assert json.loads(run("list", "--json").output) == {"people": {"Ada": 1}}
    assert run("enroll-dir", folder, "--add").output.splitlines()[-1] == "enrolled 2 photos of 1 people; 2 left out"
    assert json.loads(run("list", "--json").output) == {"people": {"Ada": 2}}


def test_enroll_dir_with_an_entry_for_each_photo(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    photo(folder, "Ada/1.jpg", "0")
    photo(folder, "Ada/2.PNG", "1")
    photo(folder, "Grace.heic", "3")
    result = run("enroll-dir", folder, "--separate")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "enrolled 3 photos of 2 people; 0 left out")
    photo(folder, "Ada/3.jpg", "none")
    photo(folder, "Ada/4.jpg", "7")
    result = run("enroll-dir", folder, "--separate")
    assert result.exit_code == cli.NO_MATCH
    assert "3.jpg: No face was found in the picture. [no_face]" in result.output
    summary = "enrolled 1 photos of 1 people; 3 were enrolled already; 1 left out"
    assert result.output.splitlines()[-1] == summary
    assert json.loads(run("list", "--json").output) == {"people": {"Ada": 3, "Grace": 1}}


def test_enroll_dir_passes_over_nothing_without_a_word(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    photo(folder, "Ada/1.jpg", "0")
    for name in ("Ada/notes.txt", "Ada/old/1.jpg", ".hidden/1.jpg", "list.csv", ".DS_Store", "Ada/.thumb.jpg"):
        photo(folder, name, "3")
    (folder / "Nobody").mkdir()
    reasons = {
        "Ada/notes.txt": folders.NOT_A_PHOTO,
        "Ada/old": folders.NESTED,
        ".hidden": folders.HIDDEN,
        "list.csv": folders.NOT_A_PHOTO,
        ".DS_Store": folders.HIDDEN,
        "Ada/.thumb.jpg": folders.HIDDEN,
        "Nobody": folders.EMPTY,
    }
    result = run("enroll-dir", folder)
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "enrolled 1 photos of 1 people; 7 left out")
    assert {line for line in result.output.splitlines() if line.startswith("left out")} == {
        f"left out {folder / name}: {reason}" for name, reason in reasons.items()
    }
    body = json.loads(run("enroll-dir", folder, "--json").output)
    assert {one["photo"]: one["message"] for one in body.pop("left_out")} == {
        str(folder / name): reason for name, reason in reasons.items()
    }
    assert body == {"enrolled": 0, "entries": 0, "people": 0, "already": 1, "alike": [], "not_done": 0}
    # also where nothing can be enrolled at all
    photo(tmp_path, "none/notes.txt", "")
    result = run("enroll-dir", tmp_path / "none")
    lines = [line for line in result.output.splitlines() if "enrolling" not in line]
    assert (result.exit_code, lines) == (
        1,
        [
            f"left out {tmp_path / 'none' / 'notes.txt'}: {folders.NOT_A_PHOTO}",
            "enrolled 0 photos of 0 people; 1 left out",
        ],
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="who may read everything is not refused")
def test_enroll_dir_names_a_folder_that_it_may_not_read(run: Run, tmp_path: Path) -> None:
    photo(tmp_path, "people/Ada/1.jpg", "0")
    (tmp_path / "people" / "Grace").mkdir(mode=0)
    result = run("enroll-dir", tmp_path / "people")
    assert result.exit_code == 1
    assert f"{tmp_path / 'people' / 'Grace'}: cannot be read" in result.output


def test_enroll_dir_points_out_one_face_under_two_labels(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    first, second = photo(folder, "Ada/1.jpg", "0"), photo(folder, "Lovelace/1.jpg", "0 ")
    result = run("enroll-dir", folder)
    assert result.exit_code == 0
    assert f"look at {second}: Lovelace and Ada seem to be the same person" in result.output
    assert str(first) not in result.output
    body = json.loads(run("enroll-dir", folder, "--json").output)
    assert (body["already"], body["alike"]) == (2, [])  # nothing is embedded again


def test_a_stopped_enroll_dir_says_what_was_done_and_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "BATCH_ENTRIES", 2)
    folder = tmp_path / "people"
    for i in range(7):
        photo(folder, f"{i}.jpg", "stop" if i == 5 else str(i))
    for _ in range(2):
        result = run("enroll-dir", folder)
        assert result.exit_code == cli.ERROR
        stopped = result.output.splitlines()[-1]
    assert stopped.startswith("stopped: 3 photos were not done, or were on their way and may be enrolled; do the same")
    assert result.output.splitlines()[-2] == "enrolled 0 photos of 0 people; 4 were enrolled already; 0 left out"
    body = json.loads(run("enroll-dir", folder, "--json").output)
    assert (body["error"], body["enrolled"], body["already"], body["not_done"]) == ("stopped", 0, 4, 3)
    photo(folder, "5.jpg", "5")
    result = run("enroll-dir", folder)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "enrolled 3 photos of 3 people; 4 were enrolled already; 0 left out"


def test_an_enroll_dir_that_loses_the_server(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    for i in range(3):
        photo(folder, f"{i}.jpg", str(i))
    gateway.faults.append(Fault("Enroll", grpc.StatusCode.PERMISSION_DENIED, "not_authorised", times=2))
    result = run("enroll-dir", folder)
    assert result.exit_code == cli.ERROR
    assert result.output.splitlines()[-3:] == [
        "enrolled 0 photos of 0 people; 0 left out",
        "error: told to fail [not_authorised]",
        "3 photos are not confirmed; do the same again, and it goes on from there",
    ]
    body = json.loads(run("enroll-dir", folder, "--json").output)
    assert (body["already"], body["not_done"]) == (3, 0)  # the answer had been lost, not the request


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("enroll-dir", tmp_path / "empty").exit_code == cli.ERROR


def test_enrolling_a_photo_again(run: Run, tmp_path: Path) -> None:
    ada = photo(tmp_path, "ada.jpg", "0")
    first = json.loads(run("enroll", ada, "--label", "Ada", "--json").output)
    again = json.loads(run("enroll", ada, "--label", "Ada", "--json").output)
    assert again == {**first, "already": True}
    assert run("enroll", ada, "--label", "Ada").output == f"Ada is enrolled already (entry {first['entry']})\n"


def test_days_of_an_entry(run: Run, tmp_path: Path) -> None:
    one = photo(tmp_path, "a.jpg", "0")
    assert run("enroll", one, "--label", "Ada", "--days", "2").exit_code == 0
    assert "1970-01-03T00:00:00Z" in run("list", "--entries").output
    (entry,) = json.loads(run("list", "--entries", "--json").output)["entries"]
    assert entry["expires"] == "1970-01-03T00:00:00Z"
    assert run("enroll-dir", tmp_path, "--days", "0").exit_code == 2


def test_forgetting_several_and_single_entries(run: Run, tmp_path: Path) -> None:
    for i in range(5):
        photo(tmp_path, f"people/p{i // 2}/{i}.jpg", str(i))
    assert run("enroll-dir", tmp_path / "people", "--separate").exit_code == 0
    entries = json.loads(run("list", "--entries", "--json").output)["entries"]
    assert [one["label"] for one in entries] == ["p0", "p0", "p1", "p1", "p2"]
    one, other = entries[0]["entry"], entries[4]["entry"]
    assert all(part in run("list", "--entries").output for part in (one, other, "5 entries"))
    assert run("forget", "--entry", one, "--entry", "0" * 15 + "1").output == "1 of 2 entries erased\n"
    assert (
        run("forget", "p1", "--photo", tmp_path / "people" / "p1" / "3.jpg").output == "forgot p1: 1 entries erased\n"
    )
    result = run("forget", "p0", "Bob", "p1")
    assert result.exit_code == cli.ERROR
    assert result.output.splitlines() == [
        "forgot p0: 1 entries erased",
        "forgot p1: 1 entries erased",
        "error: Bob: Nobody is enrolled under this label. [unknown_label]",
    ]
    assert json.loads(run("forget", "p2", "--json").output) == {
        "forgot": [{"label": "p2", "entries": 1, "error": None}],
        "entries": 1,
    }
    for args in ((), ("--entry", "zz"), ("--photo", "x.jpg", "a", "b"), ("--photo", "x.jpg")):
        assert run("forget", *args).exit_code == 2
    assert "[unknown_entry]" in run("forget", "p2", "--photo", tmp_path / "people" / "p2" / "4.jpg").output


def test_the_roster_as_a_file(run: Run, tmp_path: Path) -> None:
    label = '=1+"2", \u5c71\u7530'
    ada = photo(tmp_path, "ada.jpg", "0")
    entry = json.loads(run("enroll", ada, "--label", label, "--json").output)["entry"]
    as_json, as_csv = tmp_path / "roster.json", tmp_path / "roster.csv"
    for file in (as_json, as_csv):
        assert run("export", file).output == f"{file}: 1 entries\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (row,) = csv.DictReader(io.StringIO(as_csv.read_text("utf-8"), newline=""))
    assert json.loads(as_json.read_text("utf-8"))["entries"] == [{**row, "expires": None}]
    assert row["expires"] == ""
    assert (row["entry"], row["label"], len(row["enrolment_id"])) == (entry, label, 32)
    assert "[would_overwrite]" in run("export", as_json).output
    assert "[out_of_range]" in run("export", tmp_path / "roster.xlsx").output
    assert not (tmp_path / "roster.xlsx").exists()


def test_the_command_line_starts_without_opencv() -> None:
    code = "import sys; from pura_client import cli; sys.exit(bool({'cv2', 'PIL', 'onnxruntime'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_status_warns_of_an_outgrown_gallery(run: Run, gateway: FakeGateway) -> None:
    assert "warning" not in run("status").output
    gateway.levels["outgrown"] = 1.0
    assert "warning: the gallery has outgrown identify's threshold" in run("status").output


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
        version = metadata.version("pura-match")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the sources, not installed")
    assert CliRunner().invoke(cli.cli, ["--version"]).output == f"pura, version {version}\n"


def test_an_array_is_a_photo(client: Client) -> None:
    client.enroll(np.asarray(person(0)), "Ada")
    assert client.identify(person(0)).label == "Ada"
