"""The file of a server's mask keys, `s1.masks` or `s2.masks`: beside its share, mode 0600, never in the data folder."""

from __future__ import annotations

from pathlib import Path

from pura.crypto.keyfile import seal, unseal
from pura.crypto.masks import MaskKeys
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadKeyFile, StorageFull, WrongKey
from pura.files import PRIVATE, replace_file, write_new
from pura.ids import KeyId, Party

_KIND = "pura mask keys"


def dump_masks(keys: MaskKeys, party: Party, key_id: KeyId) -> str:
    """The text of the file: a secret."""
    secrets = {str(v): keys.secret(v).hex() for v in keys.versions}
    return seal({"format": _KIND, "party": party.name, "key_id": key_id.hex(), "secrets": secrets})


def load_masks(path: Path, party: Party, key_id: KeyId, vault: Vault = PLAIN) -> MaskKeys:
    """Read and check a file. Raises `BadKeyFile`, or `WrongKey` when it belongs to another key or server;
    `SecretNeeded`, `WrongPassphrase` for a sealed one."""
    body = unseal(vault.text(path), _KIND)
    try:
        secrets = {int(v): bytes.fromhex(s) for v, s in body["secrets"].items()}
        owner, its = Party[str(body["party"])], bytes.fromhex(str(body["key_id"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadKeyFile(f"{path.name} lacks a field") from error
    if its != key_id:
        raise WrongKey(f"{path.name} belongs to another public key")
    if owner is not party:
        raise WrongKey(f"these are the mask keys of {owner.name}, not of {party.name}")
    return MaskKeys(secrets)


def write_masks(path: Path, keys: MaskKeys, party: Party, key_id: KeyId, vault: Vault = PLAIN) -> None:
    """Write a first file, sealed if the vault seals. Raises `WouldOverwrite` when there is one already (nothing is
    changed), `StorageFull`."""
    write_new(path.parent, {path.name: (_body(path, keys, party, key_id, vault), PRIVATE)})


def replace_masks(path: Path, keys: MaskKeys, party: Party, key_id: KeyId, vault: Vault = PLAIN) -> None:
    """Write the file of a rotation, whole or not at all, sealed if the vault seals. Raises `StorageFull`; the old file
    is as it was then."""
    try:
        replace_file(path, _body(path, keys, party, key_id, vault), PRIVATE)
    except OSError as error:
        raise StorageFull(f"{path.name} could not be written ({error.strerror})", detail=str(error)) from error


def masks_about(party: Party, key_id: KeyId) -> dict[str, str]:
    """What a sealed file says of itself."""
    return {"kind": _KIND, "party": party.name, "key_id": key_id.hex()}


def _body(path: Path, keys: MaskKeys, party: Party, key_id: KeyId, vault: Vault) -> bytes:
    return vault.bytes_for(dump_masks(keys, party, key_id).encode(), masks_about(party, key_id), path.name)
