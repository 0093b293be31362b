"""Step 1, conversion: from a client's row-packed ciphertexts to integer shares of each coordinate.

    S1: r_j uniform of bits(S) + sigma bits, drawn ahead of time
    S1 -> S2: [x + S + r] row-packed, re-randomised, with PDec1
    S2: v_j = x_j + S + r_j

so that x_j = v_j - (r_j + S) over the integers. S2 sees v_j, which hides x_j to within 2^-sigma (an honest client's
x_j + S has bits(S) + 1 bits). A client can put any number into a slot; what does not fit the slots is refused here, and
what fits but is no template is refused by the norm check, in a ring where nothing that fits a slot wraps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z
from pura.crypto.encoding import RowLayout
from pura.crypto.rng import Rng
from pura.crypto.threshold import dump_partials, load_partials
from pura.errors import MalformedMessage, ProtocolError
from pura.messages import Message, message
from pura.protocols.packed.side import Side
from pura.protocols.packed.tasks import openings
from pura.rounds import Rounds, receive, send


@dataclasses.dataclass(frozen=True, repr=False)
class Masks:
    """S1's side of one template: the slot masks r_j, and r_j + S, its share of every coordinate."""

    r: tuple[int, ...]
    shares: tuple[int, ...]

    @classmethod
    def draw(cls, rows: RowLayout, rng: Rng) -> Masks:
        """Fresh masks for one template; for one use."""
        r = tuple(rng.bits(rows.mask_bits) for _ in range(rows.dimension))
        return cls(r, tuple(v + rows.scale for v in r))


@message
class MaskedRows(Message):
    """S1 -> S2: [x + S + r] for each template, and PDec1 of each ciphertext."""

    templates: int
    ciphertexts: bytes
    partials: bytes


@message
class Converted(Message):
    """S2 -> S1: one byte a template: 1 if it opened to numbers that fit their slots, else 0."""

    fits: bytes


def convert_s1(side: Side, templates: Sequence[Sequence[Z]], masks: Sequence[Masks]) -> Rounds[list[bool]]:
    """Mask and hand over the templates, each `rows.ciphertexts` validated ciphertexts. Which of them fit."""
    pk, rows = side.pk, side.rows
    cs = []
    for template, mask in zip(templates, masks, strict=True):
        packed = rows.pack_raw(mask.r)
        cs += [pk.rerandomise(pk.add_plain(c, r), side.rng) for c, r in zip(template, packed, strict=True)]
    u1 = side.share.partial_decrypt_many(pk, cs)
    yield from send(MaskedRows(len(templates), pk.dump_many(cs), dump_partials(pk, u1)))
    reply = yield from receive(Converted)
    if len(reply.fits) != len(templates) or set(reply.fits) - {0, 1}:
        raise ProtocolError(detail="conversion flags")
    return [bool(b) for b in reply.fits]


def convert_s2(side: Side, templates: int) -> Rounds[list[list[int] | None]]:
    """v = x + S + r of each template, or None where a template does not decrypt or exceeds its slots."""
    pk, rows = side.pk, side.rows
    got = yield from receive(MaskedRows)
    per = rows.ciphertexts
    if got.templates != templates:
        raise ProtocolError(detail="number of templates")
    cs = pk.load_many(got.ciphertexts, per * templates)
    u1 = load_partials(pk, got.partials, per * templates)
    u2 = side.share.partial_decrypt_many(pk, cs)
    plain = side.run_all(openings(pk, cs, u1, u2))
    out = [_slots(rows, plain[i : i + per]) for i in range(0, per * templates, per)]
    yield from send(Converted(bytes(v is not None for v in out)))
    return out


def _slots(rows: RowLayout, plain: Sequence[Z | None]) -> list[int] | None:
    """A template's slots, or None: the client's doing, which costs that client its request and nobody else's."""
    try:
        return rows.unpack([int(p) for p in plain if p is not None])
    except MalformedMessage:
        return None
