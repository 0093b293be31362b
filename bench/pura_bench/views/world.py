"""Where views come from: both real servers, or one of them against the simulator of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pura.crypto.paillier import REFRESH_BITS, PublicKey
from pura.crypto.rng import SeededRng
from pura.crypto.seal import SealKey
from pura.crypto.threshold import KeyShare
from pura.errors import PuraError
from pura.ids import ClientId, EnrolmentId, Handle, Party, RequestId
from pura.messages import Message
from pura.params import Params
from pura.protocols.packed.client import encrypt_template
from pura.protocols.packed.match import contest_for, need_for
from pura.protocols.packed.side import Side
from pura.rounds import Done, Receive, Rounds, Send, advance, run_pair
from pura.store.sqlite import SqliteStore
from pura_bench.views.simulate import SimulatedS1, SimulatedS2
from pura_server.backend import NewEntry, Query
from pura_server.packed import PackedGateway, PackedPeer
from pura_server.packed.gallery import View, view_of

T = TypeVar("T")
Who = Literal["both", "S1", "S2"]
"""Which servers are real; the other one is simulated."""
Log = list[tuple[bool, Message]]
"""A server's messages in order; True for those that it received."""


class RefreshLog(SeededRng):
    """A server's source, which remembers what it re-randomised with: the server knows that."""

    def __init__(self, seed: str, bits: int) -> None:
        super().__init__(seed)
        self._refresh = bits
        self.refreshes: list[int] = []

    def bits(self, count: int) -> int:
        """See `Rng.bits`."""
        value = super().bits(count)
        if count == self._refresh:
            self.refreshes.append(value)
        return value


def recorded(party: Rounds[T], log: Log) -> Rounds[T]:
    """The same party; its messages are put down."""
    step = advance(party, None)
    while not isinstance(step, Done):
        if isinstance(step, Send):
            log.append((False, step.message))
        got = yield step
        if isinstance(step, Receive):
            assert got is not None
            log.append((True, got))
        step = advance(party, got)
    return step.result  # type: ignore[return-value]


@dataclasses.dataclass
class Keys:
    """A key set that is for tests."""

    pk: PublicKey
    shares: dict[Party, KeyShare]


class World:
    """Two servers on stores of their own, at least one of them real, and clients."""

    def __init__(
        self,
        keys: Keys,
        folder: Path,
        seed: str,
        who: Who = "both",
        *,
        entries_a_block: int | None = None,
        packs: int = 0,
        **how: Any,
    ) -> None:
        """`entries_a_block` makes blocks smaller than they could be, so that few entries fill several."""
        self.keys, self.who, pk = keys, who, keys.pk
        self.params = Params(pk.key_id, pk.n_bits, **how)
        self.client = SeededRng(f"{seed} client")
        refresh = pk.strength.l_bits + REFRESH_BITS
        self.rngs = {p: RefreshLog(f"{seed} {p.name}", refresh) for p in Party}
        self.stores = {p: self._store(folder, p) for p in Party if who in ("both", p.name)}
        self.logs: dict[Party, Log] = {p: [] for p in self.stores}
        self.sides: dict[Party, Side] = {}
        if who != "S2":
            self.s1 = PackedGateway(
                pk, keys.shares[Party.S1], self.params, self.stores[Party.S1], self.rngs[Party.S1], packs=packs,
                light_packs=0, clock=lambda: 0.0,
            )  # fmt: skip
            self._adopt(Party.S1, self.s1, entries_a_block)
        if who != "S1":
            self.s2 = PackedPeer(pk, keys.shares[Party.S2], self.params, self.stores[Party.S2], self.rngs[Party.S2])
            self._adopt(Party.S2, self.s2, entries_a_block)
        draw = SeededRng(f"{seed} simulator")
        if who == "S1":
            self._fake2 = SimulatedS2(self.sides[Party.S1], self.view, draw)
        if who == "S2":
            self._fake1 = SimulatedS1(self.sides[Party.S2], self.view, draw)

    def _store(self, folder: Path, party: Party) -> SqliteStore:
        return SqliteStore.open(
            folder / party.name,
            role=party,
            agreement=self.params.agreement,
            key_id=self.keys.pk.key_id,
            block_bytes=self.keys.pk.ciphertext_bytes,
        )

    def _adopt(self, party: Party, server: PackedGateway | PackedPeer, entries: int | None) -> None:
        side = self.sides[party] = server._side
        if entries is not None:
            side.__dict__["columns"] = dataclasses.replace(side.columns, entries=entries)
            server._pictures.refresh()

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores.values():
            store.close()

    def view(self) -> View:
        """The gallery as a real server's store has it; public, but for the norm shares."""
        party, store = next(iter(self.stores.items()))
        return view_of(store.snapshot(), self.sides[party].columns.entries)

    def handle(self, place: int) -> Handle:
        """The entry at this place among all, in the order of blocks and slots."""
        return Handle(int(self.view().handles[place]))

    # --- operations: what is asked is seen by a real S1's client and real servers only -----------

    def connect(self) -> dict[Party, Log]:
        """A connection."""
        if self.who == "S2":
            return self._play(None, self._fake1.connect())
        return self._play(self.s1.reconcile())

    def refill(self) -> dict[Party, Log]:
        """A pack for a question over all entries."""
        if self.who == "S2":
            need = need_for(self.sides[Party.S2], contest_for(self.sides[Party.S2], self._grown(), 2))
            return self._play(None, self._fake1.refill(need, full=True))
        party = self.s1.refill()
        assert party is not None
        return self._play(party)

    def _grown(self) -> int:
        return int(np.ceil(len(self.view()) * 1.1))

    def enrol(self, ys: NDArray[np.int64]) -> dict[Party, Log]:
        """A batch of templates."""
        if self.who == "S2":
            places = self.stores[Party.S2].allocate(len(ys), self.sides[Party.S2].columns.entries)
            return self._play(None, self._fake1.enrol([(int(b), int(s)) for b, s in places]))
        items = [NewEntry(EnrolmentId(self.client.bytes(16)), ClientId("door"), b"", self._rows(y)) for y in ys]
        log = self._play(self.s1.enroll(items))
        assert not any(isinstance(o, PuraError) for o in self.result)
        return log

    def identify(self, x: NDArray[np.int64]) -> dict[Party, Log]:
        """A question over all entries."""
        if self.who == "S2":
            return self._play(None, self._fake1.ask())
        return self._play(self.s1.identify(self._query(x)))

    def verify(self, x: NDArray[np.int64], places: Sequence[int]) -> dict[Party, Log]:
        """A question over the entries at these places."""
        named = [self.handle(i) for i in places]
        if self.who == "S2":
            return self._play(None, self._fake1.ask(named))
        return self._play(self.s1.verify(self._query(x), named))

    def forget(self, places: Sequence[int]) -> dict[Party, Log]:
        """Erase the entries at these places."""
        named = [self.handle(i) for i in places]
        if self.who == "S2":
            return self._play(None, self._fake1.forget(named))
        return self._play(self.s1.forget(named))

    def compact(self) -> dict[Party, Log]:
        """Free a block."""
        if self.who == "S2":
            return self._play(None, self._fake1.compact())
        return self._play(self.s1._compact())

    def _query(self, x: NDArray[np.int64]) -> Query:
        return Query(RequestId(self.client.bytes(16)), self._rows(x), SealKey(self.client).public, b"")

    def _rows(self, x: NDArray[np.int64]) -> bytes:
        template = x if self.who == "both" else np.zeros_like(x)  # row 1 of the document: S1 cannot tell
        return encrypt_template(self.keys.pk, self.params, template, self.client)

    def _play(self, one: Rounds[Any] | None, fake: Rounds[Any] | None = None) -> dict[Party, Log]:
        """Run one operation; what every real server saw of it."""
        logs: dict[Party, Log] = {p: [] for p in self.stores}
        first: Rounds[Any] = recorded(one, logs[Party.S1]) if one is not None else fake  # type: ignore[assignment]
        other: Rounds[Any] = self._fake2.session() if self.who == "S1" else recorded(self.s2.session(), logs[Party.S2])
        self.result, _ = run_pair(first, other)
        return logs
