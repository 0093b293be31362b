"""Enrolment ids that a client can find again: by the photo and its label, or by a name of the caller's own.

    id = HMAC-SHA256(label key; tag, collection, what was enrolled, label), 16 bytes

So a run that was cut off can be done again, by any client with the label key, and nobody is enrolled twice. It is a MAC
and no hash: who has photos or embeddings of people, but not the label key, cannot look for them among the ids.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.hashing import framed
from pura.errors import NoFace, OutOfRange
from pura.face.found import Found
from pura.ids import CollectionId, EnrolmentId
from pura_client.labels import LabelCipher, normalise
from pura_client.templates import Photo, Raw, Ready, several_of, vector_of

ENROLMENT_ID_BYTES = 16
_PHOTO, _NAMED = b"pura enrolment by photo v1", b"pura enrolment by name v1"


def by_photo(labels: LabelCipher, collection: CollectionId, photo: Photo | Sequence[Photo], label: str) -> EnrolmentId:
    """The id of a photo, an embedding, or several of one person in any order, under a label. A file is what is in it,
    wherever it lies.

    Raises `OutOfRange` for a label that is none, `UnreadableImage`, `BadEmbedding`.
    """
    return _id(labels, _PHOTO, collection, _of_all(several_of(photo)), normalise(label).encode())


def by_name(labels: LabelCipher, collection: CollectionId, name: str) -> EnrolmentId:
    """The id that a caller's own name stands for. Raises `OutOfRange`."""
    if not isinstance(name, str) or not name:
        raise OutOfRange("the name of an enrolment is a text")
    return _id(labels, _NAMED, collection, name.encode("utf-8", "surrogatepass"))


def _id(labels: LabelCipher, tag: bytes, *fields: bytes) -> EnrolmentId:
    return EnrolmentId(labels.mac(tag, *fields)[:ENROLMENT_ID_BYTES])


def _of_all(photos: Sequence[Photo]) -> bytes:
    return contents(photos[0]) if len(photos) == 1 else framed(b"several", *sorted(map(contents, photos)))


def contents(photo: Photo) -> bytes:
    """What is on a photo, injectively: a file's bytes, an array's numbers. Raises `UnreadableImage`, `BadEmbedding`."""
    if isinstance(photo, bytes):
        return framed(b"file", photo)
    if isinstance(photo, Raw):
        return framed(b"raw embedding", vector_of(photo).astype("<f8").tobytes())
    if isinstance(photo, Found):
        if photo.crop is None:
            raise photo.reason or NoFace()
        return framed(b"face", photo.crop.tobytes())
    if isinstance(photo, np.ndarray) and photo.ndim < 2:
        photo = Ready(photo)  # where one is taken that says nothing
    if isinstance(photo, Ready):
        return framed(b"embedding", vector_of(photo).astype("<f8").tobytes())  # whatever its type, the same numbers
    if isinstance(photo, np.ndarray):
        return _numbers(photo)
    from pura.face import images  # a client that brings embeddings needs no OpenCV

    if isinstance(photo, str | os.PathLike):
        return framed(b"file", images.contents(photo))
    return _numbers(images.read(photo))


def _numbers(array: NDArray[Any]) -> bytes:
    shape = ",".join(map(str, array.shape))
    return framed(b"pixels", array.dtype.str.encode(), shape.encode(), array.tobytes())
