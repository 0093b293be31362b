"""What two servers and their clients must agree on, and the hash by which they check that they do."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

from pura.errors import OutOfRange
from pura.ids import Engine, KeyId

PROTOCOL_VERSION = 2
MAX_TOP_K = 10
MOST_DAYS = 36_500
"""For which an entry may be kept, if not for ever."""
LEAST_DIMENSION = 16
FEW = 16
"""Of so many named entries at most, verify's own threshold decides."""
DEFAULT_SCALE = 128
"""S of a new collection (docs/decisions/0011)."""
POLICY = ("tau_verify", "tau_identify", "top_k", "lockout_tau", "lockout_limit", "tau_deep", "tries", "retention_days")
"""What may change without a new enrolment."""


@dataclasses.dataclass(frozen=True)
class Params:
    """The parameters of one collection.

    dimension D; scale S: the length of a template, exactly; tau_verify, tau_identify: the largest squared distance of
    two templates that counts as a match, when a client names the entries and when it asks among all (`tau_for`); top_k:
    how many candidates identify may return; lockout_limit: how many questions within lockout_tau of an entry are
    answered in a window (0: no limit); tries: how many questions to an entry that is named, and that are not within
    tau_deep of it, are answered in a day, in a month, and until somebody lifts it (zeros: no limit; `tries_for`);
    retention_days: for how long what is enrolled from now on is kept (0: for ever);
    embedder: the name of the model.
    """

    key_id: KeyId
    n_bits: int
    engine: Engine = Engine.PREPARED
    dimension: int = 128
    scale: int = 512
    tau_verify: int = 0
    tau_identify: int = 0
    top_k: int = 1
    lockout_tau: int = 0
    lockout_limit: int = 0
    tau_deep: int = 0
    tries: tuple[int, int, int] = (0, 0, 0)
    retention_days: int = 0
    embedder: str = "sface"

    def __post_init__(self) -> None:
        if not 1 <= self.dimension <= 4096:
            raise OutOfRange("the dimension must be between 1 and 4096")
        if not 16 <= self.scale <= 4096:
            raise OutOfRange("the scale must be between 16 and 4096")
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise OutOfRange("top_k must be between 1 and 10")
        if not (0 <= self.tau_verify <= 4 * self.norm2 and 0 <= self.tau_identify <= 4 * self.norm2):
            raise OutOfRange("a threshold is outside the range of distances")
        most = min((1 << 16) - 1, 8 * self.norm2)  # counters and keys share a ring of more than 32 S^2
        if not 0 <= self.retention_days <= MOST_DAYS:
            raise OutOfRange(f"retention_days must be between 0 and {MOST_DAYS}")
        if not 0 <= self.lockout_limit <= most:
            raise OutOfRange(f"lockout_limit must be between 0 and {most}")
        if self.lockout_limit and not max(self.tau_verify, self.tau_identify) <= self.lockout_tau <= 4 * self.norm2:
            raise OutOfRange("lockout_tau must be at least as wide as both thresholds, and a distance")
        tries, (day, month, total) = any(self.tries), self.tries
        if tries and not 1 <= day <= month <= total <= most:
            raise OutOfRange(f"tries of a day, a month and in all must rise, and be between 1 and {most}")
        if tries and not 0 <= self.tau_deep <= self.tau_verify:
            raise OutOfRange("tries need a tau_deep of at most tau_verify")

    @property
    def norm2(self) -> int:
        """S^2: ||y||^2 of every template."""
        return self.scale**2

    def tau_for(self, named: int | None) -> int:
        """The threshold of a question about all entries (None), or about so many named ones.

        False matches grow with the number of entries that are compared: identify has a threshold of its own, and who
        names more than `FEW` entries, as it were the whole gallery, gets the stricter of the two.
        """
        if named is None:
            return self.tau_identify
        return self.tau_verify if named <= FEW else min(self.tau_verify, self.tau_identify)

    def tries_for(self, named: int | None) -> tuple[int, int, int] | None:
        """The limits on such a question: in all, in a month, in a day; None where nothing is counted.

        A search is not counted: whoever asks among all would lock everybody out.
        """
        day, month, total = self.tries
        return None if not total or named is None or named > FEW else (total, month, day)

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


def check_rounding(dimension: int, scale: int) -> None:
    """Whether embeddings of this length can be rounded to templates of length S. Raises `OutOfRange`.

    Below 16 coordinates some vectors have no template near them. Below S = 2 sqrt(D) coordinates are so small that
    templates are no longer what was embedded: their cosine with it is 0.98 and less, and so much less are all scores
    than the threshold that was configured (docs/decisions/0014).
    """
    if dimension < LEAST_DIMENSION:
        raise OutOfRange(f"a collection needs embeddings of at least {LEAST_DIMENSION} numbers")
    if scale**2 < 4 * dimension:
        least = math.ceil(2 * math.sqrt(dimension))
        raise OutOfRange(f"the scale is too small for embeddings of {dimension} numbers: it must be at least {least}")


def tau_from_cosine(threshold: float, scale: int) -> int:
    """tau for unit vectors that match at a cosine of at least `threshold`: floor(2 S^2 (1 - threshold))."""
    if not -1 <= threshold <= 1:
        raise OutOfRange("a cosine threshold lies between -1 and 1")
    return math.floor(2 * scale**2 * (1 - threshold))
