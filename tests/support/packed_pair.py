"""Both servers of engine packed in one process, on real stores, and a client that knows what the answers should be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pura.crypto.encoding import distance2
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import Rng, SeededRng
from pura.errors import PuraError
from pura.ids import ClientId, EnrolmentId, Handle, Party, RequestId
from pura.params import Params
from pura.protocols.packed.client import SealedSession, encrypt_template
from pura.protocols.parallel import Workers
from pura.rounds import Done, Tally, advance, run_pair
from pura.store.sqlite import SqliteStore
from pura_server.backend import Answer, NewEntry, Query
from pura_server.packed import PackedGateway, PackedPeer

FIXTURES = Path(__file__).parents[1] / "fixtures"


def templates(params: Params, count: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors, quantised: (count, D)."""
    y = np.random.default_rng(seed).standard_normal((count, params.dimension))
    return np.rint(params.scale * y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.int64)


def _begun(step: Any, party: Any) -> Any:
    """The rest of a party that was advanced to its first step."""
    while not isinstance(step, Done):
        step = advance(party, (yield step))
    return step.result


class Pair:
    """Two servers and a model of what they should know."""

    def __init__(self, folder: Path, *, n_bits: int = 2048, workers: Workers | None = None, **how: Any) -> None:
        options = {k: how.pop(k) for k in ("packs", "light_packs", "clock", "lockout_window_s") if k in how}
        self.keys = FIXTURES / f"test-keys-{n_bits}"
        self.pk = load_public(self.keys / "public.key")
        self.params = Params(self.pk.key_id, n_bits, **how)
        self.folder, self.options, self.workers = folder, options, workers
        self.rng: Rng = SeededRng("pair")
        self.model: dict[Handle, np.ndarray] = {}
        self.tally = Tally()
        self.open()

    # --- the servers ----------------------------------------------------------------------------

    def open(self) -> None:
        """Start both on their data folders."""
        self.open_s1()
        self.open_s2()

    def open_s1(self) -> None:
        self.store1 = self._store(Party.S1)
        self.s1 = PackedGateway(
            self.pk, self._share(Party.S1), self.params, self.store1, self.rng, self.workers, **self.options
        )

    def open_s2(self) -> None:
        self.store2 = self._store(Party.S2)
        self.s2 = PackedPeer(self.pk, self._share(Party.S2), self.params, self.store2, self.rng, self.workers)

    def close(self) -> None:
        self.store1.close()
        self.store2.close()

    def _share(self, party: Party) -> Any:
        return load_share(self.keys / f"{party.name.lower()}.share", self.pk, party)

    def _store(self, party: Party) -> SqliteStore:
        return SqliteStore.open(
            self.folder / party.name,
            role=party,
            agreement=self.params.storage,
            key_id=self.pk.key_id,
            block_bytes=self.pk.ciphertext_bytes,
        )

    def connect(self) -> None:
        """As after every connection."""
        self.s2.connected()
        self.run(self.s1.reconcile())

    def run(self, party: Any) -> Any:
        """Play S1's party against S2; one that says nothing opens no session, as over gRPC."""
        self.tally = Tally()
        step = advance(party, None)
        if isinstance(step, Done):
            return step.result
        return run_pair(_begun(step, party), self.s2.session(), self.tally)[0]

    def refill(self) -> int:
        """All offline work that there is; how many pieces it was."""
        count = 0
        while (party := self.s1.refill()) is not None:
            self.run(party)
            count += 1
        return count

    # --- a client -------------------------------------------------------------------------------

    def entry(self, template: np.ndarray, label: bytes = b"") -> NewEntry:
        raw = encrypt_template(self.pk, self.params, template, self.rng)
        return NewEntry(EnrolmentId(self.rng.bytes(16)), ClientId("door"), label, raw)

    def enroll(self, ys: np.ndarray) -> list[Handle]:
        outcomes = self.run(self.s1.enroll([self.entry(y) for y in ys]))
        for y, outcome in zip(ys, outcomes, strict=True):
            if isinstance(outcome, PuraError):
                raise outcome
            self.model[outcome] = y
        return outcomes

    def forget(self, handles: Sequence[Handle]) -> int:
        count = self.run(self.s1.forget(handles))
        for h in handles:
            self.model.pop(h, None)
        return count

    def query(self, x: np.ndarray) -> tuple[Query, SealedSession]:
        session = SealedSession.new(self.rng)
        raw = encrypt_template(self.pk, self.params, x, self.rng)
        return Query(RequestId(self.rng.bytes(16)), raw, session.public_key, b""), session

    def ask(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[Handle]:
        query, session = self.query(x)
        party = self.s1.identify(query) if handles is None else self.s1.verify(query, handles)
        answer = self.run(party)
        assert isinstance(answer, Answer)
        assert len(answer.share) == 8 * self.params.top_k
        return session.open_answer(answer.share, answer.sealed, query.request_id)

    def expected(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[int]:
        """The distances of the entries that the answer should name, nearest first."""
        named = self.model if handles is None else {h: self.model[h] for h in handles}
        near = sorted(int(d) for d in distance2(x, np.array(list(named.values())))) if named else []
        return [d for d in near if d <= self.params.tau][: self.params.top_k]

    def check(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[Handle]:
        """Ask, and compare with plain integers."""
        found = self.ask(x, handles)
        distances = [int(distance2(x, self.model[h][None])[0]) for h in found]
        assert distances == self.expected(x, handles)
        assert len(set(found)) == len(found)
        return found

    def with_tau(self, tau: int) -> Params:
        return dataclasses.replace(self.params, tau=tau)
