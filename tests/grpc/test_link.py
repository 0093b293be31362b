"""S1's connection with S2 over real gRPC, both in this process, with parties made for the test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import grpc.aio
import pytest
from waiting import PATIENCE_S, until_async
from wires import wire

from pura.crypto.keys import load_public
from pura.errors import (
    InvalidTemplate,
    MaterialUsed,
    Overloaded,
    ParameterMismatch,
    PeerUnavailable,
    ProtocolError,
    PuraError,
    WrongKey,
)
from pura.ids import KeyId
from pura.messages import Message, encode, message
from pura.params import Params
from pura.rounds import Rounds, Tally, receive, receive_any, send
from pura.transport import Line, converse, start
from pura.transport.options import PATIENT
from pura.wire._pb import pura_pb2_grpc
from pura_server.calls import Calls
from pura_server.link import CHANNEL_OPTIONS, PeerLink, State
from pura_server.metrics import Metrics
from pura_server.peer import PeerService

SILENCE_S = 45.0
"""15 s when all is quiet; it took 63 to 71 s before a ping had a time to be answered in."""

PK = load_public(Path(__file__).parents[1] / "fixtures" / "test-keys-2048" / "public.key")
PARAMS = Params(PK.key_id, 2048)


@message
class Word(Message):
    text: bytes


class Peer:
    """S2 with a party per word."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.closed = threading.Event()
        self.greetings = 0
        self.hours = 0

    def session(self, begins: object = None) -> Rounds[None]:
        first = yield from receive(Word)
        self.heard.append(first.text)
        try:
            if first.text == b"raise":
                raise MaterialUsed(detail="for the log only")
            if first.text == b"break":
                raise ValueError("a secret value")
            if first.text == b"leave":
                return
            if first.text == b"echo":
                yield from send(first)
                return
            if first.text == b"flood":
                for _ in range(5000):
                    yield from send(Word(b"drop"))
            while True:
                got = yield from receive(Word)
                self.heard.append(got.text)
                if got.text == b"end":
                    return
                yield from send(got)
        finally:
            self.closed.set()

    def levels(self) -> dict[str, float]:
        return {}

    def connected(self) -> None:
        self.greetings += 1

    def epoch(self) -> bytes:
        return b"epoch %d of %d" % (self.hours, self.greetings)

    def close(self) -> None: ...


class Pair:
    """The two ends; `settled` counts reconciliations."""

    def __init__(self, peer: Peer, params: Params = PARAMS) -> None:
        self.peer = peer
        self.agreed: list[bool] = []
        self.settled = 0
        self.states: list[State] = []
        self.pool = ThreadPoolExecutor(8)
        self.params = params
        self.port = 0
        self.links: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        calls = self.calls = Calls(Metrics(), PeerUnavailable)
        service = PeerService(self.peer, PARAMS, calls, self.pool, pinned=None, sessions=4, agreed=self.agreed.append)
        self.server = grpc.aio.server(options=[*CHANNEL_OPTIONS, *PATIENT])
        pura_pb2_grpc.add_PeerServicer_to_server(service, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    def reconcile(self) -> Rounds[None]:
        self.settled += 1
        yield from ()

    async def link(self, port: int | None = None, **how: float) -> PeerLink:
        """`port`: of what stands between the two."""

        async def changed(state: State) -> None:
            self.states.append(state)

        link = PeerLink(
            lambda: grpc.aio.insecure_channel(f"127.0.0.1:{port or self.port}", options=CHANNEL_OPTIONS),
            self.params,
            self.reconcile,
            self.pool,
            changed=changed,
            **how,
        )
        self.links.append(asyncio.ensure_future(link.run()))
        return link

    async def close(self) -> None:
        for task in self.links:
            task.cancel()
        await asyncio.gather(*self.links, return_exceptions=True)
        await self.server.stop(0)
        await asyncio.to_thread(self.pool.shutdown)  # its parties end when the loop tells them


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair(Peer())
    await made.serve()
    yield made
    await made.close()


def say(*words: bytes) -> Rounds[list[bytes]]:
    """Says the first, and hears each of the others come back but `end`."""
    yield from send(Word(words[0]))
    heard = []
    for word in words[1:]:
        yield from send(Word(word))
        if word != b"end":
            heard.append((yield from receive(Word)).text)
    return heard


class Crossing:
    """Stands between the two ends, and counts the connections that are open and that there were."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = self.ever = 0

    async def serve(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open, self.ever = self.open + 1, self.ever + 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(self._one_way(reader, back), self._one_way(there, writer))
        finally:
            self.open -= 1

    @staticmethod
    async def _one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async def close(self) -> None:
        self._server.close()


async def ready(link: PeerLink) -> None:
    await until_async(lambda: link.state is State.READY)


async def ask(link: PeerLink, party: Rounds[object], tally: Tally | None = None) -> object:
    return await link.ask(party, tally or Tally(), PATIENCE_S)


async def test_a_conversation_and_its_last_word(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    assert (pair.agreed, pair.settled, pair.peer.greetings) == ([True], 1, 1)
    for _ in range(20):
        tally = Tally()
        assert await ask(link, say(b"hello", b"a" * 100_000, b"b", b"end"), tally) == [b"a" * 100_000, b"b"]
        assert tally.rounds == 2
        await until_async(lambda: pair.peer.heard[-1] == b"end")  # S1 was done when it had sent this
    assert pair.states == [State.SETTLING, State.READY]


async def test_s1_keeps_up_with_the_epochs_of_s2(pair: Pair) -> None:
    link = await pair.link(epoch_every_s=0.01)
    await ready(link)
    assert link.proof_epochs == (b"epoch 0 of 1",)
    pair.peer.hours = 1
    await until_async(lambda: link.proof_epochs == (b"epoch 1 of 1", b"epoch 0 of 1"))
    pair.peer.hours = 2
    await until_async(lambda: link.proof_epochs == (b"epoch 2 of 1", b"epoch 1 of 1"))
    await pair.server.stop(0)
    await pair.serve()
    await until_async(lambda: link.state is State.READY and pair.peer.greetings == 2)
    # S2 may have started anew: nothing of the connection before counts
    assert link.proof_epochs == (b"epoch 2 of 2",)


async def test_two_ends_that_close_at_once_are_no_loss(pair: Pair) -> None:
    """S2's party ends with a message to S1: both streams close at the same moment, again and again."""
    link = await pair.link()
    await ready(link)

    def asks() -> Rounds[bytes]:
        yield from send(Word(b"echo"))
        return (yield from receive(Word)).text

    for _ in range(30):
        assert await asyncio.gather(*(ask(link, asks()) for _ in range(4))) == [b"echo"] * 4
    assert pair.states == [State.SETTLING, State.READY]


async def test_a_stream_that_breaks_after_the_end_is_no_error() -> None:
    """grpc.aio calls it an error when one side half-closes a stream that the other side is closing."""
    closed = asyncio.Event()
    told: list[Exception] = []
    bodies = [encode(Word(b"echo"))]

    async def read() -> bytes | None:
        if bodies:
            return bodies.pop()
        await closed.wait()
        raise OSError("INTERNAL")

    async def write(body: bytes) -> None: ...

    async def half_close() -> None:
        closed.set()
        raise OSError("INTERNAL")

    def typed(error: Exception) -> PuraError:
        told.append(error)
        return PuraError()

    def asks() -> Rounds[bytes]:
        yield from send(Word(b"echo"))
        return (yield from receive(Word)).text

    with ThreadPoolExecutor(1) as pool:
        line, party = Line(asyncio.get_running_loop()), asks()
        work = start(party, line, pool)
        assert await converse(party, line, work, read, write, typed, half_close) == b"echo"
        await asyncio.sleep(0.05)
    assert told == []


async def test_sessions_side_by_side(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    words = [b"%d" % i for i in range(40)]
    answers = await asyncio.gather(*(ask(link, say(b"hello", word, b"end")) for word in words[:4]))
    assert answers == [[word] for word in words[:4]]
    with pytest.raises(Overloaded):
        await asyncio.gather(*(ask(link, say(b"hello", *words)) for _ in range(8)))


async def test_errors_of_the_other_party(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    for word, kind in ((b"raise", MaterialUsed), (b"break", PuraError), (b"leave", ProtocolError)):
        with pytest.raises(PuraError) as caught:
            await ask(link, say(word, b"x"))
        assert type(caught.value) is kind
        assert caught.value.detail == ("" if word != b"leave" else caught.value.detail)
        assert "secret" not in str(caught.value)

    def late() -> Rounds[None]:
        yield from send(Word(b"hello"))
        raise InvalidTemplate

    with pytest.raises(InvalidTemplate):
        await ask(link, late())
    await until_async(pair.peer.closed.is_set)
    assert link.state is State.READY
    assert pair.settled == 1


async def test_a_refusal_while_s1_is_writing(pair: Pair) -> None:
    """S2's party fails at the first message while S1 sends more: S1 hears why, and the connection stays."""
    link = await pair.link()
    await ready(link)

    def talks() -> Rounds[None]:
        yield from send(Word(b"raise"))
        for _ in range(200):
            yield from send(Word(b"x" * 20_000))
        yield from receive(Word)

    for _ in range(10):
        with pytest.raises(MaterialUsed):
            await ask(link, talks())
    assert pair.states == [State.SETTLING, State.READY]


async def test_a_peer_that_floods(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)

    def slow() -> Rounds[None]:
        yield from send(Word(b"flood"))
        time.sleep(0.5)  # this party is busy while they come in
        for _ in range(5000):
            yield from receive(Word)

    with pytest.raises(ProtocolError):
        await ask(link, slow())


async def test_what_is_stopped_here_stops_there(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    closed: list[str] = []

    def waits() -> Rounds[None]:
        try:
            yield from send(Word(b"hello"))
            yield from receive_any()
        finally:
            closed.append("here")

    going = asyncio.ensure_future(ask(link, waits()))
    await until_async(lambda: pair.peer.heard == [b"hello"])
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert closed == ["here"]
    await until_async(pair.peer.closed.is_set)
    with pytest.raises(PeerUnavailable, match="in time"):
        await link.ask(waits(), Tally(), 0.2)
    assert closed == ["here", "here"]
    assert link.state is State.READY


async def test_a_party_without_messages_needs_no_session(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)

    def alone() -> Rounds[int]:
        yield from ()
        return 5

    assert await ask(link, alone()) == 5
    assert pair.peer.heard == []


async def test_a_change_that_fails_is_settled(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    with pytest.raises(MaterialUsed):
        await link.change(say(b"raise", b"x"), Tally(), PATIENCE_S)
    assert await link.change(say(b"hello", b"y"), Tally(), PATIENCE_S) == [b"y"]  # after settling
    assert pair.settled == 2
    assert pair.peer.greetings == 1  # on the same connection


async def test_changes_come_one_at_a_time(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    inside: list[int] = []
    most = 0

    def change(number: int) -> Rounds[None]:
        nonlocal most
        inside.append(number)
        most = max(most, len(inside))
        yield from send(Word(b"hello"))
        yield from send(Word(b"x"))
        yield from receive(Word)
        inside.remove(number)

    await asyncio.gather(*(link.change(change(i), Tally(), PATIENCE_S) for i in range(4)))
    assert most == 1


async def test_the_link_comes_back_by_itself(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    await pair.server.stop(0)
    await until_async(lambda: link.state is State.DOWN)
    with pytest.raises(PeerUnavailable):
        await ask(link, say(b"hello"))
    await asyncio.sleep(0.5)
    await pair.serve()
    await ready(link)
    assert await ask(link, say(b"hello", b"z")) == [b"z"]
    assert (pair.settled, pair.peer.greetings) == (2, 2)


async def test_a_session_on_a_connection_that_is_just_closed(pair: Pair) -> None:
    """Its party is told, and does not wait for ever in its thread."""
    link = await pair.link()
    await ready(link)
    stub = link._stub
    for task in pair.links:
        task.cancel()
    await asyncio.gather(*pair.links, return_exceptions=True)
    for left in (link._stub, stub):  # as it is now, and as a session has it that began a moment before
        link._stub = left
        with pytest.raises(PeerUnavailable):
            await link._play(say(b"hello", b"x"), Tally(), PATIENCE_S)


async def test_s2_drains_what_s1_has_begun(pair: Pair) -> None:
    link = await pair.link()
    await ready(link)
    go_on = threading.Event()

    def slow() -> Rounds[bytes]:
        yield from send(Word(b"hello"))
        yield from send(Word(b"1"))
        yield from receive(Word)
        go_on.wait(PATIENCE_S)
        yield from send(Word(b"2"))
        return (yield from receive(Word)).text

    going = asyncio.ensure_future(ask(link, slow()))
    await until_async(lambda: pair.peer.heard == [b"hello", b"1"])
    pair.calls.draining = True
    with pytest.raises(PeerUnavailable):
        await ask(link, say(b"hello", b"x"))
    await until_async(lambda: link.state is State.DOWN)
    go_on.set()
    assert await going == b"2"
    pair.calls.draining = False
    await ready(link)


async def test_the_last_hello_counts(pair: Pair) -> None:
    """A second S1 takes over: what the first one has begun ends, and it must greet again."""
    first = await pair.link()
    await ready(first)

    def waits() -> Rounds[None]:
        yield from send(Word(b"hello"))
        yield from receive(Word)

    going = asyncio.ensure_future(ask(first, waits()))
    await until_async(lambda: pair.peer.heard == [b"hello"])
    pair.links[0].cancel()
    second = await pair.link()
    await ready(second)
    with pytest.raises(PeerUnavailable):
        await going
    assert pair.peer.closed.is_set()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{pair.port}") as channel:
        call = pura_pb2_grpc.PeerStub(channel).Session(metadata=(("pura-epoch", "00" * 16),))
        frame = await call.read()
        assert frame.error_code == "peer_unavailable"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_peer_that_is_gone_without_a_word_is_noticed(pair: Pair) -> None:
    """Nobody asks and nobody closes: a ping that is not answered tells. Then the next connection is made."""
    with wire(("127.0.0.1", pair.port)) as between:
        link = await pair.link(between.port)
        await ready(link)
        assert between.cut() > 0
        await until_async(lambda: State.DOWN in pair.states, SILENCE_S)
        await until_async(lambda: link.state is State.READY, SILENCE_S)
        assert pair.settled == 2
        assert await ask(link, say(b"hello", b"a", b"end")) == [b"a"]


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (Params(PK.key_id, 2048, tau_identify=5), ParameterMismatch),
        (Params(KeyId(bytes(16)), 2048), WrongKey),
    ],
)
async def test_two_that_do_not_agree(other: Params, kind: type[PuraError]) -> None:
    pair = Pair(Peer(), other)
    await pair.serve()
    link = await pair.link()
    await until_async(lambda: pair.agreed[:1] == [False] and link.state is State.DOWN)
    with pytest.raises(kind):
        await ask(link, say(b"hello"))
    assert (pair.settled, pair.peer.greetings, pair.peer.heard) == (0, 0, [])
    await pair.close()


def finds_another_moment() -> Rounds[None]:
    yield from say(b"hello", b"x")
    raise MaterialUsed


@pytest.mark.parametrize("found", [finds_another_moment, lambda: say(b"raise", b"x")], ids=["by S1", "by S2"])
async def test_a_connection_that_settles_nothing_does_not_stay(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, found: Callable[[], Rounds[None]]
) -> None:
    """Two galleries of two moments: S1 tries again and again, and S2 bounds how many connections S1 has."""
    monkeypatch.setattr("pura_server.link._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(pair, "reconcile", found)
    between = Crossing(pair.port)
    port = await between.serve()
    gc.collect()
    gc.disable()  # what a collector would end some day has to end by itself
    try:
        await pair.link(port)
        await until_async(lambda: between.ever >= 40 and between.open <= 2)
    finally:
        gc.enable()
        await between.close()
