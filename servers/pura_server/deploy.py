"""The files of a deployment, for development or to start from: `pura-server init`.

OUT/ca       the organisation's own: what signs certificates, the keys of the clients' group, and what other clients'
             bundles are made from; keep it off the servers
OUT/s1       everything S1 needs and nothing of S2's but its certificate and the public half of its signature key;
             OUT/s2 everything S2 needs, and of S1 its certificate
OUT/desk     the bundle of a client with all rights: client.toml and what it names
OUT/camera   that of one that may only ask
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, load_public, load_share
from pura.crypto.rng import SystemRng
from pura.crypto.sign import SigningKey, VerifyKey
from pura.errors import WouldOverwrite
from pura.files import PRIVATE, PUBLIC, write_new
from pura.groups import Right
from pura.ids import ClientId, Engine, GateKind, Party
from pura_server import authority, bundles
from pura_server.authority import Credential
from pura_server.bundles import Files, quote
from pura_server.config import CLIENTS_NAME, GROUPS_NAME, Budget, Collection, is_loopback
from pura_server.credentials import ClientRecord, May, dump_clients
from pura_server.groups import MOST_PER_HOUR, PER_HOUR, GroupKey, dump_groups
from pura_server.hosts import address_of, any_address
from pura_server.tls import fingerprint

THRESHOLDS = {"sface-mirrored": 0.37, "sface-centred": 0.37, "sface": 0.425}
"""Cosines for the built-in embedders: at most one in 10,000 pairs of different people of LFW is taken for the same;
centred with a margin for other photos (docs/accuracy.md, "The threshold")."""

MAX_PORT = (1 << 16) - 1
SIGN_NAME = "s2.sign"
CLIENTS_CA = "clients-ca.crt"
DESK, CAMERA = "desk", "camera"
FIRST_CLIENTS = {DESK: frozenset(May), CAMERA: frozenset({May.ASK})}
_SNAPSHOTS = [
    "# Copies of the gallery, of both servers at one moment: pura-server snapshot, on S1",
    "[snapshots]",
    'folder = "snapshots"',
    "",
]
_FOLDERS = ("ca", "s1", "s2", *FIRST_CLIENTS)


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Where the servers will be reached: names and addresses as `hosts.host_of` gives them."""

    s1: str
    s2: str
    s1_port: int
    s2_port: int

    def of(self, party: Party) -> str:
        """host:port of one server."""
        return address_of(self.s1, self.s1_port) if party is Party.S1 else address_of(self.s2, self.s2_port)

    def listen(self, party: Party) -> str:
        """Where it listens: there if that is this machine only, else on all interfaces."""
        reached = self.of(party)
        host, _, port = reached.rpartition(":")
        return reached if is_loopback(reached) else any_address(host, int(port))


def make(
    out: Path,
    keys: Path,
    collection: Collection,
    hosts: Hosts,
    budget: Budget | None = None,
    gate: GateKind = GateKind.NONE,
) -> tuple[Path, Path, Path]:
    """Write a deployment for the keys of a ceremony; the configuration files of S1, S2 and the desk.

    `budget`: what s1.toml says about it; None: nothing; `gate`: before clients' cameras. Raises `WouldOverwrite`,
    `BadKeyFile`, `WrongKey`, `BadConfig`, `StorageFull`; then nothing was left behind.
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
    s1 = authority.issue(ca, "s1", names_of(hosts.s1))
    s2 = authority.issue(ca, "s2", names_of(hosts.s2))
    sign = None if collection.engine is Engine.PUBLISHED else SigningKey.new(SystemRng())
    sign_key = sign.public if sign else None
    common = bundles.common_files(ca, public, hosts.of(Party.S1), collection.params(pk), sign_key, gate)
    group = bundles.new_group(SystemRng())
    folders: dict[str, Files] = {"ca": common | bundles.group_files(bundles.FIRST_GROUP, group)}
    for party, own, other in ((Party.S1, s1, s2), (Party.S2, s2, s1)):
        share = (keys / SHARE_NAMES[party]).read_bytes()
        toml = server_toml(party, collection, hosts, budget, sign_key)
        folders[party.name.lower()] = _server(party, own, other, toml) | {
            PUBLIC_NAME: (public, PUBLIC),
            SHARE_NAMES[party]: (share, PRIVATE),
        }
    clients = []
    for name, may in FIRST_CLIENTS.items():
        credential = authority.issue(ca, name)
        clients.append(ClientRecord(ClientId(name), fingerprint(credential.cert), may, int(time.time())))
        inside = {path: body for path, (body, _) in common.items()}
        folders[name] = bundles.bundle_files(inside, credential.cert, credential.key, may, group)
    rates = _rates(budget)
    members = [GroupKey(bundles.FIRST_GROUP, one, group[one].public, rates[one], int(time.time())) for one in Right]
    folders["s2"] |= {GROUPS_NAME: (dump_groups(members), PRIVATE)}
    if sign is not None:
        folders["s2"][SIGN_NAME] = (sign.dump(), PRIVATE)
    folders["s1"] |= {CLIENTS_CA: (ca.cert, PUBLIC), CLIENTS_NAME: (dump_clients(clients), PRIVATE)}
    files = {f"{folder}/{name}": file for folder, inside in folders.items() for name, file in inside.items()}
    write_new(out, files, mode=0o755)
    return out / "s1/s1.toml", out / "s2/s2.toml", out / DESK / bundles.CLIENT_TOML


def _rates(budget: Budget | None) -> dict[Right, int]:
    """How often S2 takes something signed by the group of the first clients in an hour: what S1 lets them all do at
    most."""
    if budget is None:
        return dict.fromkeys(Right, MOST_PER_HOUR)
    number = len(FIRST_CLIENTS)
    return {
        Right.ASK: min(number * budget.questions, MOST_PER_HOUR),
        Right.ENROL: min(number * budget.enrolments, MOST_PER_HOUR),
        Right.ERASE: PER_HOUR,
    }


def names_of(host: str) -> list[str]:
    """The names in the certificate of a server that is reached under one."""
    on_loopback = ("localhost", "127.0.0.1", "::1") if is_loopback(address_of(host, 1)) else ()
    return list(dict.fromkeys([host, *on_loopback]))


def _server(party: Party, own: Credential, other: Credential, toml: str) -> Files:
    name, peer = party.name.lower(), party.other.name.lower()
    return {
        f"{name}.crt": (own.cert, PUBLIC),
        f"{name}.key": (own.key, PRIVATE),
        f"{peer}.crt": (other.cert, PUBLIC),
        f"{name}.toml": (toml.encode(), PRIVATE),
    }


def _sessions(hosts: Hosts) -> list[str]:
    """S2's second port, named where a firewall may stand between the two servers: the one after its first."""
    host, _, port = hosts.listen(Party.S2).rpartition(":")
    if is_loopback(hosts.listen(Party.S2)) or int(port) == MAX_PORT:
        return []
    return [f"sessions = {quote(f'{host}:{int(port) + 1}')}  # for S1 only, as the first"]


def server_toml(
    party: Party, collection: Collection, hosts: Hosts, budget: Budget | None, sign_key: VerifyKey | None
) -> str:
    """One server's configuration. `budget`: what S1's says about it, None: nothing; `sign_key`: S2's, if it signs."""
    name, peer = party.name.lower(), party.other.name.lower()
    first = party is Party.S1
    lines = [
        f"# {party.name}, {'the gateway that clients talk to' if first else 'which only S1 talks to'}."
        " Paths are relative to this file.",
        f'role = "{name}"',
        f"listen = {quote(hosts.listen(party))}",
        *(_sessions(hosts) if not first and collection.engine is Engine.PREPARED else []),
        'data = "data"',
        f'clients = "{CLIENTS_NAME}"' if first else f'groups = "{GROUPS_NAME}"',
        "",
        "[keys]",
        f'public = "{PUBLIC_NAME}"',
        f'share = "{SHARE_NAMES[party]}"',
        *([f'sign = "{SIGN_NAME}"'] if sign_key and not first else []),
        "",
        "[tls]",
        f'cert = "{name}.crt"',
        f'key = "{name}.key"',
        *(['clients_ca = "clients-ca.crt"'] if first else []),
        "",
        "[peer]",
        *([f"address = {quote(hosts.of(Party.S2))}"] if first else []),
        f'certificate = "{peer}.crt"  # pinned: no other certificate is accepted, whoever signed it',
        *([f'sign_key = "{sign_key.hex()}"  # what S2 signs with'] if sign_key and first else []),
        "",
        *(_budget(budget) if first and budget is not None else []),
        "# The same on both servers; they refuse each other otherwise.",
        "[collection]",
        *_collection(collection),
        "",
        "# Who asked what kind of thing when, each line chained to the one before: pura-server audit show, verify",
        "[audit]",
        'folder = "audit"',
        "",
        *([] if collection.engine is Engine.PUBLISHED else _SNAPSHOTS),
        "# What else can be set, with its default, is in docs/operations.md: limits, budget, workers, metrics, log.",
    ]
    return "\n".join(lines) + "\n"


def _budget(budget: Budget) -> list[str]:
    return [
        "# What one client may ask and enrol: so many at once, and so many an hour. SECURITY.md says what that allows.",
        "[budget]",
        f"questions = {budget.questions}",
        f"per_hour = {round(budget.per_hour, 3)}",
        f"enrolments = {budget.enrolments}",
        f"enrolments_per_hour = {round(budget.enrolments_per_hour, 3)}",
        "",
    ]


def _collection(collection: Collection) -> list[str]:
    body = collection.model_dump(mode="json", exclude_none=True)
    if not collection.allow_leaky:
        body.pop("allow_leaky")
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in body.items()]
