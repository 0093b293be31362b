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

A receiver that deviates can send each tree another c = u + choices + error, and learn s bit by bit from what goes wrong
later and what does not. So each c comes with a proof that one vector of choices went into all trees
(`pura.crypto.consistency`). To pass with an error in a tree it has to guess all k bits of that tree's Delta
(docs/security/transfers.md). A proof that fails is an alarm, and the end of these base OTs and all their forks: no s is
guessed at twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from pura.crypto.bits import BLOCK, ROW_BITS, Octets, TweakedHash, Words, low_bits, transpose
from pura.crypto.consistency import MASKING, PROOF_BYTES, Checker, Prover
from pura.crypto.rng import Rng
from pura.crypto.secret import Secret
from pura.crypto.trees import CHUNK, SEED_BYTES, Forest, grow, regrow, vouch, vouched
from pura.errors import DeviatingServer, MaterialUsed, OutOfRange, ProtocolError

BASE_OTS = 128
MULTIPLE = 128
"""An extension makes a multiple of so many OTs."""
MAX_OTS = 1 << 22
"""The most that one extension makes."""
DEPTH = 4
"""k: 32 trees of 16 leaves, 4 bytes sent an OT."""


# --- one round of OTs -------------------------------------------------------------------------------


class _Rows(Secret):
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


# --- the two ends -----------------------------------------------------------------------------------


class _State(Secret):
    def __init__(self, forest: Forest, session: int, forks: dict[int, object]) -> None:
        self._forest = forest
        self._forks = forks
        self.session = session
        """Names the base OTs, and the forks on the way here; the same at both ends."""
        self.used = 0
        """How many OTs were made from this state, those included that only masked a proof; the number of the next."""

    def message_bytes(self, n: int) -> int:
        """How long the message for n OTs is: c and its proof."""
        return len(self._forest) * (n + MASKING) // 8 + PROOF_BYTES

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
        first, self.used = self.used, self.used + n + MASKING
        return first

    def _columns(self, first: int, total: int, *, sums: bool) -> Iterator[tuple[slice, Words, Words]]:
        """The columns v (or w) of `total` OTs from number `first` on, a chunk at a time: which words, the columns (128,
        w), and with `sums` u, (128 / k, w). The next step overwrites them."""
        words = total // 64
        columns = np.empty((ROW_BITS, min(CHUNK, words)), np.uint64)
        trees = np.empty((len(self._forest), min(CHUNK, words)), np.uint64)
        for at in range(0, words, CHUNK):
            width = min(CHUNK, words - at)
            planes, u = columns[:, :width], trees[:, :width]
            self._forest.expand(self.session, (first + 64 * at) // 128, planes, u if sums else None)
            yield slice(at, at + width), planes, u


class ExtensionReceiver(_State):
    """The end that chooses: 128 / k roots of 16 bytes."""

    def __init__(self, roots: Sequence[bytes], session: int = 0) -> None:
        depth = _depth(len(roots))
        grown = [grow(root, depth) for root in roots]
        super().__init__(Forest([leaves for leaves, _ in grown]), session, {})
        self._sums: list[tuple[bytes, bytes]] | None = [pair for _, sums in grown for pair in sums]
        self._vouchers = vouch([leaves for leaves, _ in grown])

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

    def vouchers(self) -> bytes:
        """What this end vouches for its trees with; sent with the base OTs, for `ExtensionSender.trust`."""
        return self._vouchers

    def fork(self, label: bytes) -> ExtensionReceiver:
        """An independent state, the same at both ends for the same label, for extensions in any order or at once.

        Raises `MaterialUsed` for a label that was used: the OTs would be the same ones.
        """
        twin = ExtensionReceiver.__new__(ExtensionReceiver)
        _State.__init__(twin, self._forest, self._fork(label), self._forks)
        twin._sums, twin._vouchers = None, self._vouchers
        return twin

    def extend(self, n: int, rng: Rng, choices: Octets | None = None) -> tuple[bytes, RandomReceived]:
        """The message for the sender, and this end of n OTs, a multiple of 128, with random choices or the given ones.

        choices: n bits, packed, (n / 8,) bytes. Raises `OutOfRange` for another n.
        """
        if choices is not None and (choices.dtype != np.uint8 or choices.shape != (n // 8,)):
            raise ValueError("choices are n packed bits")
        first, total = self._advance(n), n + MASKING
        mask = rng.bytes(MASKING // 8)
        chosen = np.frombuffer((rng.bytes(n // 8) if choices is None else choices.tobytes()) + mask, np.uint8)
        c = np.empty((len(self._forest), total // 64), np.uint64)
        rows = np.empty((total, 2), np.uint64)
        prover = Prover(self.session, first)
        for part, v, u in self._columns(first, total, sums=True):
            own = chosen.view(np.uint64)[part]
            np.bitwise_xor(u, own, out=c[:, part])
            prover.absorb(c[:, part], v, own)
            transpose(v, rows[64 * part.start : 64 * part.stop])
        key = _hash_key(prover.digest)
        return c.tobytes() + prover.proof(), RandomReceived(rows[:n], key, first, chosen[: n // 8])


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
        super().__init__(Forest(trees), session, {})
        self._s = np.frombuffer(s, np.uint64)
        self._delta = np.unpackbits(np.frombuffer(s, np.uint8), bitorder="little")
        self._masks: Words = (np.uint64(0) - self._delta.astype(np.uint64)).reshape(len(trees), depth, 1)
        self._deltas = [bits >> at & ((1 << depth) - 1) for at in range(0, BASE_OTS, depth)]

    def trust(self, vouchers: bytes) -> None:
        """Check the receiver's `vouchers` for its trees. Raises `DeviatingServer`, and these base OTs are void."""
        by_y = zip(self._deltas, self._forest.trees, strict=True)
        if not vouched([[tree[x ^ d] for x in range(len(tree))] for d, tree in by_y], vouchers):
            raise self._void("seeds of an OT extension")

    def fork(self, label: bytes) -> ExtensionSender:
        """An independent state, as at the other end. Raises `MaterialUsed` for a label that was used."""
        twin = ExtensionSender.__new__(ExtensionSender)
        _State.__init__(twin, self._forest, self._fork(label), self._forks)
        twin._s, twin._delta, twin._masks, twin._deltas = self._s, self._delta, self._masks, self._deltas
        return twin

    def skip_to(self, first: int) -> None:
        """Leave out OTs that the receiver has made and this end never heard of. Never goes back.

        Raises `ProtocolError` for a place that was passed or is too far away.
        """
        gap = first - self.used
        if not 0 <= gap <= MAX_OTS + MASKING or gap % MULTIPLE:
            raise ProtocolError(detail="the two ends of the OT extension are at different places")
        self.used = first

    def extend(self, n: int, message: bytes) -> RandomSent:
        """This end of the next n OTs, from the receiver's message.

        Raises `ProtocolError` for a message of another length, before anything is used; `OutOfRange` for another n;
        `DeviatingServer` when the proof fails, now and for every fork of these base OTs from then on.
        """
        if len(message) != self.message_bytes(n):
            raise ProtocolError(detail="length of an OT extension")
        if self._forest.void:
            raise self._void("base OTs that were given up")
        first, total = self._advance(n), n + MASKING
        c = np.frombuffer(message, np.uint64, len(self._forest) * total // 64).reshape(len(self._forest), -1)
        rows = np.empty((total, 2), np.uint64)
        checker = Checker(self.session, first)
        for part, planes, _ in self._columns(first, total, sums=False):
            grouped = planes.reshape(len(self._forest), -1, planes.shape[1])
            grouped ^= self._masks & c[:, None, part]
            checker.absorb(c[:, part], planes)
            transpose(planes, rows[64 * part.start : 64 * part.stop])
        if not checker.holds(message[-PROOF_BYTES:], self._delta):
            raise self._void("choices of an OT extension")
        return RandomSent(rows[:n], _hash_key(checker.digest), first, self._s)

    def _void(self, what: str) -> DeviatingServer:
        self._forest.void = True
        return DeviatingServer(detail=what)


def local_pair(rng: Rng, depth: int = DEPTH) -> tuple[ExtensionSender, ExtensionReceiver]:
    """Both ends, made by one party that knows everything: for tests and benchmarks."""
    receiver = ExtensionReceiver.draw(rng, depth)
    s = rng.bytes(SEED_BYTES)
    bits = int.from_bytes(s, "little")
    seeds = [pair[bits >> i & 1] for i, pair in enumerate(receiver.base_pairs())]
    return ExtensionSender(s, seeds, depth=depth), receiver


def session_number(name: bytes, strings: bytes) -> int:
    """A number that names base OTs, the same at both ends: from their session and what was sent in it."""
    return int.from_bytes(hashlib.sha256(b"pura ot base\x00" + name + strings).digest()[:8], "big")


def _depth(trees: int) -> int:
    depth = BASE_OTS // trees if trees else 0
    if depth * trees != BASE_OTS or depth > 8:
        raise ValueError("the trees do not make 128 bits")
    return depth


def _hash_key(digest: bytes) -> bytes:
    """The key of pi for one extension. A fresh one each time keeps the hashes under one key few, which the bound
    depends on (Guo, Katz, Wang, Weng, Yu, "Better concrete security for half-gates garbling", CRYPTO 2020)."""
    return hashlib.sha256(b"pura ot hash\x00" + digest).digest()[:SEED_BYTES]
