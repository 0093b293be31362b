"""What each server sees, and what a simulator makes of it: public parameters, the server's own state and, where clients
work together with it, the secrets of those clients.

`Servers` plays both; where it `simulates` one of them, that one has no template, no mask of an entry and no key share:
the masked template is made by the trick of docs/security/prepared.md, everything else are uniform numbers in the place
of shares. A view is a table of bytes for each message, and what the server can work out
from its view and its own state (`derived`), alone or together with the client that asked.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from pura.bigint import invert, power
from pura.crypto.paillier import REFRESH_BITS
from pura.crypto.threshold import combine_many, dump_partials, load_partials
from pura.ids import Party
from pura.messages import Message
from pura.protocols.prepared import convert, dabits, digits, entries, lockout, match, template
from pura.protocols.prepared.convert import Converted
from pura.protocols.prepared.ring import reduced, uniform
from pura.protocols.prepared.template import MaskedTemplates
from pura.protocols.shares.ledger import Windows
from pura.rounds import Done, Rounds, advance, receive, run_pair, send
from views import stats
from views.world import FAN_INS, Keys, Table, World

D, SCALE, TAU = 16, 16, 256
NAMED = 2
"""Of the gallery's entries, how many a verification names."""
FOREVER = (float("inf"),) * 3


@dataclasses.dataclass
class View:
    """One server's, of one operation: bytes of each message by its place and kind, and tables of what follows."""

    messages: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    derived: dict[str, tuple[int, stats.Table]] = dataclasses.field(default_factory=dict)
    """By name: bits a number, and the numbers."""
    once: dict[str, list[Any]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    """What must never come twice in a life of the servers."""


def tapped(party: Rounds[Any], view: View) -> Rounds[Any]:
    """A party whose incoming messages are kept."""
    value: Message | None = None
    while not isinstance(step := advance(party, value), Done):
        value = yield step
        if value is not None:
            fields = [getattr(value, name) for name, kind in value.layout if kind is bytes]
            view.messages.append((type(value).__name__, b"".join(fields)))
    return step.result


# --- the simulator ----------------------------------------------------------------------------------


def opening(world: World, count: int) -> MaskedTemplates:
    """Ciphertexts that S1 opens to uniform numbers, and partial decryptions that fit S1's own share: no share of S2."""
    own, pk, cs, us = world.sides[0].share, world.pk, [], []
    for _ in range(count):
        v, rho = world.rng.below(int(pk.n)), world.rng.bits(pk.strength.l_bits + REFRESH_BITS)
        c = pk.add_plain(pk.table.power(rho), v)
        w = invert(power(pk.h, rho, pk.n), pk.n)
        cs.append(c)
        us.append(w * invert(own.partial_decrypt(pk, c), pk.n) % pk.n)
    return MaskedTemplates(pk.dump_many(cs), dump_partials(pk, us))


def convert_simulated(world: World, party: Party) -> Callable[..., Rounds[Converted]]:
    """The other server's part of a conversion, without a template and without its key share."""

    def convert_s2(side: Any, stock: Any, blinds: Any, masks: Any, templates: Any) -> Rounds[Converted]:
        yield from send(opening(world, len(blinds) * side.sizes.pieces))
        anything = uniform(side.rng, (len(blinds), side.sizes.dimension), side.sizes.digit_bits)
        return (yield from convert._convert(side, stock, blinds, anything))

    def convert_s1(side: Any, stock: Any, blinds: Any) -> Rounds[Converted]:
        yield from receive(MaskedTemplates)
        anything = uniform(side.rng, (len(blinds), side.sizes.dimension), side.sizes.digit_bits)
        return (yield from convert._convert(side, stock, blinds, anything))

    return convert_s2 if party is Party.S2 else convert_s1


# --- operations -------------------------------------------------------------------------------------


class Servers:
    """Both servers, with a gallery; `simulates` names the one that a simulator plays, if any."""

    def __init__(
        self, keys: Keys, seed: str, gallery: Table, simulates: Party | None = None, named: int | None = None,
        **policy: Any,
    ) -> None:  # fmt: skip
        """`named`: questions are about so many entries, None for all; `policy`: what `Params` says is counted."""
        self.world = World(keys, D, SCALE, TAU, seed.encode(), **policy)
        self.simulates, self.named = simulates, named
        self.windows = Windows(FOREVER[: 3 if any(self.world.sides[0].params.tries) else 1], lambda: 0.0)
        self.targets = self.world.targets(gallery, range(len(gallery)))
        if simulates is not None:  # nothing of an entry: E is public to both, the other share is anything
            k = self.world.sides[0].sizes.key_bits
            given = self.targets[simulates - 1]
            blocks = [
                dataclasses.replace(b, y=uniform(self.world.rng, b.y.shape, k).astype(np.uint32)) for b in given.blocks
            ]
            self.targets[simulates - 1] = dataclasses.replace(given, blocks=blocks)
        if named is not None:
            self.targets = [
                dataclasses.replace(t, positions=t.positions[:named], handles=t.handles[:named]) for t in self.targets
            ]
        self.places = len(gallery)

    def _play(self, one: Rounds[Any], two: Rounds[Any]) -> tuple[Any, Any, list[View]]:
        views = [View(), View()]
        first, second = run_pair(tapped(one, views[0]), tapped(two, views[1]))
        return first, second, views

    def ask(self, x: Table, pack: tuple[Any, Any] | None = None) -> list[View]:
        """A question about everybody, or about those who are named."""
        world, (one, two), named = self.world, self.world.sides, self.named
        need = match.need_for(one, match.contest_for(one, len(self.targets[0]), FAN_INS), named)
        packs = pack or world.packs(need, 1, self.targets[0].masked)[0]
        cs = [world.pk.encrypt(p, world.rng) for p in template.pack(one.sizes, x)]
        parts: dict[str, Any] = {"convert_s1": convert.convert_s1, "convert_s2": convert.convert_s2}
        if self.simulates is not None:
            parts[f"convert_{self.simulates.name.lower()}"] = convert_simulated(world, self.simulates)
        kept: dict[Party, Converted] = {}

        def keeping(party: Party, call: Any) -> Any:
            def wrapped(*args: Any) -> Rounds[Converted]:
                kept[party] = yield from call(*args)
                return kept[party]

            return wrapped

        borrows: list[Any] = []
        lift = dabits.lift

        def lifting(stock: Any, bits: Any, ring: int, *, first: bool) -> Any:
            if first:
                borrows.append(bits)
            return lift(stock, bits, ring, first=first)

        watched = {name: keeping(p, parts[name]) for p in Party if (name := f"convert_{p.name.lower()}")}
        with patch.object(digits, "lift", lifting), patch.multiple(match, **watched):
            share1, share2, views = self._play(
                match.match_s1(
                    one, packs[0], self.targets[0], FAN_INS, world.ledgers[0], world.tau, named=named,
                    windows=self.windows,
                ),
                match.match_s2(two, packs[1], cs, self.targets[1], FAN_INS, world.ledgers[1], world.tau, named=named),
            )  # fmt: skip
        sizes = one.sizes
        for party, view, own in zip(Party, views, packs, strict=True):
            if match.rule_for(one, named) is not None:
                words = world.ledgers[party - 1].now.of(self.targets[0].handles)
                view.derived["own counters"] = lockout.NARROW_BITS, reduced(words, lockout.NARROW_BITS)
            delta = reduced(kept[party].delta, sizes.ring_bits)
            view.derived["delta + own a"] = sizes.ring_bits, reduced(delta + own.blinds.a, sizes.ring_bits)[0]
            # with the client that asked: what is left is the other server's part of a
            view.derived["delta + own a - x"] = (
                sizes.ring_bits, reduced(delta + own.blinds.a - x.astype(np.uint64), sizes.ring_bits)[0],
            )  # fmt: skip
            view.once["delta + own a - x"] = [view.derived["delta + own a - x"][1].tobytes()]
        self._opened(views[0], x, cs, borrows[0])
        answer = bytes(a ^ b for a, b in zip(share1, share2, strict=True))
        if self.simulates is None:
            views[0].derived["answer"] = 64, np.frombuffer(answer, ">u8").astype(np.uint64)
        return views

    def _opened(self, view: View, x: Table, cs: list[Any], borrows: Any) -> None:
        """What S1 makes of the masked template: v, alone and beside what the client knows; borrows: its shares."""
        sizes, pk = self.world.sides[0].sizes, self.world.pk
        raw = next(body for kind, body in view.messages if kind == "MaskedTemplates")
        size = pk.ciphertext_bytes * sizes.pieces
        got = MaskedTemplates(raw[:size], raw[size:])
        opened_digits = template.open_masked(pk, self.world.sides[0].share, sizes, got, 1)[0]
        cs_masked = pk.load_many(raw[:size], sizes.pieces)
        us = load_partials(pk, raw[size:], sizes.pieces)
        own = self.world.sides[0].share.partial_decrypt_many(pk, cs_masked)
        v = [value % int(pk.n) for value in combine_many(pk, cs_masked, own, us)]
        view.derived["digits of v"] = sizes.digit_bits, opened_digits
        top = [value >> (pk.n_bits - 33) for value in v]  # N is close to 2^2048 or half of it: compared, not uniform
        view.derived["top of v"] = 0, np.array(top, np.uint64)
        w = sizes.digit_bits
        above = [(value >> (w * sizes.dimension + i * 32)) & 0xFFFFFFFF for value in v for i in range(8)]
        view.derived["v above the digits"] = 32, np.array(above, np.uint64)
        view.once["v"] = list(v)
        # with the client: c' / (c (1 + (v - P) N)) is what re-randomises; 1 would be nothing
        plains = template.pack(sizes, x)
        left = [
            int(c2 * invert(pk.add_plain(c, value - p), pk.n2) % pk.n2)
            for c2, c, value, p in zip(cs_masked, cs, v, plains, strict=True)
        ]
        if self.simulates is None:
            view.once["randomness beyond the client's"] = left
        opened_bits = next((body for kind, body in view.messages if kind == "OpenedBits"), b"")
        z = np.unpackbits(np.frombuffer(opened_bits, np.uint8), bitorder="little", count=sizes.dimension)
        half = (opened_digits >> np.uint64(w - 1)).astype(np.uint8)
        view.derived["a borrow under S2's daBit, beside v"] = 1, (z ^ borrows ^ half).astype(np.uint64)

    def enrol(self, ys: Table) -> list[View]:
        """Write entries, from shares of them."""
        world, sizes = self.world, self.world.sides[0].sizes
        places = np.arange(self.places, self.places + len(ys))
        self.places += len(ys)
        block = self.targets[0].masked[0]
        own = [world.mask(p, block)[places] for p in Party]
        blind = uniform(world.rng, ys.shape, sizes.ring_bits)
        shares = [blind, reduced(ys.astype(np.uint64) - blind, sizes.ring_bits)]
        if self.simulates is not None:
            shares[self.simulates - 1] = uniform(world.rng, ys.shape, sizes.ring_bits)
        one, two = (entries.masked_entries(sizes, s, m) for s, m in zip(shares, own, strict=True))
        e, _, views = self._play(one, two)
        for view, mask in zip(views, own, strict=True):
            rows = reduced(e.astype(np.uint64) + mask, sizes.key_bits)
            view.derived["E + own B"] = sizes.key_bits, rows.reshape(-1)
            left = reduced(rows - ys.astype(np.uint64), sizes.key_bits)
            view.once["E + own B - y"] = [row.tobytes() for row in left]
        return views


def table(views: list[View], i: int) -> stats.Table:
    """The i-th message of each of some views, which are of one length: (views, bytes)."""
    return np.stack([np.frombuffer(view.messages[i][1], np.uint8).astype(np.uint64) for view in views])


def kinds(view: View) -> list[tuple[str, int]]:
    """Names and lengths of a view's messages."""
    return [(kind, len(body)) for kind, body in view.messages]


def masks_of(seen: list[View]) -> Iterator[tuple[str, list[Any]]]:
    """What must not come twice, over all views."""
    every: dict[str, list[Any]] = defaultdict(list)
    for view in seen:
        for name, values in view.once.items():
            every[name] += values
    yield from every.items()
