"""GGM trees: seeds of which one end has all leaves and the other all but one (Goldreich, Goldwasser, Micali 1986).

The owner grows a tree from a root; the other end chooses a leaf Delta by one OT for each level and regrows the rest.
If an owner that deviates sends a wrong sum for one side of a level, an end whose Delta is on that side never uses it,
and one whose Delta is not gets other leaves. So the owner vouches for its leaves (Roy 2022): with tags of 32 bytes that
derive from them,

    t = sum of a tree's tags,   and one hash over the tags of all trees

from which the other end completes the tag that it lacks and checks the hash. With a wrong sum the owner passes only if
it guessed that bit of Delta right.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from pura.crypto.bits import Words, fold

Trees = Sequence[Sequence[bytes | None]]
"""Seeds, tree by tree; None where this end has none."""

SEED_BYTES = 16
TAG_BYTES = 32
CHUNK = 5 * 416
"""Words of a column that are worked on at once."""


def _children(seed: bytes) -> tuple[bytes, bytes]:
    both = hashlib.sha256(b"pura ggm\x00" + seed).digest()
    return both[:SEED_BYTES], both[SEED_BYTES:]


def _xor(values: Sequence[bytes]) -> bytes:
    total = 0
    for value in values:
        total ^= int.from_bytes(value, "big")
    return total.to_bytes(len(values[0]), "big")


def grow(root: bytes, depth: int) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """The 2^depth leaves under a root, and of each level the XOR of all left and of all right children.

    Level l splits by bit l of the leaf's number: the children of node y are y and y + 2^l.
    """
    nodes, sums = [root], []
    for _ in range(depth):
        pairs = [_children(seed) for seed in nodes]
        left, right = [p[0] for p in pairs], [p[1] for p in pairs]
        sums.append((_xor(left), _xor(right)))
        nodes = left + right
    return nodes, sums


def regrow(delta: int, siblings: Sequence[bytes]) -> list[bytes | None]:
    """All leaves but number `delta`, from the sum of each level on the side that delta does not go to."""
    nodes: list[bytes | None] = [None]
    for level, total in enumerate(siblings):
        pairs = [(None, None) if seed is None else _children(seed) for seed in nodes]
        sides = [[p[0] for p in pairs], [p[1] for p in pairs]]
        away = sides[1 - (delta >> level & 1)]
        hole = delta & ((1 << level) - 1)
        away[hole] = _xor([total, *(seed for seed in away if seed is not None)])
        nodes = sides[0] + sides[1]
    return nodes


def vouch(trees: Sequence[Sequence[bytes]]) -> bytes:
    """t of every tree, then the hash of all tags: 32 bytes each."""
    tags = [[_tag(seed) for seed in tree] for tree in trees]
    return b"".join(_xor(tree) for tree in tags) + _digest(tags)


def vouched(trees: Trees, vouchers: bytes) -> bool:
    """Whether these trees, each without one leaf, are those that were vouched for."""
    if len(vouchers) != TAG_BYTES * (len(trees) + 1):
        return False
    tags = []
    for i, tree in enumerate(trees):
        known = {x: _tag(seed) for x, seed in enumerate(tree) if seed is not None}
        missing = _xor([vouchers[TAG_BYTES * i : TAG_BYTES * (i + 1)], *known.values()])
        tags.append([known.get(x, missing) for x in range(len(tree))])
    return hmac.compare_digest(_digest(tags), vouchers[-TAG_BYTES:])


def _tag(seed: bytes) -> bytes:
    return hashlib.sha256(b"pura ggm tag\x00" + seed).digest()


def _digest(tags: Sequence[Sequence[bytes]]) -> bytes:
    return hashlib.sha256(b"pura ggm tags\x00" + b"".join(tag for tree in tags for tag in tree)).digest()


class Forest:
    """128 / k trees: r_x = PRG(seed_x) is AES under seed_x of the blocks (session, 0), (session, 1), ...

    Shared by all states that were forked from one, whose sessions differ.
    """

    def __init__(self, trees: Trees) -> None:
        self.trees = trees
        self.void = False
        """Set when the other end deviated: these seeds are not used again."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.trees)

    @cached_property
    def _leaves(self) -> list[list[CipherContext | None]]:
        return [
            [None if seed is None else Cipher(AES(seed), ECB()).encryptor() for seed in tree]  # noqa: S305
            for tree in self.trees
        ]

    def expand(self, session: int, block: int, planes: Words, sums: Words | None) -> None:
        """The bits from a block on of every v_b (or w_b), (128, w), and if wanted of every u, (128 / k, w)."""
        count = planes.shape[1] // 2
        numbers = np.empty((count, 2), np.uint64)
        numbers[:, 0] = session
        numbers[:, 1] = np.arange(block, block + count, dtype=np.uint64)
        source = numbers.tobytes()
        together = min(len(self), max(1, CHUNK // planes.shape[1]))  # trees, so that few bits do not mean many calls
        r = np.zeros((together, len(self.trees[0]), 2 * count + 2), np.uint64)  # a block more, as `update_into` asks
        into = [[row.data.cast("B") for row in tree] for tree in r]
        grouped = planes.reshape(len(self), -1, 2 * count)
        with self._lock:
            for at in range(0, len(self), together):
                part = self._leaves[at : at + together]
                for tree, buffers in zip(part, into, strict=False):
                    for leaf, buffer in zip(tree, buffers, strict=True):
                        if leaf is not None:
                            leaf.update_into(source, buffer)
                folded = r[: len(part), :, :-2]
                fold(folded, grouped[at : at + together])
                if sums is not None:
                    sums[at : at + together] = folded[:, 0]
