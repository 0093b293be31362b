"""How a new client and the organisation exchange what they need: a request without a secret, and a sealed bundle.

The request has the client's certificate request and a one-time X25519 key; the bundle is sealed to that key, so both
can go by any way. Nothing in them says who made them: the code covers both, and two people compare it by telephone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pura.crypto import keyfile, seal, spoken
from pura.crypto.hashing import digest
from pura.crypto.rng import Rng
from pura.crypto.seal import SealKey
from pura.errors import BadKeyFile, MalformedMessage

_REQUEST, _BUNDLE, _KEY = "pura client request", "pura client bundle", "pura client request key"
_TAG = b"pura client handover v1"


@dataclasses.dataclass(frozen=True, repr=False)
class ClientRequest:
    """What a client sends: no secret."""

    name: str
    csr: bytes
    """PEM."""
    seal_to: bytes
    """32 bytes."""

    def dump(self) -> bytes:
        """The file's text."""
        body = {"name": self.name, "csr": self.csr.decode("ascii"), "seal_to": self.seal_to.hex()}
        return keyfile.seal({"format": _REQUEST, **body}).encode()

    @classmethod
    def parse(cls, text: str) -> ClientRequest:
        """Raises `BadKeyFile` for whatever `dump` cannot have made."""
        body = keyfile.unseal(text, _REQUEST)
        try:
            name, csr, seal_to = body["name"], body["csr"].encode("ascii"), bytes.fromhex(body["seal_to"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadKeyFile("the request lacks a field") from error
        if not isinstance(name, str) or len(seal_to) != seal.KEY_BYTES:
            raise BadKeyFile("the request lacks a field")
        return cls(name, csr, seal_to)


def make_bundle(request: ClientRequest, files: Mapping[str, bytes], rng: Rng) -> tuple[bytes, str]:
    """The bundle for a request, as the text of its file, and the code. Raises `BadKeyFile` for a bad key in it."""
    inside = _packed(files)
    context = digest(_TAG, request.dump())
    try:
        sealed = seal.seal(request.seal_to, inside, context, rng)
    except MalformedMessage as error:
        raise BadKeyFile("the request's one-time key is not valid") from error
    return keyfile.seal({"format": _BUNDLE, "name": request.name, "sealed": sealed.hex()}).encode(), _code(
        request, inside
    )


def open_bundle(text: str, request: ClientRequest, key: SealKey) -> tuple[dict[str, bytes], str]:
    """The files in the bundle for this client's own request, and the code. Raises `BadKeyFile`."""
    body = keyfile.unseal(text, _BUNDLE)
    try:
        inside = key.open(bytes.fromhex(body["sealed"]), digest(_TAG, request.dump()))
        return {name: bytes.fromhex(raw) for name, raw in json.loads(inside).items()}, _code(request, inside)
    except MalformedMessage as error:
        raise BadKeyFile("this bundle was not made for the request that lies here, or was changed") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadKeyFile("the bundle lacks a field") from error


def dump_key(key: bytes) -> bytes:
    """The file of the request's private key, 32 bytes: a secret until the bundle has come."""
    return keyfile.seal({"format": _KEY, "key": key.hex()}).encode()


def load_key(text: str) -> SealKey:
    """Raises `BadKeyFile`."""
    body: dict[str, Any] = keyfile.unseal(text, _KEY)
    try:
        return SealKey.of(bytes.fromhex(body["key"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadKeyFile("the request's key file lacks a field") from error


def _packed(files: Mapping[str, bytes]) -> bytes:
    return json.dumps({name: body.hex() for name, body in sorted(files.items())}).encode()


def _code(request: ClientRequest, inside: bytes) -> str:
    return spoken.code(_TAG, request.dump(), inside)
