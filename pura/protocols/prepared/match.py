"""Identify and verify: one encrypted template against some entries, file by file what docs/architecture.md walks
through.

    1 conversion   coordinates, delta = x - a, |x|^2 on shares                 convert.py
    2 keys         -<x, y_i> on shares, one product with a matrix a server     keys.py
    3 entries asked near too often are left out, on shares                     lockout.py, if the policy has a limit
    4 the nearest, on shares; beside it                                        tournament.py
          the norm bit, on shares                                              norm.py
          the question counted, and who is left out in the next one            lockout.py
    5 within the threshold, if the norm bit says so                            tournament.py

Each server ends with its share of k handles, 8 bytes each. Nothing is opened but delta; a template of another length is
answered "nobody", and neither server knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache

import numpy as np

from pura.bigint import Z
from pura.crypto.bits import Words
from pura.protocols.prepared import convert, lockout, norm, tournament
from pura.protocols.prepared.blocks import Targets
from pura.protocols.prepared.convert import Converted, convert_s1, convert_s2
from pura.protocols.prepared.keys import keys
from pura.protocols.prepared.lockout import Rule, Standing
from pura.protocols.prepared.material import Hand
from pura.protocols.prepared.pack import Pack
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.tournament import Contest, FanIns
from pura.protocols.shares.gmw import Bits
from pura.protocols.shares.ledger import EPOCH_BYTES, Ledger, Windows
from pura.protocols.shares.select import Candidates
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, together

HANDLE_BYTES = 8


def contest_for(side: Side, entries: int, fan_ins: FanIns) -> Contest:
    """The tournament of one question."""
    sizes = side.sizes
    return Contest(entries, sizes.key_bits, sizes.never, side.params.top_k, fan_ins)


def need_for(side: Side, contest: Contest, named: int | None = None) -> Need:
    """The circuits of one question: about all entries, or about so many named ones."""
    return _need(side.sizes, contest, rule_for(side, named))


@lru_cache(1 << 10)
def _need(sizes: Sizes, contest: Contest, rule: Rule | None) -> Need:
    total = convert.need(sizes, 1)
    if contest.candidates:
        total += _beside_need(sizes, contest, rule) + tournament.need(contest)
        if rule is not None:
            total += lockout.hide_need(contest, rule)
    return total


@lru_cache(1 << 10)
def _beside_need(sizes: Sizes, contest: Contest, rule: Rule | None) -> Need:
    """What runs beside the tournament."""
    total = norm.need(sizes, 1)
    return total if rule is None else total + lockout.count_need(contest, rule)


def below(side: Side, tau: int) -> int:
    """Keys within tau are below this: -<x, y> < 1 - t, where d = 2 S^2 - 2 <x, y> <= tau means <x, y> >= t."""
    return 1 - (side.params.scale**2 - tau // 2)


def rule_for(side: Side, named: int | None) -> Rule | None:
    """What is counted of a question about all entries (None), or about so many named ones, if anything is."""
    p = side.params
    if p.lockout_limit:
        return Rule(below(side, p.lockout_tau), p.lockout_limit)
    tries = p.tries_for(named)
    return None if tries is None else Rule(below(side, p.tau_deep), tries[0], near=False, sooner=tries[1:])


def match_s1(
    side: Side, pack: Pack, targets: Targets, fan_ins: FanIns, ledger: Ledger, tau: int, *, named: int | None = None,
    windows: Windows | None = None,
) -> Rounds[bytes]:  # fmt: skip
    """S1's share of the handles; the pack holds what `need_for` says, and the products of the targets' blocks; named:
    how many entries the question names, None if it is about all; tau is what `Params.tau_for` gives; `ledger` and
    `windows` are for a collection that counts questions about an entry."""
    pack.use()
    x = yield from convert_s1(side, pack.hand, pack.blinds)
    contest, standing = contest_for(side, len(targets), fan_ins), None
    if not len(targets):
        return bytes(HANDLE_BYTES * contest.results)
    entries = Candidates(keys(side, pack, targets, x.delta[0]), targets.handles)
    rule = rule_for(side, named)
    with ExitStack() as turn:
        if rule is not None:
            standing = yield from lockout.open_s1(rule, ledger, turn, side.rng.bytes(EPOCH_BYTES), windows)
        return (yield from _nearest(side, pack.hand, contest, targets.handles, entries, x, rule, standing, tau))


def match_s2(
    side: Side, pack: Pack, template: Sequence[Z], targets: Targets, fan_ins: FanIns, ledger: Ledger,
    tau: int, *, named: int | None = None,
) -> Rounds[bytes]:  # fmt: skip
    """S2's share of the handles. `template` is validated."""
    pack.use()
    x = yield from convert_s2(side, pack.hand, pack.blinds, pack.masks, [template])
    contest, standing = contest_for(side, len(targets), fan_ins), None
    if not len(targets):
        return bytes(HANDLE_BYTES * contest.results)
    # the handles are public: S1 brings them in
    entries = Candidates(keys(side, pack, targets, x.delta[0]), np.zeros(len(targets), np.uint64))
    rule = rule_for(side, named)
    if rule is not None:
        standing = yield from lockout.open_s2(rule, ledger)
    return (yield from _nearest(side, pack.hand, contest, targets.handles, entries, x, rule, standing, tau))


def _nearest(
    side: Side, hand: Hand, contest: Contest, handles: Words, entries: Candidates, x: Converted,
    rule: Rule | None, standing: Standing | None, tau: int,
) -> Rounds[bytes]:  # fmt: skip
    beside, runners = hand.part(_beside_need(side.sizes, contest, rule)), entries
    if rule is not None and standing is not None:
        words = standing.counters.of(handles)
        runners = yield from lockout.hide(hand, rule, contest, entries, words, first=side.first)
    good, left = yield from together(
        _beside(side, beside, contest, handles, entries.keys, x, rule, standing),
        tournament.contend(hand, contest, runners, first=side.first),
    )
    best = yield from tournament.decide(hand, contest, left, below(side, tau), good, first=side.first)
    return b"".join(h.to_bytes(HANDLE_BYTES, "big") for h in best)


def _beside(
    side: Side, hand: Hand, contest: Contest, handles: Words, own_keys: Words, x: Converted, rule: Rule | None,
    standing: Standing | None,
) -> Rounds[Bits]:  # fmt: skip
    """The norm bit; then the question is counted."""
    good = yield from norm.has_length(hand, side.sizes, x.norms, first=side.first)
    if standing is not None and rule is not None:
        count = lockout.count_s1 if side.first else lockout.count_s2
        yield from count(hand, rule, contest, standing, handles, own_keys, good)
    return good
