"""The HTTP API of a desk: a process of its own in front of two real servers, asked by curl and by httpx."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from desk_process import Desk, desk, faces_deployment, upload
from orl_pictures import LARGER, WIDTH, group, jpeg, need_faces, picture
from PIL import Image
from server_pair import Deployment
from waiting import until

from pura.face.images import read
from pura_client.processes import free_ports
from pura_server.authority import issue, make_ca

SHARED = Path(__file__).parents[3] / "shared" / "data" / "azure_sample_people"
PEOPLE = {"Ada Lovelace": 0, "Grace Hopper": 1, "Zoë / 王": 2}
STRANGER = 20
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    need_faces()
    made = faces_deployment(tmp_path_factory.mktemp("http") / "deployment")
    made.start()
    yield made
    assert made.stop() == [0, 0]


@pytest.fixture(scope="module")
def opened(running: Deployment) -> Iterator[Desk]:
    with desk(running) as here:
        yield here


@pytest.fixture
def enrolled(opened: Desk) -> Iterator[Desk]:
    """Three people, by three photos each; whoever else a test enrols is gone after it."""
    for label, person in PEOPLE.items():
        reply = opened.http.post("/v1/entries", data={"label": label}, files=upload("photos", photos(person)))
        assert reply.status_code in (200, 201), reply.text
    yield opened
    for one in opened.http.get("/v1/entries").json()["entries"]:
        if one["label"] not in PEOPLE:
            assert opened.http.delete(f"/v1/entries/{one['entry']}").status_code == 200


def photos(person: int, *, first: int = 0, count: int = 3) -> list[bytes]:
    return [jpeg(picture(person, photo)) for photo in range(first, first + count)]


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a refusal, which is a problem as RFC 9457 has it."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == PROBLEM
    body: dict[str, Any] = reply.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["title"]
    assert body["detail"]
    return body


# --- by curl --------------------------------------------------------------------------------------


CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@CURL
def test_the_whole_api_by_curl(opened: Desk, tmp_path: Path) -> None:
    for name, body in zip(("a1", "a2", "a3"), photos(5), strict=True):
        (tmp_path / f"{name}.jpg").write_bytes(body)
    (tmp_path / "ask.jpg").write_bytes(photos(5, first=5, count=1)[0])
    (tmp_path / "other.jpg").write_bytes(photos(STRANGER, count=1)[0])
    (tmp_path / "none.txt").write_text("no picture")

    def curl(*args: str) -> tuple[int, dict[str, Any]]:
        command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *args[:-1], f"{opened.url}{args[-1]}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=120)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    status, said = curl("/v1/status")
    assert (status, said["peer_ready"], said["engine"]) == (200, True, "prepared")
    assert said["rights"] == ["ask", "enrol", "erase", "list"]

    status, said = curl("-F", "photo=@ask.jpg", "/v1/faces")
    assert (status, len(said["faces"]), said["faces"][0]["reason"]) == (200, 1, None)

    form = ("-F", "label=Alan Turing", "-F", "photos=@a1.jpg", "-F", "photos=@a2.jpg", "-F", "photos=@a3.jpg")
    key = ("-H", "Idempotency-Key: alan-1")
    status, first = curl(*form, *key, "/v1/entries")
    assert (status, first["label"], first["photos"], first["already"]) == (201, "Alan Turing", 3, False)
    status, again = curl(*form, *key, "/v1/entries")
    assert (status, again["entry"], again["already"]) == (200, first["entry"], True)
    status, said = curl("-F", "label=Alan Turing", "-F", "photos=@a1.jpg", *key, "/v1/entries")
    assert (status, said["code"]) == (409, "enrolment_conflict")

    status, said = curl("-F", "photo=@ask.jpg", "/v1/identify")
    assert (status, [(face["match"], face["label"]) for face in said["faces"]]) == (200, [(True, "Alan Turing")])
    assert said["cost"]["questions"] == 1
    assert said["cost"]["sent"] > 500
    assert len(said["cost"]["ciphertext"]) == 48
    status, said = curl("-F", "photo=@other.jpg", "/v1/identify")
    assert (status, [face["match"] for face in said["faces"]]) == (200, [False])
    assert "score" not in json.dumps(said["faces"][0] | {"face": None})

    status, said = curl("-F", "photo=@ask.jpg", "-F", "label=Alan Turing", "/v1/verify")
    assert (status, said["match"]) == (200, True)
    status, said = curl("-F", "photo=@other.jpg", "-F", "label=Alan Turing", "/v1/verify")
    assert (status, said["match"]) == (200, False)

    status, said = curl("-G", "--data-urlencode", "label=Alan Turing", "/v1/entries")
    assert [one["entry"] for one in said["entries"]] == [first["entry"]]
    status, said = curl("-X", "PUT", "-F", "label=A. M. Turing", "/v1/subjects/Alan%20Turing")
    assert (status, said) == (200, {"entries": 1, "label": "A. M. Turing"})
    status, said = curl("-G", "--data-urlencode", "search=turing", "/v1/subjects")
    assert said["subjects"] == [{"label": "A. M. Turing", "entries": 1}]
    status, said = curl("-X", "DELETE", "/v1/subjects/A.%20M.%20Turing")
    assert (status, said) == (200, {"erased": 1})
    status, said = curl("-X", "DELETE", "/v1/subjects/A.%20M.%20Turing")
    assert (status, said["code"]) == (404, "unknown_label")
    status, said = curl("-F", "photo=@ask.jpg", "/v1/identify")
    assert [face["match"] for face in said["faces"]] == [False]
    status, said = curl("-F", "photo=@none.txt", "/v1/identify")
    assert (status, said["code"]) == (422, "unreadable_image")


# --- pictures -------------------------------------------------------------------------------------


def test_a_group_picture(enrolled: Desk) -> None:
    """Five people in a row, three of them enrolled: all are boxed where they are, and those are named."""
    row = [(0, 4), (STRANGER, 0), (1, 5), (21, 0), (2, 6)]
    reply = enrolled.http.post("/v1/identify", files=upload("photo", [jpeg(group(row))])).json()
    labels = list(PEOPLE)
    found = sorted((one["face"]["box"]["x"], one["label"], one["match"]) for one in reply["faces"])
    assert [int(x) // WIDTH for x, _, _ in found] == [0, 1, 2, 3, 4]
    assert [label for _, label, _ in found] == [labels[0], None, labels[1], None, labels[2]]
    assert reply["cost"]["questions"] == 5
    assert reply["width"] == 5 * WIDTH


def test_faces_that_cannot_be_used_are_boxed_with_the_reason(enrolled: Desk) -> None:
    """Beside one that can: a small one, and a picture that is turned on its side."""
    canvas = Image.new("RGB", (2 * WIDTH, WIDTH), (128, 128, 128))
    canvas.paste(picture(0, 4), (0, 0))
    small = picture(6, 5).resize((60, 68), Image.Resampling.LANCZOS)
    canvas.paste(small, (int(1.5 * WIDTH), 100))
    body = jpeg(canvas)
    faces = enrolled.http.post("/v1/faces", files=upload("photo", [body])).json()["faces"]
    assert [face["reason"] and face["reason"]["code"] for face in faces] == [None, "face_too_small"]
    assert faces[1]["quality"]["sharpness"] is None
    said = enrolled.http.post("/v1/identify", files=upload("photo", [body])).json()
    assert [(one["match"], one["error"] and one["error"]["code"]) for one in said["faces"]] == [
        (True, None),
        (None, "face_too_small"),
    ]
    assert said["cost"]["questions"] == 1
    upright = picture(0, 4)
    turned = enrolled.http.post(
        "/v1/faces", files=upload("photo", [jpeg(upright.transpose(Image.Transpose.ROTATE_90))])
    ).json()
    straight = enrolled.http.post("/v1/faces", files=upload("photo", [jpeg(upright)])).json()
    assert (turned["width"], turned["height"]) == (straight["height"], straight["width"])
    (a,), (b,) = turned["faces"], straight["faces"]
    # counterclockwise: x' = y, y' = width - x
    assert a["box"]["x"] == pytest.approx(b["box"]["y"], abs=4 * LARGER)
    assert a["box"]["y"] == pytest.approx(straight["width"] - b["box"]["x"] - b["box"]["width"], abs=4 * LARGER)
    assert [point["x"] for point in a["landmarks"]] == pytest.approx([p["y"] for p in b["landmarks"]], abs=4 * LARGER)


@pytest.mark.shared
def test_a_real_group_photo(opened: Desk) -> None:
    """Family 1: each of those who are enrolled is named once, and every face is boxed."""
    if not SHARED.is_dir():
        pytest.skip("the evaluation photos are not here")
    family = {"Dad": 3, "Mom": 2, "Son": 2, "Daughter": 3}
    for name, count in family.items():
        files = upload("photos", [(SHARED / f"Family1-{name}{i}.jpg").read_bytes() for i in range(1, count + 1)])
        reply = opened.http.post("/v1/entries", data={"label": f"Family {name}", "largest": "true"}, files=files)
        assert reply.status_code == 201, reply.text
    body = (SHARED / "identification1.jpg").read_bytes()
    reply = opened.http.post("/v1/identify", files=upload("photo", [body])).json()
    height, width = read(body).shape[:2]
    assert (reply["width"], reply["height"]) == (width, height)
    assert len(reply["faces"]) >= 4
    named = sorted(one["label"] for one in reply["faces"] if one["match"])
    assert named == sorted(f"Family {name}" for name in family)
    for name in family:
        assert opened.http.delete(f"/v1/subjects/Family {name}").status_code == 200


# --- the roster -----------------------------------------------------------------------------------


def live(here: Desk, person: int, label: str | None = None) -> list[dict[str, Any]]:
    """What is said of somebody who stands before a camera for two seconds."""
    begun = here.http.post("/v1/watches", data={} if label is None else {"label": label})
    assert begun.status_code == 201, begun.text
    where = f"/v1/watches/{begun.json()['id']}"
    events = []
    for i in range(10):
        body = jpeg(picture(person, 5))
        reply = here.http.post(f"{where}/frames", data={"at_ms": str(200 * i)}, files=upload("photo", [body]))
        assert reply.status_code == 200, reply.text
        events += reply.json()["events"]
    events += here.http.delete(where).json()["events"]
    refused(here.http.delete(where), 404, "no_watch")
    return events


def test_a_live_view_asks_once_about_each_person(enrolled: Desk) -> None:
    for person, match, label in ((0, True, "Ada Lovelace"), (STRANGER, False, None)):
        events = live(enrolled, person)
        assert sorted(one["event"] for one in events) == ["appeared", "identified", "left"]
        (answer,) = [one for one in events if one["event"] == "identified"]
        assert (answer["match"], answer["label"], answer["track"]) == (match, label, 1)
    for label, match in (("Ada Lovelace", True), ("Grace Hopper", False)):
        (answer,) = [one for one in live(enrolled, 0, label) if one["event"] == "identified"]
        assert answer["match"] is match


def test_labels_of_all_kinds_pages_and_merging(enrolled: Desk) -> None:
    http = enrolled.http
    first = http.get("/v1/subjects", params={"limit": 2}).json()
    rest = http.get("/v1/subjects", params={"limit": 2, "after": first["next"]}).json()
    assert [one["label"] for one in first["subjects"] + rest["subjects"]] == sorted(PEOPLE)
    assert (first["total"], rest["next"]) == (3, None)
    entries = http.get("/v1/entries", params={"search": "王"}).json()["entries"]
    assert [one["label"] for one in entries] == ["Zoë / 王"]
    reply = http.post("/v1/entries", data={"label": "Grace"}, files=upload("photos", photos(1, first=3, count=2)))
    assert reply.status_code == 201
    assert http.put("/v1/subjects/Grace", data={"label": "Zoë / 王"}).json() == {"entries": 1, "label": "Zoë / 王"}
    merged = http.get("/v1/subjects", params={"search": "zoë"}).json()["subjects"]
    assert merged == [{"label": "Zoë / 王", "entries": 2}]
    mine = reply.json()["entry"]
    assert http.delete(f"/v1/entries/{mine}").json() == {"erased": 1}
    refused(http.delete(f"/v1/entries/{mine}"), 404, "unknown_entry")
    refused(http.delete("/v1/entries/nonsense"), 404, "unknown_entry")
    refused(http.put("/v1/subjects/Nobody", data={"label": "X"}), 404, "unknown_label")
    refused(http.put("/v1/subjects/Ada Lovelace", data={"label": " "}), 422, "out_of_range")


def test_what_is_wrong_is_a_problem_with_our_code(enrolled: Desk) -> None:
    http = enrolled.http
    two = [jpeg(group([(0, 4), (1, 5)]))]
    mixed = [*photos(0, count=1), *photos(1, count=1)]
    refused(http.post("/v1/entries", data={"label": "X"}, files=upload("photos", two)), 422, "several_faces")
    said = refused(http.post("/v1/entries", data={"label": "X"}, files=upload("photos", mixed)), 422, "photos_disagree")
    assert "photo 1" in said["detail"]
    grey = jpeg(Image.new("RGB", (200, 200), (128, 128, 128)))
    refused(http.post("/v1/entries", data={"label": "X"}, files=upload("photos", [grey])), 422, "no_face")
    refused(
        http.post("/v1/verify", data={"label": "X"}, files=upload("photo", photos(0, count=1))), 404, "unknown_label"
    )
    refused(
        http.post("/v1/identify", data={"top_k": "2"}, files=upload("photo", photos(0, count=1))), 422, "out_of_range"
    )
    said = refused(http.post("/v1/identify", data={"top_k": "few"}, files=upload("photo", [grey])), 422, "bad_request")
    assert "few" not in said["detail"], "what was sent is not repeated"
    refused(http.post("/v1/identify"), 422, "bad_request")
    refused(http.get("/v1/nothing"), 404, "not_found")
    refused(http.get("/v1/identify"), 405, "method_not_allowed")
    assert http.post("/v1/identify", files=upload("photo", [grey])).json()["faces"] == []
    assert http.get("/problems/no_face").text.startswith("no_face: ")
    assert http.get("/problems/never_heard_of").status_code == 404


def test_an_entry_is_made_once_however_many_ask_at_once(enrolled: Desk) -> None:
    bodies = photos(7)
    replies: list[httpx.Response] = []

    def enrol() -> None:
        files = upload("photos", bodies)
        headers = {"Idempotency-Key": "at once"}
        replies.append(enrolled.http.post("/v1/entries", data={"label": "Hedy"}, files=files, headers=headers))

    threads = [threading.Thread(target=enrol) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 201]
    assert len({reply.json()["entry"] for reply in replies}) == 1


# --- who may ask ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost", "127.0.0.1:1", ""])
def test_another_name_is_refused(opened: Desk, host: str) -> None:
    """A site whose name was made to resolve to this machine (DNS rebinding)."""
    host = host.format(port=httpx.URL(opened.url).port)
    for path in ("/", "/v1/status", "/openapi.json"):
        refused(opened.http.get(path, headers={"Host": host}), 421, "wrong_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_is_refused(opened: Desk, headers: dict[str, str]) -> None:
    """A page elsewhere that makes the browser send requests here (CSRF), as a form would."""
    refused(opened.http.delete("/v1/subjects/Ada Lovelace", headers=headers), 403, "wrong_origin")
    refused(opened.http.get("/v1/subjects", headers=headers), 403, "wrong_origin")
    files = upload("photos", photos(0, count=1))
    refused(opened.http.post("/v1/entries", data={"label": "X"}, files=files, headers=headers), 403, "wrong_origin")


def test_a_link_on_another_page_opens_the_page(opened: Desk) -> None:
    assert opened.http.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
    assert (
        opened.http.get("/v1/status", headers={"Origin": opened.url, "Sec-Fetch-Site": "same-origin"}).status_code
        == 200
    )


def test_nothing_lets_other_origins_read(opened: Desk) -> None:
    for path in ("/", "/api", "/v1/status", "/openapi.json", "/page/desk.js", "/v1/nothing"):
        headers = opened.http.get(path).headers
        assert not [name for name in headers if name.startswith("access-control-")]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_the_pages_name_nothing_from_elsewhere(opened: Desk) -> None:
    for path in (
        "/",
        "/api",
        *(f"/page/{name}" for name in ("style.css", "desk.js", "picture.js", "api.js", "icon.svg")),
    ):
        text = opened.http.get(path).text.replace("http://www.w3.org/", "")
        assert "http://" not in text, path
        assert "https://" not in text, path


def test_too_much_is_refused_before_it_is_read(opened: Desk) -> None:
    with socket.create_connection((httpx.URL(opened.url).host, httpx.URL(opened.url).port or 0), timeout=60) as raw:
        host = opened.url.removeprefix("http://")
        raw.sendall(f"POST /v1/faces HTTP/1.1\r\nHost: {host}\r\nContent-Length: {1 << 40}\r\n\r\n".encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 413 ")

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        while True:
            yield bytes(1 << 20)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        reply = opened.http.post("/v1/faces", content=endless(), headers=headers)
    except (httpx.WriteError, httpx.ReadError):
        pass  # it answered and hung up while we still sent
    else:
        assert reply.status_code == 413
    assert opened.http.get("/v1/status").status_code == 200


def test_the_description_has_every_address_and_the_problem(opened: Desk) -> None:
    described = opened.http.get("/openapi.json").json()
    told = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert {
        ("get", "/v1/status"),
        ("post", "/v1/faces"),
        ("post", "/v1/identify"),
        ("post", "/v1/verify"),
        ("get", "/v1/entries"),
        ("post", "/v1/entries"),
        ("delete", "/v1/entries/{entry}"),
        ("get", "/v1/subjects"),
        ("put", "/v1/subjects/{label}"),
        ("delete", "/v1/subjects/{label}"),
    } <= told
    assert "Problem" in described["components"]["schemas"]
    assert "score" not in json.dumps(described["components"]["schemas"]["Who"]["properties"])


def test_tokens_and_their_rights_over_tls(running: Deployment, tmp_path: Path) -> None:
    """A desk as other machines reach it; here it listens on loopback all the same."""
    ca, cert, key = certificate(tmp_path)
    tokens = tmp_path / "tokens.toml"

    def token(name: str, *may: str) -> dict[str, str]:
        rights = [word for right in may for word in ("--may", right)]
        command = [sys.executable, "-m", "pura_desk", "token", str(tokens), "--name", name, *rights]
        made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
        assert made not in tokens.read_text()
        return {"Authorization": f"Bearer {made}"}

    door, clerk = token("door", "ask"), token("clerk", "enrol", "list", "erase")
    assert tokens.stat().st_mode & 0o077 == 0
    options = ("--tokens", str(tokens), "--cert", str(cert), "--key", str(key))
    with desk(running, *options, verify=ssl.create_default_context(cafile=str(ca))) as here:
        assert here.url.startswith("https://")
        body = photos(8, count=1)
        ask = {"files": upload("photo", body)}
        enrol = {"data": {"label": "By token"}, "files": upload("photos", body)}
        assert here.http.get("/").status_code == 200, "the page itself asks for the token"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            reply = here.http.post("/v1/identify", headers=headers, **ask)  # type: ignore[arg-type]
            refused(reply, 401, "unauthenticated")
            assert reply.headers["www-authenticate"].startswith("Bearer")
            refused(here.http.get("/v1/status", headers=headers), 401, "unauthenticated")
        assert here.http.get("/v1/status", headers=door).json()["rights"] == ["ask"]
        assert here.http.post("/v1/identify", headers=door, **ask).status_code == 200  # type: ignore[arg-type]
        for method, path in (
            ("GET", "/v1/entries"),
            ("GET", "/v1/subjects"),
            ("DELETE", "/v1/subjects/x"),
            ("GET", "/v1/imports"),
        ):
            refused(here.http.request(method, path, headers=door), 403, "not_authorised")
        refused(here.http.post("/v1/entries", headers=door, **enrol), 403, "not_authorised")  # type: ignore[arg-type]
        refused(here.http.post("/v1/identify", headers=clerk, **ask), 403, "not_authorised")  # type: ignore[arg-type]
        assert here.http.post("/v1/entries", headers=clerk, **enrol).status_code == 201  # type: ignore[arg-type]
        assert here.http.delete("/v1/subjects/By token", headers=clerk).json() == {"erased": 1}


def certificate(folder: Path) -> tuple[Path, Path, Path]:
    """An authority's certificate, and one that it made for this machine, with its key."""
    ca = make_ca("test")
    made = issue(ca, "desk", ["127.0.0.1"])
    files = {"ca.pem": ca.cert, "desk.pem": made.cert, "desk.key": made.key}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    authority, cert, key = (folder / name for name in files)
    return authority, cert, key


# --- imports --------------------------------------------------------------------------------------


def test_a_folder_import_goes_on_by_itself(enrolled: Desk) -> None:
    http = enrolled.http
    job = http.post("/v1/imports", data={"name": "staff", "people": "3"}).json()
    assert (job["state"], job["people"], job["done"]) == ("open", 3, 0)
    where = f"/v1/imports/{job['id']}"
    for label, bodies in (
        ("Eve", photos(10)),
        ("Mixed", [*photos(11, count=1), b"no picture"]),
        ("Ada Lovelace", photos(12)),
    ):
        reply = http.post(f"{where}/people", data={"label": label}, files=upload("photos", bodies))
        assert reply.status_code == 202, reply.text
    again = http.post(f"{where}/people", data={"label": "Eve"}, files=upload("photos", photos(10)))
    assert again.json()["received"] == 3, "sent twice, taken once"
    assert http.get(f"{where}/received").json() == {"labels": ["Ada Lovelace", "Eve", "Mixed"]}
    assert http.post(f"{where}/end").json()["state"] in ("running", "done")
    now = waited(http, where)
    assert (now["state"], now["done"], now["enrolled"], now["already"]) == ("done", 3, 2, 0)
    problems = {(one["label"], one["code"]) for one in now["problems"]}
    assert problems == {("Mixed", "unreadable_image"), ("Ada Lovelace", "enrolment_conflict")}
    assert [one["photo"] for one in now["problems"] if one["label"] == "Mixed"] == ["1.jpg"]
    assert http.get("/v1/imports").json()["imports"][0] == now
    refused(
        http.post(f"{where}/people", data={"label": "Late"}, files=upload("photos", photos(13))),
        409,
        "enrolment_conflict",
    )
    refused(http.get("/v1/imports/none"), 404, "unknown_entry")

    once_more = http.post("/v1/imports", data={"name": "staff", "people": "1"}).json()
    where = f"/v1/imports/{once_more['id']}"
    http.post(f"{where}/people", data={"label": "Eve"}, files=upload("photos", photos(10)))
    http.post(f"{where}/end")
    now = waited(http, where)
    assert (now["enrolled"], now["already"]) == (0, 1), "nobody is enrolled twice"


def waited(http: httpx.Client, where: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        now: dict[str, Any] = http.get(where).json()
        return now if now["state"] in ("done", "stopped") else None

    found = until(ended)
    assert found is not None
    return found


# --- start and end --------------------------------------------------------------------------------


@CURL
def test_the_example_for_curl(opened: Desk) -> None:
    example = Path(__file__).parents[2] / "examples" / "http.sh"
    said = subprocess.run([example, opened.url], capture_output=True, text=True, check=True, timeout=120).stdout
    status, subjects, gone = said.splitlines()
    assert '"entries":' in status
    assert subjects.startswith(("{", "["))
    assert '"code":"unknown_label"' in gone
    assert gone.endswith("(status 404)")


def test_beyond_this_machine_it_wants_tokens_and_tls(running: Deployment) -> None:
    command = [sys.executable, "-m", "pura_desk", "--config", str(running.client_toml), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "[bad_config]" in done.stderr
    assert "--tokens" in done.stderr


def test_a_port_that_is_taken(running: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "pura_desk", "--config", str(running.client_toml)]
        command += ["--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "[bad_config]" in done.stderr


def test_without_servers_the_page_opens_and_says_so(running: Deployment, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    text = running.client_toml.read_text()
    away = running.client_toml.with_name("away.toml")
    text = re.sub("(?m)^server = .*$", f'server = "127.0.0.1:{port}"', text)
    away.write_text(re.sub("(?m)^deadline_s = .*$", "deadline_s = 0.5", text))
    made = Deployment(running.folder, running.engine, running.threshold)
    made.client_toml = away
    with desk(made) as here:
        assert here.http.get("/").status_code == 200
        reply = here.http.get("/v1/status")
        refused(reply, 503, "peer_unavailable")
        assert reply.headers["retry-after"]
