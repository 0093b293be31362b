"""A client's bundle: `client.toml` and the files that it names, made from what the organisation keeps.

    ca/ca.crt, ca.key         sign certificates
    ca/server.crt             if there is one: what clients know S1 by, where another than ca.crt signed its certificate
    ca/public.key             of the collection
    ca/client.toml            what all bundles have in common: the address of S1, what clients pin, and the label key
                              unless it goes to each client by a way of its own
    ca/groups/NAME/           the keys of a group of clients, one for each right, and group.json, their public halves

This folder is kept off the servers: they must have neither the label key nor the private half of a group's key.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from pura.crypto.keys import PUBLIC_NAME
from pura.crypto.rng import Rng
from pura.crypto.sign import SigningKey, VerifyKey
from pura.errors import BadConfig, PuraError, StorageFull
from pura.files import PRIVATE, PUBLIC, replace_file
from pura.groups import Right
from pura.ids import Engine, GateKind
from pura.params import Params
from pura_server.authority import Credential
from pura_server.credentials import May
from pura_server.lists import check_name

CA_CERT, CA_KEY = "ca.crt", "ca.key"
CLIENT_TOML, CLIENT_CERT, CLIENT_KEY = "client.toml", "client.crt", "client.key"
SERVER_CERT = "server.crt"
GROUPS, GROUP_PUBLIC = "groups", "group.json"
FIRST_GROUP = "clients"
GROUP_KEYS = {right: f"group-{right}.key" for right in Right}
RIGHTS = {
    May.ASK: Right.ASK,
    May.ENROL: Right.ENROL,
    May.ERASE: Right.ERASE,
    May.ERASE_ALL: Right.ERASE,
}
"""Which key of its group a client needs for what it may do."""
_IN_EVERY_BUNDLE = {CA_CERT: PUBLIC, PUBLIC_NAME: PUBLIC, CLIENT_TOML: PRIVATE}
LABEL_KEY = "label.key"
_LABEL_KEY_BYTES = 32
_GROUP_VERSION = 1

Files = dict[str, tuple[bytes, int]]
"""By name: what goes into a file, and its mode."""
GroupKeys = Mapping[Right, SigningKey]


def common_files(
    ca: Credential,
    public_key: bytes,
    server: str,
    params: Params,
    s2_key: VerifyKey | None,
    gate: GateKind = GateKind.NONE,
) -> Files:
    """The organisation's folder, with a new label key and no group. `server`: host:port of S1; `params`, `s2_key`: what
    clients pin; with engine published S2 has no key; `gate`: before their cameras."""
    return {
        CA_CERT: (ca.cert, PUBLIC),
        CA_KEY: (ca.key, PRIVATE),
        PUBLIC_NAME: (public_key, PUBLIC),
        CLIENT_TOML: (
            client_toml(server, params, s2_key, secrets.token_bytes(_LABEL_KEY_BYTES).hex(), gate).encode(),
            PRIVATE,
        ),
    }


def read_authority(folder: Path) -> Credential:
    """The authority in the organisation's folder. Raises `BadConfig`."""
    return Credential(_read(folder, CA_CERT), _read(folder, CA_KEY))


def read_common(folder: Path) -> tuple[Credential, dict[str, bytes]]:
    """The authority in the organisation's folder, and what goes into every bundle. Raises `BadConfig`."""
    signer = read_authority(folder)
    bodies = {name: _read(folder, name) for name in _IN_EVERY_BUNDLE}
    if (folder / SERVER_CERT).exists():
        bodies[CA_CERT] = _read(folder, SERVER_CERT)
    return signer, bodies


def bundle_files(
    common: Mapping[str, bytes], cert: bytes, key: bytes | None, may: Iterable[May], group: GroupKeys
) -> Files:
    """The files of one client's bundle: with those keys of its group that it needs for what it may do. `key`: the
    private key of its certificate, None where the client made it and keeps it."""
    rights = {RIGHTS[one] for one in may}
    files = {name: (common[name], mode) for name, mode in _IN_EVERY_BUNDLE.items()}
    lines = ["", "[group]", *(f'{right} = "{GROUP_KEYS[right]}"' for right in Right if right in rights), ""]
    files[CLIENT_TOML] = (common[CLIENT_TOML] + "\n".join(lines).encode(), PRIVATE)
    files |= {CLIENT_CERT: (cert, PUBLIC)} | ({} if key is None else {CLIENT_KEY: (key, PRIVATE)})
    return files | {GROUP_KEYS[right]: (group[right].dump(), PRIVATE) for right in rights}


# --- groups -----------------------------------------------------------------------------------------


def new_group(rng: Rng) -> GroupKeys:
    """Fresh keys, one for each right."""
    return {right: SigningKey.new(rng) for right in Right}


def group_files(name: str, keys: GroupKeys) -> Files:
    """The files of a group, below the organisation's folder."""
    halves = {right: key.public.hex() for right, key in keys.items()}
    public = json.dumps({"format": "pura group", "version": _GROUP_VERSION, "name": name, "keys": halves}, indent=1)
    files: Files = {GROUP_KEYS[right]: (key.dump(), PRIVATE) for right, key in keys.items()}
    files[GROUP_PUBLIC] = ((public + "\n").encode(), PUBLIC)
    return {f"{GROUPS}/{name}/{file}": body for file, body in files.items()}


def read_group(folder: Path, name: str) -> GroupKeys:
    """A group's keys in the organisation's folder. Raises `BadConfig`, `BadKeyFile`."""
    inside = folder / GROUPS / check_name(name)
    if not inside.is_dir():
        raise BadConfig(f"there is no group {name} in {folder}; `pura-server group add` makes one")
    return {right: SigningKey.load(inside / file) for right, file in GROUP_KEYS.items()}


def replace_group(folder: Path, name: str, keys: GroupKeys) -> None:
    """New keys in the place of a group's old ones, the public halves last. Raises `StorageFull`."""
    try:
        for file, (body, mode) in group_files(name, keys).items():
            replace_file(folder / file, body, mode)
    except OSError as error:
        raise StorageFull("not all keys of the group could be written; renew it again", detail=str(error)) from error


def read_public_group(path: Path) -> tuple[str, dict[Right, VerifyKey]]:
    """The name of a group and the public halves of its keys, from its `group.json`. Raises `BadConfig`."""
    try:
        body = json.loads(path.read_text("utf-8"))
        if body["format"] != "pura group" or body["version"] != _GROUP_VERSION:
            raise ValueError
        return check_name(body["name"]), {Right(right): VerifyKey.from_hex(key) for right, key in body["keys"].items()}
    except OSError as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, PuraError) as error:
        raise BadConfig(f"{path} is not a {GROUP_PUBLIC} that `pura-server group add` wrote") from error


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BadConfig(
            f"{folder / name} cannot be read; --ca is the folder `ca` that `init` wrote", detail=str(error)
        ) from error


def client_toml(
    server: str, params: Params, s2_key: VerifyKey | None, label_key: str | None, gate: GateKind = GateKind.NONE
) -> str:
    """What all clients' configurations have in common. `label_key`: None where it lies in a file of its own, which
    each client gets by another way."""
    deadline = 300.0 if params.engine is Engine.PUBLISHED else 60.0
    return "\n".join(
        [
            "# One client. The label key is a secret that the organisation's clients share and the servers never see.",
            f"server = {quote(server)}",
            f'public_key = "{PUBLIC_NAME}"',
            f'label_key = "{label_key}"' if label_key else f'label_key_file = "{LABEL_KEY}"',
            f'ca = "{CA_CERT}"',
            f'cert = "{CLIENT_CERT}"',
            f'key = "{CLIENT_KEY}"',
            f"deadline_s = {deadline}",
            *([f's2_key = "{s2_key.hex()}"  # what S2 signs answers with'] if s2_key else []),
            *([] if gate is GateKind.NONE else [f'gate = "{gate.value}"  # before anybody is asked about at a camera']),
            "",
            "# What this client takes the collection for. It refuses servers that say anything else.",
            "[collection]",
            f'key_id = "{params.key_id.hex()}"',
            f"dimension = {params.dimension}",
            f"scale = {params.scale}",
            f"embedder = {quote(params.embedder)}",
            "",
        ]
    )


def quote(text: str) -> str:
    """A TOML basic string."""
    return json.dumps(text, ensure_ascii=False)
