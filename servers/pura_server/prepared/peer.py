"""S2 of engine `prepared`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pura.crypto.context import question_hash
from pura.crypto.masks import MaskKeys
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.seal import seal
from pura.crypto.threshold import KeyShare
from pura.errors import NotReady, ProtocolError
from pura.ids import BlockId, Commitment, Epoch, GroupId, Handle, PackId, RequestId
from pura.messages import Message
from pura.params import Params
from pura.protocols.prepared import lockout, pack
from pura.protocols.prepared.arithmetic import NUMPY, Arithmetic
from pura.protocols.prepared.match import contest_for, match_s2, need_for, rule_for
from pura.protocols.prepared.side import Side
from pura.protocols.prepared.tournament import load_fan_ins
from pura.protocols.shares.extension import setup
from pura.protocols.shares.ledger import Ledger
from pura.protocols.shares.stock import Need
from pura.rounds import Rounds, exchange, receive_any, send
from pura.statements import Signer
from pura.store.base import Store
from pura.store.snapshots import Snapshots
from pura_server.backend import Begins, Kind
from pura_server.claims import Claim, Examiner, Gate
from pura_server.epochs import Epochs
from pura_server.erasures import EraseOpen
from pura_server.expiry import NEVER, Calendar, ExpireOpen, check_time
from pura_server.groups import GroupBook
from pura_server.outcomes import EnrolledOpen, ErasedOpen, vouch_s2
from pura_server.prepared import change, remask
from pura_server.prepared.offline import ShelfS2
from pura_server.prepared.session import ECHOES, LABEL_BYTES, Correlate, Session, exchange_nonces
from pura_server.prepared.settle import settle_s2
from pura_server.prepared.snapshot import snapshot_s2
from pura_server.prepared.state import Pictures
from pura_server.prepared.tables import load_blocks, load_handles, load_packs
from pura_server.prepared.wire import (
    Echo,
    EnrolOpen,
    PacksOpen,
    QuestionOpen,
    RemaskOpen,
    Sealed,
    SettleOpen,
    SnapshotOpen,
    UnlockOpen,
)
from pura_server.relabels import RelabelOpen

MAX_STOCK = 1 << 30
MAX_PACKS = 1024


class PreparedPeer:
    """S2: keeps E, the nonces, the labels' ciphertexts and the enrolment ids."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        store: Store,
        keys: MaskKeys,
        rng: Rng,
        correlate: Correlate,
        *,
        signer: Signer,
        ledger: Ledger | None = None,
        groups: GroupBook | None = None,
        snapshots: Snapshots | None = None,
        clock: Callable[[], float] = time.monotonic,
        calendar: Calendar | None = None,
        arithmetic: Arithmetic = NUMPY,
    ) -> None:
        """`signer`: signs what S2 answers and what it holds; `groups`: who may want something, as `Gate` has it;
        `clock`: by which an epoch lasts an hour; `calendar`: by which entries expire;
        `arithmetic`: where this server multiplies; `snapshots`: where they go."""
        share.check(pk)
        self._side = Side(pk, share, params, rng, arithmetic)
        self._calendar = calendar or Calendar()
        self._store = store
        self._signer = signer
        self._pictures = Pictures(self._side, store, keys)
        self._correlate = correlate
        self._snapshots = snapshots
        self._shelf = ShelfS2()
        self._gate = Gate(Examiner(pk, params, self._side.sizes.pieces), Epochs(rng, clock), groups)
        self._ledger = ledger or Ledger()
        self._session: Session | None = None

    def session(self, begins: Begins = lambda _: None) -> Rounds[None]:
        """S2's party of one operation; its first message says which."""
        opening = yield from receive_any()
        if isinstance(opening, SettleOpen):
            yield from settle_s2(self._store, self._pictures, self._signer)
            yield from exchange_nonces(self._side, self._pictures, fresh=bool(opening.fresh))
            if opening.fresh:
                self._void()
                yield from self._greet()
                return
            opening = yield from receive_any()
        yield from self._operation(opening, begins)

    def levels(self) -> Mapping[str, float]:
        """Entries, blocks, and the packs on hand."""
        view = self._pictures.latest()
        doubt = {"clock_doubtful": 1.0} if self._calendar.doubtful else {}
        return {"entries": float(len(view)), "blocks": float(len(view.blocks)), **self._shelf.levels(), **doubt}

    def connected(self) -> None:
        """OTs, correlations and packs of an earlier connection are void, and a new epoch begins."""
        self._void()
        self._gate.epochs.renew()

    def epoch(self) -> bytes:
        """The epoch that proofs should name. S1 asks now and then, which is when the calendar looks at the clock."""
        self._calendar.sure()
        return self._gate.epochs.current()

    def close(self) -> None:
        """Nothing to release."""

    def _void(self) -> None:
        self._session = None
        self._shelf.clear()

    def _greet(self) -> Rounds[None]:
        ends = yield from setup(self._side.share.party, self._side.pk.key_id, self._side.rng)
        correlations = yield from self._correlate(self._side, self._pictures.masks)
        for _ in range(ECHOES):
            yield from exchange(Echo(), Echo)
        self._session = Session(ends, correlations)

    def _operation(self, opening: Message, begins: Begins) -> Rounds[None]:
        side, store, pictures = self._side, self._store, self._pictures
        match opening:
            case QuestionOpen():
                begins(Kind.VERIFY if opening.handles else Kind.IDENTIFY)
                yield from self._answer(opening)
            case PacksOpen():
                yield from self._stock_up(opening)
            case EnrolOpen():
                begins(Kind.ENROL)
                ends = self._connected().ends
                yield from change.add_s2(
                    side, store, pictures, self._signer, ends, self._gate, opening, self._calendar.now
                )
            case EraseOpen():
                begins(Kind.ERASE)
                yield from change.erase_s2(store, pictures, self._signer, self._gate, opening)
            case RelabelOpen():
                begins(Kind.RELABEL)
                yield from change.relabel_s2(store, pictures, self._signer, self._gate, opening)
            case ExpireOpen():
                begins(Kind.EXPIRE)
                yield from change.expire_s2(store, pictures, self._signer, opening, self._calendar.sure())
            case RemaskOpen():
                yield from remask.remask_s2(side, store, pictures, self._signer, opening)
                if opening.drop != remask.NO_DROP and self._session is not None:
                    self._session.correlations.forget(BlockId(opening.drop))
            case UnlockOpen():
                begins(Kind.UNLOCK)
                yield from self._unlock(opening)
            case SnapshotOpen():
                begins(Kind.SNAPSHOT)
                yield from snapshot_s2(store, self._snapshots, opening)
            case EnrolledOpen() | ErasedOpen():
                yield from vouch_s2(store, self._signer, opening)
            case Echo():
                pass  # there was something to settle, and nothing else
            case _:
                raise ProtocolError(detail=f"{type(opening).__name__} opens nothing")

    def _answer(self, opening: QuestionOpen) -> Rounds[None]:
        side, session = self._side, self._connected()
        fan_ins = load_fan_ins(opening.fan_ins)
        if len(opening.label) != LABEL_BYTES:
            raise ProtocolError(detail="opening of a question")
        group = GroupId(opening.group)
        claim = Claim(Epoch(opening.epoch), Commitment(opening.client), opening.proof, group, opening.signature)
        self._gate.epochs.check(claim.epoch)
        view = self._pictures.find(opening.digest, opening.masks)
        named = [Handle(h) for h in load_handles(opening.handles)] or None
        if view.first_expiry < NEVER:
            check_time(view.expires, opening.at, self._calendar.now)
        targets = view.at(opening.at, named)
        number = len(targets) if named else None
        need = need_for(side, contest_for(side, len(targets), fan_ins), number)
        given = self._shelf.take(PackId(opening.pack)) if opening.pack else None
        # after all that S1 may try again for, with the same proof
        request = RequestId(opening.request)
        proven = self._gate.question(opening.template, request, named, opening.seal_key, claim)
        ready = yield from session.complete(side, given, opening.label, need, targets.masked)
        tau = side.params.tau_for(number)
        share = yield from match_s2(side, ready, proven.ciphertexts, targets, fan_ins, self._ledger, tau, named=number)
        question = question_hash(proven.context, opening.template, opening.proof)
        text = self._signer.answer_text(question, share, view.generation)
        yield from send(Sealed(seal(opening.seal_key, text, opening.request, side.rng)))

    def _unlock(self, opening: UnlockOpen) -> Rounds[None]:
        handles = [Handle(h) for h in load_handles(opening.handles)]
        rule = rule_for(self._side, len(handles)) if handles else None
        if rule is None:
            raise ProtocolError(detail="no such limit")
        yield from lockout.forgive_s2(rule, self._ledger, self._pictures.latest().only(handles).handles)

    def _stock_up(self, opening: PacksOpen) -> Rounds[None]:
        side, session = self._side, self._connected()
        numbers, blocks, need = load_packs(opening.packs), load_blocks(opening.blocks), Need.load(opening.need)
        if need.ots > MAX_STOCK or len(opening.label) != LABEL_BYTES or len(numbers) > MAX_PACKS:
            raise ProtocolError(detail="opening of a refill")
        if opening.fresh:
            ends = session.ends.fork(opening.label)
            packs = yield from pack.make_with_products(side, ends, need, len(numbers), session.correlations, blocks)
        else:
            packs = [self._shelf.take(number) for number in numbers]
            yield from session.replenish(side, packs, opening.label, need, blocks)
        for one in packs:
            one.keep_only(blocks)  # as S1 does, by whose picture this is: the same packs at both
        if self._session is session:
            self._shelf.put(zip(numbers, packs, strict=True))
        yield from exchange(Echo(), Echo)

    def _connected(self) -> Session:
        if self._session is None:
            raise NotReady()
        return self._session
