"""The organisation's label key in a file of its own, which every client gets by another way than its bundle.

The newest key is what labels are encrypted under from now on; older ones stay in the file until every label that they
made is encrypted anew. On its way the file may be sealed under a passphrase; on a client it lies plain, mode 0600.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pura.crypto import keyfile
from pura.crypto.rng import Rng
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadKeyFile, WouldOverwrite
from pura.files import PRIVATE, replace_file, write_new
from pura_client.labels import KEY_BYTES

_KIND = "pura label key"
ABOUT = {"kind": _KIND}
MOST = 8
"""Keys in one file."""

LabelKeys = Sequence[bytes]
"""The newest first."""


def draw(rng: Rng, older: LabelKeys = ()) -> LabelKeys:
    """A new key, before older ones. Raises `BadKeyFile` when there are too many."""
    if len(older) >= MOST:
        raise BadKeyFile("there are too many label keys in this file: encrypt the labels anew, and drop the older keys")
    return [rng.bytes(KEY_BYTES), *older]


def dump(keys: LabelKeys) -> bytes:
    """The text of the file: a secret."""
    return keyfile.seal({"format": _KIND, "keys": [key.hex() for key in keys]}).encode()


def load(path: Path, vault: Vault = PLAIN) -> LabelKeys:
    """Read a file. Raises `BadKeyFile`; `SecretNeeded`, `WrongPassphrase` for a sealed one."""
    body = keyfile.unseal(vault.text(path), _KIND)
    try:
        keys = [bytes.fromhex(key) for key in body["keys"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadKeyFile(f"{path.name} lacks a field") from error
    if not 0 < len(keys) <= MOST or any(len(key) != KEY_BYTES for key in keys):
        raise BadKeyFile(f"{path.name} holds no label key")
    return keys


def write(path: Path, keys: LabelKeys, vault: Vault = PLAIN, *, replace: bool = False) -> None:
    """Write a file, sealed if the vault seals. Raises `WouldOverwrite`, `StorageFull`."""
    body = vault.bytes_for(dump(keys), ABOUT, path.name)
    if replace:
        replace_file(path, body, PRIVATE)
    elif path.exists():
        raise WouldOverwrite(f"{path} exists already; nothing was changed")
    else:
        write_new(path.parent, {path.name: (body, PRIVATE)})
