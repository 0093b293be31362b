"""The parts of the desk by themselves: how it may listen, tokens, what is refused at the door, imports, errors."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from pura import errors
from pura.errors import BadConfig, EnrolmentConflict, NotReady, OutOfRange, PeerUnavailable, PuraError, UnknownEntry
from pura.ids import Handle
from pura_client.enrolling import Enrolled
from pura_desk import guard, imports, problems, tokens
from pura_desk.app import create_app
from pura_desk.config import Listening
from pura_desk.imports import Imports, Person, State
from pura_desk.line import Line
from pura_desk.replays import Replays
from pura_desk.tokens import ALL, Right, Token, Tokens

# --- listening --------------------------------------------------------------------------------------

CERT, KEY, TOKENS = Path("c.pem"), Path("k.pem"), Path("t.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_on_this_machine_it_needs_nothing(host: str) -> None:
    Listening(host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "desk.example", "127.0.0.1.example"])
@pytest.mark.parametrize(
    "given", [{}, {"tokens": TOKENS}, {"cert": CERT, "key": KEY}, {"cert": CERT, "tokens": TOKENS}]
)
def test_beyond_it_needs_tokens_and_tls(host: str, given: dict[str, Path]) -> None:
    with pytest.raises(BadConfig):
        Listening(host, **given).check()  # type: ignore[arg-type]
    Listening(host, cert=CERT, key=KEY, tokens=TOKENS).check()


def test_by_which_names_it_may_be_called() -> None:
    assert Listening(port=99).hosts() == {"127.0.0.1:99", "localhost:99", "[::1]:99"}
    assert "localhost" in Listening(port=80).hosts()
    wide = Listening("0.0.0.0", 443, ("Desk.Example",), CERT, KEY, TOKENS)
    assert wide.hosts() == {"desk.example:443", "desk.example"}, "an address that stands for all is no name"
    assert Listening("192.0.2.7", 9, (), CERT, KEY, TOKENS).hosts() == {"192.0.2.7:9"}
    assert Listening("::1", 9).url() == "http://[::1]:9/"
    assert wide.url() == "https://Desk.Example:443/"


# --- tokens -----------------------------------------------------------------------------------------


def test_a_token_is_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    ask = tokens.add(path, "door", frozenset({Right.ASK}))
    both = tokens.add(path, "clerk 2", frozenset({Right.ENROL, Right.LIST}))
    assert ask != both
    assert ask not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    known = tokens.load(path)
    assert known.rights(f"Bearer {ask}") == {Right.ASK}
    assert known.rights(f"bearer  {both}") == {Right.ENROL, Right.LIST}
    for header in (None, "", "Bearer", "Bearer x", f"Basic {ask}", ask, f"Bearer {ask}x", "Bearer \udcff"):
        with pytest.raises(problems.Unauthenticated):
            known.rights(header)
    with pytest.raises(EnrolmentConflict):
        tokens.add(path, "door", frozenset({Right.ASK}))
    assert ask not in repr(known)
    digest = hashlib.sha256(ask.encode()).hexdigest()
    assert digest not in repr(Token(name="door", sha256=digest, may=frozenset()))


def test_without_tokens_everything_is_allowed() -> None:
    assert Tokens().rights(None) == ALL


@pytest.mark.parametrize(
    "text",
    ['[[token]]\nname = "x"\n', '[[token]]\nname = "x"\nsha256 = "00"\nmay = ["ask"]\n', "[token]\n", "other = 1\n"],
)
def test_a_file_of_tokens_that_is_wrong(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(BadConfig):
        tokens.load(path)


def test_an_idempotency_key_stands_for_one_request() -> None:
    replays = Replays()
    replays.check("k", [b"Ada", b"photo"])
    replays.check("k", [b"Ada", b"photo"])
    replays.check("l", [b"Adap", b"hoto"])
    with pytest.raises(EnrolmentConflict):
        replays.check("k", [b"Adap", b"hoto"])


# --- the door ---------------------------------------------------------------------------------------

Message = MutableMapping[str, Any]
NOBODY = Tokens()
"""A desk that asks for none."""


def asked(
    headers: Sequence[tuple[bytes, bytes]], bodies: Sequence[bytes] = (), path: str = "/v1/x", known: Tokens = NOBODY
) -> tuple[int, int]:
    """A POST at the door of an application that reads the whole body: the status, and how many bytes it got."""
    got = 0
    sent: list[Message] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        nonlocal got
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            got += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages = [{"type": "http.request", "body": one, "more_body": True} for one in bodies]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    async def send(message: Message) -> None:
        sent.append(message)

    door = guard.Guard(app, Listening(port=99).hosts(), "http", known, most_bytes=100)
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    asyncio.run(door(scope, receive, send))
    return sent[0]["status"], got


HOST = (b"host", b"localhost:99")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([HOST], 200),
        ([(b"Host", b"LOCALHOST:99")], 200),
        ([], 421),
        ([HOST, HOST], 421),
        ([(b"host", b"localhost")], 421),
        ([(b"host", b"localhost:99.evil.example")], 421),
        ([HOST, (b"origin", b"http://localhost:99")], 200),
        ([HOST, (b"origin", b"https://localhost:99")], 403),
        ([HOST, (b"origin", b"http://localhost:99"), (b"origin", b"http://evil.example")], 403),
        ([HOST, (b"sec-fetch-site", b"same-origin")], 200),
        ([HOST, (b"sec-fetch-site", b"none")], 200),
        ([HOST, (b"sec-fetch-site", b"cross-site")], 403),
        ([HOST, (b"content-length", b"100")], 200),
        ([HOST, (b"content-length", b"101")], 413),
        ([HOST, (b"content-length", b"-1")], 413),
    ],
)
def test_what_the_door_refuses(headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert asked(headers)[0] == status


def test_a_body_is_counted_as_it_comes() -> None:
    assert asked([HOST], [bytes(60), bytes(40)]) == (200, 100)
    status, got = asked([HOST], [bytes(60), bytes(41), bytes(1000)])
    assert (status, got) == (413, 60)


def test_nothing_is_read_of_a_caller_without_a_token(tmp_path: Path) -> None:
    """In 0.2 before its release the whole form was in memory before anybody looked: 256 callers times 64 MiB."""
    token = tokens.add(tmp_path / "tokens.toml", "door", frozenset({Right.ASK}))
    known = tokens.load(tmp_path / "tokens.toml")
    right, wrong = (b"authorization", f"Bearer {token}".encode()), (b"authorization", b"Bearer x")
    for headers in ([HOST], [HOST, wrong], [HOST, right, wrong]):
        assert asked(headers, [bytes(60)], known=known) == (401, 0)
    assert asked([HOST, right], [bytes(60)], known=known) == (200, 60)
    assert asked([HOST], path="/", known=known)[0] == 200  # the page itself, which asks for one


def test_a_form_of_another_site_cannot_reach_a_page_either() -> None:
    assert asked([HOST, (b"sec-fetch-site", b"cross-site")], path="/")[0] == 403


def test_a_large_photo_stays_in_memory() -> None:
    """Forms go through temporary files otherwise, on a disk where a face has no business."""
    from starlette.datastructures import Headers
    from starlette.formparsers import MultiPartParser

    create_app(Line(lambda: None), Tokens(), Listening())  # type: ignore[arg-type, return-value]
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'

    async def stream() -> AsyncIterator[bytes]:
        yield head
        for _ in range(8):
            yield bytes(1 << 20)
        yield b"\r\n--x--\r\n"

    async def parsed() -> bool:
        form = await MultiPartParser(Headers({"content-type": "multipart/form-data; boundary=x"}), stream()).parse()
        photo = form["photo"]
        assert not isinstance(photo, str)
        assert photo.size == 8 << 20
        rolled: bool = photo.file._rolled  # type: ignore[attr-defined]
        await form.close()
        return rolled

    assert not asyncio.run(parsed())


# --- errors -----------------------------------------------------------------------------------------


def test_every_error_has_a_status_and_a_meaning() -> None:
    for kind in {*PuraError.__subclasses__(), PuraError}:
        assert 400 <= problems.status_of(kind()) < 600
        assert problems.meaning(kind.code) == kind.hint
        assert kind("said", detail="for the operator").detail.encode() not in problems.as_json(
            kind("said", detail="x y z")
        )
    assert problems.meaning("never heard of") is None
    photo = (errors.UnreadableImage, errors.NoFace, errors.SeveralFaces, errors.FaceTooSmall, errors.FaceTurned)
    assert {problems.status_of(kind()) for kind in photo} == {422}


# --- imports ----------------------------------------------------------------------------------------


class Enrolling:
    """In the place of `imports.enrol`: waits to be let on, and tells what it was told to."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.error: PuraError | None = None

    def __call__(self, client: object, people: Sequence[Person], told: Callable[[Person, Enrolled], None]) -> None:
        self.batches.append([one.label for one in people])
        for one in people:
            self.go_on.acquire()
            photos = [body for _, body in one.photos]
            if self.error is not None:
                told(one, Enrolled(photos, one.label, error=self.error, stopped=True))
            else:
                told(one, Enrolled(photos, one.label, handle=Handle(1)))


@pytest.fixture
def enrolling(monkeypatch: pytest.MonkeyPatch) -> Enrolling:
    made = Enrolling()
    monkeypatch.setattr(imports, "enrol", made)
    return made


@pytest.fixture
def desk_imports(enrolling: Enrolling) -> Imports:
    return Imports(Line(lambda: None), waiting_bytes=100)  # type: ignore[arg-type, return-value]


def until(made: Imports, wanted: Callable[[], bool]) -> None:
    with made._changed:
        assert made._changed.wait_for(wanted, 60)


def test_an_import_from_its_start_to_its_end(desk_imports: Imports, enrolling: Enrolling) -> None:
    job = desk_imports.start("staff", 3)
    for label in ("Ada", "Grace", "Ada"):
        desk_imports.add(job.id, Person(label, [("1.jpg", b"x")]))
    assert desk_imports.received(job.id) == ["Ada", "Grace"]
    enrolling.go_on.release(2)
    desk_imports.end(job.id)
    until(desk_imports, lambda: job.ended)
    assert (job.state, job.people, job.done, job.enrolled) == (State.DONE, 2, 2, 2)
    with pytest.raises(EnrolmentConflict):
        desk_imports.add(job.id, Person("Late", [("1.jpg", b"x")]))
    with pytest.raises(UnknownEntry):
        desk_imports.get("none")
    desk_imports.close()


def test_who_sends_more_than_there_is_room_for_waits(desk_imports: Imports, enrolling: Enrolling) -> None:
    job = desk_imports.start("staff", 3)
    desk_imports.add(job.id, Person("A", [("1.jpg", bytes(60))]))
    until(desk_imports, lambda: not job.queue)  # under way, and its photos are still in memory
    desk_imports.add(job.id, Person("B", [("1.jpg", bytes(60))]))  # nothing else waits: one may always come
    third = threading.Thread(target=lambda: desk_imports.add(job.id, Person("C", [("1.jpg", bytes(60))])))
    third.start()
    assert "C" not in job.received
    enrolling.go_on.release(3)
    third.join(60)
    assert not third.is_alive()
    desk_imports.end(job.id)
    until(desk_imports, lambda: job.ended)
    assert job.enrolled == 3
    assert desk_imports._room == 100
    desk_imports.close()


def test_a_stopped_import_gives_its_room_back(desk_imports: Imports, enrolling: Enrolling) -> None:
    job = desk_imports.start("staff", 9)
    desk_imports.add(job.id, Person("A", [("1.jpg", bytes(10))]))
    until(desk_imports, lambda: not job.queue)
    desk_imports.add(job.id, Person("B", [("1.jpg", bytes(10))]))
    assert desk_imports.stop(job.id).state is State.STOPPED
    enrolling.go_on.release()
    until(desk_imports, lambda: desk_imports._room == 100)
    assert (job.state, job.done) == (State.STOPPED, 1), "who was under way is enrolled"
    assert enrolling.batches == [["A"]]
    desk_imports.close()


def test_servers_that_stay_away_end_an_import_and_it_says_why(desk_imports: Imports, enrolling: Enrolling) -> None:
    enrolling.error = PeerUnavailable("nobody there")
    job = desk_imports.start("staff", 2)
    desk_imports.add(job.id, Person("A", [("1.jpg", b"x")]))
    enrolling.go_on.release(10)
    until(desk_imports, lambda: job.ended)
    assert job.state is State.STOPPED
    assert [(one.code, one.detail) for one in job.problems] == [("peer_unavailable", "nobody there")]
    desk_imports.close()


def test_there_is_an_end_to_imports(desk_imports: Imports) -> None:
    for i in range(imports.MOST_IMPORTS):
        desk_imports.start(str(i), 1)
    with pytest.raises(OutOfRange):
        desk_imports.start("one more", 1)
    for job in desk_imports.all():
        desk_imports.stop(job.id)
    for i in range(3 * imports.MOST_IMPORTS):
        desk_imports.stop(desk_imports.start(str(i), 1).id)
    assert len(desk_imports.all()) <= imports.MOST_IMPORTS + 1
    desk_imports.close()
    with pytest.raises(NotReady):
        desk_imports.add(desk_imports.all()[0].id, Person("A", [("1.jpg", b"x")]))


@pytest.mark.parametrize(
    "command", [["--config", "none.toml"], ["token", "tokens.toml", "--name", "x", "--may", "ask"]]
)
def test_without_the_extra_it_says_what_to_install(tmp_path: Path, command: list[str]) -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\nfrom pura_client.cli import main; sys.argv[1:1] = ['desk']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "pip install 'pura-match[desk]'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_photos_are_in_no_repr() -> None:
    assert "secret" not in repr(Person("Ada", [("1.jpg", b"secret")]))
