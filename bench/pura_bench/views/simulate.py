"""The simulators: each server's view, made from public parameters and that server's own state.

`SimulatedS2` plays S2 against the real code of S1, `SimulatedS1` plays S1 against the real code of S2. Neither has the
other server's key share, a template, a block's contents, a mask or a share: they know the key, the parameters, the
entries' places, and whatever the server in question knows itself, its own key share included.

A ciphertext that the server will open is (1 + m N) H^rho for a plaintext m drawn at random. The other server's partial
decryption follows from the server's own: w = h^(-rho) is what both make together, so u_other = w / u_own mod N. (Indeed
c^t = h^(rho N t) = h^(-rho) mod N, since N t = -1 modulo the order of h.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pura.bigint import Integer, invert, power
from pura.crypto.encoding import pack_slots
from pura.crypto.ot import BASE_OTS, ExtensionReceiver
from pura.crypto.paillier import REFRESH_BITS
from pura.crypto.rng import Rng
from pura.crypto.seal import SealKey, seal
from pura.crypto.threshold import dump_partials
from pura.ids import Handle, TxnId
from pura.messages import Message
from pura.protocols.packed import norm
from pura.protocols.packed.base_ot import SEED_BITS, BaseAnswers, BaseChoices, session_of
from pura.protocols.packed.blocks import BlockHash, BlockTerms
from pura.protocols.packed.convert import Converted, MaskedRows
from pura.protocols.packed.extension import Extension
from pura.protocols.packed.gmw import MaskedBits, OpenedBits
from pura.protocols.packed.lockout import Counted, CountOpen, CountState
from pura.protocols.packed.match import contest_for, limit_for, need_for
from pura.protocols.packed.material import _portions
from pura.protocols.packed.norm import CrossTerms
from pura.protocols.packed.pack import BlockProducts, BlockVersion, parts_of
from pura.protocols.packed.score import ScoreBlocks
from pura.protocols.packed.select import Derandomise, Transferred
from pura.protocols.packed.side import Side
from pura.protocols.packed.tournament import Contest, Need
from pura.rounds import Rounds, exchange, receive, receive_any, send
from pura.store.base import TXN_BYTES
from pura_server.packed.change import _erasure, dump_places
from pura_server.packed.compact import plan
from pura_server.packed.gallery import View
from pura_server.packed.gateway import ECHOES
from pura_server.packed.state import LABEL_BYTES, dump_handles, dump_versions, load_handles, load_versions
from pura_server.packed.wire import (
    AddOpen,
    AskOpen,
    Commit,
    Committed,
    CompactOpen,
    Echo,
    EraseOpen,
    Holding,
    Outcomes,
    Places,
    Prepared,
    ReadyToCommit,
    RefillOpen,
    Sealed,
    SettleOpen,
    Switched,
)


class _Stream:
    """The numbers in the `Extension` messages of one direction; what they carry is drawn at random."""

    def __init__(self, numbers: ExtensionReceiver, rng: Rng) -> None:
        self._numbers, self._rng = numbers, rng
        self._used = 0

    def fork(self, label: bytes) -> _Stream:
        return _Stream(self._numbers.fork(label), self._rng)

    def message(self, n: int) -> Extension:
        first, self._used = self._used, self._used + n
        return Extension(self._numbers.session, first, self._rng.bytes(self._numbers.message_bytes(n)))


class _Simulator:
    """What both have in common."""

    def __init__(self, side: Side, view: Callable[[], View], rng: Rng) -> None:
        """`side` and `view` are of the server whose view is made."""
        self._side, self._view, self._rng = side, view, rng
        self._stream: _Stream | None = None

    # --- ciphertexts ----------------------------------------------------------------------------

    def _fresh(self, count: int) -> bytes:
        """Ciphertexts that the server does not open: of 0."""
        pk = self._side.pk
        return pk.dump_many(pk.zero(self._rng) for _ in range(count))

    def _opening(self, plains: Sequence[Integer]) -> tuple[bytes, bytes]:
        """Ciphertexts that the server opens to these numbers, and the other server's partial decryptions."""
        pk, own = self._side.pk, self._side.share
        cs, us = [], []
        for m in plains:
            rho = self._rng.bits(pk.strength.l_bits + REFRESH_BITS)
            c = pk.add_plain(pk.table.power(rho), m)
            w = invert(power(pk.h, rho, pk.n), pk.n)
            cs.append(c)
            us.append(w * invert(own.partial_decrypt(pk, c), pk.n) % pk.n)
        return pk.dump_many(cs), dump_partials(pk, us)

    # --- base OTs and their extension -----------------------------------------------------------

    def _greet(self) -> Rounds[None]:
        held = self._side.pk.plaintext_bits // SEED_BITS
        theirs = yield from exchange(BaseChoices(self._fresh(BASE_OTS)), BaseChoices)
        sums = [self._rng.bits(SEED_BITS * min(held, BASE_OTS - at)) for at in range(0, BASE_OTS, held)]
        answers = BaseAnswers(*self._opening(sums))
        yield from exchange(answers, BaseAnswers)
        numbers = ExtensionReceiver.draw(self._rng)
        numbers.session = session_of(theirs, answers)
        self._stream = _Stream(numbers, self._rng)
        for _ in range(ECHOES):
            yield from exchange(Echo(), Echo)

    def _fork(self, label: bytes) -> _Stream:
        assert self._stream is not None
        return self._stream.fork(label)

    def _provide(self, stream: _Stream, need: Need) -> Rounds[None]:
        for n in [*_portions(8 * need.triple_octets), *_portions(need.transfers)]:
            yield from exchange(stream.message(n), Extension)

    # --- computing on shares --------------------------------------------------------------------

    def _reply(self, got: Message, selections: Iterator[int]) -> Message:
        """What answers a message of a layer: bits that a triple or a pad has masked, so uniform ones."""
        rng = self._rng
        if isinstance(got, MaskedBits):
            return MaskedBits(rng.bytes(len(got.d)), rng.bytes(len(got.e)))
        if isinstance(got, OpenedBits):  # the other share of a bit that is 1
            return OpenedBits(bytes(b ^ 0xFF for b in got.bits))
        if isinstance(got, Derandomise):
            return Derandomise(rng.bits(next(selections)).to_bytes(len(got.e), "little"))
        assert isinstance(got, Transferred)
        rows = range(0, len(got.m), 12)
        bits = self._side.columns.slot_bits
        return Transferred(b"".join(rng.bytes(8) + rng.bits(bits).to_bytes(4, "little") for _ in rows))

    def _layers(self, selections: Sequence[int]) -> Rounds[None]:
        """Answer layers until so many selections are through; with none, until a bit is opened."""
        sizes, left = iter(selections), len(selections) or 1
        while left:
            got = yield from receive_any()
            yield from send(self._reply(got, sizes))
            left -= isinstance(got, (Transferred, OpenedBits))

    def _missing(self, versions: Sequence[BlockVersion], there: set[BlockVersion]) -> list[int]:
        """How many products of each group of blocks were not made ahead."""
        return [sum(v not in there for v in versions[part]) for part in parts_of(self._side, len(versions))]

    # --- numbers that are public ----------------------------------------------------------------

    def _transfers(self) -> int:
        return norm.transfers_for(self._side)

    def _contest(self, entries: int, fan_in: int) -> Contest:
        return contest_for(self._side, entries, fan_in)


def selections(contest: Contest) -> list[int]:
    """How many candidates each selection of `tournament.nearest` takes."""
    out, n = [], contest.candidates
    if contest.results == 1:
        while n > 1:
            m = min(contest.fan_in, n)
            n = -(-n // m)
            out.append((m - 1) * n)
        return [*out, 1]
    length, lists = contest.sorted_length, contest.padded // contest.sorted_length
    steps = length.bit_length() - 1
    out = [length // 2 * lists] * (steps * (steps + 1) // 2)
    while lists > 1:
        lists //= 2
        out += [length * lists] + [length // 2 * lists] * steps
    return [*out, contest.results]


class SimulatedS2(_Simulator):
    """S2 as S1 sees it; `session` is what `PackedPeer.session` is to the real one."""

    def __init__(self, side: Side, view: Callable[[], View], rng: Rng) -> None:
        super().__init__(side, view, rng)
        self._packs: dict[int, tuple[Need, set[BlockVersion]]] = {}

    def session(self) -> Rounds[None]:
        """One operation."""
        opening = yield from receive_any()
        if isinstance(opening, SettleOpen):
            yield from send(Prepared(b""))
            yield from receive(Outcomes)
            yield from send(Holding(self._view().digest))
            yield from receive(Switched)
            if opening.fresh:
                yield from self._greet()
                return
            opening = yield from receive_any()
        match opening:
            case AskOpen():
                yield from self._ask(opening)
            case RefillOpen():
                yield from self._refill(opening)
            case AddOpen():
                yield from self._add(opening)
            case EraseOpen():
                view = self._view()
                wanted = [Handle(h) for h in load_handles(opening.handles)]
                places, drops = _erasure(self._side, view, wanted)
                left = [h for h in wanted if places[h][0] not in drops]
                yield from self._converted(len(left))
                yield from self._rewrite(len({places[h][0] for h in left}))
                yield from self._commit()
            case CompactOpen():
                move = plan(self._view(), self._side.columns.entries)
                assert move is not None
                yield from self._converted(len(move.places))
                yield from self._rewrite(len({block for _, block, _ in move.places}))
                yield from self._commit()
            case _:
                raise AssertionError(type(opening).__name__)

    def _refill(self, opening: RefillOpen) -> Rounds[None]:
        missing, there = Need(opening.triple_octets, opening.transfers), set[BlockVersion]()
        if opening.fresh:
            yield from self._make(opening.label, missing)
            has = missing
        else:
            has, there = self._packs[opening.pack]
            if missing != Need():
                yield from self._provide(self._fork(opening.label), missing)
            has += missing
        versions = load_versions(opening.versions)
        for count in self._missing(versions, there):
            if count:
                yield from receive(BlockProducts)
        self._packs[opening.pack] = has, set(versions)
        yield from exchange(Echo(), Echo)

    def _make(self, label: bytes, need: Need) -> Rounds[None]:
        stream = self._fork(label)
        for _ in _portions(self._transfers()):
            yield from receive(Extension)
        yield from self._provide(stream, need)

    def _ask(self, opening: AskOpen) -> Rounds[None]:
        side, view = self._side, self._view()
        if opening.handles:
            view = view.only([Handle(h) for h in load_handles(opening.handles)], side.columns.entries)
        versions, n = view.targets.versions, len(view)
        contest = self._contest(n, opening.fan_in)
        there: set[BlockVersion] = set()
        if opening.pack:  # S1 never asks with a pack that lacks something here: the gallery did not grow since
            _, there = self._packs.pop(opening.pack)
        else:
            yield from self._make(opening.label, need_for(side, contest))
        yield from self._converted(1)
        yield from self._check(1)
        if n:
            for part, missing in zip(parts_of(side, len(versions)), self._missing(versions, there), strict=True):
                if missing:
                    yield from receive(BlockProducts)
                count = len(versions[part])
                bits = side.columns.entries * side.columns.slot_bits + side.params.sigma
                yield from send(ScoreBlocks(count, *self._opening([self._rng.bits(bits) for _ in range(count)])))
            if limit_for(side) is not None:
                yield from receive(CountOpen)
                yield from send(CountState(1))
                yield from self._layers([2 * n])
                yield from send(Counted())
            yield from self._layers(selections(contest))
        yield from send(
            Sealed(seal(opening.seal_key, self._rng.bytes(8 * contest.results), opening.request, self._rng))
        )

    def _converted(self, templates: int) -> Rounds[None]:
        if templates:
            yield from receive(MaskedRows)
            yield from send(Converted(b"\1" * templates))

    def _check(self, templates: int) -> Rounds[None]:
        for _ in range(templates):
            yield from send(CrossTerms(self._rng.bytes(self._transfers() * norm.ring_bits(self._side) // 8)))
        yield from self._layers([])

    def _add(self, opening: AddOpen) -> Rounds[None]:
        count = opening.templates
        yield from self._converted(count)
        stream = self._fork(opening.txn)
        for _ in _portions(self._transfers() * count):
            yield from receive(Extension)
        yield from self._provide(stream, norm.need(self._side, count))
        yield from self._check(count)
        got = yield from receive(Places)
        yield from self._rewrite(len({got.places[at + 8 : at + 16] for at in range(0, len(got.places), 24)}))
        yield from self._commit()

    def _rewrite(self, blocks: int) -> Rounds[None]:
        if blocks:
            for _ in range(blocks):
                got = yield from receive(BlockTerms)
                yield from send(BlockTerms(got.block, self._fresh(self._side.params.dimension)))
            mine = yield from receive(BlockHash)
            yield from send(mine)

    def _commit(self) -> Rounds[None]:
        yield from send(ReadyToCommit())
        yield from receive(Commit)
        yield from send(Committed(self._view().digest))
        yield from receive(Switched)


class SimulatedS1(_Simulator):
    """S1 as S2 sees it: a party for each operation."""

    def __init__(self, side: Side, view: Callable[[], View], rng: Rng, fan_in: int = 2) -> None:
        """`fan_in`: the tournament's, which follows from the round trip."""
        super().__init__(side, view, rng)
        self._fan_in = fan_in
        self._numbers = 0
        self._packs: list[int] = []

    def connect(self) -> Rounds[None]:
        """A new connection."""
        yield from send(SettleOpen(1))
        got = yield from receive(Prepared)
        yield from send(Outcomes(bytes(len(got.txns) // TXN_BYTES)))
        yield from receive(Holding)
        yield from send(Switched())
        yield from self._greet()

    def refill(self, need: Need, *, full: bool) -> Rounds[None]:
        """A pack: with the products of all blocks, or with none."""
        self._numbers += 1
        versions = self._view().targets.versions if full else ()
        label = self._rng.bytes(LABEL_BYTES)
        yield from send(
            RefillOpen(self._numbers, 1, label, need.triple_octets, need.transfers, dump_versions(versions))
        )  # fmt: skip
        yield from self._make(label, need)
        yield from self._products(self._missing(versions, set()))
        yield from exchange(Echo(), Echo)
        if full:
            self._packs.append(self._numbers)

    def ask(self, handles: Sequence[Handle] | None = None) -> Rounds[None]:
        """identify, or verify on the entries named; with a pack if there is one."""
        side, view = self._side, self._view()
        if handles is not None:
            view = view.only(handles, side.columns.entries)
        versions, n = view.targets.versions, len(view)
        named = b"" if handles is None else dump_handles(view.handles.tolist())
        key, request, label = SealKey(self._rng).public, self._rng.bytes(16), self._rng.bytes(LABEL_BYTES)
        fan_in = self._fan_in if n else 2
        pack = self._packs.pop(0) if handles is None and self._packs else 0
        yield from send(AskOpen(self._view().digest, named, key, request, pack, label, fan_in))
        contest = self._contest(n, fan_in)
        if not pack:
            yield from self._make(label, need_for(side, contest))
        yield from self._convert(1)
        yield from self._checked(1)
        if n:
            missing = self._missing(versions, set(versions) if pack else set())
            yield from self._products(missing)
            for _ in missing:
                yield from receive(ScoreBlocks)
            if limit_for(side) is not None:
                yield from send(CountOpen(self._epoch, next_epoch := self._rng.bytes(16), 0))
                yield from receive(CountState)
                yield from self._layers([2 * n])
                yield from receive(Counted)
                self._epoch = next_epoch
            yield from self._layers(selections(contest))
        yield from receive(Sealed)

    _epoch = bytes(16)

    def enrol(self, places: Sequence[tuple[int, int]]) -> Rounds[None]:
        """A batch of templates that go to these places."""
        count, txn = len(places), TxnId(self._rng.bytes(TXN_BYTES))
        yield from send(AddOpen(txn, count))
        yield from self._convert(count)
        stream = self._fork(txn)
        for n in _portions(self._transfers() * count):
            yield from send(stream.message(n))
        yield from self._provide(stream, norm.need(self._side, count))
        yield from self._checked(count)
        named = [(self._rng.bits(64) | 1, block, slot) for block, slot in places]
        yield from send(Places(self._view().digest, dump_places(named)))  # type: ignore[arg-type]
        yield from self._rewrite(len({block for block, _ in places}))
        yield from self._commit()

    def forget(self, handles: Sequence[Handle]) -> Rounds[None]:
        """An erasure."""
        view = self._view()
        yield from send(EraseOpen(self._rng.bytes(TXN_BYTES), view.digest, dump_handles(handles)))
        places, drops = _erasure(self._side, view, handles)
        left = [h for h in handles if places[h][0] not in drops]
        yield from self._convert(len(left))
        yield from self._rewrite(len({places[h][0] for h in left}))
        yield from self._commit()

    def compact(self) -> Rounds[None]:
        """A compaction."""
        view = self._view()
        move = plan(view, self._side.columns.entries)
        assert move is not None
        yield from send(CompactOpen(self._rng.bytes(TXN_BYTES), view.digest, move.block, dump_places(move.places)))
        yield from self._convert(len(move.places))
        yield from self._rewrite(len({block for _, block, _ in move.places}))
        yield from self._commit()

    def _make(self, label: bytes, need: Need) -> Rounds[None]:
        stream = self._fork(label)
        for n in _portions(self._transfers()):
            yield from send(stream.message(n))
        yield from self._provide(stream, need)

    def _convert(self, templates: int) -> Rounds[None]:
        if templates:
            rows = self._side.rows
            plains = []
            for _ in range(templates):
                v = [self._rng.bits(rows.mask_bits) for _ in range(rows.dimension)]
                step = rows.per_ciphertext
                plains += [pack_slots(v[at : at + step], rows.slot_bits) for at in range(0, len(v), step)]
            yield from send(MaskedRows(templates, *self._opening(plains)))
            yield from receive(Converted)

    def _checked(self, templates: int) -> Rounds[None]:
        for _ in range(templates):
            yield from receive(CrossTerms)
        yield from self._layers([])

    def _products(self, missing: Sequence[int]) -> Rounds[None]:
        for count in missing:
            if count:
                yield from send(BlockProducts(count, self._fresh(count)))

    def _rewrite(self, blocks: int) -> Rounds[None]:
        if blocks:
            for _ in range(blocks):
                got = yield from receive(BlockTerms)
                yield from send(BlockTerms(got.block, self._fresh(self._side.params.dimension)))
            other = yield from receive(BlockHash)
            yield from send(other)

    def _commit(self) -> Rounds[None]:
        yield from receive(ReadyToCommit)
        yield from send(Commit())
        yield from receive(Committed)
        yield from send(Switched())
