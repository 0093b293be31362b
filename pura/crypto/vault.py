"""Secret files that are sealed where they lie: under a passphrase, what a key file holds, or what a command prints.

    key  = scrypt(secret, salt; n, r = 8, p = 1), 32 bytes
    text = AES-256-GCM(key, nonce, what the plain file would hold; format, about, n)

One form for all three: the secret is a string of bytes, wherever it comes from (`pura.passwords`). What the file is,
for example whose share under which key, stays legible in `about` and is authenticated. Salt and nonce are fresh for
every sealing. A sealed file that was changed anywhere does not open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pura.crypto import keyfile
from pura.crypto.rng import Rng, SystemRng
from pura.errors import BadKeyFile, SecretNeeded, WrongPassphrase

KIND = "pura sealed file"
COST = 1 << 17
"""scrypt's n for what is sealed now: 128 MiB and some 0.3 s of one core for each guess."""
_LEAST, _MOST = 1 << 14, 1 << 20  # a file that says more would take this machine's memory
_SALT, _NONCE, _KEY = 16, 12, 32
_R, _P = 8, 1

Secret = Callable[[], bytes]
"""Where the secret comes from: called when the first sealed file is opened or written, and once."""


class Vault:
    """Reads secret files, sealed or plain, and writes them sealed when it has a secret to seal with."""

    def __init__(self, secret: Secret | None = None, *, sealing: bool = False, rng: Rng | None = None) -> None:
        """`secret`: None where there is none, then only plain files can be read; `sealing`: write sealed files."""
        self._source = secret
        self._known: bytes | None = None
        self._rng = rng or SystemRng()
        self.sealing = sealing

    def __repr__(self) -> str:
        return "Vault(…)"

    def forget(self) -> None:
        """Everything is read and written: the secret is not kept any longer than that."""
        self._known = None

    def read(self, path: Path) -> bytes:
        """What the file holds, opened if it is sealed. Raises `BadKeyFile`, `SecretNeeded`, `WrongPassphrase`."""
        return self.opened(_bytes(path), path.name)

    def text(self, path: Path) -> str:
        """`read`, as ASCII text. Raises what `read` raises."""
        try:
            return self.read(path).decode("ascii")
        except UnicodeDecodeError as error:
            raise BadKeyFile(f"{path.name} cannot be read") from error

    def opened(self, raw: bytes, name: str) -> bytes:
        """`read`, for bytes that were read already."""
        if not is_sealed(raw):
            return raw
        body = keyfile.unseal(raw.decode("ascii", "replace"), KIND)
        try:
            cost = int(body["n"])
            if cost & (cost - 1) or not _LEAST <= cost <= _MOST:
                raise ValueError
            salt, nonce, sealed = (bytes.fromhex(body[field]) for field in ("salt", "nonce", "text"))
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise BadKeyFile(f"{name} lacks a field of a sealed file") from error
        try:
            return AESGCM(_derived(self._secret(name), salt, cost)).decrypt(nonce, sealed, _clear(body))
        except (InvalidTag, ValueError) as error:
            raise WrongPassphrase(f"{name} does not open: another secret sealed it, or it was changed") from error

    def bytes_for(self, body: bytes, about: Mapping[str, str], name: str) -> bytes:
        """What to write for a file's contents: sealed if this vault seals, else as they are. Raises `SecretNeeded`."""
        return self.sealed(body, about, name) if self.sealing else body

    def sealed(self, body: bytes, about: Mapping[str, str], name: str) -> bytes:
        """A sealed file's bytes. `about`: what stays legible. Raises `SecretNeeded`."""
        salt, nonce = self._rng.bytes(_SALT), self._rng.bytes(_NONCE)
        head: dict[str, Any] = {"format": KIND, "about": dict(about), "n": COST}
        text = AESGCM(_derived(self._secret(name), salt, COST)).encrypt(nonce, body, _clear(head))
        return keyfile.seal({**head, "salt": salt.hex(), "nonce": nonce.hex(), "text": text.hex()}).encode()

    def _secret(self, name: str) -> bytes:
        if self._known is None:
            if self._source is None:
                raise SecretNeeded(f"{name} is sealed, and nothing was named that opens it")
            self._known = self._source()
        return self._known


PLAIN = Vault()
"""For files that are not sealed."""


def is_sealed(raw: bytes) -> bool:
    """Whether the bytes of a file say that it is sealed."""
    return f'"format": "{KIND}"'.encode() in raw[:64]


def about(path: Path) -> dict[str, str] | None:
    """What a sealed file says of itself without being opened, believed by nobody before; None for a plain one. Raises
    `BadKeyFile`."""
    raw = _bytes(path)
    if not is_sealed(raw):
        return None
    with contextlib.suppress(AttributeError):
        return {str(name): str(value) for name, value in keyfile.unseal(raw.decode(), KIND).get("about", {}).items()}
    raise BadKeyFile(f"{path.name} lacks a field of a sealed file")


def fingerprint(raw: bytes) -> str:
    """SHA-256 of a file as it lies there, in groups of four digits: to be compared on paper."""
    digits = hashlib.sha256(raw).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _derived(secret: bytes, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=_KEY, n=cost, r=_R, p=_P).derive(secret)


def _clear(head: Mapping[str, Any]) -> bytes:
    """The associated data: what stays legible."""
    return json.dumps([head["format"], head["about"], head["n"]], sort_keys=True).encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadKeyFile(f"{path.name} cannot be read", detail=str(error)) from error
