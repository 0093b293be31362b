"""The files of a deployment, for development or to start from: `pura-server init`.

OUT/ca       the authority that signs all certificates; keep it off the servers
OUT/s1       everything S1 needs and nothing of S2's but its certificate; OUT/s2 likewise
OUT/client   the first client, with the label key that all clients share
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from pathlib import Path

from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, load_public, load_share
from pura.errors import StorageFull, WouldOverwrite
from pura.ids import Engine, Party
from pura.params import Metric
from pura_server import authority
from pura_server.authority import Credential
from pura_server.config import Collection, is_loopback
from pura_server.tls import fingerprint

THRESHOLDS = {"sface-centred": 0.37, "sface": 0.425}
"""Cosines for the built-in embedders: at most one in 10,000 pairs of different people of LFW is taken for the same;
centred with a margin for other photos (docs/accuracy.md, "The threshold")."""

FIRST_CLIENT = "client"
_LABEL_KEY_BYTES = 32
_FOLDERS = ("ca", "s1", "s2", "client")
_Files = dict[str, tuple[bytes, int]]


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Where the servers will be reached."""

    s1: str
    s2: str
    s1_port: int
    s2_port: int


def make(out: Path, keys: Path, collection: Collection, hosts: Hosts) -> list[Path]:
    """Write a deployment for the keys of a ceremony; the configuration files of S1, S2 and the client.

    Raises `WouldOverwrite`, `BadKeyFile`, `WrongKey`, `BadConfig`, `StorageFull`; then nothing was left behind.
    """
    for folder in _FOLDERS:
        if (out / folder).exists():
            raise WouldOverwrite(f"{out / folder} exists already; nothing was changed")
    pk = load_public(keys / PUBLIC_NAME)
    for party, name in SHARE_NAMES.items():
        load_share(keys / name, pk, party)
    collection.params(pk)
    public = (keys / PUBLIC_NAME).read_bytes()
    ca = authority.make_ca("Pura development CA")
    s1 = authority.issue(ca, "s1", _names(hosts.s1))
    s2 = authority.issue(ca, "s2", _names(hosts.s2))
    client = authority.issue(ca, FIRST_CLIENT)
    files: _Files = {"ca/ca.crt": (ca.cert, 0o644), "ca/ca.key": (ca.key, 0o600)}
    for party, own, other in ((Party.S1, s1, s2), (Party.S2, s2, s1)):
        name = party.name.lower()
        share = (keys / SHARE_NAMES[party]).read_bytes()
        files |= _server(party, own, other, collection, hosts)
        files |= {f"{name}/{PUBLIC_NAME}": (public, 0o644), f"{name}/{SHARE_NAMES[party]}": (share, 0o600)}
    files["s1/clients-ca.crt"] = (ca.cert, 0o644)
    files["s1/data/clients.json"] = (_clients(client), 0o600)
    files |= {
        f"client/{PUBLIC_NAME}": (public, 0o644),
        "client/ca.crt": (ca.cert, 0o644),
        "client/client.crt": (client.cert, 0o644),
        "client/client.key": (client.key, 0o600),
        "client/client.toml": (_client_toml(collection, hosts).encode(), 0o600),
    }
    write(out, files)
    return [out / "s1/s1.toml", out / "s2/s2.toml", out / "client/client.toml"]


def write(out: Path, files: _Files) -> None:
    """New files below a folder, all or none. Raises `WouldOverwrite`, `StorageFull`."""
    written: list[Path] = []
    try:
        for name, (body, mode) in files.items():
            path = out / name
            path.parent.mkdir(mode=0o755 if path.parent == out else 0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(fd, "wb") as file:
                file.write(body)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise WouldOverwrite(f"{error.filename} exists already; nothing was changed") from error
        raise StorageFull("the files could not be written; none was left behind", detail=str(error)) from error


def _names(host: str) -> list[str]:
    return list(dict.fromkeys([host, *(("localhost", "127.0.0.1") if is_loopback(f"{host}:1") else ())]))


def _server(party: Party, own: Credential, other: Credential, collection: Collection, hosts: Hosts) -> _Files:
    name, peer = party.name.lower(), party.other.name.lower()
    return {
        f"{name}/{name}.crt": (own.cert, 0o644),
        f"{name}/{name}.key": (own.key, 0o600),
        f"{name}/{peer}.crt": (other.cert, 0o644),
        f"{name}/{name}.toml": (_server_toml(party, collection, hosts).encode(), 0o600),
    }


def _server_toml(party: Party, collection: Collection, hosts: Hosts) -> str:
    name, peer = party.name.lower(), party.other.name.lower()
    first = party is Party.S1
    host, port = (hosts.s1, hosts.s1_port) if first else (hosts.s2, hosts.s2_port)
    listen = f"{host}:{port}" if is_loopback(f"{host}:{port}") else f"0.0.0.0:{port}"
    lines = [
        f"# {party.name}, {'the gateway that clients talk to' if first else 'which only S1 talks to'}."
        " Paths are relative to this file.",
        f'role = "{name}"',
        f"listen = {_quote(listen)}",
        'data = "data"',
        "",
        "[keys]",
        f'public = "{PUBLIC_NAME}"',
        f'share = "{SHARE_NAMES[party]}"',
        "",
        "[tls]",
        f'cert = "{name}.crt"',
        f'key = "{name}.key"',
        *(['clients_ca = "clients-ca.crt"'] if first else []),
        "",
        "[peer]",
        *([f"address = {_quote(f'{hosts.s2}:{hosts.s2_port}')}"] if first else []),
        f'certificate = "{peer}.crt"  # pinned: no other certificate is accepted, whoever signed it',
        "",
        "# The same on both servers; they refuse each other otherwise.",
        "[collection]",
        *_collection(collection),
        "",
        "# What else can be set, with its default, is in docs/operations.md: limits, budget, workers, metrics, log.",
    ]
    return "\n".join(lines) + "\n"


def _collection(collection: Collection) -> list[str]:
    body = collection.model_dump(mode="json", exclude_none=True)
    if collection.metric is Metric.COSINE:
        body.pop("radius")
    return [f"{key} = {_quote(value) if isinstance(value, str) else value}" for key, value in body.items()]


def _client_toml(collection: Collection, hosts: Hosts) -> str:
    deadline = 300.0 if collection.engine is Engine.PUBLISHED else 60.0
    return "\n".join(
        [
            "# One client. The label key is a secret that the organisation's clients share and the servers never see.",
            f"server = {_quote(f'{hosts.s1}:{hosts.s1_port}')}",
            f'public_key = "{PUBLIC_NAME}"',
            f'label_key = "{secrets.token_bytes(_LABEL_KEY_BYTES).hex()}"',
            'ca = "ca.crt"',
            'cert = "client.crt"',
            'key = "client.key"',
            f"deadline_s = {deadline}",
            "",
        ]
    )


def _clients(client: Credential) -> bytes:
    row = {
        "name": FIRST_CLIENT,
        "fingerprint": fingerprint(client.cert),
        "may": ["ask", "enrol"],
        "added": int(time.time()),
        "revoked": None,
    }
    return (json.dumps({"version": 1, "clients": [row]}, indent=1) + "\n").encode()


def _quote(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False)
