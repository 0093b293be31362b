"""The client for asyncio, beside a gateway that decrypts."""

import asyncio
import threading
from collections.abc import AsyncIterator

import grpc
import pytest
from fake_gateway import FakeGateway, Fault, person, serve

from pura.errors import BadConfig, BudgetSpent, PeerUnavailable, UnknownLabel
from pura.wire._pb import pura_pb2 as pb
from pura_client import Decision, Ready, aio

ADA = Decision(True, "Ada", ("Ada",))


@pytest.fixture
async def pura(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[aio.AsyncClient]:
    monkeypatch.setattr("pura_client.gateway._PAUSE_S", 0.001)
    with serve(gateway, at_once=1) as config:
        async with await aio.connect(config, insecure=True) as made:
            yield made


async def test_the_whole_job(pura: aio.AsyncClient, gateway: FakeGateway) -> None:
    handle = await pura.enroll(embedding=Ready(person(0)), label="Ada")
    done = await pura.enroll_many([(Ready(person(1)), "Grace"), (Ready(person(2)), "Alan")])
    assert [one.error for one in done] == [None, None]
    assert await pura.list() == {"Ada": 1, "Alan": 1, "Grace": 1}
    assert await pura.identify(embedding=Ready(person(0))) == ADA
    assert not (await pura.identify(embedding=Ready(person(5)))).match
    assert (await pura.verify(embedding=Ready(person(1)), label="Grace")).match
    assert await pura.relabel("Alan", "Turing") == 1
    assert await pura.forget("Turing") == 1
    assert await pura.forget_entries([handle]) == 1
    assert [one.label for one in await pura.entries()] == ["Grace"]
    assert (await pura.status()).peer_ready
    assert pura.params.dimension == gateway.params.dimension
    with pytest.raises(UnknownLabel):
        await pura.forget("Nobody")


async def test_many_at_once_and_in_order(pura: aio.AsyncClient) -> None:
    await pura.enroll(embedding=Ready(person(0)), label="Ada")
    asked = [Ready(person(i % 2 * 4)) for i in range(12)]
    decisions = await asyncio.gather(*(pura.identify(embedding=one) for one in asked))
    assert [one.match for one in decisions] == [i % 2 == 0 for i in range(12)]
    told = [one.faces[0].decision async for one in pura.identify_many(asked)]
    assert [one is not None and one.match for one in told] == [i % 2 == 0 for i in range(12)]


async def test_calls_travel_on_the_loop(pura: aio.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """By grpc.aio, in the thread of the loop, which is never blocked by them."""
    threads = set()
    stub = pura._client._gateway._stub._stub  # type: ignore[attr-defined]
    status = stub.Status

    def watched(request: object, timeout: float) -> object:
        threads.add(threading.current_thread())
        return status(request, timeout=timeout)

    monkeypatch.setattr(stub, "Status", watched)
    await pura.status()
    assert threads == {threading.current_thread()}


async def test_errors_are_typed_and_passing_ones_are_waited_for(pura: aio.AsyncClient, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault("Status", grpc.StatusCode.UNAVAILABLE, "not_ready", times=2))
    assert (await pura.status()).version == "0"
    gateway.faults.append(Fault("Identify", grpc.StatusCode.RESOURCE_EXHAUSTED, "budget_spent"))
    with pytest.raises(BudgetSpent):
        await pura.identify(embedding=Ready(person(0)))


async def test_a_task_that_is_cancelled_cancels_its_call(gateway: FakeGateway) -> None:
    began, ended, go_on = threading.Event(), threading.Event(), threading.Event()

    class Slow(FakeGateway):
        def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusReply:
            context.add_callback(ended.set)
            began.set()
            go_on.wait(60)
            return super().Status(request, context)

    with serve(Slow()) as config:
        async with await aio.connect(config, insecure=True) as pura:
            task = asyncio.create_task(pura.status())
            await asyncio.to_thread(began.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(ended.wait, 60), "the server hears of it"
            go_on.set()
            assert (await pura.list()) == {}


async def test_nobody_is_there(gateway: FakeGateway) -> None:
    with serve(gateway) as config:
        pass
    with pytest.raises(PeerUnavailable):
        await aio.connect(config.model_copy(update={"deadline_s": 0.3}), insecure=True)
    with pytest.raises(BadConfig):
        await aio.connect(config)
