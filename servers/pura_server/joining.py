"""How two operators join their servers: each makes its own keys, they exchange two small files, and compare a code.

A request holds no secret: which server it is, under which collection key, its certificate, where it is reached; from S1
the parameters of the collection, from S2 the public half of the key that it signs with. The code covers both requests,
so that whoever changes a file on its way, or puts a certificate of its own into it, is noticed on the telephone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from pura.crypto import keyfile, spoken
from pura.crypto.paillier import PublicKey
from pura.crypto.sign import VerifyKey
from pura.errors import BadConfig, BadKeyFile, WrongKey
from pura.files import PRIVATE, PUBLIC
from pura.ids import Engine, KeyId, Party
from pura_server import authority, bundles, tls
from pura_server.bundles import Files
from pura_server.config import CLIENTS_NAME, GROUPS_NAME, Budget, Collection
from pura_server.credentials import dump_clients
from pura_server.deploy import CLIENTS_CA, Hosts, server_toml
from pura_server.groups import dump_groups
from pura_server.hosts import host_of

_KIND = "pura server request"
_TAG = b"pura joining code v1"
_FIELDS = {"format", "version", "server", "key_id", "certificate", "host", "port", "collection", "sign_key"}


@dataclasses.dataclass(frozen=True)
class ServerRequest:
    """What one operator tells the other."""

    party: Party
    key_id: KeyId
    cert: bytes
    """PEM."""
    host: str
    port: int
    collection: Collection | None
    """From S1."""
    sign_key: VerifyKey | None
    """From S2; None with engine published."""

    def dump(self) -> bytes:
        """The file's text: no secret."""
        collection = None if self.collection is None else self.collection.model_dump(mode="json", exclude_none=True)
        return keyfile.seal(
            {
                "format": _KIND,
                "server": self.party.name,
                "key_id": self.key_id.hex(),
                "certificate": self.cert.decode("ascii"),
                "host": self.host,
                "port": self.port,
                "collection": collection,
                "sign_key": None if self.sign_key is None else self.sign_key.hex(),
            }
        ).encode()


def parse(text: str) -> ServerRequest:
    """The request in the text of its file. Raises `BadConfig` for whatever `dump` cannot have made."""
    try:
        body = keyfile.unseal(text, _KIND)
        return _parsed(body)
    except (BadKeyFile, KeyError, TypeError, ValueError, AttributeError) as error:  # pydantic's is a ValueError
        why = f": {error}" if isinstance(error, BadKeyFile) else ""
        raise BadConfig(f"this is not a file that `pura-server request` wrote{why}") from error


def _parsed(body: dict[str, Any]) -> ServerRequest:
    if set(body) != _FIELDS:
        raise ValueError
    party, cert, collection, sign_key = Party[body["server"]], body["certificate"], None, None
    if party is Party.S1:
        collection = _collection(body["collection"])
    if body["sign_key"] is not None:
        sign_key = VerifyKey.from_hex(body["sign_key"])
    if not isinstance(body["port"], int) or not 0 < body["port"] < 1 << 16:
        raise ValueError
    return ServerRequest(
        party,
        KeyId(bytes.fromhex(body["key_id"])),
        cert.encode("ascii"),
        host_of(body["host"], "host"),
        body["port"],
        collection,
        sign_key if party is Party.S2 else None,
    )


def _collection(body: object) -> Collection:
    try:
        return Collection.model_validate(body)
    except ValidationError as error:
        raise ValueError from error


@dataclasses.dataclass(frozen=True)
class Joined:
    """Two requests that belong together."""

    s1: ServerRequest
    s2: ServerRequest
    collection: Collection
    pk: PublicKey

    @property
    def hosts(self) -> Hosts:
        """Where both are reached."""
        return Hosts(self.s1.host, self.s2.host, self.s1.port, self.s2.port)

    def code(self) -> str:
        """What the operators compare: over both certificates, where both are reached, all parameters, the key id and
        S2's signature key."""
        fields = [self.collection.params(self.pk).agreement, self.pk.key_id]
        for one in (self.s1, self.s2):
            fields += [tls.fingerprint(one.cert).encode(), one.host.encode(), str(one.port).encode()]
        return spoken.code(_TAG, *fields, self.s2.sign_key.raw if self.s2.sign_key else b"")


def joined(own: ServerRequest, other: ServerRequest, pk: PublicKey) -> Joined:
    """Both requests, when they belong together and each certificate can be pinned. Raises `BadConfig`, `WrongKey`."""
    if own.party is other.party:
        raise BadConfig(f"both requests are of {own.party.name}; one is needed of each server")
    s1, s2 = (own, other) if own.party is Party.S1 else (other, own)
    for one in (s1, s2):
        if one.key_id != pk.key_id:
            raise WrongKey(f"the request of {one.party.name} is for another public key")
        try:
            tls.refuse_unfit(one.cert)
        except BadConfig as error:
            raise BadConfig(f"the certificate of {one.party.name}: {error}") from error
    if tls.fingerprint(s1.cert) == tls.fingerprint(s2.cert):
        raise BadConfig("both servers have the same certificate")
    if s1.collection is None:
        raise BadConfig("the request of S1 names no collection")
    s1.collection.params(pk)
    if (s2.sign_key is None) != (s1.collection.engine is Engine.PUBLISHED):
        raise BadConfig("the request of S2 and the engine of the collection do not fit: its signature key")
    return Joined(s1, s2, s1.collection, pk)


def server_files(both: Joined, party: Party, budget: Budget | None, clients_ca: bytes | None) -> Files:
    """What `join` writes into one server's folder, beside the keys that are there. `clients_ca`: for S1."""
    other = both.s2 if party is Party.S1 else both.s1
    name, peer = party.name.lower(), other.party.name.lower()
    toml = server_toml(party, both.collection, both.hosts, budget, both.s2.sign_key)
    files: Files = {f"{name}.toml": (toml.encode(), PRIVATE), f"{peer}.crt": (other.cert, PUBLIC)}
    if party is Party.S2:
        return files | {GROUPS_NAME: (dump_groups([]), PRIVATE)}
    params = both.collection.params(both.pk)
    common = bundles.client_toml(both.hosts.of(Party.S1), params, both.s2.sign_key, label_key=None)
    files |= {CLIENTS_NAME: (dump_clients([]), PRIVATE), bundles.CLIENT_TOML: (common.encode(), PUBLIC)}
    if clients_ca is not None:
        files[CLIENTS_CA] = clients_ca, PUBLIC
    return files


def new_certificate(party: Party, names: Sequence[str], days: int) -> tuple[bytes, bytes, bytes]:
    """A server's own: private key, request to be signed by whom it likes, and a certificate that its key signs."""
    name, key = party.name.lower(), authority.new_key()
    return key, authority.request(key, name, names), authority.self_signed(key, name, names, days)
