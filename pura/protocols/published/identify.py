"""Identify and verify with the published protocols: one template against M entries, one answer for the client.

    S1:  [x_j - y_ij] for each entry i and coordinate j
    BatchSquare:  [d_i] = [sum_j (x_j - y_ij)^2]
    batch SMIN:   [d_min], [handle]
    SCMP:         [u] = [d_min < tau + 1] = [d_min <= tau]
    SMUL:         [u handle];   S1 adds the client's [rho]:  [u handle + rho]
    opened to S1 by S2's partial decryption; the client takes rho off: 0 is nobody.

rho is uniform in [0, 2^(64 + sigma)) and handle < 2^64, so u handle + rho is within 2^-sigma of a distribution that
depends on neither. S2 re-randomises what it helps to open, because S1 learns its randomness. Verify is the same over
the entries named.

S1 knows the handles, S2 knows M. What S2 sees on the way is in the modules of the four protocols; that of SCMP leaks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z, invert_many, many_from_bytes, to_bytes
from pura.crypto.threshold import combine, dump_partials, load_partials
from pura.errors import OutOfRange
from pura.ids import Handle
from pura.messages import Message, message
from pura.params import Params
from pura.protocols.published.batch_square import Asked, ask_s1, batch_square_s2, finish_s1
from pura.protocols.published.scmp import scmp_s1, scmp_s2
from pura.protocols.published.side import SIGMA, VALUE_BITS, Side
from pura.protocols.published.smin import Candidate, batch_smin_s1, batch_smin_s2
from pura.protocols.published.smul import smul_s1, smul_s2
from pura.rounds import Rounds, receive, send

GROUP = 8
"""How many entries BatchSquare takes at once: S2 decrypts one group while S1 packs the next and finishes the last."""


@message
class OpenAsk(Message):
    """S1 -> S2: [u handle + rho], re-randomised."""

    ciphertext: bytes


@message
class OpenReply(Message):
    """S2 -> S1: the same, re-randomised by S2, and PDec2 of it."""

    ciphertext: bytes
    partial: bytes


@dataclasses.dataclass(frozen=True, repr=False)
class Entry:
    """One gallery entry: its handle and its D ciphertexts, one behind the other."""

    handle: Handle
    body: bytes

    def coordinates(self, size: int) -> list[Z]:
        """[y_j]; the body was validated when it was enrolled. `size` is the bytes of a ciphertext."""
        return many_from_bytes(self.body, size)


def mask_bits(params: Params) -> int:
    """rho is uniform in [0, 2^mask_bits): 64 + sigma."""
    return VALUE_BITS + SIGMA


def answer_bytes(params: Params) -> int:
    """The fixed length of an answer: u handle + rho < 2^(64 + sigma + 1)."""
    return (mask_bits(params) + 8) // 8


def identify_s1(side: Side, query: Sequence[Z], entries: Sequence[Entry], mask: Z, tau: int) -> Rounds[bytes]:
    """S1's part: the answer's bytes. `query` holds [x_j], shape (D,); `mask` is [rho]; both are validated; tau is what
    `Params.tau_for` gives.

    Raises `OutOfRange` when the collection asks for more than one candidate: these protocols return one.
    """
    pk = side.pk
    if side.params.top_k != 1:
        raise OutOfRange("the published protocols return one candidate")
    answer = mask
    if entries:
        distances = yield from distances_s1(side, query, entries)
        handles = [pk.encode(entry.handle) for entry in entries]
        best = yield from batch_smin_s1(side, [Candidate(d, h) for d, h in zip(distances, handles, strict=True)])
        (u,) = yield from scmp_s1(side, [best.distance], [pk.encode(tau + 1)])
        (chosen,) = yield from smul_s1(side, [u], [best.handle])
        answer = pk.add(mask, chosen)
    opened = yield from open_s1(side, answer)
    # a mask outside its range concerns only the client that sent it
    return to_bytes(opened % (1 << 8 * answer_bytes(side.params)), answer_bytes(side.params))


def identify_s2(side: Side, entries: int) -> Rounds[None]:
    """S2's part for `entries` entries."""
    if entries:
        yield from distances_s2(side, entries)
        yield from batch_smin_s2(side, entries)
        yield from scmp_s2(side, 1)
        yield from smul_s2(side, 1)
    yield from open_s2(side)


def distances_s1(side: Side, query: Sequence[Z], entries: Sequence[Entry]) -> Rounds[list[Z]]:
    """[d_i] of every entry, in groups."""
    pk = side.pk
    minus = invert_many(query, pk.n2)
    out: list[Z] = []
    asked: Asked | None = None
    for i in range(0, len(entries), GROUP):
        bodies = [entry.coordinates(pk.ciphertext_bytes) for entry in entries[i : i + GROUP]]
        # [y_j - x_j]: the same square, and one inversion for the whole gallery
        groups = [[y * m % pk.n2 for y, m in zip(body, minus, strict=True)] for body in bodies]
        following = yield from ask_s1(side, groups, side.coordinate_bits)
        if asked is not None:
            out += yield from finish_s1(side, asked)
        asked = following
    if asked is not None:
        out += yield from finish_s1(side, asked)
    return out


def distances_s2(side: Side, entries: int) -> Rounds[None]:
    """S2's part of the same."""
    for i in range(0, entries, GROUP):
        count = min(GROUP, entries - i)
        yield from batch_square_s2(side, count, side.params.dimension, side.coordinate_bits)


def open_s1(side: Side, c: Z) -> Rounds[int]:
    """The plaintext of c, for S1 only."""
    pk = side.pk
    yield from send(OpenAsk(pk.dump(pk.add(c, side.zeros.take(1)[0]))))
    got = yield from receive(OpenReply)
    again = pk.load(got.ciphertext)
    (u2,) = load_partials(pk, got.partial, 1)
    return combine(pk, again, side.share.partial_decrypt(pk, again), u2)


def open_s2(side: Side) -> Rounds[None]:
    """S2 re-randomises and adds its partial decryption."""
    pk = side.pk
    asked = yield from receive(OpenAsk)
    c = pk.add(pk.load(asked.ciphertext), side.zeros.take(1)[0])
    yield from send(OpenReply(pk.dump(c), dump_partials(pk, [side.share.partial_decrypt(pk, c)])))
