"""Centred embeddings: without what the embeddings of many people have in common.

Networks leave some of the mean of all people in every embedding, so the direction of that mean is a little like
everybody: a vector that no face has, but that a client may send. Here the part of an embedding along the means of some
populations is taken out, and the rest brought to length 1. Projected out, not subtracted: subtracting the mean of one
population from the embeddings of another would give all of them something in common (docs/decisions/0012).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from pura import settings
from pura.errors import BadConfig, BadEmbedding, BadWeights, StorageFull, WouldOverwrite
from pura.face.spec import EmbedderSpec
from pura.face.weights import checked

MAX_BYTES = 1 << 20
"""More than eight means of 4,096 numbers take."""
MAX_MEANS = 8
LEAST = 1e-3
"""A shorter mean, or rest, is chance and rounding, not a direction."""
FEW = 300
"""The mean of n photos strays by about 1 / sqrt(n): a fifth of the length that SFace's has, 0.31, at 300."""

Vectors = NDArray[np.float64]
Basis = NDArray[np.float64]
"""(k, D), orthonormal: the directions that are taken out."""


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of unit embeddings, and of whose."""

    of: str
    photos: int
    numbers: Vectors


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    of: str
    photos: int = Field(ge=1)
    numbers: list[float]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mean: list[_Table] = Field(min_length=1, max_length=MAX_MEANS)


def read(path: Path, sha256: str | None, dimension: int) -> Basis:
    """The directions of the means in a file that `write` made. Raises `BadWeights` when the file is missing, too long,
    torn, or does not hold means of unit vectors of this length."""
    checked(path, sha256)
    if path.stat().st_size > MAX_BYTES:
        raise BadWeights(f"{path} is too long for a centre")
    try:
        tables = settings.validated(_File, settings.read(path), path).mean
    except BadConfig as error:
        raise BadWeights(f"{error}: it is not a centre", detail=error.detail) from error
    for table in tables:
        if len(table.numbers) != dimension:
            raise BadWeights(f"{path} has means of {len(table.numbers)} numbers, where the embedder has {dimension}")
        # not a number fails this too
        if not LEAST <= float(np.linalg.norm(table.numbers)) <= 1 + LEAST:
            raise BadWeights(f"{path}: {table.of!r} is no mean of unit vectors, whose length is above 0 and at most 1")
    return basis([Mean(table.of, table.photos, np.array(table.numbers)) for table in tables])


def of(spec: EmbedderSpec) -> Basis:
    """What an embedder takes out; no direction, (0, D), if it has no centre. Raises as `read` does."""
    return (
        np.zeros((0, spec.dimension)) if spec.centre is None else read(spec.centre, spec.centre_sha256, spec.dimension)
    )


def write(path: Path, means: Sequence[Mean]) -> None:
    """A TOML file. Raises `WouldOverwrite`, `StorageFull`."""
    lines = ["# Means of unit embeddings; what lies along them is taken out of every embedding: docs/face.md"]
    for mean in means:
        lines += [
            "",
            "[[mean]]",
            f"of = {json.dumps(_printable(mean.of), ensure_ascii=False)}",
            f"photos = {mean.photos}",
            "numbers = [",
        ]
        lines += [*(f"  {value:.6f}," for value in mean.numbers), "]"]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError as error:
        raise WouldOverwrite(f"{path} exists already; nothing was changed") from error
    except OSError as error:
        raise StorageFull(f"{path} could not be written", detail=str(error)) from error


def _printable(name: str) -> str:
    """A folder's name as TOML can have it: bytes that are no UTF-8, and what JSON writes differently, replaced."""
    return "".join(c if c.isprintable() else "?" for c in name)


def basis(means: Sequence[Mean]) -> Basis:
    """The directions of some means. Raises `BadWeights` when two of them have the same."""
    _, sizes, directions = np.linalg.svd(unit([mean.numbers for mean in means]), full_matrices=False)
    if len(means) >= directions.shape[1] or sizes[-1] < LEAST:
        raise BadWeights("the means of a centre do not have directions of their own")
    out: Basis = directions
    return out


def mean_of(embeddings: ArrayLike, of: str) -> Mean:
    """The mean of rows (n, D), which are brought to length 1 first. Raises `BadEmbedding` as `unit` does."""
    rows = unit(embeddings)
    return Mean(of, len(rows), rows.mean(0))


def unit(embeddings: ArrayLike) -> Vectors:
    """Rows (n, D) brought to length 1. Raises `BadEmbedding` for one that is zero or not finite."""
    return _scaled(np.asarray(embeddings, np.float64), 1e-12)


def centred(embeddings: ArrayLike, common: Basis) -> Vectors:
    """unit(u - B^T B u) with u = unit(e), for rows e (n, D). Raises `BadEmbedding` for one that is zero, not finite, or
    nothing but what everybody has in common."""
    u = unit(embeddings)
    return _scaled(u - (u @ common.T) @ common, LEAST)


def _scaled(rows: Vectors, least: float) -> Vectors:
    with np.errstate(over="ignore"):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length >= least)).all():
        raise BadEmbedding("the embedding has no direction of its own: it is zero, common to all, or not finite")
    out: Vectors = rows / length
    return out
