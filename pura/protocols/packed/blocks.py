"""Writing the gallery's blocks: enrolment, erasure and compaction, from shares of each template.

Template y has the shares y_j = v_j - r_j of the conversion. To add it (sign +1) to slot i of a block, or to take it
away (sign -1),

    S1 -> S2: E1_j = [-sign r_j 2^(b i)],   S2 -> S1: E2_j = [sign v_j 2^(b i)],   G_j := G_j E1_j E2_j

summed over all templates that go into the block, so that a block costs D encryptions on each side however many
templates it takes. Nothing is ever in the clear, and taking a template away leaves exactly 0 in its slot. Both servers
end with the same bytes, and compare their hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from pura.bigint import Z
from pura.errors import ProtocolError
from pura.ids import BlockId, Party
from pura.messages import Message, message
from pura.protocols.packed.side import Side
from pura.rounds import Rounds, exchange


@dataclasses.dataclass(frozen=True, repr=False)
class Term:
    """One template's place in a block; `shares` are r_j (at S1) or v_j (at S2) of its D coordinates."""

    block: BlockId
    slot: int
    sign: int
    shares: Sequence[int]


@message
class BlockTerms(Message):
    """Either way: E_j of one block, D ciphertexts."""

    block: int
    ciphertexts: bytes


@message
class BlockHash(Message):
    """Either way: SHA-256 over all blocks as they will be stored."""

    digest: bytes


def rewrite(
    side: Side, terms: Sequence[Term], current: Mapping[BlockId, Sequence[Z]]
) -> Rounds[dict[BlockId, list[Z]]]:
    """The new ciphertexts of every block that a term touches; a block that is not in `current` starts empty.

    Raises `ProtocolError` when the two servers do not end with the same bytes.
    """
    pk, b = side.pk, side.columns.slot_bits
    own = -1 if side.share.party is Party.S1 else 1
    by_block: dict[BlockId, list[Term]] = {}
    for term in terms:
        if not 0 <= term.slot < side.columns.entries:
            raise ProtocolError(detail="slot out of range")
        by_block.setdefault(term.block, []).append(term)
    new: dict[BlockId, list[Z]] = {}
    for block in sorted(by_block):
        mine = []
        for j in range(side.params.dimension):
            plain = sum(own * t.sign * t.shares[j] << (b * t.slot) for t in by_block[block])
            mine.append(pk.encrypt(plain, side.rng))
        got = yield from exchange(BlockTerms(block, pk.dump_many(mine)), BlockTerms)
        if got.block != block:
            raise ProtocolError(detail="block order")
        theirs = pk.load_many(got.ciphertexts, side.params.dimension)
        base = current.get(block) or [Z(1)] * side.params.dimension
        new[block] = [g * e * f % pk.n2 for g, e, f in zip(base, mine, theirs, strict=True)]
    digest = hashlib.sha256()
    for block in sorted(new):
        digest.update(block.to_bytes(8, "big") + pk.dump_many(new[block]))
    got_hash = yield from exchange(BlockHash(digest.digest()), BlockHash)
    if got_hash.digest != digest.digest():
        raise ProtocolError("the two servers do not hold the same gallery", detail="block hash")
    return new
