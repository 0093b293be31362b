"""S2 of engine `packed`."""

from __future__ import annotations

from collections.abc import Mapping

from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.seal import seal
from pura.crypto.threshold import KeyShare
from pura.errors import NotReady, ProtocolError
from pura.ids import Handle, PackId
from pura.messages import Message
from pura.params import Params
from pura.protocols.packed.extension import Ends, setup
from pura.protocols.packed.lockout import Ledger
from pura.protocols.packed.match import contest_for, match_s2, need_for
from pura.protocols.packed.material import complete, provide
from pura.protocols.packed.pack import PackS2, make_s2, parts_of, take_products
from pura.protocols.packed.tournament import MAX_FAN_IN, Need
from pura.protocols.parallel import Workers
from pura.rounds import Rounds, exchange, receive_any, send
from pura.store.base import Store
from pura_server.packed import change, compact
from pura_server.packed.gateway import ECHOES
from pura_server.packed.offline import ShelfS2
from pura_server.packed.settle import settle_s2
from pura_server.packed.state import LABEL_BYTES, Pictures, load_handles, load_versions, new_side
from pura_server.packed.wire import AddOpen, AskOpen, CompactOpen, Echo, EraseOpen, RefillOpen, Sealed, SettleOpen

MAX_TEMPLATES = 4096
MAX_STOCK = 1 << 30


class PackedPeer:
    """S2: keeps blocks and its norm shares; no label, no row ciphertext."""

    def __init__(
        self,
        pk: PublicKey,
        share: KeyShare,
        params: Params,
        store: Store,
        rng: Rng,
        workers: Workers | None = None,
        *,
        ledger: Ledger | None = None,
    ) -> None:
        self._workers = workers or Workers()
        self._side = new_side(pk, share, params, rng, self._workers)
        self._store = store
        self._pictures = Pictures(self._side, store)
        self._shelf = ShelfS2()
        self._ledger = ledger or Ledger()
        self._ends: Ends | None = None

    def session(self) -> Rounds[None]:
        """S2's party of one operation; its first message says which."""
        opening = yield from receive_any()
        if isinstance(opening, SettleOpen):
            yield from settle_s2(self._store, self._pictures)
            if opening.fresh:
                self.connected()
                yield from self._greet()
                return
            opening = yield from receive_any()
        yield from self._operation(opening)

    def levels(self) -> Mapping[str, float]:
        """Entries, blocks, and the packs on hand."""
        view = self._pictures.latest()
        return {"entries": float(len(view)), "blocks": float(len(view.blocks)), **self._shelf.levels()}

    def connected(self) -> None:
        """Base OTs and packs of an earlier connection are void."""
        self._ends = None
        self._shelf.clear()

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def _greet(self) -> Rounds[None]:
        ends = yield from setup(self._side)
        for _ in range(ECHOES):
            yield from exchange(Echo(), Echo)
        self._ends = ends

    def _operation(self, opening: Message) -> Rounds[None]:
        side, store, pictures = self._side, self._store, self._pictures
        match opening:
            case AskOpen():
                yield from self._answer(opening)
            case RefillOpen():
                yield from self._stock_up(opening)
            case AddOpen():
                if opening.templates > MAX_TEMPLATES:
                    raise ProtocolError(detail="number of templates")
                yield from change.add_s2(side, store, pictures, self._connected(), opening)
            case EraseOpen():
                yield from change.erase_s2(side, store, pictures, opening)
            case CompactOpen():
                yield from compact.compact_s2(side, store, pictures, opening)
            case Echo():
                pass  # there was something to settle, and nothing else
            case _:
                raise ProtocolError(detail=f"{type(opening).__name__} opens nothing")

    def _answer(self, opening: AskOpen) -> Rounds[None]:
        side, ends = self._side, self._connected()
        if not 2 <= opening.fan_in <= MAX_FAN_IN or len(opening.label) != LABEL_BYTES:
            raise ProtocolError(detail="opening of a question")
        view = self._pictures.find(opening.digest)
        if opening.handles:
            view = view.only([Handle(h) for h in load_handles(opening.handles)], side.columns.entries)
        targets = view.targets
        need = need_for(side, contest_for(side, len(targets), opening.fan_in))
        pack = self._shelf.take(PackId(opening.pack)) if opening.pack else None
        pack = yield from self._complete(pack, ends, opening.label, need)
        share = yield from match_s2(side, pack, targets, opening.fan_in, self._ledger)
        if share is not None:
            yield from send(Sealed(seal(opening.seal_key, share, opening.request, side.rng)))

    def _complete(self, pack: PackS2 | None, ends: Ends, label: bytes, need: Need) -> Rounds[PackS2]:
        """See `PackedGateway._complete`."""
        if pack is None:
            return (yield from make_s2(self._side, ends.fork(label), need))
        yield from complete(pack.stock, ends, label, need, self._side.rng)
        return pack

    def _stock_up(self, opening: RefillOpen) -> Rounds[None]:
        side, ends = self._side, self._connected()
        if max(opening.triple_octets, opening.transfers) > MAX_STOCK or len(opening.label) != LABEL_BYTES:
            raise ProtocolError(detail="opening of a refill")
        versions = load_versions(opening.versions)
        missing = Need(opening.triple_octets, opening.transfers)
        if opening.fresh:
            pack = yield from make_s2(side, ends.fork(opening.label), missing)
        else:
            pack = self._shelf.take(PackId(opening.pack))
            if missing != Need():
                pack.stock.take_over((yield from provide(ends.fork(opening.label), missing, side.rng)))
        for part in parts_of(side, len(versions)):
            yield from take_products(side, pack, versions, part)
        pack.products = {v: pack.products[v] for v in versions}
        if self._ends is ends:
            self._shelf.put(PackId(opening.pack), pack)
        yield from exchange(Echo(), Echo)

    def _connected(self) -> Ends:
        if self._ends is None:
            raise NotReady()
        return self._ends
