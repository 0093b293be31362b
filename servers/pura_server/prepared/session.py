"""What two connected servers share in memory, and the steps that both take alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from pura.errors import ProtocolError
from pura.protocols.prepared import pack
from pura.protocols.prepared.correlations import Correlations, MaskedBlock, ReadMasks
from pura.protocols.prepared.material import deal_more
from pura.protocols.prepared.pack import Pack
from pura.protocols.prepared.side import Side
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.material import provide
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, exchange
from pura_server.prepared.slots import NONCE_BYTES
from pura_server.prepared.state import Pictures
from pura_server.prepared.wire import Nonces

Correlate = Callable[[Side, ReadMasks], Rounds[Correlations]]
"""Makes this server's end of the correlations at a new connection."""

LABEL_BYTES = 16
"""A label names what is made of the base OTs for one operation; random, used once."""
ECHOES = 8
"""Rounds that are timed for the tournament's fan-in; an even number."""


@dataclasses.dataclass(frozen=True, repr=False)
class Session:
    """One connection's OTs and correlations."""

    ends: Ends
    correlations: Correlations

    def complete(
        self, side: Side, given: Pack | None, label: bytes, need: Need, blocks: Sequence[MaskedBlock]
    ) -> Rounds[Pack]:
        """A pack with at least this stock and these products: the one given, or a new one."""
        if given is None:
            (given,) = yield from pack.make(side, self.ends.fork(label), need, 1)
        else:
            yield from given.hand.complete(self.ends, label, need, side.rng)
        yield from given.add_products(self.correlations, blocks)
        return given

    def replenish(
        self, side: Side, packs: Sequence[Pack], label: bytes, lacks: Need, blocks: Sequence[MaskedBlock]
    ) -> Rounds[None]:
        """What some packs, all alike, lack: this stock, and products of these blocks."""
        if lacks != Need():
            made = yield from provide(self.ends.fork(label), lacks * len(packs), side.rng)
            deal_more([one.hand for one in packs], made, lacks)
        yield from pack.add_products(packs, self.correlations, blocks)


def exchange_nonces(side: Side, pictures: Pictures, *, fresh: bool = False) -> Rounds[None]:
    """New masks for all free slots: those that an operation spent before it was cut off are free again. fresh: at a new
    connection."""
    mine = Nonces(side.rng.bytes(NONCE_BYTES), pictures.keys.version)
    theirs = yield from exchange(mine, Nonces)
    if len(theirs.nonce) != NONCE_BYTES or theirs.version >= 1 << 32:
        raise ProtocolError(detail="a nonce")
    one, two = (mine, theirs) if side.first else (theirs, mine)
    pictures.renew(one.nonce + two.nonce, (one.version, two.version), fresh=fresh)
