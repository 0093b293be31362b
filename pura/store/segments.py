"""Segments: one file for one version of a block, written once, checksummed, read through a memory map.

A file is a header of 128 bytes, zero-padded, and the elements one behind the other:

    magic 8s | format u32 | element size u32 | block id u64 | version u64 | count u64 | sha256 32s

big-endian; the digest covers the header up to itself and all elements.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pura.errors import BadDataFolder
from pura.ids import BlockId
from pura.store.base import BlockRef, BlockUpdate

MAGIC = b"PURASEG\n"
FORMAT = 1
HEADER_BYTES = 128
DIGEST_AT = struct.calcsize(">8sIIQQQ")
CHUNK = 1 << 20
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.seg")
TEMPORARY = ".tmp"


class Files(Protocol):
    """The four steps by which files change; a test puts faults between them."""

    def write(self, path: str, data: bytes) -> None:
        """Make a new file."""
        ...

    def fsync(self, path: str) -> None:
        """Make a file's contents, or a folder's names, durable."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file its final name."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a file."""
        ...


class SystemFiles:
    """`Files` of the operating system. Every method raises `OSError`."""

    def write(self, path: str, data: bytes) -> None:
        """Make a new file that only its owner may read."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)

    def fsync(self, path: str) -> None:
        """Make a file's contents, or a folder's names, durable."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Give a file its final name."""
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)


def segment_name(block: int, version: int) -> str:
    """The file of one version of a block."""
    return f"{block:016x}-{version:016x}.seg"


def segment_bytes(update: BlockUpdate, size: int) -> bytes:
    """A whole segment file of elements of `size` bytes."""
    count = len(update.data) // size
    head = struct.pack(">8sIIQQQ", MAGIC, FORMAT, size, update.id, update.version, count)
    digest = hashlib.sha256(head)
    digest.update(update.data)
    return (head + digest.digest()).ljust(HEADER_BYTES, b"\0") + update.data


def write_segments(files: Files, folder: Path, updates: tuple[BlockUpdate, ...], size: int) -> None:
    """Write segments so that after a crash each is there as a whole, or not under its name; durable on return.

    When the system refuses a step (`OSError`, which is passed on), what was written is removed again.
    """
    if not updates:
        return
    made: list[str] = []
    try:
        for update in updates:
            path = str(folder / segment_name(update.id, update.version))
            made.append(path + TEMPORARY)
            files.write(path + TEMPORARY, segment_bytes(update, size))
            files.fsync(path + TEMPORARY)
            files.rename(path + TEMPORARY, path)
            made[-1] = path
        files.fsync(str(folder))
    except OSError:
        remove(files, made)
        raise


def remove(files: Files, paths: list[str]) -> None:
    """Remove files as far as the system lets us: what stays belongs to nobody and goes at the next start."""
    for path in paths:
        with contextlib.suppress(OSError):
            files.unlink(path)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Whatever keeps a segment from being read, as `BadDataFolder` that names the file."""
    try:
        yield
    except (OSError, struct.error, ValueError) as error:
        raise BadDataFolder(f"the block file {os.path.basename(path)} cannot be read", detail=str(error)) from None


def check_segment(ref: BlockRef) -> None:
    """Compare a segment with its checksum and with its row in the index. Raises `BadDataFolder` naming the file."""
    name = os.path.basename(ref.path)
    with _named(ref.path), open(ref.path, "rb") as file:
        header = file.read(HEADER_BYTES)
        digest = hashlib.sha256(header[:DIGEST_AT])
        length = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            length += len(chunk)
    if (
        header != (_head(ref) + digest.digest()).ljust(HEADER_BYTES, b"\0")
        or length != ref.count * ref.size
        or ref.offset != HEADER_BYTES
    ):
        raise BadDataFolder(f"the block file {name} is damaged")


def read_block(ref: BlockRef) -> memoryview:
    """The elements of a block, one behind the other, straight from the page cache; read-only.

    The checksum was verified at start; here only the header is compared. Raises `BadDataFolder` naming the file.
    """
    with _named(ref.path):
        fd = os.open(ref.path, os.O_RDONLY)
        try:
            view = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)
    end = ref.offset + ref.count * ref.size
    if view[:DIGEST_AT] != _head(ref) or len(view) != end:
        raise BadDataFolder(f"the block file {os.path.basename(ref.path)} is damaged")
    return view[ref.offset : end]


def _head(ref: BlockRef) -> bytes:
    return struct.pack(">8sIIQQQ", MAGIC, FORMAT, ref.size, ref.id, ref.version, ref.count)


def segment_ref(folder: Path, block: int, version: int, count: int, size: int) -> BlockRef:
    """Where a version of a block lies."""
    return BlockRef(BlockId(block), version, str(folder / segment_name(block, version)), count, size, HEADER_BYTES)
