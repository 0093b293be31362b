"""Offline material from a dealer that knows everything: for testing what is computed with it, without making it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pura.crypto.rng import SeededRng
from pura.protocols.prepared.dabits import DaBits
from pura.protocols.shares.leaves import from_received, from_sent
from pura.protocols.shares.stock import Need


class Dealer:
    """Deals to two stocks, `stocks[0]` for S1 and `stocks[1]` for S2; both see the same material in the same order."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._dealt: dict[Any, Any] = {}
        self.stocks = Stock(self, 0), Stock(self, 1)

    def octets(self, *shape: int) -> np.ndarray:
        return self._rng.integers(0, 256, shape, dtype=np.uint8)

    def triples(self, turn: int, count: int) -> Any:
        if ("triples", turn) not in self._dealt:
            a, b, x, y, z = (self.octets(count) for _ in range(5))
            self._dealt["triples", turn] = (x, y, z), (a ^ x, b ^ y, (a & b) ^ z)
        return self._dealt["triples", turn]

    def transfers(self, sender: int, turn: int, count: int) -> Any:
        if (sender, turn) not in self._dealt:
            self._dealt[sender, turn] = self.chosen(self._rng.integers(0, 2, count, dtype=np.uint8))
        return self._dealt[sender, turn]

    def dabits(self, turn: int, count: int, ring: int = 62) -> Any:
        if ("dabits", turn) not in self._dealt:
            r1, r2 = (self._rng.integers(0, 2, count, dtype=np.uint8) for _ in range(2))
            share = self._rng.integers(0, 1 << ring, count).astype(np.uint64)
            other = (r1 ^ r2).astype(np.uint64) - share
            self._dealt["dabits", turn] = DaBits(r1, share), DaBits(r2, other)
        return self._dealt["dabits", turn]

    def comparisons(self, sender: int, bits: int, turn: int, count: int) -> Any:
        """Both ends of `count` comparisons that one stock is the sender of."""
        if (sender, bits, turn) not in self._dealt:
            k0, k1, c, k_c = self.chosen(self._rng.integers(0, 2, bits * count, dtype=np.uint8))
            rng = SeededRng(self._rng.bytes(8))
            sent = from_sent(bits, k0, k1, rng)
            self._dealt[sender, bits, turn] = sent, from_received(bits, np.packbits(c, bitorder="little"), k_c)
        return self._dealt[sender, bits, turn]

    def chosen(self, choices: np.ndarray) -> Any:
        """k_0, k_1, c, k_c of OTs with these choices (one in a byte)."""
        k0, k1 = self.octets(len(choices), 16), self.octets(len(choices), 16)
        return k0, k1, choices, np.where(choices[:, None].astype(bool), k1, k0)


class Stock:
    """One server's hand. Counts what it took, in packed bytes of triples, OTs of one direction, and comparisons."""

    def __init__(self, dealer: Dealer, me: int) -> None:
        self._dealer, self._me = dealer, me
        self._turns: dict[Any, int] = {}
        self.triple_octets = self.ots = 0
        self._leaves = Need()

    @property
    def taken(self) -> Need:
        """All that was taken."""
        return Need(self.triple_octets, self.ots) + self._leaves

    def _turn(self, kind: Any) -> int:
        self._turns[kind] = self._turns.get(kind, 0) + 1
        return self._turns[kind]

    def leaves_sent(self, bits: int, count: int) -> Any:
        self._leaves += Need.comparing(bits, count * (1 - self._me), count * self._me)
        return self._dealer.comparisons(self._me, bits, self._turn(("sent", bits)), count)[0]

    def leaves_received(self, bits: int, count: int) -> Any:
        self._leaves += Need.comparing(bits, count * self._me, count * (1 - self._me))
        return self._dealer.comparisons(1 - self._me, bits, self._turn(("received", bits)), count)[1]

    def triples(self, octets: int) -> Any:
        self.triple_octets += octets
        return self._dealer.triples(self._turn(0), octets)[self._me]

    def sent(self, count: int) -> Any:
        self.ots += count
        return self._dealer.transfers(self._me, self._turn(1), count)[:2]

    def received(self, count: int) -> Any:
        return self._dealer.transfers(1 - self._me, self._turn(2), count)[2:]

    def dabits(self, count: int) -> Any:
        return self._dealer.dabits(self._turn(3), count)[self._me]
