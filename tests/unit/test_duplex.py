"""Frames over TLS in the calling thread: both ways at once, deadlines, strangers, and sessions on them."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

from pura.errors import PeerRefused, PeerUnavailable, ProtocolError, PuraError, UnknownEntry
from pura.messages import Message, message
from pura.rounds import Rounds, Tally, exchange, receive, send
from pura.transport.channel import drive
from pura.transport.duplex import Duplex
from pura_server import authority, moves, tls
from pura_server.config import Tls
from pura_server.greetings import HANDSHAKES
from pura_server.metrics import Metrics
from pura_server.refusals import Refusals

EPOCH = b"e" * 16


@message
class Said(Message):
    """For tests: anything."""

    body: bytes


class Files:
    """Certificates of both servers and of a stranger."""

    def __init__(self, folder: Path) -> None:
        ca = authority.make_ca("test")
        self.folder = folder
        for name in ("s1", "s2", "stranger"):
            made = authority.issue(ca, name, ["localhost"])
            (folder / f"{name}.crt").write_bytes(made.cert)
            (folder / f"{name}.key").write_bytes(made.key)

    def context(self, side: int, own: str, pinned: str) -> ssl.SSLContext:
        return moves._context(
            side, Tls(cert=self.folder / f"{own}.crt", key=self.folder / f"{own}.key"), self.folder / f"{pinned}.crt"
        )

    def pinned(self, name: str) -> Any:
        return tls.pinned(self.folder / f"{name}.crt")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def pair(files: Files, clock: Callable[[], float] | None = None) -> tuple[Duplex, Duplex]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    made: list[Duplex] = []
    context = files.context(ssl.PROTOCOL_TLS_SERVER, "s2", "s1")
    thread = threading.Thread(target=lambda: made.append(Duplex(two, context, server=True)))
    thread.start()
    how: Any = {} if clock is None else {"clock": clock}
    first = Duplex(one, files.context(ssl.PROTOCOL_TLS_CLIENT, "s1", "s2"), server=False, **how)
    thread.join()
    return first, made[0]


def test_both_sides_send_16_mb_at_once_and_then_read(files: Files) -> None:
    one, two = pair(files)
    big = bytes(16 << 20)
    got: list[tuple[int, bytes]] = []

    def other() -> None:
        two.send(2, big)
        got.append(two.receive())
        two.send(3, b"")

    thread = threading.Thread(target=other)
    thread.start()
    one.send(1, big)
    assert one.receive() == (2, big)
    assert one.receive() == (3, b"")
    thread.join()
    assert got == [(1, big)]
    for line in (one, two):
        line.close()


def test_frames_arrive_whole_and_in_order(files: Files) -> None:
    one, two = pair(files)
    bodies = [bytes([i]) * n for i, n in enumerate((0, 1, 5, 16_379, 16_380, 16_384, 70_000))]
    for body in bodies:
        one.send(1, body)
    assert [two.receive()[1] for _ in bodies] == bodies
    one.close()
    with pytest.raises(PeerUnavailable):
        two.receive()
    two.close()


def test_a_deadline_ends_a_wait_and_shutting_ends_it_at_once(files: Files) -> None:
    one, two = pair(files)
    one.deadline(0.0)
    with pytest.raises(PeerUnavailable, match="in time"):
        one.receive()
    one.deadline(600.0)
    waiting = threading.Timer(0.05, one.shut)
    waiting.start()
    with pytest.raises(PeerUnavailable):
        one.receive()
    for line in (one, two):
        line.close()


@pytest.fixture
def door(files: Files) -> Iterator[moves.Door]:
    """S2's, whose parties answer what they are told."""

    def admit(epoch: bytes) -> None:
        if epoch != EPOCH:
            raise PeerUnavailable("say hello first")

    def party() -> Rounds[None]:
        got = yield from receive(Said)
        if got.body == b"who":
            raise UnknownEntry()
        if got.body == b"forever":
            yield from receive(Said)
        yield from send(Said(got.body[::-1]))

    ends = files.context(ssl.PROTOCOL_TLS_SERVER, "s2", "s1"), files.pinned("s1")
    made = moves.Door(
        ("127.0.0.1", 0), lambda: ends, admit, lambda channel, number: drive(party(), channel), 4, Refusals(Metrics()),
    )  # fmt: skip
    made.start()
    yield made
    made.close()


def lines(files: Files, door: moves.Door, own: str = "s1", epoch: bytes = EPOCH) -> moves.Lines:
    ends = files.context(ssl.PROTOCOL_TLS_CLIENT, own, "s2"), files.pinned("s2")
    return moves.Lines(("127.0.0.1", door.port), lambda: ends, epoch)


def ask(line: moves.Lines, body: bytes, stop: moves.Stop | None = None) -> bytes:
    def party() -> Rounds[bytes]:
        return (yield from exchange(Said(body), Said)).body

    return line.play(party(), "0123456789ab", 60.0, Tally(), stop or moves.Stop())


def test_sessions_follow_each_other_on_one_connection(files: Files, door: moves.Door) -> None:
    line = lines(files, door)
    line.try_out()
    assert [ask(line, body) for body in (b"abc", b"", b"xy" * 99_999)] == [b"cba", b"", b"yx" * 99_999]
    assert len(line._all) == 1
    line.close()


def test_an_error_crosses_with_its_code_and_costs_the_connection(files: Files, door: moves.Door) -> None:
    line = lines(files, door)
    with pytest.raises(UnknownEntry):
        ask(line, b"who")
    assert ask(line, b"ab") == b"ba"
    line.close()


def test_only_the_pinned_server_and_the_last_greeting_count(files: Files, door: moves.Door) -> None:
    with pytest.raises(PuraError):
        ask(lines(files, door, own="stranger"), b"ab")
    with pytest.raises(PeerUnavailable, match="hello"):
        ask(lines(files, door, epoch=b"o" * 16), b"ab")
    other = lines(files, door)
    ends = files.context(ssl.PROTOCOL_TLS_CLIENT, "s1", "stranger"), files.pinned("s2")
    other._tls = lambda: ends
    with pytest.raises(PeerRefused):
        other.try_out()


def test_strangers_take_no_part_in_sessions(files: Files, door: moves.Door) -> None:
    """Connections on which nothing is said, more than there are sessions, handshakes, and turns for one address."""
    line = lines(files, door)
    assert ask(line, b"ab") == b"ba"
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port))) for _ in range(300)]
        poll = select.poll()
        for one in crowd:
            poll.register(one, select.POLLIN)
        turned_away: set[int] = set()
        ends = time.monotonic() + PATIENCE_S
        while len(turned_away) < len(crowd) - HANDSHAKES:
            assert time.monotonic() < ends
            turned_away |= {fd for fd, _ in poll.poll(100)}
        assert ask(line, b"ab") == b"ba"  # over a connection that is there
    line.close()


def test_a_new_greeting_does_not_wait_for_strangers(files: Files, door: moves.Door) -> None:
    """Who shakes hands for as long as it may has no session that could be over."""
    shaking, ends = threading.Event(), door._tls

    def begun() -> moves.Ends:
        shaking.set()
        return ends()

    door._tls = begun
    with socket.create_connection(("127.0.0.1", door.port)) as stranger:
        assert shaking.wait(PATIENCE_S)
        door.end_sessions()
        assert not select.select([stranger], [], [], 0)[0], "it is still shaking hands"
    door._tls = ends
    line = lines(files, door)
    assert ask(line, b"ab") == b"ba"
    line.close()


def test_a_new_greeting_ends_sessions_and_so_does_a_stop(files: Files, door: moves.Door) -> None:
    line = lines(files, door)
    for end in (door.end_sessions, None):
        stop = moves.Stop()
        timer = threading.Timer(0.1, end or stop)
        timer.start()
        with pytest.raises(PeerUnavailable):
            ask(line, b"forever", stop)
        timer.join()
    assert ask(line, b"ab") == b"ba"
    line.close()
    with pytest.raises(PeerUnavailable):
        ask(line, b"ab")


def test_a_frame_that_is_no_frame_is_refused(files: Files) -> None:
    one, two = pair(files)
    one._write(b"\xff\xff\xff\xff\x00")
    one._flush()
    with pytest.raises(ProtocolError):
        two.receive()
    for line in (one, two):
        line.close()
