"""`client.toml`: where the gateway is, who this client is, and the organisation's label key."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from pura import settings
from pura.crypto.paillier import PublicKey
from pura.crypto.sign import SigningKey, VerifyKey
from pura.errors import BadConfig, ParameterMismatch, WrongKey
from pura.face.spec import DetectorSpec, EmbedderSpec, located
from pura.groups import Right
from pura.ids import GateKind
from pura.params import Params
from pura.statements import Verifier
from pura_client import labelkey
from pura_client.labelkey import LabelKeys

ENV = "PURA_CLIENT"
COLLECTION_ENV = "PURA_COLLECTION"
DEFAULT_PATH = "client.toml"
_SERVER = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:/@\[\]]+):([0-9]{1,5})")


class GroupConfig(BaseModel):
    """The private keys of this client's group, one file for each right that the client has."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    ask: Path | None = None
    enrol: Path | None = None
    erase: Path | None = None


class Pins(BaseModel):
    """What this client takes the collection for."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_id: str = Field(pattern="^[0-9a-f]{32}$")
    dimension: int
    scale: int
    embedder: str

    def check(self, params: Params) -> None:
        """Raises `WrongKey`, `ParameterMismatch` when the servers say anything else."""
        if params.key_id.hex() != self.key_id:
            raise WrongKey("the servers and public_key are of another key than collection.key_id names")
        for name in ("dimension", "scale", "embedder"):
            pinned, said = getattr(self, name), getattr(params, name)
            if pinned != said:
                raise ParameterMismatch(
                    f"the server says that {name} is {said!r}, and this client takes it for {pinned!r} "
                    f"(collection.{name}); ask the organisation which is right"
                )


class ClientConfig(BaseModel):
    """What a client needs. Paths are relative to the folder of the file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    server: str
    """host:port of S1."""
    public_key: Path
    label_key: SecretStr | None = None
    """64 hexadecimal digits; the same for all clients that may read each other's labels."""
    label_key_file: Path | None = None
    """Instead: the file of `pura label-key`, which may hold older keys, too."""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    deadline_s: float = Field(default=60.0, gt=0)
    """For one question, and for one batch of enrolments; until then a client also waits for servers that start."""
    proxy: str | None = Field(default=None, pattern=r"^http://[^/@\s]+:[0-9]{1,5}$")
    """An HTTP proxy to go through, `http://host:port`. None that the environment names is used, none on loopback."""
    s2_key: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The public half of the key that S2 signs with."""
    state: Path | None = None
    """Where the client remembers the latest generation that it has seen (pura_client.seen); `load` puts in the file's
    own name with the ending .state."""
    collection: Pins | None = None
    group: GroupConfig = GroupConfig()
    """What this client signs with, so that S2 knows that a member of its group asks."""
    embedder: EmbedderSpec | None = None
    """Which model embeds photos; it must be the collection's. None: the built-in one that the collection names."""
    detector: DetectorSpec = DetectorSpec()
    gate: GateKind = GateKind.NONE
    """What whoever stands before a camera of this client has to pass before anything is asked: docs/liveness.md."""

    @model_validator(mode="after")
    def _check(self) -> ClientConfig:
        found = _SERVER.fullmatch(self.server)
        if found is None:
            raise ValueError("server must be host:port, an IPv6 address in brackets, and without https://")
        if not 0 < int(found[1]) < 1 << 16:
            raise ValueError("the port of server must be between 1 and 65535")
        if (self.label_key is None) == (self.label_key_file is None):
            raise ValueError("one of label_key and label_key_file is needed")
        if len({self.ca is None, self.cert is None, self.key is None}) != 1:
            raise ValueError("ca, cert and key belong together")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether the gateway is on this machine."""
        host = self.server.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def proxy_used(self) -> str | None:
        """The proxy that connections of this client go through."""
        return None if self.is_loopback else self.proxy

    def group_keys(self) -> dict[Right, SigningKey]:
        """The keys of its group that this client has, by right. Raises `BadKeyFile`."""
        files = {Right(name): path for name, path in self.group if path is not None}
        return {right: SigningKey.load(path) for right, path in files.items()}

    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate that this client shows, 32 bytes. Raises `BadConfig`."""
        return self._certificate().fingerprint(SHA256())

    def certificate_ends(self) -> datetime.datetime:
        """When it is not valid any more. Raises `BadConfig`."""
        return self._certificate().not_valid_after_utc

    def _certificate(self) -> x509.Certificate:
        if self.cert is None:
            raise BadConfig("the client needs ca, cert and key")
        try:
            return x509.load_pem_x509_certificate(self.cert.read_bytes())
        except (OSError, ValueError) as error:
            raise BadConfig(f"{self.cert} cannot be read as a certificate", detail=str(error)) from error

    def pins(self) -> Pins:
        """What this client takes the collection for. Raises `BadConfig`."""
        if self.collection is None:
            raise BadConfig(
                "the section collection is missing: key_id, dimension, scale and embedder of the collection, which the "
                "organisation knows from its servers' configuration"
            )
        return self.collection

    def verifier(self, pk: PublicKey) -> Verifier:
        """What S2's signatures are checked with. Raises `BadConfig`."""
        if self.s2_key is None:
            raise BadConfig(
                "s2_key is missing: the public half of the key that S2 signs with; `pura-server sign-key FILE` shows "
                "it to the operator of S2"
            )
        return Verifier(VerifyKey.from_hex(self.s2_key), pk.key_id)

    def label_keys(self) -> LabelKeys:
        """The label keys, the newest first. Raises `BadConfig` when one is not hexadecimal, `BadKeyFile`."""
        if self.label_key_file is not None:
            return labelkey.load(self.label_key_file)
        assert self.label_key is not None
        try:
            return [bytes.fromhex(self.label_key.get_secret_value())]
        except ValueError as error:
            raise BadConfig("label_key must be hexadecimal") from error

    def label_key_bytes(self) -> bytes:
        """The newest label key. Raises `BadConfig`, `BadKeyFile`."""
        return self.label_keys()[0]


def file_of(path: str | os.PathLike[str] | None = None, collection: str | None = None) -> Path:
    """The `client.toml`: the path given, else $PURA_CLIENT, else ./client.toml; in a folder of several collections that
    of `collection`, else of $PURA_COLLECTION. Raises `BadConfig`."""
    file = Path(path or os.environ.get(ENV) or DEFAULT_PATH)
    if collection is not None or file.is_dir():
        return _of_collection(file, collection or os.environ.get(COLLECTION_ENV))
    return file


def _of_collection(folder: Path, name: str | None) -> Path:
    """The `client.toml` of one of several collections: FOLDER/NAME/client.toml. Raises `BadConfig` that names them."""
    there = sorted(path.parent.name for path in folder.glob(f"*/{DEFAULT_PATH}"))
    if name is None or name not in there:
        wrong = f"there is no collection {name!r} in {folder}" if name else f"{folder} is a folder of collections"
        known = ", ".join(there) or "none is there"
        raise BadConfig(f"{wrong}; choose one with --collection or ${COLLECTION_ENV}: {known}")
    return folder / name / DEFAULT_PATH


def load(path: str | os.PathLike[str] | None = None, collection: str | None = None) -> ClientConfig:
    """Read a `client.toml`, which `file_of` finds. Raises `BadConfig`."""
    file = file_of(path, collection)
    body = settings.read(file, f"; name it with --config or ${ENV}")
    body.setdefault("state", file.with_suffix(".state").name)
    for name in ("public_key", "label_key_file", "ca", "cert", "key", "state"):
        if isinstance(body.get(name), str):
            body[name] = str(file.parent / body[name])
    if isinstance(body.get("group"), dict):
        body["group"] = {
            name: str(file.parent / path) if isinstance(path, str) else path for name, path in body["group"].items()
        }
    return settings.validated(ClientConfig, located(body, file.parent), file)
