"""Key files: `public.key`, `s1.share`, `s2.share`. JSON text, versioned, each with its key id and a checksum.

A share file is made with mode 0600 and never overwritten. The factors are not stored anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pura.bigint import Z
from pura.crypto.paillier import PublicKey
from pura.crypto.threshold import KeySet, KeyShare
from pura.errors import BadKeyFile, StorageFull, WouldOverwrite, WrongKey
from pura.ids import KeyId, Party

PUBLIC_NAME = "public.key"
SHARE_NAMES = {Party.S1: "s1.share", Party.S2: "s2.share"}
_PUBLIC, _SHARE, _VERSION = "pura public key", "pura key share", 1


def write_keys(keys: KeySet, folder: Path) -> list[Path]:
    """Write the three files of a ceremony into `folder`, all or none.

    Raises `WouldOverwrite` when one of them exists (nothing is changed then) and `StorageFull` when they cannot be
    written.
    """
    bodies: list[tuple[Path, str, int]] = [(folder / PUBLIC_NAME, dump_public(keys.public), 0o644)]
    bodies += [(folder / SHARE_NAMES[s.party], dump_share(s), 0o600) for s in (keys.s1, keys.s2)]
    for path, _, _ in bodies:
        if path.exists():
            raise WouldOverwrite(f"{path.name} exists already in that folder; nothing was changed")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text, mode in bodies:
            # O_EXCL: a second ceremony at the same moment fails instead of mixing two key sets
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(fd, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
    except BaseException as error:  # also when a person gives up: no share may lie about without its key
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise WouldOverwrite() from error
        if isinstance(error, OSError):
            raise StorageFull(
                f"the key files could not be written ({error.strerror}); nothing was left behind", detail=str(error)
            ) from error
        raise
    return written


def dump_public(pk: PublicKey) -> str:
    """The text of a public key file."""
    return _seal({"format": _PUBLIC, "key_id": pk.key_id.hex(), "n": f"{int(pk.n):x}", "h": f"{int(pk.h):x}"})


def dump_share(share: KeyShare) -> str:
    """The text of a share file: a secret."""
    sign, size = ("-", -share.t) if share.t < 0 else ("", share.t)
    t = f"{sign}{int(size):x}"
    return _seal({"format": _SHARE, "party": share.party.name, "key_id": share.key_id.hex(), "t": t})


def load_public(path: Path) -> PublicKey:
    """Read and check a public key file. Raises `BadKeyFile`."""
    return parse_public(_read(path))


def parse_public(text: str) -> PublicKey:
    """The public key in the text of its file. Raises `BadKeyFile`."""
    body = _open(text, _PUBLIC)
    pk = PublicKey(_hex(body, "n"), _hex(body, "h"))
    if pk.key_id.hex() != body.get("key_id"):
        raise BadKeyFile("the public key does not have the id that its file names")
    return pk


def load_share(path: Path, pk: PublicKey, party: Party | None = None) -> KeyShare:
    """Read and check a share file. Raises `BadKeyFile`, or `WrongKey` when it belongs to another key or party."""
    body = _open(_read(path), _SHARE)
    try:
        share = KeyShare(Party[str(body["party"])], KeyId(bytes.fromhex(str(body["key_id"]))), _hex(body, "t"))
    except (KeyError, ValueError) as error:
        raise BadKeyFile("the share file lacks a field") from error
    share.check(pk)
    if party is not None and share.party is not party:
        raise WrongKey(f"this is the share of {share.party.name}, not of {party.name}")
    return share


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path.name} cannot be read", detail=str(error)) from error


def _seal(body: dict[str, Any]) -> str:
    return _text({**body, "version": _VERSION})


def _text(body: dict[str, Any]) -> str:
    return json.dumps({**body, "checksum": _checksum(body)}, indent=1) + "\n"


def _open(text: str, kind: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadKeyFile() from error
    if not isinstance(body, dict) or body.get("format") != kind:
        raise BadKeyFile(f"this is not a {kind} file")
    if body.get("version") != _VERSION:
        raise BadKeyFile("the key file was made by another version")
    # also the bytes that the checksum does not see: the file is exactly as it was written
    if body.pop("checksum", None) != _checksum(body) or _text(body) != text:
        raise BadKeyFile("the checksum of the key file is wrong: it was damaged or edited")
    return body


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _hex(body: dict[str, Any], field: str) -> Z:
    value = body.get(field)
    if not isinstance(value, str):
        raise BadKeyFile(f"the key file lacks {field!r}")
    try:
        return Z(int(value, 16))
    except ValueError as error:
        raise BadKeyFile(f"{field!r} is not a number") from error
