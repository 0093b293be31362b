"""docs/operations.md, followed word for word by two operators, an organisation and a client, each in a folder."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from machines import Machine, NotHere, machines
from manual import People, blocks, section
from waiting import PATIENCE_S, until

from pura.crypto import vault
from pura.crypto.keys import load_public
from pura.errors import DeviatingServer, NotAuthorised, PuraError, WrongKey
from pura.groups import Right
from pura.ids import Party
from pura_client import config as client_config
from pura_client import labelkey
from pura_client.processes import free_ports
from pura_client.session import Client, connect
from pura_server import config as server_config
from pura_server import tls
from pura_server.prepared.slots import MASKING

DIMENSION = 16
MORE = {
    "keygen": "--bits 2048",
    "join s1": "--questions-a-day 100000",
    "group add clients --config s2/s2.toml": "--questions 1000000",
}
"""What is said in addition: a small key, and clients that may ask as often as these tests do."""
MANUALS_SNAPSHOT = "12-5b1f03aa"


@pytest.fixture(scope="module")
def apart() -> Iterator[dict[str, Machine] | str]:
    """A machine for each operator, or why there is none: then they work here."""
    with contextlib.ExitStack() as stack:
        try:
            made: dict[str, Machine] | str = stack.enter_context(machines(["S1", "S2"]))
        except NotHere as reason:
            made = str(reason)
        yield made


@pytest.fixture(scope="module")
def people(apart: dict[str, Machine] | str) -> Iterator[People]:
    there = {} if isinstance(apart, str) else apart
    ports = dict(zip(("s1", "s2"), map(str, free_ports(2)), strict=True))

    def change(command: str) -> str:
        """This machine instead of the hosts of the manual; a small collection without a network; a small key."""
        host = re.search(r"--host (s[12])\.example", command)
        if host:
            small = f" --dimension {DIMENSION} --embedder none --threshold 0.5" if host[1] == "s1" else ""
            address = there[host[1].upper()].address if there else "127.0.0.1"
            command = command.replace(host[0], f"--host {address} --port {ports[host[1]]}{small}")
        for more in ("join s1", "keygen", "group add clients --config s2/s2.toml"):
            command = command.replace(more, f"{more} {MORE[more]}")
        return command

    def named(command: str) -> str:
        """The snapshot that was taken last instead of the manual's."""
        if MANUALS_SNAPSHOT in command:
            taken = [text for said, text in made.said if said.startswith("pura-server snapshot")]
            command = command.replace(MANUALS_SNAPSHOT, taken[-1].partition(":")[0])
        return change(command)

    with tempfile.TemporaryDirectory(prefix="pura-manual-") as root:  # pytest's own folders are root's alone
        Path(root).chmod(0o711)
        made = People(Path(root), named, there)
        yield made
        made.close()


@pytest.fixture(scope="module")
def started(people: People) -> People:
    people.follow(section("## First start"))
    return people


def session(people: People) -> Client:
    return connect(people.folder("desk") / "desk" / "client.toml")


class Asking:
    """A client that asks all the time, in a thread: what it is told wrongly, or not at all."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.wrong: list[str] = []
        self._asked = threading.Semaphore(0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with session(self.people) as client:
            while not self._over.wait(0.05):
                try:
                    if client.identify(face(1)).label != "Ada":
                        self.wrong.append("another answer")
                except PuraError as error:
                    self.wrong.append(repr(error))
                self._asked.release()

    def until(self, count: int) -> None:
        """Go on when so many questions more have been answered."""
        for _ in range(count):
            assert self._asked.acquire(timeout=PATIENCE_S)


def face(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)


def test_the_first_start(started: People) -> None:
    """Both codes are the same at both ends, and the first client enrols and asks."""
    joins = [re.findall(r"code: (\S+)", text) for said, text in started.said if said.startswith("pura-server join")]
    assert len(joins) == 2
    assert joins[0] == joins[1]
    assert re.fullmatch(r"([0-9a-z]{4}-){4}[0-9a-z]{4}", joins[0][0])
    assert started.code("pura-server client add desk --ca") == started.code("pura client-join")
    with session(started) as client:
        client.enroll(face(1), "Ada")
        assert client.identify(face(1)).label == "Ada"
        assert not client.identify(-face(1)).match


def test_operators_share_no_machine(started: People, apart: dict[str, Machine] | str) -> None:
    """Each has a user and a network of their own: neither reads the other's files, nor is on the other's loopback."""
    if isinstance(apart, str):
        pytest.skip(apart)
    for who, other in (("S1", "S2"), ("S2", "S1")):
        share = started.folder(other) / other.lower() / f"{other.lower()}.share"
        look = apart[who].command([sys.executable, "-c", f"open({str(share)!r})"])
        assert b"PermissionError" in subprocess.run(look, capture_output=True, check=False).stderr
        host, port = where(started, other.lower())
        for address, open_ in ((host, True), ("127.0.0.1", False)):
            knock = f"import socket; socket.create_connection(({address!r}, {port}), 60)"
            done = subprocess.run(apart[who].command([sys.executable, "-c", knock]), capture_output=True, check=False)
            assert (done.returncode == 0) is open_


def test_nobody_has_what_is_not_theirs(started: People) -> None:
    """No operator has a secret of the other's, nor of the organisation's; the organisation none of theirs or of the
    client's."""
    secret = {"s1": ["s1.share", "s1.key", "s1.secret"], "s2": ["s2.share", "s2.key", "s2.sign", "s2.secret"]}
    org = [path.relative_to(started.folder("org")) for path in started.folder("org").rglob("*.key")]
    bodies = {
        who: {path.name: path.read_bytes() for path in started.folder(who).rglob("*") if path.is_file()}
        for who in ("S1", "S2", "org", "desk")
    }
    assert Path("ca/ca.key") in org
    own = {
        "S1": [bodies["S1"][name] for name in secret["s1"]],
        "S2": [bodies["S2"][name] for name in secret["s2"]],
        "org": [bodies["org"][name] for name in ("ca.key", "label.key", "group-erase.key")],
        "desk": [bodies["desk"]["client.key"]],
    }
    for who, found in own.items():
        for other, files in bodies.items():
            if who != other:
                shared = [raw for raw in found if raw in files.values()]
                # the organisation gives its clients the keys of their group, and the sealed label key
                assert not shared or (who, other) == ("org", "desk"), (who, other)
    for name in ("s1.share", "s2.share", "s2.sign"):
        assert vault.is_sealed(bodies[name[:2].upper()][name])
    assert vault.is_sealed(bodies["S1"]["s1.masks"])
    assert started.passphrase.encode() not in b"".join(raw for files in bodies.values() for raw in files.values())


def test_no_secret_is_in_an_environment_or_an_argument(started: People) -> None:
    secrets = [(started.folder(who) / f"{who.lower()}.secret").read_bytes().strip() for who in ("S1", "S2")]
    for process in started.servers.values():
        seen = [f"/proc/{process.pid}"]
        for one in Path("/proc").glob("[0-9]*/stat"):
            try:
                if one.read_text().rpartition(")")[2].split()[1] == str(process.pid):
                    seen.append(str(one.parent))
            except OSError:
                continue  # it has ended
        for folder in seen:
            for name in ("environ", "cmdline"):
                try:
                    found = Path(folder, name).read_bytes()
                except PermissionError:
                    continue  # the server hides it, which is as well
                assert not any(secret in found for secret in secrets)
    assert client_config.load(started.folder("desk") / "desk" / "client.toml").label_key is None


def shown(people: People, name: str) -> str:
    """The fingerprint of the certificate that a server shows to somebody who comes now."""
    return tls.fingerprint(ssl.get_server_certificate(where(people, name)).encode())


def where(people: People, name: str) -> tuple[str, int]:
    """The address of a server, as others reach it."""
    listen = server_config.load(people.folder(name.upper()) / name / f"{name}.toml").listen
    host, _, port = listen.rpartition(":")
    machine = people.machines.get(name.upper())
    return machine.address if machine else host, int(port)


def test_certificates_of_servers_are_renewed_while_somebody_asks(started: People) -> None:
    """Every new connection shows the new certificates, nobody notices, and the old ones count no more."""
    files = {name: started.folder(name.upper()) / name / f"{name}.crt" for name in ("s1", "s2")}
    before = {name: tls.fingerprint(path.read_bytes()) for name, path in files.items()}
    assert {name: shown(started, name) for name in files} == before
    with Asking(started) as asking:
        started.follow(section("## Renewing certificates"))
        after = {name: tls.fingerprint(path.read_bytes()) for name, path in files.items()}
        assert {name: shown(started, name) for name in files} == after
        asking.until(20)
    assert asking.wrong == []
    for name, other in (("s1", "s2"), ("s2", "s1")):
        assert after[name] != before[name]
        pinned = started.folder(other.upper()) / other / f"{name}.crt"
        assert tls.pinned(pinned) == {after[name]}
        assert not list(files[name].parent.glob("*.next.*"))
    # and a pair that meets anew meets under the new ones
    assert started.stop("S2") == [0]
    started.start("S2", "pura-server --config s2/s2.toml")
    with session(started) as client:
        assert client.identify(face(1)).label == "Ada"
    for who in ("S1", "S2"):
        log = (started.folder(who) / "log").read_text()
        assert "files read anew" in log


def test_a_group_is_renewed_while_somebody_asks(started: People) -> None:
    """After a revocation, on both sides; the keys of before count no more, and no more does the certificate."""
    folder = started.folder("desk") / "desk"
    old = client_config.load(folder / "client.toml")
    keys, shown_before = old.group_keys(), old.fingerprint()
    started.follow(section("### Groups"))
    new = client_config.load(folder / "client.toml")
    assert new.fingerprint() != shown_before
    assert {key.public for key in new.group_keys().values()}.isdisjoint(key.public for key in keys.values())
    with session(started) as client:
        assert client.identify(face(1)).label == "Ada"
        client.enroll(face(3), "Grace")
    stale = started.folder("stale")
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, stale / path.name)
    (stale / "group-ask.key").write_bytes(keys[Right.ASK].dump())
    with connect(stale / "client.toml") as client, pytest.raises(NotAuthorised):
        client.identify(face(1))


def test_the_keys_of_the_collection_and_of_the_labels_are_rotated(started: People) -> None:
    """Whoever was enrolled is found, labels are read, and what was made for the old keys counts no more."""
    folder, stale = started.folder("desk") / "desk", started.folder("old")
    for path in folder.iterdir():
        if path.is_file():
            shutil.copy(path, stale / path.name)
    with session(started) as client:
        before = {one.handle: one.enrolment_id for one in client.entries()}
        if "Ada" not in client.list():
            client.enroll(face(1), "Ada")
    data = [started.folder(who) / who.lower() / "data" / "gallery.db" for who in ("S1", "S2")]
    old = load_public(folder / "public.key")
    started.follow(section("## New keys"))
    new = load_public(folder / "public.key")
    assert (new.collection, new.n != old.n, new.key_id != old.key_id) == (old.collection, True, True)
    assert all(path.exists() for path in data)
    with session(started) as client:
        assert client.identify(face(1)).label == "Ada"
        assert not client.identify(-face(1)).match
        assert {one.handle: one.enrolment_id for one in client.entries()}.items() >= before.items()
        assert None not in {one.label for one in client.entries()}
        client.enroll(face(4), "Alan")
    assert len(labelkey.load(folder / "label.key")) == 1
    for name in ("client.crt", "client.key"):  # a certificate that counts, with the old public key
        shutil.copy(folder / name, stale / name)
    with pytest.raises(WrongKey):
        connect(stale / "client.toml")
    for who in ("s1", "s2"):
        assert vault.is_sealed((started.folder(who.upper()) / who / f"{who}.share").read_bytes())
        assert vault.is_sealed((started.folder(who.upper()) / who / f"{who}.masks").read_bytes())


def test_both_servers_go_back_to_a_snapshot(started: People) -> None:
    """What was enrolled since is gone, a client that has seen it refuses the older gallery until it is told."""
    taking, going, telling = blocks("### Snapshots")
    with session(started) as client:
        if "Ada" not in client.list():
            client.enroll(face(1), "Ada")
        before = client.list()
    started.follow(taking)
    with session(started) as client:
        client.enroll(face(5), "Barbara")
        assert client.identify(face(5)).label == "Barbara"
    started.follow(going)
    with session(started) as client, pytest.raises(DeviatingServer, match=r"client\.state"):
        client.identify(face(1))
    started.follow(telling)
    with session(started) as client:
        assert client.list() == before
        assert client.identify(face(1)).label == "Ada"
        assert not client.identify(face(5)).match


def test_a_data_folder_is_lost(started: People) -> None:
    """S1 is killed, its disk is gone: made again from S2's, with everybody in it."""
    with session(started) as client:
        before = client.list()
    started.kill("S1")
    started.follow(section("### A data folder that is lost"))
    with session(started) as client:
        assert client.list() == before
        assert client.identify(face(1)).label == "Ada"
        client.enroll(face(6), "Frances")
        assert client.identify(face(6)).label == "Frances"


def test_mask_keys_are_renewed(started: People) -> None:
    """Every entry follows by itself, and with the older key goes what it could read."""
    renewing, pruning = blocks("### Erasing from backups")
    before = versions(started)
    started.follow(renewing)
    until(lambda: versions(started).isdisjoint(before))
    started.follow(pruning)
    with session(started) as client:
        assert client.identify(face(1)).label == "Ada"
    (taken, *_) = [text for said, text in reversed(started.said) if said.startswith("pura-server snapshot")]
    name = taken.partition(":")[0]
    assert started.stop("S1") == [0]
    status, text = started.type("S1", f"pura-server restore --config s1/s1.toml --from s1/snapshots/{name} --replace")
    assert (status, "was pruned" in text) == (2, True), text
    started.start("S1", "pura-server --config s1/s1.toml")


def versions(people: People) -> set[int]:
    """Of S1's mask keys, those that an entry is under."""
    data = people.folder("S1") / "s1" / "data" / "gallery.db"
    with contextlib.closing(sqlite3.connect(f"file:{data}?mode=ro", uri=True)) as db:
        rows = b"".join(bytes(row) for (row,) in db.execute("SELECT masking FROM entry"))
    return set(np.frombuffer(rows, MASKING)["versions"][:, Party.S1 - 1].tolist())
