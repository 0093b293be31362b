"""Photos as users have them, to RGB pixels: files of any usual kind and any bit depth, turned upright; or arrays.

Pillow decodes files: it reports truncated ones, knows a picture's size before decoding it, and reads EXIF. What a
picture may cost is bounded before it is decoded: JPEG, which can be decoded at a fraction of its size, may be large;
all others are decoded whole and then shrunk to what detection needs.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from pura.errors import UnreadableImage

pillow_heif.register_heif_opener()

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF", "GIF", "AVIF", "HEIF")
KINDS = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF and PNM"
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
    | {".gif", ".pgm", ".ppm", ".pnm"}
)
"""How files that can be read are usually called; `read` itself looks at what is in them."""
MAX_PIXELS = 64_000_000
"""Of a picture that has to be decoded whole: 256 MB."""
MAX_JPEG_PIXELS = 178_000_000
"""Of a sequential JPEG, which is decoded at a fraction of its size: a 108 megapixel phone photo is read. Pillow itself
refuses larger ones."""
MAX_SCANS = 64
"""Of a JPEG: each scan costs a pass over the whole picture."""
MAX_BYTES = 256 << 20
WORKING = 4096
"""Pixels of the longer side of what is handed on: detection needs 1,600, and a face that is cut out 224."""
MIN_SIDE = 16
PAPER = 255
"""What shows through transparent pixels."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3) uint8, RGB."""

Source = str | os.PathLike[str] | bytes | NDArray[Any] | Image.Image
"""A picture as it can be given: a path, a file's bytes, an array, or Pillow's image."""


def read(photo: Source) -> Pixels:
    """The pixels of a file, of a file's bytes, of Pillow's image, or of an array of shape (H, W), (H, W, 1), (H, W, 3)
    or (H, W, 4) in the order RGB or RGBA; shrunk so that no side is longer than `WORKING`.

    Arrays are uint8, or uint16 scaled to 8 bits. Raises `UnreadableImage`.
    """
    if isinstance(photo, np.ndarray):
        return _shrunk(_from_array(photo))
    if isinstance(photo, Image.Image):
        with _named("the picture"):
            _check_size(*photo.size, MAX_PIXELS)
            return _from_image(photo.copy())
    if isinstance(photo, bytes):
        return _from_bytes(photo, "the picture")
    if not isinstance(photo, str | os.PathLike):
        raise UnreadableImage(f"a photo is a path, bytes, an image array or Pillow's image, not {type(photo).__name__}")
    return _from_bytes(contents(photo), str(photo))


def contents(photo: str | os.PathLike[str]) -> bytes:
    """A regular file's bytes: a pipe or a device could make us wait for ever. Raises `UnreadableImage`."""
    try:
        # not to wait for a pipe's other end
        with open(os.open(Path(photo), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableImage(f"{photo} is not a file")
            if found.st_size > MAX_BYTES:
                raise UnreadableImage(f"{photo} has more than {MAX_BYTES >> 20} MiB")
            return file.read(MAX_BYTES)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        raise UnreadableImage(f"{photo} could not be read: {reason}", detail=str(error)) from error
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise UnreadableImage("the path of the photo is not a file name of this system") from error


def _from_array(array: NDArray[Any]) -> Pixels:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UnreadableImage("an image array must have the shape (H, W) or (H, W, 3)")
    if array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(f"an image array must be uint8 with values 0 to 255, not {array.dtype}")
    _check_size(array.shape[1], array.shape[0], MAX_PIXELS)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.shape[2] == 4:
        return _on_paper(_shrunk(array))
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _shrunk(array: Pixels) -> Pixels:
    scale = WORKING / max(array.shape[:2])
    if scale >= 1:
        return array
    size = tuple(max(1, round(side * scale)) for side in array.shape[1::-1])
    small = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(*size[::-1], array.shape[2])


def _on_paper(rgba: NDArray[np.uint8]) -> Pixels:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    mixed = rgba[:, :, :3] * alpha  # 255 x 255 and half of 255 fit
    mixed += PAPER * (255 - alpha) + 127
    mixed //= 255
    return mixed.astype(np.uint8)


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise UnreadableImage(f"the picture has {width} x {height} pixels; at most {most // 10**6} million are read")
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(f"the picture has only {width} x {height} pixels")


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever a decoder does with hostile bytes, as `UnreadableImage` that names the picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's are about sizes, checked here, and about odd metadata
            yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{name} could not be read as a picture; {KINDS} are read") from error
    except Image.DecompressionBombError as error:
        most = f"{MAX_JPEG_PIXELS // 10**6} million pixels of a JPEG and {MAX_PIXELS // 10**6} million of others"
        raise UnreadableImage(f"{name} is too large: at most {most} are read") from error
    except OSError as error:
        raise UnreadableImage(f"{name} could not be read: it is not a whole picture", detail=str(error)) from error
    except Exception as error:
        raise UnreadableImage(f"{name} could not be read as a picture", detail=repr(error)) from error


def _from_bytes(body: bytes, name: str) -> Pixels:
    with _named(name), Image.open(_opened(body), formats=FORMATS) as image:
        sequential = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
        if image.format in ("JPEG", "MPO") and body.count(b"\xff\xda") > MAX_SCANS:
            raise UnreadableImage(f"{name} is a JPEG of more than {MAX_SCANS} scans")
        _check_size(*image.size, MAX_JPEG_PIXELS if sequential else MAX_PIXELS)
        return _from_image(image)


def _opened(body: bytes) -> IO[bytes]:
    """The file as Pillow is to see it: a PNG without its texts and profiles, which Pillow refuses above 1 MB."""
    if not body.startswith(_PNG):
        return io.BytesIO(body)
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(body):
        end = at + 12 + int.from_bytes(body[at : at + 4], "big")
        kind = body[at + 4 : at + 8]
        if kind in _PNG_KEPT and (kind != b"eXIf" or end - at < 1 << 16):
            kept.append(body[at:end])
        at = end
    return io.BytesIO(b"".join(kept))


def _from_image(image: Image.Image) -> Pixels:
    """Decode at no more than a useful size, turn by EXIF's orientation alone, and give RGB."""
    image.draft(None, (WORKING, WORKING))  # JPEG: the smallest fraction that is not smaller than this
    turn = _turn_of(image)
    image.load()
    pixels = _to_rgb(image)
    if turn is not None:
        pixels = np.ascontiguousarray(np.asarray(Image.fromarray(pixels).transpose(turn)))
    return pixels


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """By EXIF's orientation, read by ourselves: libraries give up the whole table for one odd entry."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return _TURNS.get(_orientation(exif.removeprefix(b"Exif\0\0")))
    given = image.tag_v2.get(_ORIENTATION) if isinstance(image, TiffImageFile) else None
    return _TURNS.get(given) if isinstance(given, int) else None


def _orientation(tiff: bytes) -> int:
    order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    first = number(4, 4)
    for at in range(first + 2, min(len(tiff), first + 2 + 12 * number(first, 2)), 12):
        if number(at, 2) == _ORIENTATION:
            return number(at + 8, 2)
    return 1


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16 bits a pixel, grey; "I" is how Pillow gives a 16-bit PGM
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImage("a picture of more than 16 bits a pixel is not read")
        return _shrunk(_from_array(values.astype(np.uint16)))
    if image.mode == "F":
        raise UnreadableImage("a picture of floating-point pixels is not read")
    factor = -(-max(image.size) // WORKING)
    if factor > 1 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        image = image.reduce(min(factor, *image.size))  # before any copy is made
    if image.has_transparency_data:
        return _on_paper(_shrunk(np.asarray(image.convert("RGBA"))))
    return _shrunk(np.ascontiguousarray(np.asarray(image.convert("RGB"))))
