"""What keeps a server from starting, or the two from working together: one line with a code, exit status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_pair import Deployment, server_cli
from waiting import until
from wires import wire

from pura.errors import NotReady, ParameterMismatch, PeerUnavailable
from pura.ids import Party
from pura.store import SqliteStore
from pura_client.processes import Server, wait_ready
from pura_server.cli import cli
from pura_server.config import load


def refused(server: Server, code: str) -> str:
    """The error line of a server that does not start."""
    done = server_cli("--config", server.config)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert line.endswith(f"[{code}]")
    return line


def refused_at_once(server: Server, code: str) -> str:
    """The same for what is wrong with the configuration itself, without a process."""
    done = CliRunner().invoke(cli, ["--config", str(server.config)])
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert done.output.endswith(f"[{code}]\n")
    return done.output


def append(text: str) -> Callable[[str], str]:
    return lambda before: before + text


SECRET = "s3cret-value"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: "colour = 1\n" + text, "colour"),
        (append(f'[limits]\nspeed = "{SECRET}"\n'), "limits.speed"),
        (append(f'[limits]\nat_once = "{SECRET}"\n'), "limits.at_once"),
        (lambda text: text.replace('role = "s1"', f'role = "{SECRET}"'), "role"),
        (lambda text: text.replace("scale = 128", "scale = 128\nsigma = 40"), "take the line out"),
        (lambda text: text.replace('"published"', '"packed"'), "engine packed is gone"),
        (lambda text: text.replace("threshold = 0.5", "threshold = 0.5\ntau = 3"), "collection"),
        (lambda text: text.replace('share = "s1.share"', ""), "keys.share"),
        (lambda text: text.replace("[keys]", "[keys"), "TOML"),
        (lambda text: text.replace("threshold = 0.5", "threshold = 1.5"), "cosine"),
    ],
)
def test_a_configuration_with_a_mistake(plain: Deployment, change: Callable[[str], str], named: str) -> None:
    plain.edit("s1", change)
    line = refused_at_once(plain.s1, "bad_config")
    assert named in line
    assert SECRET not in line


def test_an_engine_that_leaks_starts_on_purpose_and_says_so_each_time(plain: Deployment) -> None:
    plain.start()
    plain.restart(plain.s1)
    plain.stop()
    for server in plain.servers:
        said = [row for row in plain.log(server) if row["event"] == "leaky engine"]
        assert len(said) == len([row for row in plain.log(server) if row["event"] == "started"])
        assert all("S2 sees" in str(row["message"]) and row["level"] == "warning" for row in said)
    plain.edit("s1", lambda text: text.replace("allow_leaky = true\n", ""))
    assert "allow_leaky = true" in refused_at_once(plain.s1, "bad_config")


def test_keys_of_another_engine(plain: Deployment) -> None:
    plain.edit("s2", lambda text: text.replace('"published"', '"prepared"').replace("allow_leaky = true\n", ""))
    assert "engine published" in refused(plain.s2, "wrong_key")


def test_key_files_that_are_damaged_or_not_its_own(plain: Deployment) -> None:
    share = plain.folder / "s2" / "s2.share"
    good = share.read_bytes()
    at = good.index(b'"t": "') + 20
    share.write_bytes(good[:at] + (b"0" if good[at : at + 1] != b"0" else b"1") + good[at + 1 :])
    line = refused(plain.s2, "bad_key_file")
    assert "checksum" in line
    share.write_bytes(good[:-30])
    refused(plain.s2, "bad_key_file")
    share.write_bytes((plain.folder / "s1" / "s1.share").read_bytes())
    refused(plain.s2, "wrong_key")
    share.write_bytes(good)
    (plain.folder / "s2" / "s1.crt").write_bytes((plain.folder / "ca" / "ca.crt").read_bytes())
    assert "authority" in refused(plain.s2, "bad_config")


def test_a_second_server_on_the_same_data_folder_or_port(plain: Deployment, tmp_path: Path) -> None:
    plain.start()
    refused(plain.s1, "data_folder_in_use")
    refused(plain.s2, "data_folder_in_use")
    plain.edit("s2", lambda text: text.replace('data = "data"', 'data = "other"'))
    line = refused(plain.s2, "bad_config")
    assert "listen" in line
    assert load(plain.s2.config).listen in line
    checked = server_cli("check", plain.folder / "s1" / "data")
    assert (checked.returncode, checked.stderr.splitlines()[-1].endswith("[data_folder_in_use]")) == (2, True)
    with plain.connect() as client:
        assert client.status().peer_ready
    assert plain.stop() == [0, 0]
    checked = server_cli("check", plain.folder / "s1" / "data")
    assert (checked.returncode, checked.stdout) == (
        0,
        "0 entries, 0 blocks\nmoment 0; both servers have to stand at the same\nfine\n",
    )
    assert server_cli("check", tmp_path / "nothing").returncode == 2


def test_a_data_folder_of_other_parameters(plain: Deployment) -> None:
    p = plain.params
    folder = plain.folder / "s1" / "data"
    with SqliteStore.open(folder, role=Party.S1, agreement=p.storage, key_id=p.key_id):
        pass
    plain.edit("s1", lambda text: text.replace("scale = 128", "scale = 256"))
    refused(plain.s1, "parameter_mismatch")


def test_two_servers_that_do_not_agree(plain: Deployment) -> None:
    """They never work together; clients are told, and the mended configuration works without S1 being started again."""
    (person,) = plain.people(1, 3)
    good = plain.s2.config.read_text()
    plain.edit("s2", lambda text: text.replace("threshold = 0.5", "threshold = 0.4").replace("data = ", 'data = "x" #'))
    for server in reversed(plain.servers):
        server.start()
    with pytest.raises(NotReady):
        wait_ready(plain.servers, plain.client_toml, 8)
    with plain.connect() as client, pytest.raises(ParameterMismatch):
        client.identify(person)
    for server in plain.servers:
        assert server_cli("health", "--config", server.config).returncode == 1
    plain.s2.stop()
    plain.s2.config.write_text(good)
    plain.s2.start()
    plain.wait()
    until(lambda: server_cli("health", "--config", plain.s1.config).stdout == "SERVING\n")
    assert server_cli("health", "--config", plain.s2.config).stdout == "SERVING\n"
    with plain.connect() as client:
        assert not client.identify(person).match
        # S2 goes: at once everything is refused, and the roster is still there
        plain.s2.stop()
        with plain.connect(deadline_s=1) as impatient, pytest.raises(PeerUnavailable):
            impatient.identify(person)
        assert client.list() == {}
        assert not client.status().peer_ready
        assert server_cli("health", "--config", plain.s1.config).stdout == "NOT_SERVING\n"
    told = [row["code"] for row in plain.log(plain.s1) if row["event"] == "peer lost"]
    assert ParameterMismatch.code in told


def test_servers_and_probes_use_no_proxy(plain: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(("127.0.0.1", 1), answers_connect=True) as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        plain.start()
        for server in plain.servers:
            assert server_cli("health", "--config", server.config).stdout == "SERVING\n"
        assert proxy.asked_for == []
