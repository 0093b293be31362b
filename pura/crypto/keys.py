"""Key files: `public.key`, `s1.share`, `s2.share`. JSON text, versioned, each with its key id and a checksum.
The public key names the engine and the collection that it is for, and its id, which the shares bear too, covers both.

A share file is made with mode 0600 and never overwritten. The factors are not stored anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pura.bigint import Z
from pura.crypto.keyfile import read, seal, unseal
from pura.crypto.paillier import PublicKey
from pura.crypto.threshold import KeySet, KeyShare
from pura.crypto.vault import PLAIN, Vault
from pura.errors import BadKeyFile, WouldOverwrite, WrongKey
from pura.files import PRIVATE, PUBLIC, write_new
from pura.ids import GONE, CollectionId, Engine, KeyId, Party

PUBLIC_NAME = "public.key"
SHARE_NAMES = {Party.S1: "s1.share", Party.S2: "s2.share"}
_PUBLIC, _SHARE = "pura public key", "pura key share"


def write_keys(keys: KeySet, folder: Path, vaults: Mapping[Party, Vault] | None = None) -> list[Path]:
    """Write the three files of a ceremony into `folder`, all or none; each share sealed by its party's vault.

    Raises `WouldOverwrite` when one of them exists (nothing is changed then) and `StorageFull` when they cannot be
    written; `SecretNeeded`.
    """
    files = {PUBLIC_NAME: (dump_public(keys.public).encode(), PUBLIC)}
    for share in (keys.s1, keys.s2):
        name, vault = SHARE_NAMES[share.party], (vaults or {}).get(share.party, PLAIN)
        files[name] = vault.bytes_for(dump_share(share).encode(), share_about(share.party, share.key_id), name), PRIVATE
    for name in files:
        if (folder / name).exists():
            raise WouldOverwrite(f"{name} exists already in that folder; nothing was changed")
    write_new(folder, files)
    return [folder / name for name in files]


def dump_public(pk: PublicKey) -> str:
    """The text of a public key file."""
    fields = {"engine": pk.engine.value, "collection": pk.collection.hex(), "key_id": pk.key_id.hex()}
    return seal({"format": _PUBLIC, **fields, "n": f"{int(pk.n):x}", "h": f"{int(pk.h):x}"})


def dump_share(share: KeyShare) -> str:
    """The text of a share file: a secret."""
    sign, size = ("-", -share.t) if share.t < 0 else ("", share.t)
    t = f"{sign}{int(size):x}"
    return seal({"format": _SHARE, "party": share.party.name, "key_id": share.key_id.hex(), "t": t})


def share_about(party: Party, key_id: KeyId) -> dict[str, str]:
    """What a sealed share says of itself."""
    return {"kind": _SHARE, "party": party.name, "key_id": key_id.hex()}


def load_public(path: Path) -> PublicKey:
    """Read and check a public key file. Raises `BadKeyFile`."""
    return parse_public(read(path))


def parse_public(text: str) -> PublicKey:
    """The public key in the text of its file. Raises `BadKeyFile`."""
    body = unseal(text, _PUBLIC)
    if (gone := GONE.get(str(body.get("engine")))) is not None:
        raise BadKeyFile(gone)
    try:
        engine = Engine(str(body.get("engine")))
        collection = CollectionId(bytes.fromhex(str(body.get("collection"))))
    except ValueError as error:
        raise BadKeyFile("the public key does not name an engine known here and a collection") from error
    pk = PublicKey(_hex(body, "n"), _hex(body, "h"), engine, collection)
    if pk.key_id.hex() != body.get("key_id"):
        raise BadKeyFile("the public key does not have the id that its file names")
    return pk


def load_share(path: Path, pk: PublicKey, party: Party | None = None, vault: Vault = PLAIN) -> KeyShare:
    """Read and check a share file. Raises `BadKeyFile`, or `WrongKey` when it belongs to another key or party;
    `SecretNeeded`, `WrongPassphrase` for a sealed one."""
    body = unseal(vault.text(path), _SHARE)
    try:
        share = KeyShare(Party[str(body["party"])], KeyId(bytes.fromhex(str(body["key_id"]))), _hex(body, "t"))
    except (KeyError, ValueError) as error:
        raise BadKeyFile("the share file lacks a field") from error
    share.check(pk)
    if party is not None and share.party is not party:
        raise WrongKey(f"this is the share of {share.party.name}, not of {party.name}")
    return share


def _hex(body: dict[str, Any], field: str) -> Z:
    value = body.get(field)
    if not isinstance(value, str):
        raise BadKeyFile(f"the key file lacks {field!r}")
    try:
        return Z(int(value, 16))
    except ValueError as error:
        raise BadKeyFile(f"{field!r} is not a number") from error
