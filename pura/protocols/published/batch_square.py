"""BatchSquare: k ciphertexts [x_1..x_k] -> [sum x_i^2], for many groups of k at once (Pura).

    S1:  X_i = [x_i + r_i];  C = the X_i packed by Horner, floor((|N| - 1) / slot) in one ciphertext;  sends C, PDec1(C)
    S2:  unpacks the x_i + r_i from Dec(C);  sends [sum (x_i + r_i)^2]
    S1:  [sum x_i^2] = [sum (x_i + r_i)^2] prod [x_i]^(-2 r_i) [-sum r_i^2]

Groups of k = 1 give [x_i^2] each. Slots have w + sigma + 2 bits for |x_i| < 2^w (38 in a ciphertext at |N| = 2048,
S = 512). The masks of one ciphertext are added in one product after Horner; the result is the same.

A client may send coordinates of any size: this protocol has no check of a template's norm. A packed plaintext that
leaves its slots as a whole is refused (`InvalidTemplate`); a carry into the slot above gives a wrong distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z, multi_power, power, signed_digits
from pura.crypto.encoding import pack_slots, unpack_slots
from pura.errors import InvalidTemplate
from pura.messages import Message, message
from pura.protocols.published.side import SIGMA, Side
from pura.rounds import Rounds, receive, send

_WINDOW = 5


@message
class SquareAsk(Message):
    """S1 -> S2: the packed C and PDec1(C)."""

    ciphertexts: bytes
    partials: bytes


@message
class SquareReply(Message):
    """S2 -> S1: [sum (x_i + r_i)^2] of each group."""

    squares: bytes


def slot_bits(side: Side, width: int) -> int:
    """width + sigma + 2: room for x + r."""
    return width + SIGMA + 2


def per_ciphertext(side: Side, width: int) -> int:
    """floor((|N| - 2) / slot): the packed plaintext stays below N/2."""
    return side.pk.plaintext_bits // slot_bits(side, width)


@dataclasses.dataclass(frozen=True, repr=False)
class Asked:
    """What S1 keeps of a batch while S2 works on it: the groups and their masks, in one row."""

    groups: Sequence[Sequence[Z]]
    masks: Sequence[int]


def batch_square_s1(side: Side, groups: Sequence[Sequence[Z]], width: int) -> Rounds[list[Z]]:
    """S1's part: [sum x_i^2] of each group; all groups have the same k, all |x_i| < 2^width."""
    if not groups:
        return []
    asked = yield from ask_s1(side, groups, width)
    return (yield from finish_s1(side, asked))


def ask_s1(side: Side, groups: Sequence[Sequence[Z]], width: int) -> Rounds[Asked]:
    """The first half of S1's part; several batches may be on their way to S2, to be finished in the same order."""
    masks = [(1 << width) + side.rng.bits(width + SIGMA) for group in groups for _ in group]
    yield from send(step_1(side, [x for group in groups for x in group], masks, width))
    return Asked(groups, masks)


def finish_s1(side: Side, asked: Asked) -> Rounds[list[Z]]:
    """The second half; all but one product an entry is done before S2's answer is needed."""
    crosses = cross_terms(side, asked.groups, asked.masks)
    got = yield from receive(SquareReply)
    squares = side.pk.load_many(got.squares, len(asked.groups))
    return [side.pk.add(s, cross) for s, cross in zip(squares, crosses, strict=True)]


def batch_square_s2(side: Side, groups: int, size: int, width: int) -> Rounds[None]:
    """S2's part for `groups` groups of `size`."""
    if groups:
        yield from send(step_2(side, (yield from receive(SquareAsk)), groups, size, width))


def step_1(side: Side, xs: Sequence[Z], masks: Sequence[int], width: int) -> SquareAsk:
    """C = (..([x_k] ^ (2^slot) [x_(k-1)]) ^ (2^slot) ..) [sum r_i 2^(slot i)], fresh;  PDec1(C)."""
    pk, slot, step = side.pk, slot_bits(side, width), per_ciphertext(side, width)
    starts = range(0, len(xs), step)
    packed = side.workers.map(_horner, [(list(xs[i : i + step]), slot, pk.n2) for i in starts])
    hidden = side.fresh([pack_slots(masks[i : i + step], slot) for i in starts])
    return SquareAsk(*side.ask([pk.add(c, r) for c, r in zip(packed, hidden, strict=True)]))


def step_2(side: Side, asked: SquareAsk, groups: int, size: int, width: int) -> SquareReply:
    """x_i + r_i = the slots of Dec(C);  [sum (x_i + r_i)^2] of each group, fresh."""
    slot, step, total = slot_bits(side, width), per_ciphertext(side, width), groups * size
    plains = side.decrypt("batch_square", asked.ciphertexts, asked.partials, -(-total // step))
    values: list[int] = []
    for plain in plains:
        count = min(step, total - len(values))
        if not 0 <= plain < 1 << count * slot:
            raise InvalidTemplate(detail="a packed plaintext leaves its slots")
        values += unpack_slots(plain, slot, count)
    sums = [sum(v * v for v in values[i : i + size]) for i in range(0, total, size)]
    return SquareReply(side.pk.dump_many(side.fresh(sums)))


def cross_terms(side: Side, groups: Sequence[Sequence[Z]], masks: Sequence[int]) -> list[Z]:
    """prod [x_i]^(-2 r_i) [-sum r_i^2] of each group."""
    pk, size = side.pk, len(groups[0])
    rs = [masks[i : i + size] for i in range(0, len(masks), size)]
    products = side.workers.map(_product, [(list(g), r, pk.n2) for g, r in zip(groups, rs, strict=True)])
    return [pk.add_plain(c, -sum(v * v for v in r)) for c, r in zip(products, rs, strict=True)]


def _horner(item: tuple[list[Z], int, Z]) -> Z:
    """[sum x_i 2^(slot i)]."""
    xs, slot, n2 = item
    out = xs[-1]
    for x in reversed(xs[:-1]):
        out = power(out, 1 << slot, n2) * x % n2
    return out


def _product(item: tuple[list[Z], Sequence[int], Z]) -> Z:
    """prod [x_i]^(-2 r_i)."""
    xs, rs, n2 = item
    return multi_power(xs, signed_digits([-2 * r for r in rs], _WINDOW), _WINDOW, n2)
