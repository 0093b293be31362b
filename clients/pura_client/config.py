"""`client.toml`: where the gateway is, who this client is, and the organisation's label key."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from pura import settings
from pura.errors import BadConfig
from pura.face.spec import DetectorSpec, EmbedderSpec, located

ENV = "PURA_CLIENT"
DEFAULT_PATH = "client.toml"


class ClientConfig(BaseModel):
    """What a client needs. Paths are relative to the folder of the file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    server: str
    """host:port of S1."""
    public_key: Path
    label_key: SecretStr
    """64 hexadecimal digits; the same for all clients that may read each other's labels."""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    deadline_s: float = Field(default=60.0, gt=0)
    """For one question, and for one batch of enrolments."""
    embedder: EmbedderSpec | None = None
    """Which model embeds photos; it must be the collection's. None: the built-in one that the collection names."""
    detector: DetectorSpec = DetectorSpec()

    @model_validator(mode="after")
    def _check(self) -> ClientConfig:
        host, _, port = self.server.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("server must be host:port")
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

    def label_key_bytes(self) -> bytes:
        """The label key. Raises `BadConfig` when it is not hexadecimal."""
        try:
            return bytes.fromhex(self.label_key.get_secret_value())
        except ValueError as error:
            raise BadConfig("label_key must be hexadecimal") from error


def load(path: str | os.PathLike[str] | None = None) -> ClientConfig:
    """Read a `client.toml`: the path given, else $PURA_CLIENT, else ./client.toml. Raises `BadConfig`."""
    file = Path(path or os.environ.get(ENV) or DEFAULT_PATH)
    body = settings.read(file, f"; name it with --config or ${ENV}")
    for name in ("public_key", "ca", "cert", "key"):
        if isinstance(body.get(name), str):
            body[name] = str(file.parent / body[name])
    return settings.validated(ClientConfig, located(body, file.parent), file)
