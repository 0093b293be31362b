"""Both servers without store, sessions or lattice: their protocols only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.ot import local_pair
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import KeyShare
from pura.ids import BlockId, Engine, Party
from pura.params import Params
from pura.protocols.prepared import entries, match, pack, template
from pura.protocols.prepared.blocks import Block, Targets
from pura.protocols.prepared.correlations import SLOTS, MaskedBlock
from pura.protocols.prepared.side import Side
from pura.protocols.shares.extension import Ends
from pura.protocols.shares.ledger import Ledger
from pura.rounds import Rounds, run_pair
from pura_bench.told import ToldCorrelations

Table = NDArray[np.int64]
FAN_INS = (2, 3, 4)


@dataclasses.dataclass(frozen=True, repr=False)
class Keys:
    """A key set, both shares of it."""

    pk: PublicKey
    shares: tuple[KeyShare, KeyShare]


def exact(count: int, dimension: int, scale: int, seed: int) -> Table:
    """Vectors of length exactly S: coordinates of S/2 (four of them), S/4 (sixteen), or one of S, with any signs."""
    rng = np.random.default_rng(seed)
    out = np.zeros((count, dimension), np.int64)
    for row in out:
        parts = rng.choice([1, 4, 16] if dimension >= 16 else [1, 4])
        at = rng.choice(dimension, parts, replace=False)
        row[at] = scale // int(np.sqrt(parts)) * rng.choice([-1, 1], parts)
    return out


class World:
    """Both servers' sides, OTs and masks, without store or sessions."""

    def __init__(
        self, key_set: Keys, dimension: int, scale: int, tau: int, seed: bytes = b"world", **policy: Any
    ) -> None:
        self.tau, self.pk = tau, key_set.pk
        params = Params(
            key_id=self.pk.key_id,
            n_bits=self.pk.n_bits,
            engine=Engine.PREPARED,
            dimension=dimension,
            scale=scale,
            **policy,
        )
        self.rng = SeededRng(seed)
        self.sides = [Side(self.pk, share, params, self.rng) for share in key_set.shares]
        (s12, r12), (s21, r21) = local_pair(self.rng), local_pair(self.rng)
        self.ends = [Ends(Party.S1, s12, r21), Ends(Party.S2, s21, r12)]
        self.ledgers = Ledger(), Ledger()
        self.masks: list[dict[MaskedBlock, NDArray[np.uint32]]] = [{}, {}]
        k = self.sides[0].sizes.key_bits
        self.correlations = [ToldCorrelations(p, k, partial(self.mask, p)) for p in Party]

    def mask(self, party: Party, block: MaskedBlock) -> NDArray[np.uint32]:
        """A server's masks of a block, (SLOTS, D)."""
        drawn = self.masks[party - 1]
        sizes = self.sides[0].sizes
        if block not in drawn:
            seed = [party, *block]
            drawn[block] = (
                np.random.default_rng(seed).integers(0, 1 << sizes.key_bits, (SLOTS, sizes.dimension)).astype(np.uint32)
            )
        return drawn[block]

    def targets(self, ys: Table, positions: Sequence[int]) -> list[Targets]:
        """Entries written where `positions` says, by the protocol's own opening."""
        sizes = self.sides[0].sizes
        blocks = [MaskedBlock(BlockId(b), 1) for b in range(max(positions) // SLOTS + 1)]
        own = [np.concatenate([self.mask(p, b) for b in blocks]) for p in Party]
        blind = self.rng.bits(30)
        shares = np.full(ys.shape, blind, np.uint64), ys.astype(np.uint64) - np.uint64(blind)
        one, two = (entries.masked_entries(sizes, s, m[positions]) for s, m in zip(shares, own, strict=True))
        e, same = run_pair(one, two)
        assert (e == same).all()
        whole = np.zeros_like(own[0])
        whole[positions] = e
        y = [(whole + own[0]) & np.uint32((1 << sizes.key_bits) - 1), own[1]]
        handles = np.arange(1, len(ys) + 1, dtype=np.uint64)
        cut = [slice(at * SLOTS, (at + 1) * SLOTS) for at in range(len(blocks))]
        return [
            Targets(
                [Block(b, whole[c], own_y[c]) for b, c in zip(blocks, cut, strict=True)],
                np.array(positions),
                handles,
            )
            for own_y in y
        ]

    def packs(self, need: Any, count: int, blocks: list[MaskedBlock]) -> list[tuple[pack.Pack, pack.Pack]]:
        """Offline parts of `count` questions about these blocks, both servers' side by side."""

        def party(i: int) -> Rounds[Any]:
            return pack.make_with_products(self.sides[i], self.ends[i], need, count, self.correlations[i], blocks)

        return list(zip(*run_pair(party(0), party(1)), strict=True))

    def ask(self, x: Table, targets: list[Targets], packs: tuple[pack.Pack, pack.Pack]) -> list[int]:
        """The handles that a question finds."""
        one, two = self.sides
        cs = [self.pk.encrypt(p, self.rng) for p in template.pack(one.sizes, x)]
        shares = run_pair(
            match.match_s1(one, packs[0], targets[0], FAN_INS, self.ledgers[0], self.tau),
            match.match_s2(two, packs[1], cs, targets[1], FAN_INS, self.ledgers[1], self.tau),
        )
        plain = bytes(a ^ b for a, b in zip(*shares, strict=True))
        return [int.from_bytes(plain[i : i + 8], "big") for i in range(0, len(plain), 8)]
