"""Both servers in one process, on real stores, and a client of theirs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pura.crypto.context import NO_CERTIFICATE, SALT_BYTES, commit, question_hash
from pura.crypto.encoding import quantise_many
from pura.crypto.keys import PUBLIC_NAME, load_public, load_share
from pura.crypto.masks import MaskKeys
from pura.crypto.proof import Sealed, prove
from pura.crypto.rng import Rng, SeededRng, SystemRng
from pura.crypto.sign import SigningKey
from pura.errors import PuraError
from pura.ids import ClientId, Commitment, ContextDigest, EnrolmentId, Epoch, Handle, Party, RequestId
from pura.params import Params, tau_from_cosine
from pura.protocols.prepared.client import Answered, SealedSession
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.template import seal_template
from pura.rounds import Done, Rounds, Tally, advance, run_pair
from pura.statements import Signer, Verifier
from pura.store.sqlite import SqliteStore
from pura_bench.told import ToldCorrelations
from pura_client.engines import Author
from pura_server.backend import Answer, NewEntry, Query
from pura_server.claims import Claim
from pura_server.prepared import PreparedGateway, PreparedPeer
from pura_server.prepared.gateway import Shelves


def told(side: Side, masks: Any) -> Rounds[ToldCorrelations]:
    """Correlations that are told, not made: right, fast and not secret."""
    return ToldCorrelations(side.share.party, side.sizes.key_bits, masks)
    yield


def directions(params: Params, count: int, seed: int = 0) -> np.ndarray:
    """Random directions, quantised: (count, D)."""
    return quantise_many(np.random.default_rng(seed).standard_normal((count, params.dimension)), params)


def _begun(step: Any, party: Any) -> Any:
    """The rest of a party that was advanced to its first step."""
    while not isinstance(step, Done):
        step = advance(party, (yield step))
    return step.result


def opened_unchecked(session: SealedSession, answer: Answer, request: RequestId) -> list[Handle]:
    """What whoever holds a one-time key reads in an answer, whatever it was signed for."""
    theirs = session._key.open(answer.sealed, request)[: len(answer.share)]
    plain = bytes(a ^ b for a, b in zip(answer.share, theirs, strict=True))
    handles = (Handle(int.from_bytes(plain[at : at + 8], "big")) for at in range(0, len(plain), 8))
    return [handle for handle in handles if handle]


class Pair:
    """Two servers and a client."""

    correlate: Callable[..., Rounds[Any]] = staticmethod(told)

    def __init__(self, folder: Path, keys: Path, rng: Rng | None = None, **how: Any) -> None:
        """`folder`: for both stores; `keys`: of a ceremony; `rng`: everybody's, always the same unless told; `how`:
        what `Params` takes, and S1's options."""
        options = {k: how.pop(k) for k in ("packs", "light_packs", "clock", "lockout_window_s") if k in how}
        self.keys = keys
        self.pk = load_public(keys / PUBLIC_NAME)
        if (tau := how.pop("tau", None)) is not None:
            how |= {"tau_verify": tau, "tau_identify": tau}
        self.params = Params(self.pk.key_id, self.pk.n_bits, engine=self.pk.engine, **how)
        self.signer = Signer(SigningKey.new(SeededRng("s2 signs")), self.pk.key_id)
        self.verifier = Verifier(self.signer.key.public, self.pk.key_id)
        self.author = Author(self.pk, self.params, verifier=self.verifier)
        self.sealed: dict[EnrolmentId, Sealed] = {}
        self.folder, self.options = folder, options
        self.rng: Rng = rng or SeededRng("pair")
        self.tally = Tally()
        self.open()

    # --- the servers ----------------------------------------------------------------------------

    def open(self) -> None:
        """Start both on their data folders."""
        self.open_s1()
        self.open_s2()

    def open_s1(self) -> None:
        options = dict(self.options)
        shelves = Shelves(options.pop("packs", 4), options.pop("light_packs", 4))
        self.store1 = self._store(Party.S1)
        self.s1: Any = PreparedGateway(
            self.pk, self._share(Party.S1), self.params, self.store1, self.mask_keys(Party.S1), self.rng,
            self.correlate, verifier=self.verifier, shelves=shelves, **options,
        )  # fmt: skip

    def open_s2(self) -> None:
        self.store2 = self._store(Party.S2)
        self.s2: Any = PreparedPeer(
            self.pk, self._share(Party.S2), self.params, self.store2, self.mask_keys(Party.S2), self.rng,
            self.correlate, signer=self.signer,
        )  # fmt: skip

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
        )

    def mask_keys(self, party: Party) -> MaskKeys:
        return MaskKeys({1: party.name.encode() * 16})

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

    # --- a client -------------------------------------------------------------------------------

    def seal(self, template: np.ndarray) -> Sealed:
        return seal_template(self.pk, self.params, template, self.rng)

    def entry(self, template: np.ndarray, label: bytes = b"", keep_days: int = 0) -> NewEntry:
        return self.entry_of(self.seal(template), label, keep_days=keep_days)

    def entry_of(
        self, sealed: Sealed, label: bytes = b"", name: EnrolmentId | None = None, keep_days: int = 0
    ) -> NewEntry:
        """An enrolment of whatever its author knows to be inside."""
        name = name or EnrolmentId(self.rng.bytes(16))
        self.sealed[name] = sealed
        context = partial(self.author.scope.enrolment, name, label, self.epoch(), keep_days=keep_days)
        claim = self.claim(sealed, context)
        return NewEntry(name, ClientId("door"), label, sealed.dump(self.pk), claim, keep_days)

    def claim(self, sealed: Sealed, context: Callable[[Commitment], ContextDigest]) -> Claim:
        client = commit(self.rng.bytes(SALT_BYTES), NO_CERTIFICATE)
        return Claim(self.epoch(), client, prove(self.pk, sealed, context(client), self.rng))

    def epoch(self) -> Epoch:
        return Epoch(self.s2.epoch())

    def enroll(self, ys: np.ndarray, keep_days: int = 0) -> list[Handle]:
        outcomes: list[Any] = self.run(self.s1.enroll([self.entry(y, keep_days=keep_days) for y in ys]))
        for outcome in outcomes:
            if isinstance(outcome, PuraError):
                raise outcome
        return outcomes

    def query(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> tuple[Query, SealedSession]:
        return self.query_of(self.seal(x), handles)

    def query_of(self, sealed: Sealed, handles: Sequence[Handle] | None = None) -> tuple[Query, SealedSession]:
        """A question about whatever its author knows to be inside."""
        session, request = SealedSession.new(self.rng), RequestId(self.rng.bytes(16))
        context = partial(self.author.scope.question, request, handles, self.epoch(), session.public_key)
        claim = self.claim(sealed, context)
        return Query(request, sealed.dump(self.pk), session.public_key, b"", claim), session

    def ask(self, x: np.ndarray, handles: Sequence[Handle] | None = None) -> list[Handle]:
        query, session = self.query(x, handles)
        party = self.s1.identify(query) if handles is None else self.s1.verify(query, handles)
        answer = self.run(party)
        assert isinstance(answer, Answer)
        assert len(answer.share) == 8 * self.params.top_k
        return self.opened(query, session, answer, handles).handles

    def opened(
        self, query: Query, session: SealedSession, answer: Answer, handles: Sequence[Handle] | None = None
    ) -> Answered:
        """As a client opens it."""
        claim = query.claim
        context = self.author.scope.question(query.request_id, handles, claim.epoch, query.seal_key, claim.client)
        question = question_hash(context, query.ciphertexts, claim.proof)
        return session.open_answer(answer.share, answer.sealed, query.request_id, question, self.verifier)


@contextlib.contextmanager
def acquainted(keys: Path, dimension: int, scale: int) -> Iterator[Pair]:
    """Two servers that have met, on empty stores and without work made ahead, drawing secrets as servers do."""
    how = {"dimension": dimension, "scale": scale, "tau": tau_from_cosine(0.37, scale), "packs": 0, "light_packs": 0}
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), keys, SystemRng(), **how)
        with contextlib.closing(pair):
            pair.connect()
            yield pair
