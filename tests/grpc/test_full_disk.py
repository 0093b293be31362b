"""A data folder on a disk of a few megabytes: the enrolment that does not fit is refused, everything else goes on."""

from __future__ import annotations

import subprocess

import grpc
import pytest
from server_pair import ENGINES, Deployment

from pura.wire._pb import pura_pb2 as pb
from pura_client.gateway import typed
from pura_client.processes import Server, server_command

MOUNT = ["unshare", "-rm", "sh", "-c"]


def small_disks_are_possible() -> bool:
    try:
        return subprocess.run([*MOUNT, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class OnASmallDisk(Server):
    """The server in a mount namespace of its own, its data folder a small file system in memory."""

    def start(self) -> None:
        data = self.config.parent / "data"
        data.mkdir(exist_ok=True)
        script = f"mount -t tmpfs -o size=3m tmpfs '{data}' && exec \"$@\""
        self._file = self.log.open("ab")
        self._process = subprocess.Popen(
            [*MOUNT, script, "sh", *server_command("--config", str(self.config))],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.skipif(not small_disks_are_possible(), reason="this system does not let a test mount a small disk")
@pytest.mark.parametrize(
    ("deployment", "reserve"),
    [pytest.param(*one.values, i, marks=one.marks, id=one.id) for i, one in enumerate(ENGINES)],
    indirect=["deployment"],
)
def test_a_full_disk(deployment: Deployment, reserve: int) -> None:
    """With a reserve, questions and erasures have room left."""
    deployment.edit("s1", lambda text: text + f"[limits]\nreserve_mib = {reserve}\n")
    deployment.s1 = OnASmallDisk(deployment.s1.config)
    deployment.servers = (deployment.s1, deployment.s2)
    (person,) = deployment.people(1, 1)
    deployment.start()
    handles: list[int] = []
    code = ""
    with deployment.stub() as stub:
        for _ in range(60):
            request = deployment.request(*(deployment.enrolment(person, label=bytes(4000)) for _ in range(16)))
            try:
                outcomes = stub.Enroll(request, timeout=60).outcomes
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]  # noqa: PT017
                code = typed(error).code
                break
            assert all(outcome.handle for outcome in outcomes)
            handles += [outcome.handle for outcome in outcomes]
        assert code == "storage_full"
        assert handles
        deployment.wait()
        roster = [entry.handle for page in stub.Roster(pb.RosterRequest(), timeout=30) for entry in page.entries]
        assert sorted(roster) == sorted(handles)
        assert stub.Status(pb.StatusRequest(), timeout=10).entries == len(handles)
        if not reserve:
            return
        question = deployment.question(person, handles[:1])
        request = pb.VerifyRequest(query=question.query, handles=handles[:1])
        assert question.open(stub.Verify(request, timeout=60)).handles == handles[:1]
        assert stub.Forget(deployment.erasure(handles[1]), timeout=60).removed == 1
