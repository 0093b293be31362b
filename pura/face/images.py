"""Photos as users have them, to RGB pixels: files of any usual kind and any bit depth, turned upright; or arrays.

Pillow decodes files: it reports truncated ones, knows a picture's size before decoding it, and reads EXIF.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pura.errors import UnreadableImage

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP", "TIFF")
MAX_PIXELS = 120_000_000
"""A 108 megapixel phone photo is read; a decompression bomb is not."""
MIN_SIDE = 16
PAPER = 255
"""What shows through transparent pixels."""

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3) uint8, RGB."""


def read(photo: str | os.PathLike[str] | bytes | NDArray[Any]) -> Pixels:
    """The pixels of a file, of a file's bytes, or of an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Arrays are uint8, or uint16 scaled to 8 bits. Raises `UnreadableImage`.
    """
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    if isinstance(photo, bytes):
        return _from_file(io.BytesIO(photo), "the picture")
    try:
        with Path(photo).open("rb") as file:
            return _from_file(file, str(photo))
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
        raise UnreadableImage(f"{photo} could not be read: {reason}", detail=str(error)) from error


def _from_array(array: NDArray[Any]) -> Pixels:
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UnreadableImage(f"an image array must be uint8 with values 0 to 255, not {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UnreadableImage("an image array must have the shape (H, W) or (H, W, 3)")
    _check_size(array.shape[1], array.shape[0])
    if array.shape[2] == 4:
        return _on_paper(array)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _on_paper(rgba: NDArray[np.uint8]) -> Pixels:
    alpha = rgba[:, :, 3:].astype(np.float32) / 255
    mixed: Pixels = np.rint(rgba[:, :, :3] * alpha + PAPER * (1 - alpha)).astype(np.uint8)
    return mixed


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 10**6
        raise UnreadableImage(f"the picture has {width} x {height} pixels; at most {limit} million are read")
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(f"the picture has only {width} x {height} pixels")


def _from_file(file: IO[bytes], name: str) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's are about sizes, checked here, and about odd metadata
            with Image.open(file, formats=FORMATS) as image:
                _check_size(*image.size)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImage:
        raise
    except OSError as error:
        raise UnreadableImage(f"{name} could not be read: it is not a whole picture", detail=str(error)) from error
    except Exception as error:
        # decoders fail in many ways on hostile bytes
        raise UnreadableImage(f"{name} could not be read as a picture", detail=repr(error)) from error


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16 bits a pixel, grey; "I" is how Pillow gives a 16-bit PGM
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImage("a picture of more than 16 bits a pixel is not read")
        return _from_array(values.astype(np.uint16))
    if image.mode == "F":
        raise UnreadableImage("a picture of floating-point pixels is not read")
    if image.has_transparency_data:
        return _on_paper(np.asarray(image.convert("RGBA")))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))
