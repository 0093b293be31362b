"""What key files have in common: JSON text that names its kind and version and has a checksum over all of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pura.errors import BadKeyFile

VERSION = 2


def read(path: Path) -> str:
    """The text of a key file. Raises `BadKeyFile`."""
    try:
        return path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path.name} cannot be read", detail=str(error)) from error


def seal(body: dict[str, Any]) -> str:
    """The text of a key file. `body` has its kind as `format`."""
    return _text({**body, "version": VERSION})


def unseal(text: str, kind: str) -> dict[str, Any]:
    """The body in the text of a key file of this kind. Raises `BadKeyFile` unless the text is just what `seal` made."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadKeyFile() from error
    if not isinstance(body, dict) or body.get("format") != kind:
        raise BadKeyFile(f"this is not a {kind} file")
    if body.get("version") != VERSION:
        raise BadKeyFile("the key file was made by another version")
    # also the bytes that the checksum does not see: the file is exactly as it was written
    if body.pop("checksum", None) != _checksum(body) or _text(body) != text:
        raise BadKeyFile("the checksum of the key file is wrong: it was damaged or edited")
    return body


def _text(body: dict[str, Any]) -> str:
    return json.dumps({**body, "checksum": _checksum(body)}, indent=1) + "\n"


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
