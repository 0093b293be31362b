"""Synthetic faces: unit vectors from a seed, probes of enrolled people and of strangers, and the plain answers."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import Template, distance2, quantise
from pura.ids import KeyId
from pura.params import DEFAULT_SCALE, Params, tau_from_cosine

SCALE = DEFAULT_SCALE
THRESHOLD = 0.5
"""The least cosine that matches. Random unit vectors stay below it: 10,000 of length 128 come to 0.4."""
_NOISE = 0.75
"""A probe of an enrolled person has a cosine of about 0.8 with their entry."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """embeddings (M, D) and probes (P, D) are floats; truth[p] is the set of the nearest entries within tau."""

    embeddings: NDArray[np.float64]
    probes: NDArray[np.float64]
    gallery: NDArray[np.int64]
    """(M, D), quantised; shared by all who are measured."""
    questions: NDArray[np.int64]
    """(P, D), quantised."""
    tau: int
    truth: tuple[frozenset[int], ...]

    def label(self, place: int) -> str:
        """Under which label entry `place` is enrolled."""
        return f"person {place}"

    def right(self, probe: int, place: int | None) -> bool:
        """Whether an answer, an entry's place or None for nobody, is what plain integers say."""
        truth = self.truth[probe]
        return (place in truth) if truth else place is None


def make(entries: int, dimension: int, probes: int, seed: int) -> Workload:
    """M entries and P probes, every other one a stranger. A larger M begins with the entries of a smaller one."""
    draw = np.random.default_rng([seed, dimension])
    embeddings = _unit(draw.standard_normal((entries, dimension)))
    asking = np.random.default_rng([seed, dimension, entries])
    known = asking.integers(0, entries, probes)
    noise = _unit(asking.standard_normal((probes, dimension)))
    genuine = _unit(embeddings[known] + _NOISE * noise)
    strangers = _unit(asking.standard_normal((probes, dimension)))
    questions = np.where((np.arange(probes) % 2 == 0)[:, None], genuine, strangers)
    quantiser = Params(KeyId(b"\0" * 16), 2048, dimension=dimension, scale=SCALE)
    gallery = np.stack([quantise(e, quantiser) for e in embeddings])
    asked = np.stack([quantise(e, quantiser) for e in questions])
    tau = tau_from_cosine(THRESHOLD, SCALE)
    return Workload(embeddings, questions, gallery, asked, tau, tuple(nearest(x, gallery, tau) for x in asked))


def nearest(x: Template, gallery: NDArray[np.int64], tau: int) -> frozenset[int]:
    """All entries at the smallest distance if that is at most tau."""
    d = distance2(x, gallery)
    least = d.min()
    return frozenset(int(i) for i in np.flatnonzero(d == least)) if least <= tau else frozenset()


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return out
