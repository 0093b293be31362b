"""The four attacks that broke 0.1: they work on servers that look at no proof, and not on ours.

Each is a client with one credential and the view, or the disk, of one server that follows the protocol. What they have
in common is a ciphertext whose sender does not know what is inside.

    S1's secret    a known template plus 20 [s_j], s_j one of S2's secrets: enrolled or refused is s_j
    the gallery    a template's ciphertext times 2^k, above the slots that the mask covers: read by who opens
    a row          one coordinate of a stolen template moved by -2 g: it keeps its length if that coordinate is g
    a question     another client's, sent again under an id and with a one-time key of one's own

In 0.1 S1 masked, over the slots only, and S2 opened; now it is the other way round, so in the second one S1 reads.
Both servers run in one process, on real stores; nobody's group signs.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.crypto import proof, threshold
from pura.crypto.paillier import PublicKey
from pura.crypto.proof import Sealed
from pura.crypto.rng import Rng
from pura.errors import BadProof, InvalidTemplate, PuraError
from pura.ids import ContextDigest
from pura.protocols.prepared import template
from pura.protocols.prepared.client import SealedSession
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import Mask, digits_of
from pura_bench.inprocess import Pair, acquainted, directions, opened_unchecked
from pura_bench.security.judge import Row, attempts
from pura_server.claims import Proven

SECRETS = 6
COORDINATES = 2
AT_ONCE = 32
"""Guesses in one request."""


@dataclasses.dataclass
class Loot:
    """What an attack came to: what it should read, what it read, and everything that the servers said to the client."""

    secret: Any
    read: Any = None
    told: list[Any] = dataclasses.field(default_factory=list)


# --- the attacks --------------------------------------------------------------------------------------


def read_secrets_of_s2(pair: Pair) -> Loot:
    """S1 and a client. In 0.1 S1 was sent [s_j] under the clients' key; here they are handed over."""
    loot = Loot(pair.s2._session.ends.sender._delta[:SECRETS].tolist())
    known = np.zeros(pair.params.dimension, np.int64)
    known[1] = pair.params.scale
    items = []
    for bit in loot.secret:
        hidden = pair.pk.encrypt(bit, pair.rng)
        items.append(pair.entry_of(shifted(pair, pair.seal(known), pair.pk.scale(hidden, pair.params.scale + 4))))
    loot.told = list(pair.run(pair.s1.enroll(items)))
    loot.read = [_learned(one) for one in loot.told]
    return loot


def read_gallery(pair: Pair) -> Loot:
    """S1 and a client: a template that S1 saw on its way, moved above the slots. In 0.1 it lay on a disk."""
    y = directions(pair.params, 1)[0]
    (c,) = enrolled(pair, y)
    sizes, loot = Sizes.of(pair.params), Loot(y.tolist())
    slots, room = sizes.dimension * sizes.digit_bits, int(pair.pk.n).bit_length() - 2
    known, left = 0, slots
    with opened_by_s1(pair) as opened:
        while left > 0:
            up = room - left
            rest = pair.pk.scale(pair.pk.add_plain(c, -known), 1 << up)
            opened.clear()
            loot.told.append(question(pair, shifted(pair, pair.seal(y), rest)))
            if not opened:
                return loot
            hidden = slots + 1 - up  # bits of the rest that lie where the mask is
            if hidden <= 0:
                known, left = known + (opened[0] >> up), 0
            else:  # what lies below may have carried
                known, left = known + ((opened[0] >> slots + 1) - 1 << hidden), hidden + 1
    loot.read = (digits_of(sizes, [known % int(pair.pk.n)]).astype(np.int64) - pair.params.scale).tolist()
    return loot


def read_row(pair: Pair) -> Loot:
    """A template's ciphertext as it was on the way, and one credential. In 0.1 a copy of S1's disk was enough."""
    y = directions(pair.params, 1)[0]
    (c,) = enrolled(pair, y)
    loot = Loot(y[:COORDINATES].tolist(), [])
    digit_bits = Sizes.of(pair.params).digit_bits
    guesses = sorted((g for g in range(-pair.params.scale, pair.params.scale + 1) if g), key=abs)
    for j in range(COORDINATES):
        found: int | None = 0
        for at in range(0, len(guesses), AT_ONCE):
            some = guesses[at : at + AT_ONCE]
            moved = [pair.pk.add_plain(pair.pk.rerandomise(c, pair.rng), -2 * g << j * digit_bits) for g in some]
            outcomes = pair.run(pair.s1.enroll([pair.entry_of(Sealed((m,), (5,), (7,))) for m in moved]))
            loot.told += outcomes
            learned = [_learned(one) for one in outcomes]
            if None in learned:
                found = None
            if 0 in learned:
                found = some[learned.index(0)]
                break
        loot.read.append(found)
    return loot


def read_question(pair: Pair) -> Loot:
    """Either server and a client, or whoever recorded a question."""
    ys = directions(pair.params, 3)
    handles = pair.enroll(ys)
    theirs, _ = pair.query(ys[1])
    pair.run(pair.s1.identify(theirs))
    loot = Loot([handles[1]])
    own = SealedSession.new(pair.rng)
    mine, _ = pair.query(ys[0])
    for claim in (theirs.claim, mine.claim):
        again = dataclasses.replace(mine, ciphertexts=theirs.ciphertexts, seal_key=own.public_key, claim=claim)
        try:
            answer = pair.run(pair.s1.identify(again))
        except PuraError as error:
            loot.told.append(error)
        else:
            loot.told.append(answer)
            loot.read = opened_unchecked(own, answer, again.request_id)
    return loot


def _learned(outcome: Any) -> int | None:
    """The bit in the outcome of an enrolment: refused for its length or not; None where it says something else."""
    if isinstance(outcome, PuraError) and not isinstance(outcome, InvalidTemplate):
        return None
    return int(isinstance(outcome, InvalidTemplate))


def enrolled(pair: Pair, y: Any) -> list[Any]:
    """Enrol a victim; its ciphertexts, as whoever forwards them sees them."""
    item = pair.entry(y)
    pair.run(pair.s1.enroll([item]))
    return pair.pk.load_many(item.ciphertexts, 1)


def shifted(pair: Pair, own: Sealed, foreign: Any) -> Sealed:
    """One's own template plus what one does not know; with what one knows of it, which makes no proof."""
    return dataclasses.replace(own, ciphertexts=(pair.pk.add(own.ciphertexts[0], foreign),))


def question(pair: Pair, sealed: Sealed) -> Any:
    """What a client is told that asks with this template."""
    try:
        return pair.run(pair.s1.identify(pair.query_of(sealed)[0]))
    except PuraError as error:
        return error


@contextlib.contextmanager
def opened_by_s1(pair: Pair) -> Iterator[list[int]]:
    """What S1 opens meanwhile, each modulo N."""
    seen: list[int] = []

    def combined(*args: Any) -> list[int]:
        values = combine(*args)
        seen.extend(int(value) % int(pair.pk.n) for value in values)
        return values

    combine = threshold.combine_many
    with patch.object(template, "combine_many", combined):
        yield seen


# --- the servers --------------------------------------------------------------------------------------


class Credulous:
    """In place of a server's examiner: looks at no proof."""

    def __init__(self, pair: Pair) -> None:
        self._pk, self._rng = pair.pk, pair.rng

    def question(self, ciphertexts: bytes, *_: Any) -> Proven:
        """What `Examiner.question` would say of a good one."""
        return Proven(self._pk.load_many(ciphertexts, 1), self._rng.bytes(16), ContextDigest(b""))

    enrolment = question


def both(_: Pair) -> None:
    """Both servers look at proofs."""


def only_s2(pair: Pair) -> None:
    """S1 is in league with the client."""
    pair.s1._examiner = Credulous(pair)


def only_s1(pair: Pair) -> None:
    """S2 is in league with the client."""
    pair.s2._gate._examiner = Credulous(pair)


LOOKING: dict[str, Callable[[Pair], None]] = {"both look": both, "S2 looks": only_s2, "S1 looks": only_s1}


def without_proofs() -> contextlib.AbstractContextManager[Any]:
    """While it lasts, a build that does not check, at either server."""

    def check(pk: PublicKey, ciphertexts: bytes, count: int, proved: bytes, context: ContextDigest) -> proof.Proven:
        return proof.Proven(pk.load_many(ciphertexts, count), proved[16:32] + context[:16])

    return patch.object(proof, "check", check)


@contextlib.contextmanager
def as_in_0_1() -> Iterator[None]:
    """Without proofs, and masks that cover the slots of a template only."""

    def draw(cls: type[Mask], pk: PublicKey, sizes: Sizes, rng: Rng) -> Mask:
        r = rng.bits(sizes.dimension * sizes.digit_bits)
        return cls(digits_of(sizes, [r]), (pk.rerandomise(pk.encode(r), rng),))

    with without_proofs(), patch.object(Mask, "draw", classmethod(draw)):
        yield


# --- the arm ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Attack:
    """who: besides a client; control: the build on which it has to work."""

    name: str
    who: str
    read: Callable[[Pair], Loot]
    control: str


NO_PROOFS, OF_0_1, PRODUCT = "without proofs", "without proofs, masks over the slots only", "the product"
BUILDS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    NO_PROOFS: without_proofs,
    OF_0_1: as_in_0_1,
    PRODUCT: contextlib.nullcontext,
}
ATTACKS = (
    Attack("secrets of S2, by what is enrolled", "S1 and a client", read_secrets_of_s2, NO_PROOFS),
    Attack("a template, above the slots", "S1 and a client", read_gallery, OF_0_1),
    Attack("a template, by its length", "who copied a ciphertext, and a client", read_row, NO_PROOFS),
    Attack("who is on a recorded question", "who recorded it, and a client", read_question, NO_PROOFS),
)


def rows(keys: Path, tries: int, dimension: int, scale: int) -> Iterator[Row]:
    """Every attack on its control, and on the product with both servers looking and with either one in league."""
    for attack in ATTACKS:
        control = None
        builds = [(build, "nobody looks") for build in dict.fromkeys((attack.control, NO_PROOFS))]
        for build, looking in [*builds, *((PRODUCT, each) for each in LOOKING)]:
            got = []
            for _ in range(tries):
                with BUILDS[build](), acquainted(keys, dimension, scale) as pair:
                    LOOKING.get(looking, both)(pair)
                    got.append(attack.read(pair))
            where = f"{PRODUCT}, {looking}" if build == PRODUCT else build
            row = attempts(
                "chosen ciphertexts",
                attack.who,
                where,
                attack.name,
                [one.read == one.secret for one in got],
                told(outcome for one in got for outcome in one.told),
                control if build == PRODUCT else None,
            )
            control = control or row["succeeded"]
            yield row


def told(outcomes: Any) -> str:
    """What the client was told, by code and text, and how often."""
    said = collections.Counter(f"{one.code}: {one}" if isinstance(one, PuraError) else "taken" for one in outcomes)
    return "; ".join(f"{text} ({count})" for text, count in said.most_common())


def nothing_but_bad_proof(loot: Loot) -> bool:
    """Whether every attempt was refused, in the same words, and nothing was read."""
    return {(type(one), str(one)) for one in loot.told} == {(BadProof, str(BadProof()))} and loot.read != loot.secret
