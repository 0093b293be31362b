"""All faces of a picture and many pictures: what is asked, what is shared, what is told when something is wrong."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from fake_gateway import DIMENSION, FakeGateway, Fault, client_toml, person, serve
from stub_faces import StubFaces

from pura.errors import BudgetSpent, FaceTooSmall, NoFace, OutOfRange, PeerUnavailable, SeveralFaces, UnreadableImage
from pura_client import Client, Decision, Ready, cli, connect, trace
from pura_client.templates import Templates

Pura = Callable[..., tuple[int, list[str], str]]
"""Runs `pura`; the exit status, the lines, and what was said beside them."""
ADA, GRACE = (Decision(True, name, (name,)) for name in ("Ada", "Grace"))
NOBODY = Decision(False)


@pytest.fixture
def faces() -> StubFaces:
    return StubFaces(person, DIMENSION)


@pytest.fixture
def crowd(gateway: FakeGateway, faces: StubFaces, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(gateway, at_once=1) as config, connect(config, insecure=True, faces=faces) as client:  # type: ignore[arg-type]
        client.enroll(embedding=Ready(person(0)), label="Ada")
        client.enroll(embedding=Ready(person(1)), label="Grace")
        client.list()
        gateway.calls.clear()
        yield client


def test_all_faces_of_a_picture(crowd: Client, gateway: FakeGateway, faces: StubFaces) -> None:
    found = crowd.identify_all(b"0 small 5 1 turned")
    assert [one.decision for one in found] == [ADA, None, NOBODY, GRACE, None]
    assert [one.error and one.error.code for one in found] == [None, "face_too_small", None, None, "face_turned"]
    assert [one.face.box[0] for one in found if one.face] == [0, 100, 200, 300, 400]
    assert gateway.names().count("Identify") == 3, "one question for each face that can be used"
    assert faces.embedded == [3], "and one run of the network for all"


def test_every_question_is_its_own(crowd: Client, gateway: FakeGateway) -> None:
    """The same face twice: nothing in the two questions is the same but what names the collection and the client."""
    crowd.identify_all(b"0 0")
    first, second = (request.query for name, request in gateway.calls if name == "Identify")  # type: ignore[attr-defined]
    for field in ("request_id", "ciphertexts", "seal_key", "proof", "salt", "signature"):
        assert getattr(first, field) != getattr(second, field), field


def test_what_is_asked_of_the_roster_does_not_depend_on_the_answers(crowd: Client, gateway: FakeGateway) -> None:
    asked = []
    for photo in (b"0 1 5", b"5 6 4", b"0 0 0"):
        gateway.calls.clear()
        crowd.identify_all(photo)
        asked.append(sorted((name, getattr(request, "since", 0)) for name, request in gateway.calls))
    assert asked[0] == asked[1] == asked[2]


def test_no_face_and_no_picture(crowd: Client, gateway: FakeGateway) -> None:
    assert crowd.identify_all(b"") == ()
    with pytest.raises(UnreadableImage):
        crowd.identify_all(b"broken")
    assert [one.error and one.error.code for one in crowd.identify_all(b"small small")] == ["face_too_small"] * 2
    assert gateway.names() == []


def test_many_photos_in_order_whatever_is_wrong(crowd: Client) -> None:
    photos = [b"0", b"broken", b"1 0", b"", b"5"]
    one_each = list(crowd.identify_many(photos))
    assert [one.photo for one in one_each] == photos
    assert [type(one.error) for one in one_each] == [type(None), UnreadableImage, SeveralFaces, NoFace, type(None)]
    assert [[face.decision for face in one.faces] for one in one_each] == [[ADA], [], [], [], [NOBODY]]
    assert [one.match for one in one_each] == [True, False, False, False, False]
    every = list(crowd.identify_many(photos, all_faces=True))
    assert [[face.decision for face in one.faces] for one in every] == [[ADA], [], [GRACE, ADA], [], [NOBODY]]
    assert [type(one.error) for one in every] == [type(None), UnreadableImage, *[type(None)] * 3]
    assert [(one.width, one.height) for one in every][2] == (200, 100)


def test_embeddings_beside_photos(crowd: Client) -> None:
    found = list(crowd.identify_many([Ready(person(1)), b"0"], all_faces=True))
    assert [one.faces[0].decision for one in found] == [GRACE, ADA]
    assert found[0].faces[0].face is None


def test_outcomes_come_while_photos_are_still_read(crowd: Client) -> None:
    read = []

    def photos() -> Iterator[bytes]:
        for i in range(40):
            read.append(i)
            yield b"0"

    first = next(iter(crowd.identify_many(photos())))
    assert first.match
    assert len(read) < 40


def test_a_spent_budget_ends_it_and_what_was_answered_stays(crowd: Client, gateway: FakeGateway) -> None:
    photos = [b"0"] * 20
    told = iter(crowd.identify_many(photos))
    assert [next(told).faces[0].decision for _ in range(16)] == [ADA] * 16
    gateway.faults.append(Fault("Identify", grpc.StatusCode.RESOURCE_EXHAUSTED, "budget_spent", times=100))
    gateway.calls.clear()
    assert [type(one.faces[0].error) for one in told] == [BudgetSpent] * 4
    assert gateway.names().count("Identify") <= 4, "what was under way, and nothing after it"
    with pytest.raises(BudgetSpent):
        crowd.identify_all(b"0 1")


def test_servers_that_stay_away_are_raised_if_nothing_was_answered(
    crowd: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pura_client.crowd.SIDE_BY_SIDE", 1)
    gateway.faults.append(Fault("Identify", grpc.StatusCode.FAILED_PRECONDITION, "peer_unavailable", times=10**6))
    crowd._gateway._deadline_s = 0.05
    with pytest.raises(PeerUnavailable):
        crowd.identify_all(b"0 1 small")


@pytest.mark.parametrize("top_k", [0, 4, -1])
def test_top_k_has_a_limit(gateway: FakeGateway, top_k: int) -> None:
    gateway.params = dataclasses.replace(gateway.params, top_k=3)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        with pytest.raises(OutOfRange):
            client.identify(embedding=Ready(person(0)), top_k=top_k)
        with pytest.raises(OutOfRange):
            client.identify_many([Ready(person(0))], top_k=top_k)
    assert "Identify" not in gateway.names()


def test_top_k_by_question(gateway: FakeGateway) -> None:
    gateway.params = dataclasses.replace(gateway.params, top_k=3)
    with serve(gateway) as config, connect(config, insecure=True) as client:
        for i, label in enumerate(("Ada", "Ada", "Grace", "Alan")):
            client.enroll(embedding=Ready(person(0) + 0.03 * i), label=label)
        sizes = set()
        for top_k, candidates in ((1, ("Ada",)), (2, ("Ada",)), (3, ("Ada", "Grace")), (None, ("Ada", "Grace"))):
            assert client.identify(embedding=Ready(person(0)), top_k=top_k).candidates == candidates
            (many,) = client.identify_many([Ready(person(0))], top_k=top_k)
            assert many.faces[0].decision == Decision(True, "Ada", candidates)
        for name, request in gateway.calls:
            if name == "Identify":
                sizes.add(len(request.query.SerializeToString()))  # type: ignore[attr-defined]
        assert len(sizes) == 1, "the servers are not told"


def test_an_entry_that_another_thread_saw_erased_is_nobody(crowd: Client, gateway: FakeGateway) -> None:
    """The answer names it; by the time it is opened another thread has brought the roster up to date."""
    ask = crowd._gateway.identify

    def slow(request: object) -> object:
        reply = ask(request)  # type: ignore[arg-type]
        crowd._gateway.identify = ask  # type: ignore[method-assign]
        (ada,) = [handle for handle, label in crowd.roster().items() if label == "Ada"]
        gateway.erase([ada])
        other = threading.Thread(target=crowd.list)
        other.start()
        other.join()
        return reply

    crowd._gateway.identify = slow  # type: ignore[method-assign,assignment]
    assert crowd.identify(b"0") == NOBODY


def test_threads_share_a_session(crowd: Client) -> None:
    wrong: list[object] = []

    def work(i: int) -> None:
        for k in range(4):
            label = f"{i} {k}"
            crowd.enroll(embedding=Ready(person(2 + i)), label=label, name=label)
            if not crowd.identify(embedding=Ready(person(2 + i))).match:
                wrong.append(label)
            crowd.forget(label)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []
    assert crowd.list() == {"Ada": 1, "Grace": 1}


def test_faces_asks_nobody(crowd: Client, gateway: FakeGateway) -> None:
    picture = crowd.faces(b"0 small")
    assert (picture.width, picture.height) == (200, 100)
    assert [type(face.reason) for face in picture.faces] == [type(None), FaceTooSmall]
    assert gateway.names() == []


def test_what_a_call_costs(crowd: Client, gateway: FakeGateway) -> None:
    with trace.following() as cost:
        crowd.identify_all(b"0 1 5")
    sent = [request for _, request in gateway.calls]
    assert cost.questions == 3
    assert cost.sent == sum(request.ByteSize() for request in sent)  # type: ignore[attr-defined]
    heads = {request.query.ciphertexts[: trace.HEAD_BYTES] for name, request in gateway.calls if name == "Identify"}  # type: ignore[attr-defined]
    assert cost.head in heads
    assert all(cost.seconds(stage) > 0 for stage in ("embed", "encrypt", "servers"))
    with trace.following() as other:
        crowd.faces(b"0")
    assert (other.sent, other.questions, other.head) == (0, 0, b"")


def test_parts_of_a_stage_at_the_same_time_count_once() -> None:
    made = trace.Trace()
    for began, ended in ((0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (5.0, 6.0)):
        made.span("servers", began, ended)
    assert made.seconds("servers") == 4.0
    assert made.seconds("roster") == 0.0


# --- the command line -------------------------------------------------------------------------------


@pytest.fixture
def pura(gateway: FakeGateway, faces: StubFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pura]:
    monkeypatch.setattr(Templates, "_pipeline", lambda self: faces)
    with serve(gateway) as config:
        (tmp_path / "client.toml").write_text(client_toml(config))
        monkeypatch.setenv("PURA_CLIENT", str(tmp_path / "client.toml"))
        with connect(config, insecure=True) as client:
            client.enroll(embedding=Ready(person(0)), label="Ada")

        def invoke(*args: object) -> tuple[int, list[str], str]:
            done = CliRunner().invoke(cli.cli, [*map(str, args), "--insecure"])
            return done.exit_code, done.stdout.splitlines(), done.stderr

        yield invoke


def test_identify_many_files_as_json_lines(pura: Pura, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    texts = {"a.jpg": "0 small", "deep/b.jpg": "5", "deep/c.txt": "", "d.jpg": "broken", "e.jpg": ""}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (tmp_path / "f.jpg").write_text("1")
    status, lines, said = pura("identify", tmp_path / "f.jpg", folder, "--all-faces", "--json")
    rows = [json.loads(line) for line in lines]
    assert status == 0
    assert [Path(row["photo"]).name for row in rows] == ["f.jpg", "a.jpg", "d.jpg", "b.jpg", "e.jpg"]
    assert [row.get("match") for row in rows] == [False, True, None, False, False]
    assert rows[2]["error"] == "unreadable_image"
    ada, small = rows[1]["faces"]
    assert (ada["match"], ada["label"], ada["candidates"]) == (True, "Ada", ["Ada"])
    assert ada["box"] == {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}
    assert small["error"] == "face_too_small"
    assert (rows[1]["width"], rows[1]["height"]) == (200, 100)
    assert "deep/c.txt" in said


def test_identify_for_people_and_its_exit_status(pura: Pura, gateway: FakeGateway, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    a.write_text("0 5")
    b.write_text("5")
    c.write_text("broken")
    status, lines, _ = pura("identify", a, "--all-faces")
    assert (status, lines) == (0, [f"{a}: face 1: Ada", f"{a}: face 2: nobody who is enrolled"])
    assert pura("identify", b, b)[:2] == (1, [f"{b}: nobody who is enrolled"] * 2)
    assert pura("identify", c, c)[0] == 2
    assert pura("identify", b, c)[0] == 1, "one was answered"
    assert pura("identify", a, "--all-faces", "--largest")[0] == 2
    assert pura("identify", c)[0] == 2
    gateway.faults.append(Fault("Identify", grpc.StatusCode.RESOURCE_EXHAUSTED, "budget_spent", times=9))
    status, lines, _ = pura("identify", a, b, "--all-faces")
    assert status == 2
    assert all("[budget_spent]" in line for line in lines)
