"""Synthetic faces: unit vectors from a seed, probes of enrolled people and of strangers, and the plain answers."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import Template, distance2, quantise_many
from pura.ids import KeyId
from pura.params import DEFAULT_SCALE, Params, tau_from_cosine

Gallery = NDArray[np.signedinteger]

SCALE = DEFAULT_SCALE
THRESHOLD = 0.5
"""The least cosine that matches. Random unit vectors stay below it: 10,000 of length 128 come to 0.4."""
DIRECT = 10_000
"""Entries that are drawn and rounded one by one, 1 ms each; the others are these with coordinates in another order and
with other signs, which keeps their length exact and makes them strangers."""
_NOISE = 0.75
"""A probe of an enrolled person has a cosine of about 0.8 with their entry."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """embeddings (M, D), of at most `DIRECT` entries, and probes (P, D) are floats; truth[p] is the set of the nearest
    entries within tau."""

    embeddings: NDArray[np.float64]
    probes: NDArray[np.float64]
    gallery: Gallery
    """(M, D), quantised, int16 beyond `DIRECT` entries; shared by all who are measured."""
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
    embeddings = _unit(draw.standard_normal((min(entries, DIRECT), dimension)))
    asking = np.random.default_rng([seed, dimension, entries])
    known = asking.integers(0, entries, probes)
    noise = _unit(asking.standard_normal((probes, dimension)))
    quantiser = Params(KeyId(b"\0" * 16), 2048, dimension=dimension, scale=SCALE)
    gallery = _varied(quantise_many(embeddings, quantiser), entries, draw)
    faces = embeddings[known] if entries <= DIRECT else gallery[known] / SCALE
    genuine = _unit(faces + _NOISE * noise)
    strangers = _unit(asking.standard_normal((probes, dimension)))
    questions = np.where((np.arange(probes) % 2 == 0)[:, None], genuine, strangers)
    asked = quantise_many(questions, quantiser)
    tau = tau_from_cosine(THRESHOLD, SCALE)
    return Workload(embeddings, questions, gallery, asked, tau, tuple(nearest(x, gallery, tau) for x in asked))


def nearest(x: Template, gallery: Gallery, tau: int) -> frozenset[int]:
    """All entries at the smallest distance if that is at most tau."""
    d = np.concatenate(
        [distance2(x, gallery[at : at + DIRECT].astype(np.int64)) for at in range(0, len(gallery), DIRECT)]
    )
    least = d.min()
    return frozenset(int(i) for i in np.flatnonzero(d == least)) if least <= tau else frozenset()


def _varied(direct: Gallery, entries: int, draw: np.random.Generator) -> Gallery:
    """`direct`, and so many more that there are `entries`."""
    if entries <= len(direct):
        return direct
    out = np.empty((entries, direct.shape[1]), np.int16)
    out[: len(direct)] = direct
    for at in range(len(direct), entries, len(direct)):
        more = draw.permuted(direct, axis=1) * draw.choice([-1, 1], direct.shape)
        out[at : at + len(direct)] = more[: entries - at]
    return out


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = values / np.linalg.norm(values, axis=1, keepdims=True)
    return out
