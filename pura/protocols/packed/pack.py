"""The offline part of one query: everything that does not depend on who asks, made ahead and used once.

    masks     S1: r_j of the conversion
    cross     OTs for the cross term of the norm, with the bits of r_j as S1's choices
    stock     AND triples and random OTs for the norm check and the tournament
    products  A = prod_j G_j^(r_j) * fresh [0] of every block, at S2

Both servers know what the other one holds, so that what is missing when a query comes (the gallery has changed, or
there was no pack) is made on the spot by the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pura.bigint import Z
from pura.errors import MaterialUsed, ProtocolError
from pura.ids import BlockId
from pura.messages import Message, message
from pura.protocols.packed import norm
from pura.protocols.packed.convert import Masks
from pura.protocols.packed.extension import Ends
from pura.protocols.packed.gmw import Words
from pura.protocols.packed.material import Material, provide, provide_chosen, provide_sent
from pura.protocols.packed.norm import CrossReceiver, CrossSender, NormShare
from pura.protocols.packed.score import blind_products
from pura.protocols.packed.side import Side
from pura.protocols.packed.tasks import BlockReader, products
from pura.protocols.packed.tournament import Need
from pura.rounds import Rounds, receive, send


class BlockVersion(NamedTuple):
    """One version of one block; both servers have the same bytes under it."""

    block: BlockId
    version: int


@dataclasses.dataclass(frozen=True, repr=False)
class Targets:
    """The entries that a query is matched with.

    versions and readers: the blocks that hold them; positions (n,): each entry's place in the slots of all blocks put
    one behind the other; handles (n,) uint64; norms (n,) uint64: this server's shares of ||y_i||^2 modulo 2^b.
    """

    versions: Sequence[BlockVersion]
    readers: Sequence[BlockReader]
    positions: NDArray[np.int64]
    handles: Words
    norms: Words

    def __len__(self) -> int:
        return len(self.handles)


class _Once:
    """What is used once."""

    _used = False

    def use(self) -> None:
        """Raises `MaterialUsed` the second time."""
        if self._used:
            raise MaterialUsed()
        self._used = True

    @property
    def used(self) -> bool:
        """Whether it was."""
        return self._used


@dataclasses.dataclass(repr=False)
class PackS1(_Once):
    """S1's side. `sent`: the blocks whose product S2 has."""

    masks: Masks
    cross: CrossReceiver
    stock: Material
    sent: set[BlockVersion] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(repr=False)
class PackS2(_Once):
    """S2's side."""

    cross: CrossSender
    stock: Material
    products: dict[BlockVersion, Z] = dataclasses.field(default_factory=dict)


@message
class BlockProducts(Message):
    """S1 -> S2: A * fresh [0] of some blocks, in the order in which both have them."""

    blocks: int
    ciphertexts: bytes


def make_s1(side: Side, ends: Ends, need: Need) -> Rounds[PackS1]:
    """A new pack, without products."""
    masks = Masks.draw(side.rows, side.rng)
    cross = yield from provide_chosen(ends, norm.choices_of(side, masks), side.rng)
    stock = yield from provide(ends, need, side.rng)
    return PackS1(masks, CrossReceiver(*cross), stock)


def make_s2(side: Side, ends: Ends, need: Need) -> Rounds[PackS2]:
    """S2's side of `make_s1`."""
    cross = yield from provide_sent(ends, norm.transfers_for(side))
    stock = yield from provide(ends, need, side.rng)
    return PackS2(CrossSender(*cross), stock)


def give_products(side: Side, pack: PackS1, targets: Targets, part: slice) -> Rounds[None]:
    """S1: make and send the products that S2 lacks of some of the blocks."""
    missing = [i for i in range(len(targets.versions))[part] if targets.versions[i] not in pack.sent]
    if missing:
        readers = [targets.readers[i] for i in missing]
        tasks = products(
            side.pk, pack.masks.shares, side.rows.slot_bits, readers, blocks=len(targets.readers)
        )  # fmt: skip
        a = blind_products(side, side.run_all(tasks))
        yield from send(BlockProducts(len(a), side.pk.dump_many(a)))
        pack.sent |= {targets.versions[i] for i in missing}


def take_products(side: Side, pack: PackS2, versions: Sequence[BlockVersion], part: slice) -> Rounds[list[Z]]:
    """S2: the products of some of the blocks, those that it lacks from S1."""
    missing = [v for v in versions[part] if v not in pack.products]
    if missing:
        got = yield from receive(BlockProducts)
        if got.blocks != len(missing):
            raise ProtocolError(detail="number of products")
        pack.products.update(zip(missing, side.pk.load_many(got.ciphertexts, len(missing)), strict=True))
    return [pack.products[v] for v in versions[part]]


def parts_of(side: Side, blocks: int) -> list[slice]:
    """The groups of blocks that are worked on, and sent, at once."""
    return [slice(i, i + side.group) for i in range(0, blocks, side.group)]


# --- norms of a batch of templates, for enrolment ---------------------------------------------------


def norms_s1(side: Side, ends: Ends, masks: Sequence[Masks], fits: Sequence[bool]) -> Rounds[list[NormShare | None]]:
    """S1's share of the norm of each template of a batch; None where it does not fit, or has no template's norm."""
    taking = [m for m, fit in zip(masks, fits, strict=True) if fit]
    if not taking:
        return [None] * len(masks)
    choices = np.concatenate([norm.choices_of(side, m) for m in taking])
    cross = yield from provide_chosen(ends, choices, side.rng)
    stock = yield from provide(ends, norm.need(side, len(taking)), side.rng)
    split = [CrossReceiver(*part) for part in zip(*(np.split(c, len(taking)) for c in cross), strict=True)]
    checked = iter((yield from norm.check_s1(side, stock, taking, split)))
    return [next(checked) if fit else None for fit in fits]


def norms_s2(side: Side, ends: Ends, vs: Sequence[Sequence[int] | None]) -> Rounds[list[NormShare | None]]:
    """S2's side of `norms_s1`."""
    taking = [v for v in vs if v is not None]
    if not taking:
        return [None] * len(vs)
    cross = yield from provide_sent(ends, norm.transfers_for(side) * len(taking))
    stock = yield from provide(ends, norm.need(side, len(taking)), side.rng)
    split = [CrossSender(*part) for part in zip(*(np.split(c, len(taking)) for c in cross), strict=True)]
    checked = iter((yield from norm.check_s2(side, stock, taking, split)))
    return [next(checked) if v is not None else None for v in vs]
