"""Oblivious transfer in bulk: from 128 base OTs to as many random ones as are wanted.

OT extension of Ishai, Kilian, Nissim and Petrank (2003) against semi-honest parties, in the form of Roy
("SoftSpokenOT", CRYPTO 2022), which sends 128 / k bits an OT instead of 128. The sender holds s of 128 bits: 128 / k
numbers Delta of k bits. For each the receiver holds 2^k seeds, leaves of a GGM tree, and the sender all of them but the
one numbered Delta.

    r_x = AES-CTR(seed_x),  u = sum_x r_x,  v_b = sum of the r_x whose x has bit b       (receiver)
    w_b = sum of the r_x whose x + Delta has bit b  =  v_b + Delta_b u               (sender; needs no r_Delta)
    receiver -> sender:  c = u + choices
    q_b = w_b + Delta_b c  =  v_b + Delta_b choices

so with t the rows of all v: q_i = t_i + choice_i s. k = 1 is IKNP itself. + is XOR. Then

    m_0 = H(i, q_i),  m_1 = H(i, q_i + s)      (sender)          m_choice = H(i, t_i)      (receiver)

H is `TweakedHash`, under a key that each extension derives from what both sides have seen, with i counted over the
whole life of the state, so no (key, tweak) comes twice. A wide pad and a short one of the same OT overlap: each OT is
hashed once, for one of them, and its rows are dropped then. States advance and never go back; nothing here can be
pickled or printed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import NoReturn, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from numpy.typing import NDArray

from pura.crypto.bits import BLOCK, ROW_BITS, Octets, TweakedHash, Words, fold, low_bits, transpose
from pura.crypto.rng import Rng
from pura.errors import MaterialUsed, OutOfRange, ProtocolError

Trees = Sequence[Sequence[bytes | None]]
"""Seeds, tree by tree; None where this end has none."""

SEED_BYTES = 16
BASE_OTS = 128
MULTIPLE = 128
"""An extension makes a multiple of so many OTs."""
MAX_OTS = 1 << 22
"""The most that one extension makes."""
DEPTH = 4
"""k: 32 trees of 16 leaves, 4 bytes sent an OT."""

_CHUNK = 5 * 416
"""Words of a column that are worked on at once."""


class _Secret:
    """What is never printed, copied or pickled."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is used once and stays where it was made")


# --- one round of OTs -------------------------------------------------------------------------------


class _Rows(_Secret):
    """Rows of an extension that were not hashed yet, shape (n, 2)."""

    def __init__(self, rows: Words, key: bytes, first: int) -> None:
        self._rows: Words | None = rows
        self._key = key
        self._first = first
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    def _take(self) -> Words:
        rows, self._rows = self._rows, None
        if rows is None:
            raise MaterialUsed(detail="these OTs were used")
        return rows

    def _pads(self, rows: Words, width: int, shift: Words | None = None) -> Octets:
        if width not in (8, 16):
            raise ValueError("a pad has 8 or 16 bytes")
        out = np.empty((len(rows), width // 8), np.uint64)
        for part, h in TweakedHash(self._key).tiles(self._first, rows, shift):
            out[part] = h[:, : width // 8]
        return out.view(np.uint8)

    def _bits(self, rows: Words, shift: Words | None = None) -> Words:
        if len(rows) % 64:
            raise ValueError("bits come in words of 64")
        out = np.empty(len(rows) // 8, np.uint8)
        for part, h in TweakedHash(self._key).tiles(self._first, rows, shift):
            out[part.start // 8 : part.stop // 8] = low_bits(h)
        return out.view(np.uint64)


class RandomSent(_Rows):
    """The sender's end of n random OTs. Hashed once: by `pads` or by `bits`, as at the other end; or split first."""

    def __init__(self, rows: Words, key: bytes, first: int, s: Words) -> None:
        super().__init__(rows, key, first)
        self._s = s

    def pads(self, width: int = BLOCK) -> tuple[Octets, Octets]:
        """m_0 and m_1, each (n, width) for a width of 8 or 16 bytes. Raises `MaterialUsed` the second time."""
        rows = self._take()
        return self._pads(rows, width), self._pads(rows, width, self._s)

    def bits(self) -> tuple[Words, Words]:
        """m_0 and m_1 of one bit each, packed: (n / 64,) words. Raises `MaterialUsed` the second time."""
        rows = self._take()
        return self._bits(rows), self._bits(rows, self._s)

    def split(self, count: int) -> tuple[RandomSent, RandomSent]:
        """The first `count` OTs, a multiple of 64, and the others; this object is spent."""
        cut, rows = _cut(count, self), self._take()
        return (
            RandomSent(rows[:cut], self._key, self._first, self._s),
            RandomSent(rows[cut:], self._key, self._first + cut, self._s),
        )


class RandomReceived(_Rows):
    """The receiver's end of n random OTs. Hashed once: by `pads` or by `bits`, as at the other end; or split first."""

    def __init__(self, rows: Words, key: bytes, first: int, choices: Octets) -> None:
        super().__init__(rows, key, first)
        self.choices = choices
        """Which of the two was received, packed: (n / 8,) bytes."""

    def pads(self, width: int = BLOCK) -> Octets:
        """m_choice, (n, width) for a width of 8 or 16 bytes. Raises `MaterialUsed` the second time."""
        return self._pads(self._take(), width)

    def bits(self) -> Words:
        """m_choice of one bit each, packed: (n / 64,) words. Raises `MaterialUsed` the second time."""
        return self._bits(self._take())

    def split(self, count: int) -> tuple[RandomReceived, RandomReceived]:
        """The first `count` OTs, a multiple of 64, and the others; this object is spent."""
        cut, rows = _cut(count, self), self._take()
        return (
            RandomReceived(rows[:cut], self._key, self._first, self.choices[: cut // 8]),
            RandomReceived(rows[cut:], self._key, self._first + cut, self.choices[cut // 8 :]),
        )


def _cut(count: int, rows: _Rows) -> int:
    if not 0 <= count <= len(rows) or count % 64:
        raise ValueError("OTs are split at a multiple of 64")
    return count


# --- the trees --------------------------------------------------------------------------------------


def _children(seed: bytes) -> tuple[bytes, bytes]:
    both = hashlib.sha256(b"pura ggm\x00" + seed).digest()
    return both[:SEED_BYTES], both[SEED_BYTES:]


def _xor(values: Sequence[bytes]) -> bytes:
    total = 0
    for value in values:
        total ^= int.from_bytes(value, "big")
    return total.to_bytes(SEED_BYTES, "big")


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


class _Forest:
    """128 / k trees: r_x = PRG(seed_x) is AES under seed_x of the blocks (session, 0), (session, 1), ...

    Shared by all states that were forked from one, whose sessions differ.
    """

    def __init__(self, trees: Trees) -> None:
        self.trees = trees
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
        together = min(len(self), max(1, _CHUNK // planes.shape[1]))  # trees, so that few bits do not mean many calls
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


# --- the two ends -----------------------------------------------------------------------------------


class _State(_Secret):
    def __init__(self, forest: _Forest, session: int, forks: dict[int, object]) -> None:
        self._forest = forest
        self._forks = forks
        self.session = session
        """Names the base OTs, and the forks on the way here; the same at both ends."""
        self.used = 0
        """How many OTs were made from this state; the number of the next one."""

    def message_bytes(self, n: int) -> int:
        """How long c of n OTs is."""
        return len(self._forest) * n // 8

    @property
    def forks(self) -> int:
        """How many forks were made from these base OTs. Each is remembered, in some 100 bytes."""
        return len(self._forks)

    def _fork(self, label: bytes) -> int:
        """The session of the fork of this name. Raises `MaterialUsed` for a name that was used."""
        head = b"pura ot session\x00" + self.session.to_bytes(8, "big") + label
        session = int.from_bytes(hashlib.sha256(head).digest()[:8], "big")
        mark = object()
        if self._forks.setdefault(session, mark) is not mark:
            raise MaterialUsed(detail="this fork was made before")
        return session

    def _advance(self, n: int) -> int:
        if n % MULTIPLE or not 0 < n <= MAX_OTS:
            raise OutOfRange(f"OTs are made {MULTIPLE} at a time, at most {MAX_OTS}")
        first, self.used = self.used, self.used + n
        return first


class ExtensionReceiver(_State):
    """The end that chooses: 128 / k roots of 16 bytes."""

    def __init__(self, roots: Sequence[bytes], session: int = 0) -> None:
        depth = _depth(len(roots))
        grown = [grow(root, depth) for root in roots]
        super().__init__(_Forest([leaves for leaves, _ in grown]), session, {})
        self._sums: list[tuple[bytes, bytes]] | None = [pair for _, sums in grown for pair in sums]

    @classmethod
    def draw(cls, rng: Rng, depth: int = DEPTH) -> Self:
        """Fresh roots; `base_pairs` goes into the base OTs."""
        return cls([rng.bytes(SEED_BYTES) for _ in range(BASE_OTS // depth)])

    def base_pairs(self) -> list[tuple[bytes, bytes]]:
        """What this end sends by the 128 base OTs, whose choices are the bits of s: once, then forgotten.

        For a bit of s that is 0 the sender gets the sum of the right children, and the other way round.
        """
        sums, self._sums = self._sums, None
        if sums is None:
            raise MaterialUsed(detail="the base OTs were made")
        return [(right, left) for left, right in sums]

    def fork(self, label: bytes) -> ExtensionReceiver:
        """An independent state, the same at both ends for the same label, for extensions in any order or at once.

        Raises `MaterialUsed` for a label that was used: the OTs would be the same ones.
        """
        twin = ExtensionReceiver.__new__(ExtensionReceiver)
        _State.__init__(twin, self._forest, self._fork(label), self._forks)
        twin._sums = None
        return twin

    def extend(self, n: int, rng: Rng, choices: Octets | None = None) -> tuple[bytes, RandomReceived]:
        """c for the sender, and this end of n OTs, a multiple of 128, with random choices or the given ones.

        choices: n bits, packed, (n / 8,) bytes. Raises `OutOfRange` for another n.
        """
        if choices is not None and (choices.dtype != np.uint8 or choices.shape != (n // 8,)):
            raise ValueError("choices are n packed bits")
        first = self._advance(n)
        chosen = np.frombuffer(rng.bytes(n // 8), np.uint8) if choices is None else choices.copy()
        c = np.empty((len(self._forest), n // 64), np.uint64)
        rows = np.empty((n, 2), np.uint64)
        sums = np.empty((len(self._forest), _CHUNK), np.uint64)
        for part, planes in _parts(n):
            self._forest.expand(self.session, first // 128 + part.start // 2, planes, sums[:, : planes.shape[1]])
            np.bitwise_xor(sums[:, : planes.shape[1]], chosen.view(np.uint64)[part], out=c[:, part])
            transpose(planes, rows[64 * part.start : 64 * part.stop])
        message = c.tobytes()
        return message, RandomReceived(rows, _hash_key(self.session, first, message), first, chosen)


class ExtensionSender(_State):
    """The end that gets both pads: s of 16 bytes and what it received by the base OTs with the bits of s as choices."""

    def __init__(self, s: bytes, seeds: Sequence[bytes], session: int = 0, depth: int = DEPTH) -> None:
        if len(s) != SEED_BYTES or len(seeds) != BASE_OTS:
            raise ValueError("128 base OTs for a choice of 128 bits")
        bits = int.from_bytes(s, "little")
        trees: list[list[bytes | None]] = []
        for at in range(0, BASE_OTS, depth):
            delta = bits >> at & ((1 << depth) - 1)
            leaves = regrow(delta, seeds[at : at + depth])
            trees.append([leaves[y ^ delta] for y in range(len(leaves))])  # y = x + Delta; none for y = 0
        super().__init__(_Forest(trees), session, {})
        self._s = np.frombuffer(s, np.uint64)
        single = np.unpackbits(np.frombuffer(s, np.uint8), bitorder="little").astype(np.uint64)
        self._masks: Words = (np.uint64(0) - single).reshape(len(trees), depth, 1)

    def fork(self, label: bytes) -> ExtensionSender:
        """An independent state, as at the other end. Raises `MaterialUsed` for a label that was used."""
        twin = ExtensionSender.__new__(ExtensionSender)
        _State.__init__(twin, self._forest, self._fork(label), self._forks)
        twin._s, twin._masks = self._s, self._masks
        return twin

    def skip_to(self, first: int) -> None:
        """Leave out OTs that the receiver has made and this end never heard of. Never goes back.

        Raises `ProtocolError` for a place that was passed or is too far away.
        """
        gap = first - self.used
        if not 0 <= gap <= MAX_OTS or gap % MULTIPLE:
            raise ProtocolError(detail="the two ends of the OT extension are at different places")
        self.used = first

    def extend(self, n: int, message: bytes) -> RandomSent:
        """This end of the next n OTs, from the receiver's c.

        Raises `ProtocolError` for a message of another length, before anything is used; `OutOfRange` for another n.
        """
        if len(message) != self.message_bytes(n):
            raise ProtocolError(detail="length of an OT extension")
        first = self._advance(n)
        c = np.frombuffer(message, np.uint64).reshape(len(self._forest), n // 64)
        rows = np.empty((n, 2), np.uint64)
        for part, planes in _parts(n):
            self._forest.expand(self.session, first // 128 + part.start // 2, planes, None)
            grouped = planes.reshape(len(self._forest), -1, planes.shape[1])
            grouped ^= self._masks & c[:, None, part]
            transpose(planes, rows[64 * part.start : 64 * part.stop])
        return RandomSent(rows, _hash_key(self.session, first, message), first, self._s)


def local_pair(rng: Rng, depth: int = DEPTH) -> tuple[ExtensionSender, ExtensionReceiver]:
    """Both ends, made by one party that knows everything: for tests and benchmarks."""
    receiver = ExtensionReceiver.draw(rng, depth)
    s = rng.bytes(SEED_BYTES)
    bits = int.from_bytes(s, "little")
    seeds = [pair[bits >> i & 1] for i, pair in enumerate(receiver.base_pairs())]
    return ExtensionSender(s, seeds, depth=depth), receiver


def _depth(trees: int) -> int:
    depth = BASE_OTS // trees if trees else 0
    if depth * trees != BASE_OTS or depth > 8:
        raise ValueError("the trees do not make 128 bits")
    return depth


def _parts(n: int) -> list[tuple[slice, NDArray[np.uint64]]]:
    words = n // 64
    buffer = np.empty((ROW_BITS, min(_CHUNK, words)), np.uint64)
    return [
        (slice(at, min(at + _CHUNK, words)), buffer[:, : min(_CHUNK, words - at)]) for at in range(0, words, _CHUNK)
    ]


def _hash_key(session: int, first: int, message: bytes) -> bytes:
    """The key of pi for one extension. A fresh one each time keeps the hashes under one key few, which the bound
    depends on (Guo, Katz, Wang, Weng, Yu, "Better concrete security for half-gates garbling", CRYPTO 2020)."""
    head = b"pura ot hash\x00" + session.to_bytes(8, "big") + first.to_bytes(8, "big")
    return hashlib.sha256(head + message[:64]).digest()[:SEED_BYTES]
