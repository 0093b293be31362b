"""A new client: its own key and a request for the organisation, and later the bundle that comes back.

    FOLDER/NAME.request    for the organisation: no secret
    FOLDER/.joining/       the private keys until the bundle has come
    FOLDER/client.toml     and what it names, from the bundle

The same again renews a client's certificate, with a new key: what is there counts until the bundle is taken.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from pura.crypto import handover
from pura.crypto.rng import Rng, SystemRng
from pura.crypto.seal import KEY_BYTES, SealKey
from pura.errors import BadConfig, BadKeyFile, StorageFull, WouldOverwrite
from pura.files import PRIVATE, PUBLIC, replace_file, write_new
from pura_client import labelkey
from pura_client.labelkey import LabelKeys

PENDING = ".joining"
CLIENT_TOML, CLIENT_KEY, CLIENT_CERT, LABEL_KEY = "client.toml", "client.key", "client.crt", "label.key"
_REQUEST_KEY = "request.key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")
_PUBLIC_FILES = frozenset({"ca.crt", CLIENT_CERT, "public.key"})


def request(folder: Path, name: str, rng: Rng | None = None) -> Path:
    """Make a key and the request for it; the request's path. Raises `BadConfig`, `WouldOverwrite` while another request
    waits for its bundle, `StorageFull`."""
    from pura_server import authority  # certificates; nothing of a server

    if not _NAME.fullmatch(name):
        raise BadConfig("a client's name has up to 64 letters, digits, dots, dashes and underscores")
    if (folder / PENDING).exists():
        raise WouldOverwrite(f"a request lies in {folder} already; take its bundle, or remove {folder / PENDING}")
    key, seal_key = authority.new_key(), (rng or SystemRng()).bytes(KEY_BYTES)
    made = handover.ClientRequest(name, authority.request(key, name), SealKey.of(seal_key).public).dump()
    out = folder / f"{name}.request"
    with contextlib.suppress(FileNotFoundError):
        out.unlink()  # of an earlier certificate
    files = {
        f"{PENDING}/{CLIENT_KEY}": (key, PRIVATE),
        f"{PENDING}/{_REQUEST_KEY}": (handover.dump_key(seal_key), PRIVATE),
        out.name: (made, PUBLIC),
    }
    write_new(folder, files)
    return out


def join(folder: Path, bundle: Path, labels: LabelKeys | None = None) -> tuple[str, Path | None]:
    """Take the bundle for the request in a folder; the code to compare, and where the former client.toml is kept if
    the new one differs. `labels`: None to keep those that are there.

    Raises `BadKeyFile` when the bundle is for another request, `BadConfig`, `StorageFull`.
    """
    pending = folder / PENDING
    try:
        waiting = sorted(folder.glob("*.request"))
        asked = handover.ClientRequest.parse(waiting[0].read_text("ascii"))
        key, seal_key = (pending / CLIENT_KEY).read_bytes(), (pending / _REQUEST_KEY).read_text("ascii")
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise BadConfig(f"no request waits in {folder}: `pura client-request` makes one") from error
    files, code = handover.open_bundle(_text(bundle), asked, handover.load_key(seal_key))
    if CLIENT_TOML not in files or CLIENT_CERT not in files or not all(map(_FILE.fullmatch, files)):
        raise BadKeyFile("the bundle lacks a file, or names one that no bundle has")
    apart = b"label_key_file" in files[CLIENT_TOML]
    if apart and labels is None and not (folder / LABEL_KEY).exists():
        raise BadConfig(f"--label-key is missing: the file {LABEL_KEY}, which comes by another way than the bundle")
    before = _kept(folder, files[CLIENT_TOML])
    try:
        if apart and labels is not None:
            labelkey.write(folder / LABEL_KEY, labels, replace=True)
        replace_file(folder / CLIENT_KEY, key, PRIVATE)
        # client.toml last: with it the folder is whole
        for file in sorted(files, key=lambda name: (name == CLIENT_TOML, name)):
            replace_file(folder / file, files[file], PUBLIC if file in _PUBLIC_FILES else PRIVATE)
        for file in (_REQUEST_KEY, CLIENT_KEY):
            (pending / file).unlink()
        os.rmdir(pending)
    except OSError as error:
        raise StorageFull(
            f"the bundle could not be written ({error.strerror}); take it again", detail=str(error)
        ) from error
    return code, before


def _kept(folder: Path, fresh: bytes) -> Path | None:
    """Keep a client.toml that somebody may have edited beside the new one."""
    there = folder / CLIENT_TOML
    if not there.exists() or there.read_bytes() == fresh:
        return None
    before = folder / f"{CLIENT_TOML}.before"
    try:
        replace_file(before, there.read_bytes(), PRIVATE)
    except OSError as error:
        raise StorageFull(f"{before} could not be written", detail=str(error)) from error
    return before


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error
