"""Who is let in: clients by their credential, S1 and S2 by the pinned certificate of the other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from certs import DAY, issue_between
from server_pair import Deployment, server_cli
from waiting import PATIENCE_S, until

from pura.errors import NotAuthorised, PeerRefused, PeerUnavailable, PuraError
from pura.params import PROTOCOL_VERSION
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import GatewayStub, PeerStub
from pura_client import config as client_config
from pura_client import reach
from pura_client.gateway import typed
from pura_client.processes import server_command
from pura_client.session import connect
from pura_server import tls
from pura_server.authority import Credential, issue, make_ca
from pura_server.config import load
from pura_server.credentials import May, add_client
from pura_server.tls import SHOWN_DIGITS, fingerprint

SHUT_OUT = ("not_authorised", "peer_unavailable")
"""What a revoked client is told over its open connection, and when that was ended."""


def code_of(stub: GatewayStub, method: str, request: object) -> str:
    try:
        getattr(stub, method)(request, timeout=20)
    except grpc.RpcError as error:
        return typed(error).code
    return "ok"


def add(made: Deployment, name: str, *options: str) -> tuple[Path, Path]:
    """A new credential, by the command line, while the servers run."""
    out = made.folder / name
    done = server_cli(
        "client", "add", name, "--config", made.s1.config, "--ca", made.folder / "ca", "--out", out, *options
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "client.crt", out / "client.key"


def test_credentials_that_are_added_and_revoked_on_a_running_server(plain_running: Deployment) -> None:
    (person,) = plain_running.people(1, 1)

    def question() -> pb.IdentifyRequest:
        return pb.IdentifyRequest(query=plain_running.question(person).query)

    enrolments = plain_running.request(plain_running.enrolment(person))
    with (
        plain_running.stub(*add(plain_running, "door")) as door,
        plain_running.stub(*add(plain_running, "office", "--may", "enrol", "--may", "erase")) as desk,
    ):
        assert code_of(door, "Identify", question()) == "ok"
        assert code_of(door, "Enroll", enrolments) == "not_authorised"
        assert code_of(door, "Forget", pb.ForgetRequest(handles=[1])) == "not_authorised"
        assert code_of(desk, "Enroll", enrolments) == "ok"
        assert code_of(desk, "Identify", question()) == "not_authorised"
        assert code_of(desk, "Status", pb.StatusRequest()) == "ok"
        assert "door" in server_cli("client", "list", "--config", plain_running.s1.config).stdout
        done = server_cli("client", "revoke", "door", "--config", plain_running.s1.config)
        assert (done.returncode, done.stdout) == (0, "door: 1 certificates revoked\n")
        for method, request in (
            ("Identify", question()),
            ("Verify", pb.VerifyRequest(query=plain_running.question(person).query, handles=[1])),
            ("Enroll", enrolments),
            ("Forget", pb.ForgetRequest(handles=[1])),
            ("Info", pb.InfoRequest()),
            ("Status", pb.StatusRequest()),
        ):
            assert code_of(door, method, request) in SHUT_OUT
        with pytest.raises(grpc.RpcError) as caught:
            list(door.Roster(pb.RosterRequest(), timeout=10))
        assert typed(caught.value).code in SHUT_OUT
        assert code_of(desk, "Status", pb.StatusRequest()) == "ok"
    with plain_running.connect() as client:
        assert client.status().peer_ready
    again = server_cli(
        "client",
        "add",
        "door",
        "--config",
        plain_running.s1.config,
        "--cert",
        plain_running.folder / "door" / "client.crt",
    )
    assert again.returncode == 2
    assert again.stderr.endswith("[bad_config]\n")
    assert server_cli("client", "revoke", "nobody", "--config", plain_running.s1.config).returncode == 2
    assert server_cli("client", "list", "--config", plain_running.s2.config).returncode == 2


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("unknown", "unknown certificate"),
        ("revoked", "revoked certificate"),
        ("expired", "expired certificate"),
        ("early", "certificate not yet good"),
    ],
)
def test_a_certificate_that_may_not_come_in(plain_running: Deployment, how: str, reason: str) -> None:
    """It is turned away at the handshake, the client is told so, and the operator's log says which it was."""
    ca = Credential(*((plain_running.folder / "ca" / f"ca.{kind}").read_bytes() for kind in ("crt", "key")))
    begins, ends = {"expired": (-2 * DAY, -DAY), "early": (DAY, 2 * DAY)}.get(how, (-DAY, DAY))
    stranger = issue_between(ca, "stranger", begins, ends)
    shown = fingerprint(stranger.cert)
    if how != "unknown":
        add_client(load(plain_running.s1.config).clients_file, how, shown, frozenset(May))
    if how == "revoked":
        assert server_cli("client", "revoke", how, "--config", plain_running.s1.config).returncode == 0
    config = client_config.load(plain_running.client_toml)
    with pytest.raises(NotAuthorised, match="refused this client's credential"):
        connect(config.model_copy(update=files(plain_running.folder / how, stranger)))
    told = lines_about(plain_running, stranger.cert)
    assert {row["event"] for row in told} == {"refused"}
    assert {row["reason"] for row in told} == {reason}
    with plain_running.stub(*files(plain_running.folder / how, stranger).values()) as stub:
        assert code_of(stub, "Info", pb.InfoRequest()) == PeerUnavailable.code


def lines_about(made: Deployment, cert: bytes) -> list[dict[str, object]]:
    """What S1's log says of a certificate, as soon as it says something: no call waits for its line."""
    shown = fingerprint(cert)[:SHOWN_DIGITS]
    return until(lambda: [row for row in made.log(made.s1) if row.get("certificate") == shown])


def test_a_client_that_is_revoked_loses_its_connections(plain_running: Deployment) -> None:
    cert, key = add(plain_running, "passer-by")
    with plain_running.stub(cert, key) as stub:
        assert code_of(stub, "Status", pb.StatusRequest()) == "ok"
        assert server_cli("client", "revoke", "passer-by", "--config", plain_running.s1.config).returncode == 0
        lines_about(plain_running, cert.read_bytes())  # nothing is asked meanwhile: the connection itself is ended
        assert code_of(stub, "Status", pb.StatusRequest()) == PeerUnavailable.code


def test_no_certificate_or_another_authoritys_does_not_get_through_the_handshake(plain_running: Deployment) -> None:
    address = load(plain_running.s1.config).listen
    config = client_config.load(plain_running.client_toml)
    ca = (plain_running.folder / "ca" / "ca.crt").read_bytes()
    evil = issue(make_ca("another"), "client")
    for credentials in (
        grpc.ssl_channel_credentials(ca),
        grpc.ssl_channel_credentials(ca, evil.key, evil.cert),
    ):
        with grpc.secure_channel(address, credentials) as channel:
            assert code_of(GatewayStub(channel), "Info", pb.InfoRequest()) == PeerUnavailable.code
    with grpc.insecure_channel(address) as channel:
        assert code_of(GatewayStub(channel), "Info", pb.InfoRequest()) == PeerUnavailable.code
    with pytest.raises(NotAuthorised, match="refused this client's credential"):
        connect(config.model_copy(update=files(plain_running.folder / "evil", evil)))


def files(folder: Path, credential: Credential) -> dict[str, Path]:
    """A credential as a configuration names it."""
    folder.mkdir(exist_ok=True)
    (folder / "client.crt").write_bytes(credential.cert)
    (folder / "client.key").write_bytes(credential.key)
    return {"cert": folder / "client.crt", "key": folder / "client.key"}


def test_a_client_does_not_speak_to_a_server_of_another_authority(plain_running: Deployment, tmp_path: Path) -> None:
    (tmp_path / "other.crt").write_bytes(make_ca("another").cert)
    with plain_running.stub(ca=tmp_path / "other.crt") as stub:
        assert code_of(stub, "Info", pb.InfoRequest()) == PeerUnavailable.code
    config = client_config.load(plain_running.client_toml)
    with pytest.raises(PeerRefused, match="does not show a certificate of this client's authority"):
        connect(config.model_copy(update={"ca": tmp_path / "other.crt"}))


def test_nobody_but_s1_speaks_to_s2(plain_running: Deployment) -> None:
    """A client's certificate, one of the same authority that calls itself s1, or none at all."""
    config = load(plain_running.s2.config)
    s2_cert = (plain_running.folder / "s2" / "s2.crt").read_bytes()
    ca = Credential(*((plain_running.folder / "ca" / f"ca.{kind}").read_bytes() for kind in ("crt", "key")))
    fake = issue(ca, "s1", ["127.0.0.1", "localhost"])
    client = Credential(*((plain_running.folder / "desk" / f"client.{kind}").read_bytes() for kind in ("crt", "key")))
    hello = pb.HelloRequest(
        protocol=PROTOCOL_VERSION, agreement=plain_running.params.agreement, key_id=plain_running.pk.key_id
    )
    for who in (fake, client, None):
        credentials = grpc.ssl_channel_credentials(s2_cert, who and who.key, who and who.cert)
        with grpc.secure_channel(config.listen, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
            PeerStub(channel).Hello(hello, timeout=10)
        assert isinstance(typed(caught.value), PeerUnavailable)
    # S2's own certificate may ask how it is, and no more
    own = (plain_running.folder / "s2" / "s2.key").read_bytes()
    with grpc.secure_channel(config.listen, grpc.ssl_channel_credentials(s2_cert, own, s2_cert)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            PeerStub(channel).Hello(hello, timeout=10)
        assert isinstance(typed(caught.value), NotAuthorised)
        with pytest.raises(grpc.RpcError) as caught:
            list(PeerStub(channel).Session(iter([pb.Frame(body=b"x")]), timeout=10))
        assert isinstance(typed(caught.value), NotAuthorised)


@pytest.mark.parametrize("wrong", ["s1", "s2"])
def test_a_peer_with_the_wrong_certificate(plain: Deployment, wrong: str) -> None:
    """One server shows another certificate than the pinned one, of the same authority and with the same names."""
    ca = Credential(*((plain.folder / "ca" / f"ca.{kind}").read_bytes() for kind in ("crt", "key")))
    impostor = issue(ca, wrong, ["127.0.0.1", "localhost"])
    (plain.folder / wrong / f"{wrong}.crt").write_bytes(impostor.cert)
    (plain.folder / wrong / f"{wrong}.key").write_bytes(impostor.key)
    for server in reversed(plain.servers):
        server.start()
    told = until(lambda: [row for row in plain.log(plain.s1) if row.get("code") == "peer_refused"])
    word = "accept" if wrong == "s1" else "pinned"
    assert all(word in str(row["message"]) for row in told)
    (person,) = plain.people(1, 1)
    with plain.connect() as client:
        assert not client.status().peer_ready
        with pytest.raises(PuraError) as caught:
            client.identify(person)
        assert caught.value.code == "peer_refused"


@contextlib.contextmanager
def hangs_up(folder: Path, name: str, address: str) -> Iterator[None]:
    """Somebody in a server's place, with its certificate, who ends each connection right after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    raw, _ = listener.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_connection_that_ends_at_once_is_no_refusal(plain: Deployment) -> None:
    """It may be cut, or a server's last moment, and passes; whoever is turned away is told so."""
    config = load(plain.s1.config)
    assert config.peer.address is not None
    with hangs_up(plain.folder / "s2", "s2", config.peer.address):
        assert tls.diagnose(config) is None
    with hangs_up(plain.folder / "s1", "s1", config.listen):
        assert isinstance(reach.why(client_config.load(plain.client_toml), insecure=False), PeerUnavailable)


def test_a_list_of_clients_that_is_damaged_lets_nobody_in(plain_running: Deployment) -> None:
    path = plain_running.folder / "s1" / "clients.json"
    good = path.read_text()
    with plain_running.stub() as stub:
        assert code_of(stub, "Info", pb.InfoRequest()) == "ok"
        path.write_text(good.replace('"ask"', '"everything"'))
        assert code_of(stub, "Info", pb.InfoRequest()) == "not_authorised"
        path.unlink()
        assert code_of(stub, "Info", pb.InfoRequest()) == "not_authorised"
        path.write_text(good)
        assert code_of(stub, "Info", pb.InfoRequest()) == "ok"


def test_a_budget_outlives_a_restart(plain: Deployment) -> None:
    plain.edit("s1", lambda text: text + "[budget]\nquestions = 2\nper_hour = 0\n")
    plain.start()
    (person,) = plain.people(1, 1)
    with plain.connect() as client:
        client.identify(person)
    question = plain.question(person)
    with plain.stub() as stub:
        stub.Identify(pb.IdentifyRequest(query=question.query), timeout=20)
    plain.restart(plain.s1)
    with plain.connect() as client:
        with pytest.raises(PuraError) as caught:
            client.identify(person)
        assert caught.value.code == "budget_spent"
        assert client.list() == {}
    with plain.stub() as stub:  # remembered too, and told apart from a spent budget
        assert code_of(stub, "Identify", pb.IdentifyRequest(query=question.query)) == "replayed"


def test_two_servers_without_tls(plain: Deployment) -> None:
    (person,) = plain.people(1, 2)
    started = [
        subprocess.Popen(server_command("--config", str(server.config), "--insecure"), stderr=server.log.open("ab"))
        for server in plain.servers
    ]
    try:
        until(lambda: server_cli("health", "--config", plain.s1.config, "--insecure").returncode == 0)
        with connect(plain.client_toml, insecure=True) as client:
            client.enroll(person, "Ada Lovelace")
            assert client.identify(person).label == "Ada Lovelace"
        with pytest.raises(PeerRefused, match="does not speak TLS"), plain.connect():
            pass
    finally:
        for process in started:
            process.terminate()
        assert [process.wait(PATIENCE_S) for process in started] == [0, 0]


def test_two_servers_without_tls_on_loopback_only(plain: Deployment, tmp_path: Path) -> None:
    done = server_cli("--config", tmp_path / "none.toml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("[bad_config]\n")
    plain.edit("s1", lambda text: text.replace('listen = "127.0.0.1', 'listen = "0.0.0.0'))
    done = server_cli("--config", plain.s1.config, "--insecure")
    assert done.returncode == 2
    assert "loopback" in done.stderr
    text = "\n".join(line for line in plain.s2.config.read_text().splitlines() if not line.startswith("certificate"))
    plain.s2.config.write_text(text)
    done = server_cli("--config", plain.s2.config)
    assert done.returncode == 2
    assert "peer.certificate is missing" in done.stderr
