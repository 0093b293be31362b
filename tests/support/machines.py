"""Machines for people who do not share one: a network namespace and a user for each, and a bridge; root makes them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

FIRST_USER = 64_001


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where somebody works. address: of the machine, as the others reach it; user: whose processes and files."""

    namespace: str
    address: str
    user: int

    def command(self, command: Sequence[str]) -> list[str]:
        """The same command, there."""
        user = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--"]
        return ["ip", "netns", "exec", self.namespace, *user, *command]


class NotHere(Exception):
    """Why this system has no such machines."""


@contextlib.contextmanager
def machines(names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """One machine for each name. This process is on another one, which reaches them all. Raises `NotHere`."""
    if os.geteuid() or not all(shutil.which(tool) for tool in ("ip", "setpriv")):
        raise NotHere("network namespaces need root, ip and setpriv")
    mark = os.getpid() % 60_000
    net, bridge = f"10.{200 + mark // 256 % 50}.{mark % 256}", f"pura{mark}"
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        made = {}
        for number, name in enumerate(names, 1):
            machine = Machine(f"{bridge}-{name}", f"{net}.{number}", FIRST_USER + number)
            _ip("netns", "add", machine.namespace)
            stack.callback(_ip, "netns", "del", machine.namespace)
            here, there = f"{bridge}h{number}", f"{bridge}t{number}"
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", machine.namespace)
            _ip("link", "set", here, "master", bridge, "up")
            for of in (["addr", "add", f"{machine.address}/24", "dev", there], ["link", "set", there, "up"],
                       ["link", "set", "lo", "up"]):  # fmt: skip
                _ip("-n", machine.namespace, *of)
            _run(machine.command([sys.executable, "-c", "import pura_server.app"]))
            made[name] = machine
        for one, other in itertools.permutations(made.values(), 2):
            _reach(one, other)
        yield made


def _reach(one: Machine, other: Machine) -> None:
    """`other`, and this process, connect to `one`: a bridge may be there and carry nothing."""
    listens = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); "
    listens += "s.accept(); s.accept()"
    with subprocess.Popen(one.command([sys.executable, "-c", listens]), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        knock = [sys.executable, "-c", f"import socket; socket.create_connection(({one.address!r}, {port}), 30)"]
        try:
            for command in (other.command(knock), knock):
                _run(command)
        finally:
            process.kill()


def _ip(*args: str) -> None:
    _run(["ip", *args])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"{' '.join(command[:4])}: {done.stderr.strip()[-200:]}")
