"""Offline material from a dealer that knows everything: for testing what is computed with it, without making it."""

from __future__ import annotations

from typing import Any

import numpy as np


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

    def chosen(self, choices: np.ndarray) -> Any:
        """k_0, k_1, c, k_c of OTs with these choices (one in a byte)."""
        k0, k1 = self.octets(len(choices), 16), self.octets(len(choices), 16)
        return k0, k1, choices, np.where(choices[:, None].astype(bool), k1, k0)


class Stock:
    """One server's hand. Counts what it took, in packed bytes of triples and in OTs of one direction."""

    def __init__(self, dealer: Dealer, me: int) -> None:
        self._dealer, self._me = dealer, me
        self._turns = [0, 0, 0]
        self.triple_octets = self.ots = 0

    def _turn(self, kind: int) -> int:
        self._turns[kind] += 1
        return self._turns[kind]

    def triples(self, octets: int) -> Any:
        self.triple_octets += octets
        return self._dealer.triples(self._turn(0), octets)[self._me]

    def sent(self, count: int) -> Any:
        self.ots += count
        return self._dealer.transfers(self._me, self._turn(1), count)[:2]

    def received(self, count: int) -> Any:
        return self._dealer.transfers(1 - self._me, self._turn(2), count)[2:]
