"""A server without a file descriptor left: what needs one is refused as `overloaded`, nothing is called damaged, and
when there are some again it works as before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from descriptors import none_left_for
from server_pair import LABELS, Deployment, server_cli
from waiting import PATIENCE_S

from pura.errors import BadDataFolder, Overloaded, PuraError
from pura.wire._pb import pura_pb2 as pb
from pura_client.gateway import typed
from pura_server.config import load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")


def code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return typed(error).code
    return "ok"


def nothing_is_damaged(made: Deployment) -> None:
    assert made.stop() == [0, 0]
    for name in ("s1", "s2"):
        assert server_cli("check", made.folder / name / "data").returncode == 0
    codes = {row.get("code") for each in made.servers for row in made.log(each)}
    assert not codes & {BadDataFolder.code, PuraError.code}


@pytest.mark.parametrize("victim", ["s1", "s2"])
def test_an_enrolment(deployment: Deployment, victim: str) -> None:
    """It is carried out, where everything that it needs is open, or refused for now."""
    people = deployment.people(2, 50)
    deployment.start()
    with deployment.connect() as client, deployment.stub() as stub:
        client.enroll(people[0], LABELS[0])
        assert client.identify(people[0]).label == LABELS[0]
        request = deployment.request(deployment.enrolment(people[1]))
        assert code_of(lambda: stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)) == "ok"
        with none_left_for(getattr(deployment, victim).pid):
            assert code_of(lambda: stub.Enroll(request, timeout=PATIENCE_S)) in ("ok", Overloaded.code)
        deployment.wait()
        assert client.enroll(people[1], LABELS[1])
        for person, label in zip(people, LABELS, strict=False):
            assert client.identify(person).match, label
    nothing_is_damaged(deployment)


def test_the_list_of_clients(plain: Deployment) -> None:
    """It has changed and cannot be read just now: nobody is called unknown for that."""
    plain.start()
    listed = load(plain.s1.config).clients_file
    with plain.stub() as stub, ThreadPoolExecutor(1) as pool:
        assert code_of(lambda: stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)) == "ok"
        os.utime(listed)
        with none_left_for(plain.s1.pid):
            assert code_of(lambda: stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)) == Overloaded.code
            late = pool.submit(plain.connect)
            assert code_of(lambda: stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)) == Overloaded.code
        assert code_of(lambda: stub.Status(pb.StatusRequest(), timeout=PATIENCE_S)) == "ok"
        with late.result() as client:  # whose connection had to wait
            assert client.status().peer_ready
    nothing_is_damaged(plain)
