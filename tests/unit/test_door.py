"""S1's door and what stands behind it, part by part. What they do together is in tests/grpc/test_hostile.py."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from certs import DAY, issue_between
from prometheus_client import generate_latest
from waiting import until_async

from pura.errors import BadConfig, NotAuthorised
from pura.ids import ClientId
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb import pura_pb2_grpc
from pura_server.authority import Credential, issue, make_ca
from pura_server.config import Limits
from pura_server.credentials import ClientList, May, add_client, revoke_client
from pura_server.door import Door
from pura_server.ends import Guest
from pura_server.greetings import BURST, HANDSHAKES, PER_SECOND, Greetings, neighbourhood
from pura_server.metrics import Metrics
from pura_server.reception import SMALL, Reception, sizes
from pura_server.refusals import Refusals, Why
from pura_server.tls import fingerprint
from pura_server.visitors import MYSELF, Visitors, fingerprint_of, why


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


# --- refusals ---------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []

    class Log:
        def warning(self, event: str, **fields: object) -> None:
            lines.append({"event": event, **fields})

    monkeypatch.setattr("pura_server.refusals.logger", Log)
    return lines


def test_refusals_are_all_counted_and_told_now_and_then(told: list[dict[str, object]]) -> None:
    metrics, clock = Metrics(), Clock()
    refusals = Refusals(metrics, clock)
    one = fingerprint_of(b"one")
    for _ in range(50):
        refusals.tell(Why.UNKNOWN, fingerprint=one, address="10.0.0.1")
    assert [(row["certificate"], row["reason"], row["times"]) for row in told] == [(one[:16], "unknown certificate", 1)]
    clock.now += Refusals.AGAIN_S
    refusals.tell(Why.UNKNOWN, fingerprint=one, address="10.0.0.1")
    assert told[-1]["times"] == 50
    assert 'pura_refused_total{reason="unknown certificate"} 51.0' in generate_latest(metrics.registry).decode()


def test_nobody_fills_the_log_under_many_names(told: list[dict[str, object]]) -> None:
    metrics, clock = Metrics(), Clock()
    refusals = Refusals(metrics, clock)
    for number in range(5000):
        refusals.tell(Why.HANDSHAKE, address=f"10.0.{number >> 8}.{number & 255}")
    assert len(told) == Refusals.BURST
    clock.now += 3
    for number in range(5000):
        refusals.tell(Why.HANDSHAKE, address=f"10.1.{number >> 8}.{number & 255}")
    assert len(told) == Refusals.BURST + 3
    assert len(refusals._told) <= Refusals.REMEMBERED
    assert 'pura_refused_total{reason="handshake"} 10000.0' in generate_latest(metrics.registry).decode()


# --- visitors ---------------------------------------------------------------------------------------

CA = make_ca("test")


def der(credential: Credential) -> bytes:
    return ssl.PEM_cert_to_DER_cert(credential.cert.decode())


def test_visitors_are_judged_again(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "clients.json"
    own, client, stranger = (issue_between(CA, name, -DAY, DAY) for name in ("s1", "client", "stranger"))
    add_client(path, "desk", fingerprint(client.cert), frozenset(May))
    begins = Visitors(ClientList(path), lambda: fingerprint(own.cert)).judge(der(client)).begins
    visitors = Visitors(ClientList(path), lambda: fingerprint(own.cert), clock)

    def refused(what: Callable[[], object]) -> Why:
        with pytest.raises(NotAuthorised) as caught:
            what()
        return why(caught.value)

    clock.now = begins + 10
    assert visitors.judge(der(own)).client == MYSELF
    desk = visitors.judge(der(client))
    assert (desk.client, desk.fingerprint) == ("desk", fingerprint(client.cert))
    assert refused(lambda: visitors.judge(der(stranger))) is Why.UNKNOWN
    visitors.again(desk)
    clock.now = begins - 1
    assert refused(lambda: visitors.judge(der(client))) is Why.EARLY
    clock.now = desk.ends + 1
    for what in (lambda: visitors.judge(der(client)), lambda: visitors.again(desk)):
        assert refused(what) is Why.EXPIRED
    clock.now = begins + 10
    revoke_client(path, "desk")
    for what in (lambda: visitors.judge(der(client)), lambda: visitors.again(desk)):
        assert refused(what) is Why.REVOKED
    path.write_text("{")
    assert refused(lambda: visitors.judge(der(client))) is Why.LIST


# --- handshakes -------------------------------------------------------------------------------------


def test_what_counts_as_one_address() -> None:
    assert neighbourhood("192.0.2.7") == neighbourhood("::ffff:192.0.2.7") == "192.0.2.7"
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2:ffff::1%eth0") == "2001:db8:1:2::/64"
    assert neighbourhood("2001:db8:1:3::1") != neighbourhood("2001:db8:1:2::1")


def test_an_address_begins_so_many_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("pura_server.greetings.time.monotonic", clock)
    greetings = Greetings()
    assert sum(greetings.may_begin("a") for _ in range(1000)) == BURST
    assert greetings.may_begin("b")
    clock.now += 1
    assert sum(greetings.may_begin("a") for _ in range(1000)) == PER_SECOND
    for number in range(10_000):
        greetings.may_begin(str(number))
    assert len(greetings._buckets) <= 4096


def test_who_begins_most_handshakes_loses_one() -> None:
    greetings = Greetings()
    given_up: list[Guest] = []

    def begin(address: str) -> Guest:
        def failed(guest: Guest, _: str) -> None:
            given_up.append(guest)
            greetings.end(address, guest)

        guest = Guest(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda *_: None, failed)
        greetings.begin(address, guest)
        return guest

    honest = begin("honest")
    crowd = [begin("crowd") for _ in range(3 * HANDSHAKES)]
    assert given_up == crowd[: 2 * HANDSHAKES + 1]
    for address, guest in [("honest", honest), *(("crowd", guest) for guest in crowd[2 * HANDSHAKES + 1 :])]:
        greetings.end(address, guest)
    assert greetings._open == {}


# --- the door ---------------------------------------------------------------------------------------


class Service(pura_pb2_grpc.GatewayServicer):
    """Says who called, and what it was sent."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoReply:
        from pura_server.tls import caller

        await self.hold.wait()
        return pb.InfoReply(embedder=caller())

    async def Forget(self, request: pb.ForgetRequest, context: Any) -> pb.ForgetReply:
        self.heard.append(request)
        return pb.ForgetReply(removed=len(request.handles))

    async def Roster(self, request: pb.RosterRequest, context: Any) -> AsyncIterator[pb.RosterPage]:
        for handle in range(3):
            yield pb.RosterPage(entries=[pb.RosterEntry(handle=handle)])


class House:
    """A door, a reception and a service, in this process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.own = issue(CA, "s1", ["127.0.0.1"])
        self.client, self.stranger = (issue_between(CA, name, -DAY, DAY) for name in ("client", "stranger"))
        self.list = folder / "clients.json"
        add_client(self.list, "desk", fingerprint(self.client.cert), frozenset(May))
        self.metrics = Metrics()
        self.refusals = Refusals(self.metrics)
        visitors = Visitors(ClientList(self.list), lambda: fingerprint(self.own.cert))
        self.service = Service()
        context = self._context()
        self.door = Door(lambda: context, visitors, self.refusals, limits.connections)
        self.reception = Reception(self.door, self.refusals, limits, sizes(512, 2))
        options = [("grpc.max_receive_message_length", 4 * SMALL), ("grpc.per_message_decompression", 0)]
        self.server = grpc.aio.server(interceptors=[self.reception], options=options)
        self.address = ""

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for name, body in (("own.crt", self.own.cert), ("own.key", self.own.key), ("ca.crt", CA.cert)):
            (self.folder / name).write_bytes(body)
        context.load_cert_chain(self.folder / "own.crt", self.folder / "own.key")
        context.load_verify_locations(self.folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2"])
        return context

    async def open(self) -> None:
        pura_pb2_grpc.add_GatewayServicer_to_server(self.service, self.server)
        self.server.add_insecure_port(f"unix:{self.door.inner}")
        await self.server.start()
        self.door.listen("127.0.0.1:0")
        host, port = self.door._listeners[0].getsockname()
        self.address = f"{host}:{port}"
        self.door.open()

    async def close(self) -> None:
        await self.server.stop(0)
        await self.door.close()

    @contextlib.asynccontextmanager
    async def visit(self, who: Credential) -> AsyncIterator[grpc.aio.Channel]:
        credentials = grpc.ssl_channel_credentials(CA.cert, who.key, who.cert)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(self.address, credentials, options) as channel:
            yield channel

    def refused(self, reason: Why) -> float:
        found = self.metrics.registry.get_sample_value("pura_refused_total", {"reason": reason.value})
        return found or 0.0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path, Limits(connections=2, calls=2, message_s=0.2))
    await made.open()
    yield made
    await made.close()


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


FORGET = "/pura.v1.Gateway/Forget"


async def test_a_visitor_is_carried_and_known(house: House) -> None:
    async with house.visit(house.client) as channel:
        stub = pura_pb2_grpc.GatewayStub(channel)
        assert (await stub.Info(pb.InfoRequest())).embedder == fingerprint(house.client.cert)
        pages = [page async for page in stub.Roster(pb.RosterRequest())]
        assert [page.entries[0].handle for page in pages] == [0, 1, 2]
        assert (await stub.Forget(pb.ForgetRequest(handles=range(1, 100)))).removed == 99
        assert house.door.connections == 1
    await until_async(lambda: house.door.connections == 0)
    assert list(Path(house.door.inner).parent.iterdir()) == [Path(house.door.inner)]


async def test_a_stranger_is_turned_away(house: House) -> None:
    async with house.visit(house.stranger) as channel:
        assert await code_of(pura_pb2_grpc.GatewayStub(channel).Info(pb.InfoRequest())) is grpc.StatusCode.UNAVAILABLE
    assert house.refused(Why.UNKNOWN) >= 1
    other = make_ca("another")
    async with house.visit(issue_between(other, "client", -DAY, DAY)) as channel:
        assert await code_of(pura_pb2_grpc.GatewayStub(channel).Info(pb.InfoRequest())) is grpc.StatusCode.UNAVAILABLE
    assert house.refused(Why.HANDSHAKE) >= 1
    assert house.door.connections == 0


async def test_a_client_revoked_meanwhile_is_not_read(house: House) -> None:
    async with house.visit(house.client) as channel:
        stub = pura_pb2_grpc.GatewayStub(channel)
        assert await code_of(stub.Forget(pb.ForgetRequest())) is grpc.StatusCode.OK
        revoke_client(house.list, "desk")
        assert await code_of(stub.Forget(pb.ForgetRequest())) is grpc.StatusCode.PERMISSION_DENIED
    assert house.refused(Why.REVOKED) == 1
    assert len(house.service.heard) == 1


async def test_the_server_itself_may_ask_for_its_health_only(house: House) -> None:
    async with house.visit(house.own) as channel:
        call = pura_pb2_grpc.GatewayStub(channel).Info(pb.InfoRequest())
        assert await code_of(call) is grpc.StatusCode.PERMISSION_DENIED
    assert house.refused(Why.METHOD) == 1


async def test_a_client_has_so_many_connections(house: House) -> None:
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(house.visit(house.client)) for _ in range(3)]
        codes = [await code_of(pura_pb2_grpc.GatewayStub(one).Info(pb.InfoRequest())) for one in channels]
        assert codes == [grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE]
        assert house.refused(Why.CONNECTIONS) >= 1
        await channels[0].close()
        await until_async(lambda: house.door.connections == 1)
        more = await stack.enter_async_context(house.visit(house.client))
        assert await code_of(pura_pb2_grpc.GatewayStub(more).Info(pb.InfoRequest())) is grpc.StatusCode.OK


async def test_a_client_has_so_many_calls(house: House) -> None:
    house.service.hold.clear()
    async with house.visit(house.client) as one, house.visit(house.client) as two:
        stubs = [pura_pb2_grpc.GatewayStub(channel) for channel in (one, two)]
        held = [asyncio.ensure_future(code_of(stub.Info(pb.InfoRequest()))) for stub in stubs]
        client = ClientId("desk")
        await until_async(lambda: house.reception._open[client] == 2)
        assert await code_of(stubs[0].Forget(pb.ForgetRequest())) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert house.refused(Why.CALLS) == 1
        house.service.hold.set()
        assert await asyncio.gather(*held) == [grpc.StatusCode.OK] * 2
        assert await code_of(stubs[0].Forget(pb.ForgetRequest())) is grpc.StatusCode.OK
        assert house.reception._open == {}
    assert len(house.service.heard) == 1


async def test_a_message_has_a_time_to_arrive(house: House) -> None:
    async with house.visit(house.client) as channel:
        call = channel.stream_unary(FORGET)()  # a header, and nothing behind it
        assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
        assert house.refused(Why.SLOW) == 1
        call = channel.stream_unary(FORGET)()
        await until_async(lambda: bool(house.reception._open))
        call.cancel()
        await until_async(lambda: house.refused(Why.BROKEN) == 1)
        assert await code_of(channel.stream_unary(FORGET)(iter(()))) is grpc.StatusCode.INVALID_ARGUMENT
        assert house.refused(Why.BROKEN) == 2
    assert house.service.heard == []


async def test_a_message_has_the_length_of_its_method(house: House) -> None:
    async with house.visit(house.client) as channel:
        for length, code in ((SMALL, grpc.StatusCode.OK), (SMALL + 1, grpc.StatusCode.INVALID_ARGUMENT)):
            rest = length - 3
            raw = bytes([15 << 3 | 2, rest & 127 | 128, rest >> 7]) + bytes(rest)  # a field that nobody knows
            assert len(raw) == length
            pages = channel.unary_stream("/pura.v1.Gateway/Roster")(raw)
            assert await code_of(_read_all(pages)) is code
        assert house.refused(Why.LONG) == 1
        raw = pb.ForgetRequest(handles=range(1, 4 * SMALL // 8)).SerializeToString()  # longer than gRPC itself takes
        assert len(raw) > SMALL
        assert await code_of(channel.unary_unary(FORGET)(raw + raw)) is not grpc.StatusCode.OK
        assert await code_of(channel.unary_unary(FORGET)(b"\xff")) is grpc.StatusCode.INVALID_ARGUMENT
    assert house.service.heard == []


async def test_nothing_is_unpacked(house: House) -> None:
    async with house.visit(house.client) as channel:
        stub = pura_pb2_grpc.GatewayStub(channel)
        request = pb.ForgetRequest(handles=[1] * 1000)
        assert len(request.SerializeToString()) > 4 * SMALL
        with pytest.raises(grpc.aio.AioRpcError, match="compressed messages are not taken"):
            await stub.Forget(request, compression=grpc.Compression.Gzip)
        assert await code_of(stub.Forget(request, compression=grpc.Compression.Deflate)) is not grpc.StatusCode.OK
    assert house.refused(Why.UNREADABLE) == 2
    assert house.service.heard == []


async def _read_all(pages: Any) -> list[bytes]:
    return [page async for page in pages]


async def test_an_address_that_is_taken_is_named(house: House) -> None:
    with pytest.raises(BadConfig, match=f"the address {house.address} cannot be used: address already in use"):
        house.door.listen(house.address)
