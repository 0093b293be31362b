"""Conversion, block writing and scores of the packed engine against plain integers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pura.bigint import SubsetTable, Z, digits_for, signed_digits
from pura.crypto.encoding import ColumnLayout, distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SeededRng
from pura.errors import MalformedCiphertext, ProtocolError
from pura.ids import BlockId, Party
from pura.params import Metric, Params
from pura.protocols.packed import blocks, convert, score, tasks
from pura.protocols.packed.client import encrypt_template
from pura.protocols.packed.side import Side
from pura.rounds import run_pair


@dataclasses.dataclass(frozen=True)
class Held:
    raw: bytes

    def __call__(self) -> bytes:
        return self.raw


@pytest.fixture(scope="module")
def sides(request):
    folder = request.config.rootpath / "tests/fixtures/test-keys-2048"
    pk = load_public(folder / "public.key")
    params = Params(pk.key_id, 2048, dimension=8, metric=Metric.EUCLIDEAN)
    share = {p: load_share(folder / f"{p.name.lower()}.share", pk) for p in Party}
    return tuple(Side(pk, share[p], params, SeededRng(p.name)) for p in Party)


def rows_of(side, template, rng):
    return side.pk.load_many(encrypt_template(side.pk, side.params, template, rng), side.rows.ciphertexts)


def converted(sides, templates, rng):
    s1, s2 = sides
    masks = [convert.Masks.draw(s1.rows, rng) for _ in templates]
    rows = [rows_of(s1, t, rng) for t in templates]
    fits, vs = run_pair(convert.convert_s1(s1, rows, masks), convert.convert_s2(s2, len(templates)))
    assert all(fits)
    return masks, vs


def extreme(params, rng, count):
    """Templates at the edge of what the norm check lets through, of both signs, and zero."""
    out = [np.zeros(params.dimension, dtype=np.int64)]
    top = np.zeros(params.dimension, dtype=np.int64)
    top[0] = params.scale
    out += [top, -top, np.roll(top, 1)]
    while len(out) < count:
        y = rng.standard_normal(params.dimension)
        out.append(np.rint(params.scale * y / np.linalg.norm(y) * rng.choice([1.0, 0.3])).astype(np.int64))
    return np.array(out[:count])


def stored(sides, templates, rng, slots):
    masks, vs = converted(sides, templates, rng)
    one = [blocks.Term(b, i, 1, m.shares) for (b, i), m in zip(slots, masks, strict=True)]
    two = [blocks.Term(b, i, 1, v) for (b, i), v in zip(slots, vs, strict=True)]
    return run_pair(blocks.rewrite(sides[0], one, {}), blocks.rewrite(sides[1], two, {}))


def keys_of(sides, x, ys, held, slots, rng):
    """4 d + c of every entry, put together from both servers' shares."""
    s1, s2 = sides
    (mask,), (v,) = converted(sides, [x], rng)
    readers = [Held(s1.pk.dump_many(held[b])) for b in sorted(held)]
    bits = s1.rows.slot_bits
    a = score.blind_products(s1, s1.run_all(tasks.products(s1.pk, mask.shares, bits, readers)))
    minus = tasks.products(s1.pk, v, bits, readers, inverse=True)
    reply, masks = score.scores_s2(s2, a, s2.run_all(minus))
    q = np.stack(score.open_s1(s1, reply, len(readers)))
    rho = np.stack([np.uint64(0) - score.slots_of(s2, r) for r in masks])
    at = [b * s1.columns.entries + i for b, i in slots]
    norms = (ys * ys).sum(axis=1).astype(np.uint64)
    blind = np.arange(len(ys), dtype=np.uint64) * np.uint64(977)
    whole = np.uint64((1 << s1.columns.slot_bits) - 1)
    k1 = score.distance_keys(s1, q.reshape(-1)[at], blind, 123_456_789, first=True)
    k2 = score.distance_keys(s2, rho.reshape(-1)[at], (norms - blind) & whole, int(x @ x) - 123_456_789, first=False)
    return (k1 + k2) & whole


def test_keys_are_four_times_the_distance_and_a_carry(sides, request):
    rng, plain = SeededRng("scores"), np.random.default_rng(5)
    capacity = sides[0].columns.entries
    ys = extreme(sides[0].params, plain, capacity + 3)
    slots = [(BlockId(i // capacity), i % capacity) for i in range(len(ys))]
    held, same = stored(sides, ys, rng, slots)
    assert held == same
    for x in extreme(sides[0].params, plain, 5):
        keys = keys_of(sides, x, ys, held, slots, rng)
        carry = keys - 4 * distance2(x, ys).astype(np.uint64)
        assert set(carry.tolist()) <= {0, 1}


def test_a_power_table_gives_the_same_product(sides):
    rng = SeededRng("table")
    held, _ = stored(
        sides, extreme(sides[0].params, np.random.default_rng(1), 4), rng, [(BlockId(0), i) for i in range(4)]
    )
    reader = Held(sides[0].pk.dump_many(held[BlockId(0)]))
    e = [rng.bits(52) for _ in range(8)]
    task = tasks.products(sides[0].pk, e, 52, [reader])[0]
    undone = tasks.products(sides[0].pk, e, 52, [reader], inverse=True)[0]
    assert len({task() for _ in range(tasks.SPREAD + 2)}) == 1
    assert tasks.TABLES.get(reader, 1)[0] is not None
    assert task() * undone() % sides[0].pk.n2 == 1


def test_of_a_gallery_that_is_too_large_some_blocks_keep_their_tables():
    cache = tasks.TableCache(300)
    readers = [Held(bytes([i])) for i in range(6)]
    table = SubsetTable([Z(3)], 1, 15)
    for _ in range(2 * tasks.SPREAD):
        for reader in readers:
            _, build = cache.get(reader, 100)
            if build:
                cache.put(reader, table, 100)
    held = {r for r in readers if cache.get(r, 100)[0]}
    assert len(held) == 3
    for _ in range(2 * tasks.SPREAD):  # the gallery changes: what is not used any more makes room
        for reader in (new := [Held(bytes([i])) for i in range(10, 13)]):
            _, build = cache.get(reader, 100)
            if build:
                cache.put(reader, table, 100)
    assert all(cache.get(r, 100)[0] for r in new)
    assert not any(cache.get(r, 100)[0] for r in held)


def test_larger_groups_for_galleries_whose_tables_fit():
    groups = [tasks.group_for(128, 512, blocks, 256 << 20) for blocks in (1, 100, 150, 1000)]
    assert groups == [8, 8, 7, 6]
    assert tasks.window_for(128, 52) == 5


def test_signed_digits_reach_every_exponent_of_their_length():
    for window in range(2, 10):
        for bits in range(1, 60):
            for e in ((1 << bits) - 1, 1 - (1 << bits), 1 << (bits - 1)):
                (row,) = signed_digits([e], window)
                assert sum(d << (window * i) for i, d in enumerate(row)) == e
                assert len(row) <= digits_for(bits, window)


def test_erasing_leaves_zero_in_the_slot_and_the_rest_untouched(sides):
    rng, plain = SeededRng("erase"), np.random.default_rng(6)
    ys = extreme(sides[0].params, plain, 6)
    slots = [(BlockId(0), i) for i in range(6)]
    held, _ = stored(sides, ys, rng, slots)
    masks, vs = converted(sides, ys[2:3], rng)
    one = [blocks.Term(BlockId(0), 2, -1, masks[0].shares)]
    two = [blocks.Term(BlockId(0), 2, -1, vs[0])]
    after, same = run_pair(blocks.rewrite(sides[0], one, held), blocks.rewrite(sides[1], two, held))
    assert after == same
    ys[2] = 0
    keys = keys_of(sides, ys[4], ys, after, slots, rng)
    assert (keys // 4 == distance2(ys[4], ys).astype(np.uint64)).all()


def test_servers_with_different_blocks_notice(sides):
    rng = SeededRng("differ")
    ys = extreme(sides[0].params, np.random.default_rng(2), 1)
    held, _ = stored(sides, ys, rng, [(BlockId(0), 0)])
    masks, vs = converted(sides, ys, rng)
    with pytest.raises(ProtocolError):
        run_pair(
            blocks.rewrite(sides[0], [blocks.Term(BlockId(0), 1, 1, masks[0].shares)], held),
            blocks.rewrite(sides[1], [blocks.Term(BlockId(0), 1, 1, vs[0])], {}),
        )


def test_what_exceeds_its_slots_is_flagged_and_hurts_nobody_else(sides):
    s1, s2 = sides
    rng = SeededRng("flag")
    good = rows_of(s1, extreme(s1.params, np.random.default_rng(3), 2)[1], rng)
    wide = [s1.pk.encrypt(int(s1.pk.n) // 3, rng) for _ in range(s1.rows.ciphertexts)]
    stranger = [s1.pk.n2 - 2 for _ in range(s1.rows.ciphertexts)]  # a unit that no encryption gives
    masks = [convert.Masks.draw(s1.rows, rng) for _ in range(3)]
    fits, vs = run_pair(convert.convert_s1(s1, [wide, good, stranger], masks), convert.convert_s2(s2, 3))
    assert fits == [False, True, False]
    assert vs[0] is None
    assert vs[2] is None


def test_a_wrong_partial_decryption_is_refused(sides):
    s1, s2 = sides
    rng = SeededRng("partial")
    a = [s1.pk.zero(rng)]
    reply, _ = score.scores_s2(s2, a, [s1.pk.zero(rng)])
    spoiled = dataclasses.replace(reply, partials=reply.partials[:-1] + bytes([reply.partials[-1] ^ 1]))
    with pytest.raises(MalformedCiphertext):
        score.open_s1(s1, spoiled, 1)
    with pytest.raises(ProtocolError):
        score.open_s1(s1, reply, 2)


@pytest.mark.parametrize(("bits", "entries"), [(2048, 83), (3072, 126)])
def test_the_column_layout_is_the_designs(bits, entries, sides):
    layout = ColumnLayout.of(dataclasses.replace(sides[0].params, n_bits=bits, dimension=128))
    assert (layout.slot_bits, layout.entries) == (24, entries)
