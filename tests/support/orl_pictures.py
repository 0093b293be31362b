"""Pictures made of the ORL faces: a photo of one person, a group, and a film for a browser's pretended camera."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pura.errors import DownloadFailed
from pura.face.photos import orl_faces
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE_MIRRORED

PAD, LARGER, GREY = 28, 3, 128
WIDTH, HEIGHT = LARGER * (92 + 2 * PAD), LARGER * (112 + 2 * PAD)


def need_faces() -> NDArray[np.uint8]:
    """(40, 10, 112, 92); skips the test where photos or weights cannot be fetched."""
    try:
        FacePipeline(SFACE_MIRRORED).load()
        return orl_faces()
    except DownloadFailed as error:
        pytest.skip(str(error))


def picture(person: int, photo: int, larger: int = LARGER) -> Image.Image:
    """One photo with some room around the face, and larger than it was taken."""
    face = np.pad(orl_faces()[person, photo], PAD, mode="edge")
    return Image.fromarray(face).convert("RGB").resize((face.shape[1] * larger, face.shape[0] * larger))


def group(people: Sequence[tuple[int, int]], larger: int = LARGER) -> Image.Image:
    """Several people side by side: (person, photo) each."""
    wide, high = larger * (92 + 2 * PAD), larger * (112 + 2 * PAD)
    canvas = Image.new("RGB", (wide * len(people), high), (GREY, GREY, GREY))
    for i, (person, photo) in enumerate(people):
        canvas.paste(picture(person, photo, larger), (i * wide, 0))
    return canvas


def jpeg(image: Image.Image) -> bytes:
    """A file's bytes."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def film(path: Path, image: Image.Image, frames: int = 10) -> None:
    """The same picture again and again, as Y4M, 640 x 480: what `--use-file-for-fake-video-capture` takes."""
    canvas = Image.new("RGB", (640, 480), (GREY, GREY, GREY))
    scaled = image.resize((round(image.width * 480 / image.height), 480))
    canvas.paste(scaled, ((640 - scaled.width) // 2, 0))
    y, u, v = (np.asarray(band) for band in canvas.convert("YCbCr").split())
    body = b"FRAME\n" + y.tobytes() + u[::2, ::2].tobytes() + v[::2, ::2].tobytes()
    path.write_bytes(b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + body * frames)
