"""What two servers and their clients must agree on, and the hash by which they check that they do."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from typing import Any

from pura.errors import OutOfRange
from pura.ids import Engine, KeyId

PROTOCOL_VERSION = 1
MAX_TOP_K = 10
DEFAULT_SCALE = 128
"""S of a new collection (docs/decisions/0011)."""
POLICY = ("tau", "top_k", "lockout_tau", "lockout_limit")
"""What may change without a new enrolment."""


class Metric(enum.StrEnum):
    """How an embedding is scaled: to unit length (cosine models) or by a fixed radius (Euclidean models)."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


@dataclasses.dataclass(frozen=True)
class Params:
    """The parameters of one collection.

    dimension D; scale S (a unit vector has length S); metric; radius: the longest Euclidean embedding (1 for cosine);
    sigma: bits of statistical hiding of every mask (40, 64 or 80); tau: the largest squared distance, between quantised
    vectors, that counts as a match; top_k: how many candidates identify may return; lockout_limit: how many questions
    within lockout_tau of an entry are answered in a window (0: no limit); embedder: the name of the model.
    """

    key_id: KeyId
    n_bits: int
    engine: Engine = Engine.PACKED
    dimension: int = 128
    scale: int = 512
    metric: Metric = Metric.COSINE
    radius: float = 1.0
    sigma: int = 40
    tau: int = 0
    top_k: int = 1
    lockout_tau: int = 0
    lockout_limit: int = 0
    embedder: str = "sface"

    def __post_init__(self) -> None:
        if not 1 <= self.dimension <= 4096:
            raise OutOfRange("the dimension must be between 1 and 4096")
        if not 16 <= self.scale <= 4096:
            raise OutOfRange("the scale must be between 16 and 4096")
        if self.sigma not in (40, 64, 80):
            raise OutOfRange("sigma must be 40, 64 or 80")
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise OutOfRange("top_k must be between 1 and 10")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise OutOfRange("the radius must be positive")
        if not 0 <= self.tau <= 4 * self.max_norm2:
            raise OutOfRange("the threshold is outside the range of distances")
        most = min((1 << 16) - 1, 8 * self.max_norm2)  # counters and keys share a ring of more than 32 hi
        if not 0 <= self.lockout_limit <= most:
            raise OutOfRange(f"lockout_limit must be between 0 and {most}")
        if self.lockout_limit and not self.tau <= self.lockout_tau <= 4 * self.max_norm2:
            raise OutOfRange("lockout_tau must be at least tau, and inside the range of distances")

    @property
    def max_norm2(self) -> int:
        """hi: no honest template has a larger ||y||^2: (S + sqrt(D) / 2)^2, rounding each coordinate by 1/2."""
        return math.ceil((self.scale + math.sqrt(self.dimension) / 2) ** 2)

    @property
    def min_norm2(self) -> int:
        """lo: no honest cosine template has a smaller ||y||^2; 0 for Euclidean ones."""
        if self.metric is Metric.EUCLIDEAN:
            return 0
        return math.floor(max(0.0, self.scale - math.sqrt(self.dimension) / 2) ** 2)

    @property
    def agreement(self) -> bytes:
        """SHA-256 over all parameters and the protocol version: both servers must have the same."""
        return _hash({**dataclasses.asdict(self), "protocol": PROTOCOL_VERSION})

    @property
    def storage(self) -> bytes:
        """SHA-256 over what stored entries depend on: not the policy, so that a new threshold needs no new
        enrolment."""
        body = dataclasses.asdict(self)
        return _hash({name: value for name, value in body.items() if name not in POLICY})


def _hash(body: dict[str, Any]) -> bytes:
    body = {name: value.hex() if isinstance(value, bytes) else value for name, value in body.items()}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()


def tau_from_cosine(threshold: float, scale: int) -> int:
    """tau for unit vectors that match at a cosine of at least `threshold`: floor(2 S^2 (1 - threshold))."""
    if not -1 <= threshold <= 1:
        raise OutOfRange("a cosine threshold lies between -1 and 1")
    return math.floor(2 * scale**2 * (1 - threshold))


def tau_from_distance(threshold: float, scale: int, radius: float) -> int:
    """tau for Euclidean embeddings that match at a distance of at most `threshold`: floor((S threshold / radius)^2)."""
    if not 0 <= threshold <= 2 * radius:  # which no two embeddings exceed; nan is not in the range either
        raise OutOfRange("a distance threshold lies between 0 and twice the radius")
    return math.floor((scale * threshold / radius) ** 2)
