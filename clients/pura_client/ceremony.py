"""The page of a key ceremony: what was made, by each file's fingerprint, for both operators and a witness to sign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pura.crypto import vault
from pura.crypto.paillier import PublicKey
from pura.errors import BadKeyFile
from pura.files import PUBLIC, write_new

NAME = "ceremony.txt"
_WHO = ("operator of S1", "operator of S2", "witness")


def page(pk: PublicKey, files: Sequence[tuple[str, bytes]]) -> str:
    """What is printed: no secret."""
    lines = [
        "PURA KEY CEREMONY",
        "",
        f"key {pk.key_id.hex()}   {pk.n_bits} bits, engine {pk.engine}",
        f"collection {pk.collection.hex()}",
        "",
        "SHA-256 of each file, as `pura fingerprint FILE` shows it:",
    ]
    for name, raw in files:
        digits = vault.fingerprint(raw)
        sealed = ", sealed" if vault.is_sealed(raw) else ""
        lines += ["", f"{name}{sealed}", f"  {digits[:39]}", f"  {digits[40:]}"]
    lines += ["", "We saw these files made on this machine, and no copy of a share left on it.", ""]
    lines += [f"{who:<15} ______________________  {'date':<4} __________\n" for who in _WHO]
    return "\n".join(lines)


def write(folder: Path, pk: PublicKey, files: Sequence[Path]) -> Path:
    """Write the page beside the files. Raises `WouldOverwrite`, `StorageFull`."""
    text = page(pk, [(path.name, contents(path)) for path in files])
    write_new(folder, {NAME: (text.encode(), PUBLIC)})
    return folder / NAME


def contents(path: Path) -> bytes:
    """The bytes of a file. Raises `BadKeyFile`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadKeyFile(f"{path} cannot be read", detail=str(error)) from error
