"""Identify and verify: one encrypted template against some entries, file by file what docs/architecture.md walks
through.

    1 conversion    S1 -> S2  [x + S + r]                        convert.py
    2 norm check    lo <= ||x||^2 <= hi on shares, opened        norm.py
    3 scores        4 d_i + c_i on shares, a block at a time     score.py
    4 entries asked near too often are left out, on shares       lockout.py, if the policy has a limit
    5 the nearest, within the threshold, on shares               tournament.py

Each server ends with its share of k handles, 8 bytes each; what it does with it is the server's business.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pura.bigint import Z
from pura.errors import InvalidTemplate
from pura.protocols.packed import lockout, norm, score, tournament
from pura.protocols.packed.convert import convert_s1, convert_s2
from pura.protocols.packed.lockout import Ledger, Limit
from pura.protocols.packed.pack import PackS1, PackS2, Targets, give_products, parts_of, take_products
from pura.protocols.packed.score import Words, distance_keys
from pura.protocols.packed.select import Candidates
from pura.protocols.packed.side import Side
from pura.protocols.packed.tasks import products
from pura.protocols.packed.tournament import Contest, Need
from pura.rounds import Rounds, receive, send

HANDLE_BYTES = 8


def contest_for(side: Side, entries: int, fan_in: int) -> Contest:
    """The tournament of one query."""
    return Contest(entries, side.columns.slot_bits, side.params.top_k, fan_in)


def limit_for(side: Side) -> Limit | None:
    """The collection's limit on questions near one entry, if it has one."""
    p = side.params
    return Limit(p.lockout_tau, p.lockout_limit) if p.lockout_limit else None


def need_for(side: Side, contest: Contest) -> Need:
    """The stock that one query takes."""
    total = norm.need(side, 1)
    if contest.candidates:
        total += tournament.need(contest)
        if limit_for(side) is not None:
            total += lockout.need(contest.candidates, contest.bits)
    return total


def match_s1(
    side: Side,
    template: Sequence[Z],
    pack: PackS1,
    targets: Targets,
    fan_in: int,
    ledger: Ledger,
    *,
    new_window: bool = False,
) -> Rounds[bytes]:
    """S1's share of the handles. `template` is validated; the pack's stock holds what `need_for` says; `ledger` and
    `new_window` are for a collection with a limit on questions near one entry.

    Raises `InvalidTemplate` for what no honest client sends; S2 then knows as much and ends too.
    """
    pack.use()
    (fits,) = yield from convert_s1(side, [template], [pack.masks])
    if not fits:
        raise InvalidTemplate()
    (own,) = yield from norm.check_s1(side, pack.stock, [pack.masks], [pack.cross])
    if own is None:
        raise InvalidTemplate()
    contest = contest_for(side, len(targets), fan_in)
    if not len(targets):
        return bytes(HANDLE_BYTES * contest.results)
    slots = yield from _scores_s1(side, pack, targets)
    keys = distance_keys(side, slots[targets.positions], targets.norms, own.value, first=True)
    entries = Candidates(keys, targets.handles)
    if (limit := limit_for(side)) is not None:
        epoch = side.rng.bytes(lockout.EPOCH_BYTES)
        entries = yield from lockout.count_s1(
            pack.stock, ledger, limit, entries, contest.bits, epoch, reset=new_window
        )  # fmt: skip
    return _dump((yield from tournament.nearest(pack.stock, contest, entries, side.params.tau, first=True)))


def match_s2(side: Side, pack: PackS2, targets: Targets, fan_in: int, ledger: Ledger) -> Rounds[bytes | None]:
    """S2's share of the handles, or None when the template was refused."""
    pack.use()
    (v,) = yield from convert_s2(side, 1)
    if v is None:
        return None
    (own,) = yield from norm.check_s2(side, pack.stock, [v], [pack.cross])
    if own is None:
        return None
    contest = contest_for(side, len(targets), fan_in)
    if not len(targets):
        return bytes(HANDLE_BYTES * contest.results)
    slots = yield from _scores_s2(side, pack, targets, v)
    keys = distance_keys(side, slots[targets.positions], targets.norms, own.value, first=False)
    entries = Candidates(keys, np.zeros(len(targets), np.uint64))  # the handles are public: S1 brings them in
    if (limit := limit_for(side)) is not None:
        entries = yield from lockout.count_s2(pack.stock, ledger, limit, entries, targets.handles, contest.bits)
    return _dump((yield from tournament.nearest(pack.stock, contest, entries, side.params.tau, first=False)))


def _scores_s1(side: Side, pack: PackS1, targets: Targets) -> Rounds[Words]:
    """The slots of Q of all blocks, (blocks L,). What S2 lacks goes out first: S2 multiplies one group while S1 makes
    the next."""
    parts = parts_of(side, len(targets.versions))
    for part in parts:
        yield from give_products(side, pack, targets, part)
    out: list[Words] = []
    for part in parts:
        got = yield from receive(score.ScoreBlocks)
        out += score.open_s1(side, got, len(targets.versions[part]))
    return np.concatenate(out)


def _scores_s2(side: Side, pack: PackS2, targets: Targets, v: Sequence[int]) -> Rounds[Words]:
    """The slots of -R of all blocks modulo 2^b, (blocks L,)."""
    modulus = np.uint64((1 << side.columns.slot_bits) - 1)
    tasks = products(side.pk, v, side.rows.slot_bits, targets.readers, inverse=True)
    out: list[Words] = []
    for part in parts_of(side, len(tasks)):
        a = yield from take_products(side, pack, targets.versions, part)
        reply, masks = score.scores_s2(side, a, side.run_all(tasks[part]))
        yield from send(reply)
        out += [(np.uint64(0) - score.slots_of(side, r)) & modulus for r in masks]
    return np.concatenate(out)


def _dump(handles: Sequence[int]) -> bytes:
    return b"".join(h.to_bytes(HANDLE_BYTES, "big") for h in handles)
