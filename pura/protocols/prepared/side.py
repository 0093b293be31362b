"""What a server brings to every protocol of the prepared engine."""

from __future__ import annotations

import dataclasses
from functools import cached_property

from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare
from pura.ids import Party
from pura.params import Params
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic
from pura.protocols.prepared.sizes import Sizes


@dataclasses.dataclass(frozen=True)
class Side:
    """One server: its key share, the parameters of the collection, its source of randomness, where it multiplies."""

    pk: PublicKey
    share: KeyShare
    params: Params
    rng: Rng
    arithmetic: Arithmetic = NUMPY

    @cached_property
    def sizes(self) -> Sizes:
        """w, W, k, m."""
        return Sizes.of(self.params)

    @property
    def first(self) -> bool:
        """Whether this is S1, which adds the public constants to its shares."""
        return self.share.party is Party.S1
