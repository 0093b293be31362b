"""What an attacker may ask. Embeddings are made by the client, so an attacker may send any vector; an attack in image
space is one that keeps to embeddings of images.

Victims are numbered from 0. Questions about many victims are asked side by side, so that batches stay full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Index = NDArray[np.integer[Any]]


class ScoreOracle(Protocol):
    """A deployment that returns how similar a probe is to what is enrolled."""

    @property
    def queries(self) -> NDArray[np.int64]:
        """Questions asked about each victim so far."""
        ...

    def scores(self, victims: Index, probes: Floats) -> Floats:
        """The score of each probe, (n, D), against the victim named in `victims`, (n,)."""
        ...


class DecisionOracle(Protocol):
    """A deployment that returns a decision."""

    @property
    def queries(self) -> NDArray[np.int64]:
        """Questions asked about each victim so far."""
        ...

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """Whether each probe, (n, D), matches the victim named in `victims`, (n,)."""
        ...


class Embed(Protocol):
    """An embedding network: images (n, 3 * H * W), values 0..1, to unit vectors (n, D)."""

    def __call__(self, images: torch.Tensor) -> Floats:
        """The embeddings, float32."""
        ...


def unit(vectors: Floats) -> Floats:
    """Each row at length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out: Floats = vectors / np.where(length > 0, length, 1.0)
    return out


def cosines(a: Floats, b: Floats) -> Floats:
    """The cosine of each row of a with the same row of b."""
    out: Floats = np.einsum("nd,nd->n", unit(a), unit(b))
    return out


class PlaintextScores:
    """The cosine itself, or rounded to a multiple of `step`; what a plaintext matcher computes."""

    def __init__(self, enrolled: Floats, step: float = 0.0) -> None:
        self.enrolled, self.step = unit(enrolled), step
        self.queries = np.zeros(len(enrolled), np.int64)

    def scores(self, victims: Index, probes: Floats) -> Floats:
        """See `ScoreOracle`."""
        count(self.queries, victims)
        s = cosines(self.enrolled[victims], probes)
        return np.round(s / self.step) * self.step if self.step else s


class PlaintextDecisions:
    """Whether the cosine reaches a threshold."""

    def __init__(self, enrolled: Floats, threshold: float) -> None:
        self.enrolled, self.threshold = unit(enrolled), threshold
        self.queries = np.zeros(len(enrolled), np.int64)

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """See `DecisionOracle`."""
        count(self.queries, victims)
        out: Bools = cosines(self.enrolled[victims], probes) >= self.threshold
        return out


class Anybody:
    """Questions about everybody at once, as `identify` answers them: who is nearest, if it matches.

    Rows are galleries. The first one named in a gallery is who is attacked from then on (`victim`, -1 before), and
    another one named counts as "no".
    """

    def __init__(self, galleries: Floats, threshold: float) -> None:
        """`galleries`: (R, M, D)."""
        self.galleries, self.threshold = unit(galleries), threshold
        self.queries = np.zeros(len(galleries), np.int64)
        self.victim = np.full(len(galleries), -1)

    def decide(self, victims: Index, probes: Floats) -> Bools:
        """Whether somebody is named in each gallery; once somebody was, whether the same is."""
        count(self.queries, victims)
        scores = np.einsum("nmd,nd->nm", self.galleries[victims], unit(probes))
        best = scores.argmax(1)
        named = scores[np.arange(len(best)), best] >= self.threshold
        fresh = named & (self.victim[victims] < 0)
        self.victim[victims[fresh]] = best[fresh]
        out: Bools = named & (best == self.victim[victims])
        return out

    @property
    def enrolled(self) -> Floats:
        """Of each gallery whom it has named, (R, D); zeros where nobody was."""
        out: Floats = self.galleries[np.arange(len(self.galleries)), self.victim]
        return np.where((self.victim >= 0)[:, None], out, 0.0)


class BitAsScore:
    """A decision used in place of a score: the naive attack on a deployment that gives none."""

    def __init__(self, inner: DecisionOracle) -> None:
        self.inner = inner

    @property
    def queries(self) -> NDArray[np.int64]:
        """Those of the deployment."""
        return self.inner.queries

    def scores(self, victims: Index, probes: Floats) -> Floats:
        """1.0 for a match, else 0.0."""
        return self.inner.decide(victims, probes).astype(np.float64)


def count(queries: NDArray[np.int64], victims: Index) -> None:
    """Count one question for each victim named."""
    np.add.at(queries, victims, 1)


Progress = Callable[[int, int], None]
"""Called with the number of questions asked so far and the number planned, per victim."""


def quiet(done: int, planned: int) -> None:
    """No progress."""
